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
	"syscall"
	"time"
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
	simulation simulation
	logLevel   slog.Level
	version    bool
	usage      func(io.Writer) // explains the flags
}

// parseFlags reads the command line, and port, the value of PORT in the
// environment. The errors it returns are sentences for the user.
func parseFlags(args []string, port string) (config, error) {
	cfg := config{addr: "localhost:8080", simulation: simulation{delay: defaultDelay}}
	flags := flag.NewFlagSet("cars", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&cfg.addr, "addr", cfg.addr, "listen on this `host:port`; :8080 listens on every network.\nPORT in the environment replaces the port of the default")
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
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)

	listener, err := net.Listen("tcp", cfg.addr)
	if err != nil {
		return listenError(cfg.addr, err)
	}
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
// nobody touches it, but lets up to as much garbage gather. Whoever sets GOGC or
// GOMEMLIMIT has decided otherwise.
func newBallast() []byte {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return make([]byte, 64<<20)
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
