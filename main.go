// The front door: flags, the server's limits, and the order in which things
// start and stop, on the main goroutine.

// Cars is a JSON REST server for a catalogue of cars, in which one goroutine
// owns the catalogue and every HTTP handler reaches it through one channel.
//
// A request walks through the files in this order: handlers.go turns it into a CarRequest and
// sends that on carRequestChan; processor.go receives it, lets its processing time pass and
// answers on the request's own channel; handlers.go encodes the answer. The cars are in models.go.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"cars/internal/cluster"
	"cars/internal/etcd"
	"cars/internal/guard"
	"cars/internal/journal"
	"cars/internal/listen"
	"cars/internal/ops"
	"cars/internal/rest"
	"cars/internal/simulation"
	"cars/internal/store"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program. It returns the exit status: 0 after -h, -version or a stop that
// was asked for, 1 if the server could not do its work, 2 if a flag is invalid.
func run(args []string, stdout, stderr io.Writer) int {
	cfg, err := parseFlags(args, os.Getenv)
	switch {
	case errors.Is(err, flag.ErrHelp):
		cfg.usage(stdout)
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "cars: %v (cars -h explains the flags)\n", err)
		return 2
	case cfg.version:
		fmt.Fprintln(stdout, ops.Version("cars"))
		return 0
	}
	flush := ops.StartLog(stderr, cfg.logLevel, cfg.logFormat == "json")
	defer runtime.KeepAlive(ops.NewBallast(16 << 20))
	err = serve(cfg)
	flush()
	if err != nil {
		fmt.Fprintf(stderr, "cars: %v\n", err)
		return 1
	}
	return 0
}

// A config has the settings from the command line and the environment.
type config struct {
	addr       string
	data       string          // path of the catalogue's file, or the address of etcd; empty for none
	cluster    cluster.Options // for an address of etcd
	readOnly   bool
	maxCars    int
	simulation simulation.Settings
	guard      guard.Options // without the settings that depend on the listeners
	tlsCert    string
	tlsKey     string
	logLevel   slog.Level
	logFormat  string
	version    bool
	usage      func(io.Writer) // explains the flags
}

