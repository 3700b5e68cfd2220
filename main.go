// The front door: flags, the server's limits, and the order in which things
// start and stop. It runs on the main goroutine.

// Cars is a JSON REST server for a catalogue of cars, in which one goroutine
// owns the catalogue and every HTTP handler reaches it through one channel.
//
// A request walks through the files in this order: handlers.go turns it into a
// CarRequest and sends that on carRequestChan; processor.go receives it, lets
// its processing time pass and answers on the request's own channel;
// handlers.go encodes the answer. The values they exchange are in models.go.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"syscall"
	"time"

	"cars/internal/journal"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program. Its result is the exit status: 0 after -h, -version
// or a stop that was asked for, 1 if the server could not do its work, 2 if
// the flags make no sense.
func run(args []string, stdout, stderr io.Writer) int {
	cfg, err := parseFlags(args, os.Getenv("PORT"))
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
	flush := startLog(cfg.logLevel, stderr)
	defer runtime.KeepAlive(newBallast())
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
	logLevel   slog.Level
	version    bool
	usage      func(io.Writer) // explains the flags
}

// parseFlags reads the command line, and port, the value of PORT in the
// environment. The errors it returns are sentences for the user.
func parseFlags(args []string, port string) (config, error) {
	cfg := config{addr: "localhost:8080", data: "cars.jsonl", maxCars: defaultMaxCars, simulation: simulation{delay: defaultDelay}}
	flags := flag.NewFlagSet("cars", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&cfg.addr, "addr", cfg.addr, "listen on this `host:port`; :8080 listens on every network.\nPORT in the environment replaces the port of the default")
	flags.StringVar(&cfg.data, "data", cfg.data, "keep the catalogue in this `file`; \"\" keeps it in memory")
	flags.Func("max-cars", fmt.Sprintf("refuse to keep more than `n` cars (default %d)", cfg.maxCars), func(s string) (err error) {
		if cfg.maxCars, err = strconv.Atoi(s); err != nil || cfg.maxCars < 0 {
			err = errors.New("must be a whole number from 0 on")
		}
		return err
	})
	durationFlag(flags, &cfg.simulation.delay, "delay", "processing `time` of every request, as a real database would cost;\n0 turns all simulation off")
	durationFlag(flags, &cfg.simulation.jitter, "jitter", "up to this much more processing `time`, at random")
	flags.Func("log-level", "least important `level` to log: debug, info, warn or error (default info)", func(s string) error {
		if !slices.Contains([]string{"debug", "info", "warn", "error"}, s) {
			return errors.New("must be debug, info, warn or error")
		}
		return cfg.logLevel.UnmarshalText([]byte(s))
	})
	flags.BoolVar(&cfg.version, "version", false, "print the version and exit")
	cfg.usage = func(w io.Writer) {
		fmt.Fprint(w, usage)
		flags.SetOutput(w)
		flags.PrintDefaults()
	}

	if err := flags.Parse(args); err != nil {
		return cfg, err
	}
	if flags.NArg() > 0 {
		return cfg, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	addrGiven := false
	flags.Visit(func(f *flag.Flag) { addrGiven = addrGiven || f.Name == "addr" })
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

Start it, and from another terminal:

  curl http://localhost:8080/api/cars
  curl http://localhost:8080/api/cars/1

Control-C stops it. Every flag can be left out:

`

// durationFlag defines a flag for a duration from 0 to maxDelay, whose value
// so far is its default.
func durationFlag(flags *flag.FlagSet, value *time.Duration, name, usage string) {
	flags.Func(name, fmt.Sprintf("%s (default %v)", usage, *value), func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 || d > maxDelay {
			return errors.New("must be a duration such as 100ms or 1.5s, from 0 to 1m")
		}
		*value = d
		return nil
	})
}

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
	exitTime  = 9900 * time.Millisecond
)

// serve listens, and answers until the process is told to stop by SIGINT or
// SIGTERM. Nil means that it stopped as asked.
func serve(cfg config) error {
	listener, err := net.Listen("tcp", cfg.addr)
	if err != nil {
		return listenError(cfg.addr, err)
	}
	opened, closeStore, err := openStore(cfg.data, cfg.maxCars)
	if err != nil {
		return err
	}
	defer closeStore()
	signals := make(chan os.Signal, 2) // before this, a signal ends the process without further ado
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	storeChan <- opened
	simulationChan <- cfg.simulation // returns when the processor has it, so the next line is true
	slog.Info("Car detail processor started and waiting for requests...")
	if cfg.simulation.delay == 0 && cfg.simulation.jitter > 0 {
		slog.Warn("-jitter has no effect: -delay 0 turns all simulation off")
	}
	url := "http://" + publicAddr(cfg.addr, listener.Addr())
	slog.Info("Listening on " + url)
	slog.Info("Try: curl " + url + "/api/cars/1")

	server := newServer(cfg)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-signals:
	}
	time.AfterFunc(exitTime, func() { os.Exit(1) })
	stopped := make(chan struct{})
	go func() {
		shutdown(server)
		close(stopped)
	}()
	select {
	case <-stopped:
		return nil
	case <-signals:
		return errors.New("stopped at once by a second signal")
	}
}

// openStore opens the catalogue's file, or makes one with the built-in cars. Without
// a path the store is in memory. When the store is closed, what has been
// acknowledged is in the file, and nothing more goes there.
func openStore(path string, maxCars int) (s store, closeStore func(), err error) {
	s = builtIn()
	s.maxCars = maxCars
	if path == "" {
		return s, func() {}, nil
	}
	if collectSeldom() {
		// Nearly all that loading makes stays, so looking for garbage is in vain.
		defer debug.SetGCPercent(debug.SetGCPercent(800))
	}
	l := newLoader(path)
	j, err := journal.Open(path, linesOf(s.catalogue), parseChange, l.apply)
	if err != nil {
		return s, nil, err
	}
	s.catalogue = l.catalogue()
	slog.Info(fmt.Sprintf("The catalogue in %s has %d cars", path, s.catalogue.cars.Len()))
	go debug.FreeOSMemory() // what loading needed beside the catalogue
	compactIfWorthwhile(j, s.catalogue)
	commits, committed := make(chan commit, 1), make(chan error, 1)
	s.commits, s.committed = commits, committed
	go keep(j, commits, committed)
	return s, func() {
		if err := j.Close(); err != nil {
			slog.Warn(err.Error())
		}
	}, nil
}

// A loader makes a catalogue of the changes in a file.
type loader struct {
	path   string
	pages  map[int]*page // cars by ID, which are dense as a rule
	ids    catalogue     // keeps the next ID
	lines  int
	report *time.Ticker // says when to log how far it is
}

func newLoader(path string) *loader {
	return &loader{path: path, pages: make(map[int]*page), report: time.NewTicker(time.Second)}
}

// A page has the cars of a range of IDs: ID i is in page i/len, at i%len.
type page [16]*record

// at returns where the car with an ID belongs.
func (l *loader) at(id int) **record {
	p := l.pages[id/len(page{})]
	if p == nil {
		p = new(page)
		l.pages[id/len(page{})] = p
	}
	return &p[id%len(page{})]
}

func (l *loader) apply(c change) {
	for _, rec := range c.put {
		*l.at(rec.car.ID) = rec
		l.ids.use(rec.car.ID)
	}
	for _, id := range c.delete {
		*l.at(id) = nil
		l.ids.use(id)
	}
	if l.lines++; l.lines%1024 == 0 { // looking at a clock takes longer than all this
		select {
		case <-l.report.C:
			slog.Info(fmt.Sprintf("Loading %s: %d lines so far", l.path, l.lines))
		default:
		}
	}
}

func (l *loader) catalogue() *catalogue {
	var records []*record
	for _, i := range slices.Sorted(maps.Keys(l.pages)) {
		for _, rec := range l.pages[i] {
			if rec != nil {
				records = append(records, rec)
			}
		}
	}
	c := newCatalogue(records)
	return c.withNextID(max(c.nextID, l.ids.nextID))
}

// linesOf returns the lines of a file that makes nothing but this catalogue: one for
// each car, so that people can find them, and one for the last ID that was given if
// that car is no more.
func linesOf(c *catalogue) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, block := range c.cars.Blocks() {
			for i := range block {
				if !yield(change{put: block[i : i+1]}.encode()) {
					return
				}
			}
		}
		last := c.nextID - 1
		if _, found := c.cars.Get(last); !found && last > 0 {
			yield(change{delete: []int{last}}.encode())
		}
	}
}

// keep makes commits durable, one after the other, for the life of the process. It
// is where the processor's waiting for the disk is done.
func keep(j *journal.Journal, commits <-chan commit, committed chan<- error) {
	for c := range commits {
		err := j.Append(c.change().encode())
		committed <- err
		if err == nil {
			compactIfWorthwhile(j, c.after)
		}
	}
}

// compactIfWorthwhile compacts a file that is long, and more than twice as long as
// it needs to be to hold the catalogue c.
func compactIfWorthwhile(j *journal.Journal, c *catalogue) {
	const long = 1 << 20
	const perCar = int64(len(`{"put":[],"crc":"9ae0daaf"}`))
	if size := j.Size(); size > long && size > 2*(c.size+perCar*int64(c.cars.Len())) {
		j.Compact(linesOf(c))
	}
}

// startLog sends log lines of level and above to out, until the function it
// returns is called.
//
// One goroutine owns out, and lines reach it through a channel. While it writes
// some, more gather, and go out in one write: at 10,000 requests a second, each
// of 20,000 lines would otherwise be a write of its own, made under the log
// package's lock. A crash may lose the lines of its last moment.
func startLog(level slog.Level, out io.Writer) (flush func()) {
	lines := make(logLines, 1000) // beyond what one write takes, waiting is the only way left
	done := make(chan struct{})
	go func() {
		defer close(done)
		for batch := range lines {
			for len(lines) > 0 && len(batch) < 64<<10 {
				batch = append(batch, <-lines...)
			}
			out.Write(batch)
		}
	}()
	log.SetOutput(lines)
	slog.SetLogLoggerLevel(level)
	return func() {
		log.SetOutput(out)
		close(lines)
		<-done
	}
}

// logLines is the channel on which lines go to the owner of the log's output.
// The log package sends, one line at a time.
type logLines chan []byte

func (l logLines) Write(line []byte) (int, error) {
	l <- bytes.Clone(line)
	return len(line), nil
}

// newBallast returns memory to keep and never use. A garbage collection starts
// when the heap has doubled; ours is so small that under 10,000 requests a second
// this would be twice a second, and delay the slowest answers by some 5 ms.
// Ballast makes the heap count as larger. It takes no memory itself, since
// nobody touches it, but lets up to as much garbage gather.
func newBallast() []byte {
	if !collectSeldom() {
		return nil
	}
	return make([]byte, 64<<20)
}

// collectSeldom reports whether garbage may be left to gather as we see fit. Whoever
// sets GOGC or GOMEMLIMIT has decided otherwise.
func collectSeldom() bool {
	return os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == ""
}

// newServer returns the server with its limits. No client can hold a
// connection for longer than these without sending or reading.
func newServer(cfg config) *http.Server {
	return &http.Server{
		Handler:           newHandler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second, // header and body
		IdleTimeout:       75 * time.Second,
		// From the end of the header to the end of the answer: the longest
		// processing time that can be had, and 10 s for the client to read.
		WriteTimeout: max(maxDelay, cfg.simulation.delay+cfg.simulation.jitter) + 10*time.Second,
		// 16 KiB: net/http reads 4 KiB beyond this before it answers 431.
		MaxHeaderBytes: (16 - 4) << 10,
		ErrorLog:       slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn),
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
	slog.Info("Stopped")
}

// listenError says what to do about an address that cannot be listened on.
func listenError(addr string, err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // without the address, which may be another than the one that was given
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	return fmt.Errorf("cannot listen on %q: %w; choose another address, such as -addr localhost:0 for any free port", addr, err)
}

// publicAddr is the host and port under which a client on this machine
// reaches a server that was asked to listen on addr and does on actual.
func publicAddr(addr string, actual net.Addr) string {
	host, _, _ := net.SplitHostPort(addr)
	_, port, _ := net.SplitHostPort(actual.String())
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
