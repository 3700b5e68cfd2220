// The front door: flags, the server's limits, and the order in which things
// start and stop, on the main goroutine.

// Cars is a JSON REST server for a catalogue of cars, in which one goroutine
// owns the catalogue and every HTTP handler reaches it through one channel.
//
// A request walks through the files in this order: handlers.go turns it into a
// CarRequest and sends that on carRequestChan; processor.go receives it, lets
// its processing time pass and answers on the request's own channel;
// handlers.go encodes the answer. The values they exchange are in models.go.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"cars/internal/flags"
	"cars/internal/guard"
	"cars/internal/items"
	"cars/internal/lines"
	"cars/internal/listen"
	"cars/internal/metrics"
	"cars/internal/watch"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program. Its result is the exit status: 0 after -h, -version
// or a stop that was asked for, 1 if the server could not do its work, 2 if
// the flags make no sense.
func run(args []string, stdout, stderr io.Writer) int {
	cfg, err := parseFlags(args, os.Getenv("PORT"))
	token := os.Getenv("CARS_TOKEN")
	if cfg.guard.Token = strings.TrimSpace(token); cfg.guard.Token == "" && token != "" && err == nil {
		err = errors.New("invalid value for CARS_TOKEN in the environment: it must not be blank")
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		cfg.usage(stdout)
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "cars: %v (cars -h explains the flags)\n", err)
		return 2
	case cfg.version:
		fmt.Fprintln(stdout, version())
		return 0
	}
	flush := startLog(cfg, stderr)
	defer runtime.KeepAlive(newBallast(64 << 20))
	err = serve(cfg)
	flush()
	if err != nil {
		fmt.Fprintf(stderr, "cars: %v\n", err)
		return 1
	}
	return 0
}

// A config is what the command line and the environment decide.
type config struct {
	addr       string
	data       string // path of the catalogue's file; empty for none
	maxCars    int
	simulation simulation
	guard      guard.Options // but for what depends on the address
	tlsCert    string
	tlsKey     string
	logLevel   slog.Level
	logFormat  string
	version    bool
	usage      func(io.Writer) // explains the flags
}