// parseFlags reads the command line and, by getenv, the environment. The errors it
// returns are sentences for the user.
func parseFlags(args []string, getenv func(string) string) (config, error) {
	cfg := config{simulation: simulation.Settings{Delay: defaultDelay}, guard: guard.Options{Secret: []string{"/metrics"}, Vital: isVital, Long: simulation.AsksForDelay, Stream: isStream}}
	set := flag.NewFlagSet("cars", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&cfg.addr, "addr", "localhost:8080", "listen on this `host:port`; :8080 listens on every network.\nPORT in the environment replaces the port of the default")
	set.StringVar(&cfg.data, "data", "cars.jsonl", "keep the catalogue in this `file`, or in etcd for several servers:\netcd://host:2379,host:2379/prefix, or etcds:// with TLS; \"\" keeps it in memory")
	reads := set.String("reads", "linearizable", "with etcd: ask it before each read (`linearizable`), or answer at once with cars that\nmay be old (local)")
	var etcdFlags etcd.Flags
	etcdFlags.Add(set)
	set.IntVar(&cfg.maxCars, "max-cars", defaultMaxCars, "refuse to keep more than `n` cars")
	cfg.simulation.AddFlags(set)
	set.BoolVar(&cfg.readOnly, "read-only", false, "refuse every write; -read-only=false lets everybody write without a token, even to a\nserver that can be reached from a network")
	origins := set.String("origins", "", "further `origins` whose pages may write, such as https://app.example,\ncomma-separated; the server's own pages and pages of this machine need no flag")
	hosts := set.String("hosts", "", "further host `names` to answer to, comma-separated")
	set.Float64Var(&cfg.guard.Rate, "rate", 0, "let each client address make `n` requests a second, in bursts of twice that;\n0 sets no limit")
	set.IntVar(&cfg.guard.MaxInFlight, "max-in-flight", 10_000, "answer up to `n` requests at once, and further ones with 503")
	set.IntVar(&cfg.guard.MaxStreams, "max-streams", 1000, "keep up to `n` event streams open, and answer further ones with 503")
	set.StringVar(&cfg.tlsCert, "tls-cert", "", "serve HTTPS with the certificates in this PEM `file`")
	set.StringVar(&cfg.tlsKey, "tls-key", "", "the `file` of the key to -tls-cert")
	logLevel := set.String("log-level", "info", "least important `level` to log: debug, info, warn or error")
	set.StringVar(&cfg.logFormat, "log-format", "text", "`format` of the log: text or json")
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
	if err := cfg.simulation.Check(); err != nil {
		return cfg, err
	}
	for _, check := range []struct {
		flag string
		ok   bool
		must string
	}{
		{"max-cars", cfg.maxCars >= 0, "0 or more"},
		{"rate", cfg.guard.Rate >= 0 && cfg.guard.Rate <= 1e6, "from 0 to 1000000"},
		{"max-in-flight", cfg.guard.MaxInFlight >= 1, "1 or more"},
		{"max-streams", cfg.guard.MaxStreams >= 0, "0 or more"},
		{"reads", *reads == "linearizable" || *reads == "local", "linearizable or local"},
		{"log-level", slices.Contains([]string{"debug", "info", "warn", "error"}, *logLevel) && cfg.logLevel.UnmarshalText([]byte(*logLevel)) == nil, "debug, info, warn or error"},
		{"log-format", cfg.logFormat == "text" || cfg.logFormat == "json", "text or json"},
	} {
		if !check.ok {
			return cfg, fmt.Errorf("invalid value %q for flag -%s: must be %s", set.Lookup(check.flag).Value, check.flag, check.must)
		}
	}
	cfg.guard.Origins, cfg.guard.Hosts = splitList(*origins), splitList(*hosts)
	if _, err := guard.New(cfg.guard); err != nil {
		return cfg, fmt.Errorf("invalid value for flag -hosts or -origins: %w", err)
	}
	if (cfg.tlsCert == "") != (cfg.tlsKey == "") {
		return cfg, errors.New("-tls-cert and -tls-key need each other")
	}
	given := map[string]bool{}
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var err error
	if cfg.cluster.Etcd, cfg.cluster.Prefix, err = etcdFlags.Options(cfg.data, getenv); err != nil {
		return cfg, err
	}
	if cfg.cluster.LocalReads = *reads == "local"; given["reads"] && !etcd.IsAddress(cfg.data) {
		return cfg, errors.New("-reads needs -data etcd://…")
	}
	cfg.guard.AllowNetworkWrites = given["read-only"] && !cfg.readOnly
	if cfg.readOnly {
		cfg.guard.ReadOnly = "This server was started with -read-only"
	}
	if port := getenv("PORT"); !given["addr"] && port != "" {
		cfg.addr = net.JoinHostPort("localhost", port)
		if listen.Check(cfg.addr) != nil {
			return cfg, fmt.Errorf("invalid value %q for PORT in the environment: must be 0 to 65535", port)
		}
	}
	if err := listen.Check(cfg.addr); err != nil {
		return cfg, fmt.Errorf("invalid value %q for flag -addr: %w", cfg.addr, err)
	}
	token := getenv("CARS_TOKEN")
	if cfg.guard.Token = strings.TrimSpace(token); cfg.guard.Token == "" && token != "" {
		return cfg, errors.New("invalid value for CARS_TOKEN in the environment: it must not be blank")
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

// splitList returns the members of a list that is separated by commas.
func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// How long a stop may take, from the signal. Until drainTime, requests inside end in their own
// time. Then all that still wait are processed at once. At stopTime the rest are cut off. At
// exitTime the process ends, even if nobody takes its last log lines.
const (
	drainTime = 8 * time.Second
	stopTime  = 9500 * time.Millisecond
	exitTime  = 9700 * time.Millisecond
)

// serve listens, and answers until the process is told to stop by SIGINT or
// SIGTERM. Nil means that it stopped as asked.
func serve(cfg config) error {
	var tlsConfig *tls.Config
	if cfg.tlsCert != "" {
		var err error
		tlsConfig, err = listen.TLSConfig(cfg.tlsCert, cfg.tlsKey, func(err error) { slog.Error("A renewed certificate cannot be used", "error", err) })
		if err != nil {
			return fmt.Errorf("-tls-cert and -tls-key: %w", err)
		}
	}
	listeners, err := listen.On(cfg.addr)
	if err != nil {
		return err
	}
	kept, catalogue, err := openStore(cfg)
	if err != nil {
		return err
	}
	cfg.guard.Loopback = listen.Loopback(listeners)
	if warning := cfg.guard.Settle(cfg.tlsCert != ""); warning != "" {
		slog.Warn(warning)
	}
	for _, flag := range cfg.simulation.Useless() {
		slog.Warn(flag + " has no effect: -delay 0 turns all simulation off")
	}
	stopping := new(atomic.Bool)
	ending, endStreams := context.WithCancel(context.Background())
	defer endStreams()
	cfg.guard.Ending = ending
	connections, silent := ops.NewConnections(), new(listen.SilentConns)
	handler, err := newServerHandler(cfg, kept, connections, stopping)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 2) // until here, a signal ends the process at once
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	control(func(p *processor) {
		err = p.open(kept, catalogue, cfg.maxCars)
		p.simulate(cfg.simulation)
	})
	if err != nil {
		return err
	}
	slog.Info("Car detail processor started and waiting for requests...")
	url := "http://" + listen.PublicAddr(cfg.addr, listeners)
	if tlsConfig != nil {
		url = "https" + strings.TrimPrefix(url, "http")
	}
	slog.Info("Listening on "+url, "url", url)
	slog.Info("Try: curl " + url + "/api/cars/1")

	server := listen.NewServer(handler, max(simulation.MaxDelay, cfg.simulation.Delay+cfg.simulation.Jitter))
	server.TLSConfig = tlsConfig
	if cfg.simulation.Delay == 0 && !kept.Confirms() {
		server.BaseContext = func(net.Listener) context.Context { return context.WithValue(context.Background(), promptly{}, true) }
	}
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		connections.State(conn, state)
		silent.State(conn, state)
	}
	served := make(chan error, 1)
	go func() { served <- listen.Serve(server, listeners) }()
	select {
	case err := <-served:
		return err
	case <-signals:
	}
	stopping.Store(true)
	endStreams()
	signaled := time.Now()
	time.AfterFunc(exitTime, func() { os.Exit(1) })
	stopped := make(chan struct{})
	go func() {
		shutdown(server, silent)
		if err := kept.Close(); err != nil {
			slog.Warn("The catalogue's file could not be closed", "error", err)
		}
		slog.Info("Stopped")
		close(stopped)
	}()
	for {
		select {
		case <-stopped:
			return nil
		case <-signals:
			// Wrappers such as npm and timeout pass on a signal that the terminal has sent
			// to this process already. A second signal within a second is the same one.
			if time.Since(signaled) > time.Second {
				return errors.New("stopped at once by a second signal")
			}
		}
	}
}