// parseFlags reads the command line, and port, the value of PORT in the
// environment. The errors it returns are sentences for the user.
func parseFlags(args []string, port string) (config, error) {
	cfg := config{addr: "localhost:8080", data: "cars.jsonl", maxCars: defaultMaxCars, simulation: simulation{delay: defaultDelay}, logFormat: "text"}
	cfg.guard = guard.Options{MaxInFlight: 10_000, Secret: []string{"/metrics"}, Vital: isVital, Refuse: sendError}
	set := flag.NewFlagSet("cars", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&cfg.addr, "addr", cfg.addr, "listen on this `host:port`; :8080 listens on every network.\nPORT in the environment replaces the port of the default")
	set.StringVar(&cfg.data, "data", cfg.data, "keep the catalogue in this `file`; \"\" keeps it in memory")
	flags.Whole(set, &cfg.maxCars, "max-cars", "refuse to keep more than `n` cars", 0)
	flags.Duration(set, &cfg.simulation.delay, "delay", "processing `time` of every request, as a real database would cost;\n0 turns all simulation off", maxDelay)
	flags.Duration(set, &cfg.simulation.jitter, "jitter", "up to this much more processing `time`, at random", maxDelay)
	flags.Number(set, &cfg.simulation.fail, "fail", "answer this `fraction` of requests with 503, after their processing time and\nbefore they touch anything", 1)
	readOnly := set.Bool("read-only", false, "refuse every write")
	flags.List(set, &cfg.guard.Origins, "origins", "further `origins` whose pages may write, such as https://app.example,\ncomma-separated; those on this machine and the server's own may anyway")
	flags.List(set, &cfg.guard.Hosts, "hosts", "further host `names` to answer to, comma-separated")
	flags.Number(set, &cfg.guard.Rate, "rate", "let each client address make `n` requests a second, in bursts of twice that;\n0 sets no limit", 1e6)
	flags.Whole(set, &cfg.guard.MaxInFlight, "max-in-flight", "answer up to `n` requests at once, and one more with 503", 1)
	set.StringVar(&cfg.tlsCert, "tls-cert", "", "serve HTTPS with the certificates in this PEM `file`")
	set.StringVar(&cfg.tlsKey, "tls-key", "", "the `file` of the key to -tls-cert")
	set.Func("log-level", "least important `level` to log: debug, info, warn or error (default info)", func(s string) error {
		if !slices.Contains([]string{"debug", "info", "warn", "error"}, s) {
			return errors.New("must be debug, info, warn or error")
		}
		return cfg.logLevel.UnmarshalText([]byte(s))
	})
	set.Func("log-format", "`format` of the log: text or json (default text)", func(s string) error {
		if cfg.logFormat = s; s != "text" && s != "json" {
			return errors.New("must be text or json")
		}
		return nil
	})
	set.BoolVar(&cfg.version, "version", false, "print the version and exit")
	cfg.usage = func(w io.Writer) {
		fmt.Fprint(w, usage)
		set.SetOutput(w)
		set.PrintDefaults()
	}

	if err := set.Parse(args); err != nil {
		return cfg, err
	}
	if set.NArg() > 0 {
		return cfg, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	if *readOnly {
		cfg.guard.ReadOnly = "This server was started with -read-only"
	}
	if _, err := guard.New(cfg.guard); err != nil {
		return cfg, fmt.Errorf("invalid value for flag -hosts or -origins: %w", err)
	}
	if (cfg.tlsCert == "") != (cfg.tlsKey == "") {
		return cfg, errors.New("-tls-cert and -tls-key need each other")
	}
	addrGiven := false
	set.Visit(func(f *flag.Flag) { addrGiven = addrGiven || f.Name == "addr" })
	if !addrGiven && port != "" {
		if !validPort(port) {
			return cfg, fmt.Errorf("invalid value %q for PORT in the environment: must be 0 to 65535", port)
		}
		cfg.addr = net.JoinHostPort("localhost", port)
	}
	if _, port, err := net.SplitHostPort(cfg.addr); err != nil || !validPort(port) {
		return cfg, fmt.Errorf("invalid value %q for flag -addr: must be host:port, such as localhost:8080 or :8080", cfg.addr)
	}
	return cfg, nil
}

const usage = `cars serves a catalogue of cars as JSON over HTTP.

Start it and open http://localhost:8080 or, in another terminal:

  curl http://localhost:8080/api/cars
  curl http://localhost:8080/api/cars/1

Control-C stops it. With CARS_TOKEN in the environment, writes and /metrics need
it as a Bearer token. Every flag can be left out:

`

func validPort(port string) bool {
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil
}

// version names the build, the Go release it was built with and its platform.
func version() string {
	v := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		v = info.Main.Version
	}
	return fmt.Sprintf("cars %s (%s %s/%s)", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// How long a stop may take: requests inside get drainTime to end in their own
// time; then whatever still waits is processed at once; what is left at
// stopTime is cut off; and at exitTime the process ends, even if it could not
// say so because nobody takes its log.
const (
	drainTime = 8 * time.Second
	stopTime  = 9500 * time.Millisecond
	exitTime  = 9700 * time.Millisecond
)

// serve listens, and answers until the process is told to stop by SIGINT or
// SIGTERM. Nil means that it stopped as asked.
func serve(cfg config) error {
	tlsConfig, err := loadCertificate(cfg)
	if err != nil {
		return err
	}
	listener, err := listen.On(cfg.addr)
	if err != nil {
		return err
	}
	opened, file, err := openStore(cfg.data, cfg.maxCars)
	if err != nil {
		return err
	}
	var stopping atomic.Bool
	connections := watch.NewConnections()
	handler, err := newHouse(cfg, listener.Addr(), file, connections, &stopping)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 2) // before this, a signal ends the process without further ado
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	storeChan <- opened
	simulationChan <- cfg.simulation // returns when the processor has it, so the next line is true
	slog.Info("Car detail processor started and waiting for requests...")
	if cfg.simulation.delay == 0 && cfg.simulation.jitter > 0 {
		slog.Warn("-jitter has no effect: -delay 0 turns all simulation off")
	}
	if cfg.simulation.delay == 0 && cfg.simulation.fail > 0 {
		slog.Warn("-fail has no effect: -delay 0 turns all simulation off")
	}
	url := "http://" + listen.PublicAddr(cfg.addr, listener.Addr())
	if tlsConfig != nil {
		url = "https" + strings.TrimPrefix(url, "http")
	}
	slog.Info("Listening on " + url)
	slog.Info("Try: curl " + url + "/api/cars/1")

	server := newServer(cfg, handler)
	server.TLSConfig = tlsConfig
	server.ConnState = connections.State
	served := make(chan error, 1)
	go func() {
		if tlsConfig != nil {
			served <- server.ServeTLS(listener, "", "")
		} else {
			served <- server.Serve(listener)
		}
	}()
	select {
	case err := <-served:
		return err
	case <-signals:
	}
	stopping.Store(true)
	time.AfterFunc(exitTime, func() { os.Exit(1) })
	stopped := make(chan struct{})
	go func() {
		shutdown(server)
		if file != nil {
			if err := file.Close(); err != nil {
				slog.Warn(err.Error())
			}
		}
		slog.Info("Stopped")
		close(stopped)
	}()
	select {
	case <-stopped:
		return nil
	case <-signals:
		return errors.New("stopped at once by a second signal")
	}
}

// loadCertificate returns nil if the server does not serve HTTPS.
func loadCertificate(cfg config) (*tls.Config, error) {
	if cfg.tlsCert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(cfg.tlsCert, cfg.tlsKey)
	if err != nil {
		return nil, fmt.Errorf("cannot use -tls-cert %s and -tls-key %s: %w; they must be a certificate and its key, in PEM", cfg.tlsCert, cfg.tlsKey, err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// newHouse returns the whole server's handler: who watches, who guards, and those
// who answer.
func newHouse(cfg config, addr net.Addr, file *items.File[record], connections *watch.Connections, stopping *atomic.Bool) (http.Handler, error) {
	cfg.guard.Loopback = listen.Loopback(addr)
	switch {
	case cfg.guard.Loopback:
	case cfg.guard.Token == "" && cfg.guard.ReadOnly == "":
		cfg.guard.ReadOnly = "This server can be reached from the network and has no token, so it is read-only; to allow writes, set CARS_TOKEN in its environment"
		slog.Warn(cfg.guard.ReadOnly)
	case cfg.guard.Token != "" && cfg.tlsCert == "":
		slog.Warn("CARS_TOKEN travels over the network unencrypted; serve HTTPS with -tls-cert and -tls-key, or put a proxy in front")
	}
	g, err := guard.New(cfg.guard)
	if err != nil {
		return nil, err
	}
	registry := new(metrics.Registry)
	requests := watch.NewRequests(registry, sendError)
	registry.Gauge("cars_requests_in_flight", "Requests that are being answered.", func() float64 { return float64(g.InFlight()) })
	registry.Gauge("http_connections_open", "Connections that are open.", func() float64 { return float64(connections.Open()) })
	registry.Gauge("cars_processor_waiting", "Requests in the processor's hands.", func() float64 { return float64(processorGauges.waiting.Load()) })
	registry.Counter("cars_processor_busy_seconds_total", "Time that the processor has been doing something.", func() float64 { return time.Duration(processorGauges.busy.Load()).Seconds() })
	registry.Gauge("cars_catalogue_cars", "Cars in the catalogue.", func() float64 { return float64(processorGauges.cars.Load()) })
	if file != nil {
		showFile(registry, file)
	}
	metrics.AddProcess(registry)
	registry.Info("cars_build_info", "What is running.", "version", version())
	handler := newHandler(registry, func() string {
		switch {
		case stopping.Load():
			return "The server is stopping"
		case file != nil && file.Failed():
			return "Storage has failed; writes are refused until the server is started anew"
		}
		return ""
	})
	return guard.Linger(requests.Wrap(g.Wrap(handler))), nil
}

// openStore opens the catalogue's file, or makes one with the built-in cars. Without
// a path the store is in memory, and file nil.
func openStore(path string, maxCars int) (s store, file *items.File[record], err error) {
	s = builtIn()
	s.maxCars = maxCars
	if path == "" {
		return s, nil, nil
	}
	if info, err := os.Stat(path); err == nil {
		// Most of what loading makes stays, so looking for garbage is in vain at first.
		defer runtime.KeepAlive(newBallast(int(min(2*info.Size(), 512<<20))))
	}
	file, records, nextID, err := items.Open(path, recordFormat, newRecords(cars))
	if err != nil {
		return s, nil, err
	}
	s.catalogue = newCatalogue(records).withNextID(nextID)
	slog.Info(fmt.Sprintf("The catalogue in %s has %d cars", path, len(records)))
	go debug.FreeOSMemory() // what loading needed beside the catalogue
	commits, committed := make(chan items.Commit[record], 1), make(chan error, 1)
	s.commits, s.committed = commits, committed
	go file.Keep(commits, committed)
	return s, file, nil
}

// showFile adds the metrics of the catalogue's file.
func showFile(r *metrics.Registry, file *items.File[record]) {
	r.Gauge("cars_journal_bytes", "Size of the catalogue's file.", func() float64 { return float64(file.Size()) })
	writes := metrics.NewHistogram(r, "cars_journal_batch_writes", "Writes in a batch that was made durable.", 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
	file.Written = func(n int) { writes.Observe(float64(n)) }
	syncs := metrics.NewHistogram(r, "cars_journal_sync_seconds", "Time that the disk took to make a batch durable.", 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
	file.Synced = func(d time.Duration) { syncs.Observe(d.Seconds()) }
}

// startLog sends log lines of cfg's level and above to out, until the function it
// returns is called.
func startLog(cfg config, out io.Writer) (flush func()) {
	w := lines.NewWriter(out)
	if cfg.logFormat == "json" {
		slog.SetDefault(slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: cfg.logLevel})))
	} else {
		log.SetOutput(w)
		slog.SetLogLoggerLevel(cfg.logLevel)
	}
	return w.Close
}

// newBallast returns so many bytes of memory, to keep and never use. A garbage collection starts
// when the heap has doubled; ours is so small that under 10,000 requests a second
// this would be twice a second, and delay the slowest answers by some 5 ms.
// Ballast makes the heap count as larger. It takes no memory itself, since
// nobody touches it, but lets up to as much garbage gather. Whoever sets GOGC or
// GOMEMLIMIT has decided otherwise.
func newBallast(size int) []byte {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return make([]byte, size)
}

// newServer returns the server with its limits. No client can hold a
// connection for longer than these without sending or reading.
func newServer(cfg config, handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second, // header and body
		IdleTimeout:       75 * time.Second,
		// From the end of the header to the end of the answer: the longest
		// processing time that can be had, and 10 s for the client to read.
		WriteTimeout: max(maxDelay, cfg.simulation.delay+cfg.simulation.jitter) + 10*time.Second,
		// 16 KiB: net/http reads 4 KiB beyond this before it answers 431.
		MaxHeaderBytes: (16 - 4) << 10,
		// OPTIONS * is judged as all other requests are, not answered before.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn),
	}
}

// shutdown refuses new connections, has the requests inside answered, and
// returns when they are, within stopTime.
func shutdown(server *http.Server) {
	slog.Info("Stopping: requests inside are answered, new ones refused")
	noMoreWaiting := time.AfterFunc(drainTime, func() { simulationChan <- simulation{} })
	defer noMoreWaiting.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		slog.Warn("Some requests did not end in time and were cut off")
		server.Close()
	}
}