// newServerHandler returns the server's handler: metrics around the guard around the routes.
func newServerHandler(cfg config, kept store.Store, connections *ops.Connections, stopping *atomic.Bool) (http.Handler, error) {
	registry := new(ops.Registry)
	requests := ops.NewRequests(registry)
	cfg.guard.Report = func(r *http.Request, refusal *rest.Error) {
		requests.Report("A page was told that it may not write", slog.String("origin", ops.Shorten(r.Header.Get("Origin"))), slog.String("advice", refusal.Message))
	}
	g, err := guard.New(cfg.guard)
	if err != nil {
		return nil, err
	}
	registry.Gauge("cars_requests_in_flight", "Requests that are being answered.", func() float64 { return float64(g.InFlight()) })
	registry.Gauge("cars_streams_open", "Event streams that are open.", func() float64 { return float64(g.Streams()) })
	registry.Gauge("http_connections_open", "Connections that are open.", func() float64 { return float64(connections.Open()) })
	registry.Gauge("cars_processor_waiting", "Requests in the processor's hands.", ofProcessor(func(p *processor) float64 { return float64(p.inHands()) }))
	registry.Counter("cars_processor_busy_seconds_total", "Time that the processor has been doing something.", ofProcessor(func(p *processor) float64 { return p.busy.Seconds() }))
	registry.Gauge("cars_catalogue_cars", "Cars in the catalogue.", ofProcessor(func(p *processor) float64 { return float64(p.catalogue.Items.Len()) }))
	kept.AddMetrics(registry)
	ops.AddProcess(registry)
	ops.AddBuild(registry, "cars_build_info")
	handler := newHandler(registry, cfg.maxCars, func() string {
		switch {
		case stopping.Load():
			return "The server is stopping"
		case kept.Failed() != nil && kept.Shared():
			return "Storage cannot be reached; the server goes on trying"
		case kept.Failed() != nil:
			return "Storage has failed; writes are refused until the server is started anew"
		case ofProcessor((*processor).underWay)() > writePatience/2:
			return "The disk takes too long to make a change durable"
		}
		return ""
	})
	return guard.Pace(requests.Wrap(g.Wrap(handler))), nil
}

// ofProcessor returns a function that has the processor call read, and returns the result.
func ofProcessor[T any](read func(*processor) T) func() T {
	return func() (value T) {
		control(func(p *processor) { value = read(p) })
		return value
	}
}

// openStore opens the store that -data names: a file, etcd or, for "", memory. A store
// that is new gets the built-in cars.
func openStore(cfg config) (store.Store, catalogue, error) {
	if cfg.data == "" {
		return store.NewMemory(), builtIn(), nil
	}
	notify := func(n journal.Notice) { slog.LogAttrs(context.Background(), n.Level, n.Message, n.Attrs...) }
	if etcd.IsAddress(cfg.data) {
		cfg.cluster.Initial, cfg.cluster.Read, cfg.cluster.Notify = builtIn().State, readItem, notify
		shared, state, err := cluster.Open(cfg.cluster)
		return shared, catalogue{State: state}, err
	}
	if info, err := os.Stat(cfg.data); err == nil {
		// Loading makes little garbage, so ballast spares it most garbage collections.
		defer runtime.KeepAlive(ops.NewBallast(int(min(2*info.Size(), 512<<20))))
		if info.Size() > 64<<20 && os.Getenv("GOGC") == "" {
			debug.SetGCPercent(60) // otherwise the garbage of lists could take as much as the cars
		}
	}
	file, state, err := store.OpenFile(cfg.data, store.FileOptions{
		ReadOnly: cfg.readOnly,
		Initial:  builtIn().State,
		Read:     readItem,
		Notify:   notify,
		Progress: func(lines int) { slog.Info("Loading "+cfg.data, "file", cfg.data, "lines", lines) },
	})
	if err != nil {
		return nil, catalogue{}, err
	}
	slog.Info("The catalogue has been read", "file", cfg.data, "cars", state.Items.Len())
	go debug.FreeOSMemory() // the memory that only loading needed
	return file, catalogue{State: state}, nil
}

// shutdown refuses new connections and has the requests inside answered. It returns
// when all are answered, or at stopTime.
func shutdown(server *http.Server, silent *listen.SilentConns) {
	slog.Info("Stopping: requests inside are answered, new ones refused")
	noMoreWaiting := time.AfterFunc(drainTime, func() { control(func(p *processor) { p.simulate(simulation.Settings{}) }) })
	defer noMoreWaiting.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if err := silent.Shutdown(ctx, server); err != nil {
		slog.Warn("Some requests did not end in time and were cut off")
		server.Close()
	}
}
