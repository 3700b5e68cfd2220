package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

var (
	rounds  = flag.Int("rounds", 1, "measure everything this many times")
	seconds = flag.Float64("seconds", 1, "put load on each server for this long")
)

// A measure is what one server did under one load. What was not measured is 0.
type measure struct {
	cpu    time.Duration // of the server's process for each answer
	rate   float64       // answers a second
	p50    time.Duration
	p99    time.Duration
	memory float64       // peak of the resident set, in MB; on Linux
	start  time.Duration // until the first answer
}

// A row is measured once a round, in turn with the others, so that whatever else the
// machine does meets them all.
type row struct {
	name    string
	measure func(b *testing.B) measure
}

const getAudi = "GET /api/cars/1 HTTP/1.1\r\nHost: localhost\r\n\r\n"

// BenchmarkTable prints what the server costs beside others, in one table, and the ratios
// that it is to reach.
func BenchmarkTable(b *testing.B) {
	const list = "GET /api/cars?category=SUV&price_lte=90000&_sort=-year,price&_page=2&_limit=25 HTTP/1.1\r\nHost: localhost\r\n\r\n"
	post := header("POST", "/api/cars", len(saab)) + saab
	quiet := []string{"-delay", "0", "-log-level", "warn"}
	small, large, huge := catalogueOf(b, 24), catalogueOf(b, 100_000), catalogueOf(b, 1_000_000)
	on := func(file string) []string { return append([]string{"-data", file}, quiet...) }
	var beside streaming
	rows := []row{
		{"bare net/http handler, the same bytes", underLoad(role("bare"), getAudi, 64)},
		{"that, with our limits and one goroutine", underLoad(role("bare owner"), getAudi, 64)},
		{"cars -delay 0 -log-level warn", underLoad(cars(quiet...), getAudi, 64)},
		{"cars -delay 0, with its log", underLoad(cars("-delay", "0"), getAudi, 64)},
		{"json-server 0.17", underLoad(jsonServer, getAudi, 64)},
		{"100 ms in a loop that sleeps", underLoad(role("sleeping loop"), getAudi, 1000)},
		{"100 ms in a pool of five", underLoad(role("pool of five"), getAudi, 1000)},
		{"100 ms in cars -log-level warn", underLoad(cars("-log-level", "warn"), getAudi, 1000)},
		{"a write and an fsync", fsyncs},
		{"durable POSTs, 1 connection", underLoad(fresh(quiet...), post, 1)},
		{"durable POSTs, 64 connections", underLoad(fresh(quiet...), post, 64)},
		{"GETs while the disk hangs", whileTheDiskHangs},
		{"GET of 24 cars", underLoad(cars(on(small)...), getAudi, 64)},
		{"GET of 100,000 cars", underLoad(cars(on(large)...), getAudi, 64)},
		{"filter + sort + page of 24 cars", underLoad(cars(on(small)...), list, 1)},
		{"filter + sort + page of 100,000", underLoad(cars(on(large)...), list, 1)},
		{"filter + sort + page of 1,000,000", underLoad(cars(on(huge)...), list, 1)},
		{"100 durable POSTs a second", beside.posts(0, 0)},
		{"100 durable POSTs a second, beside 1,000 streams", beside.posts(1000, 0)},
		{"1,000 streams are told of them", beside.told},
		{"kB a stream: MB that 1,000 take, idle", beside.idle},
		{"kB a stream: MB that 1,000 take, after that", beside.after},
		{"100 durable POSTs a second, beside 500 streams and 500 stuck", beside.posts(500, 500)},
		{"500 streams are told of them", beside.told},
	}
	for range b.N {
		measures := make([][]measure, len(rows))
		for range *rounds {
			for i, r := range rows {
				measures[i] = append(measures[i], r.measure(b))
			}
		}
		print(rows, measures)
	}
}

// print writes the medians of what was measured and, behind each, its lowest and highest.
func print(rows []row, measures [][]measure) {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	defer out.Flush()
	spread := func(format string, values []float64) string {
		slices.Sort(values)
		if values[len(values)-1] == 0 || math.IsNaN(values[0]) || math.IsInf(values[0], 1) {
			return ""
		}
		one := func(i int) string { return fmt.Sprintf(format, values[i]) }
		return one(len(values)/2) + " (" + one(0) + "–" + one(len(values)-1) + ")"
	}
	fmt.Fprintf(out, "%s %s/%s, %d cores, %s, %d rounds of %g s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), time.Now().Format(time.DateOnly), *rounds, *seconds)
	fmt.Fprintln(out, "\tCPU µs/answer\tanswers/s\tp50 ms\tp99 ms\tpeak MB\tms to first answer")
	columns := []struct {
		format string
		value  func(measure) float64
	}{
		{"%.1f", func(m measure) float64 { return float64(m.cpu.Nanoseconds()) / 1e3 }},
		{"%.0f", func(m measure) float64 { return m.rate }},
		{"%.2f", func(m measure) float64 { return float64(m.p50.Microseconds()) / 1e3 }},
		{"%.2f", func(m measure) float64 { return float64(m.p99.Microseconds()) / 1e3 }},
		{"%.0f", func(m measure) float64 { return m.memory }},
		{"%.0f", func(m measure) float64 { return float64(m.start.Microseconds()) / 1e3 }},
	}
	values := func(i int, value func(measure) float64) (list []float64) {
		for _, m := range measures[i] {
			list = append(list, value(m))
		}
		return list
	}
	for i, r := range rows {
		fmt.Fprint(out, r.name)
		for _, column := range columns {
			fmt.Fprint(out, "\t", spread(column.format, values(i, column.value)))
		}
		fmt.Fprintln(out)
	}
	ratio := func(name string, top, bottom string, value func(measure) float64, goal string) {
		index := func(name string) int {
			return slices.IndexFunc(rows, func(r row) bool { return r.name == name })
		}
		tops, bottoms := values(index(top), value), values(index(bottom), value)
		for i := range tops {
			tops[i] /= bottoms[i]
		}
		if text := spread("%.3g", tops); text != "" {
			fmt.Fprintf(out, "%s\t%s\t%s\n", name, text, goal)
		}
	}
	cpu, rate, median := columns[0].value, columns[1].value, columns[2].value
	fmt.Fprintln(out, "\nratio\t\tgoal")
	ratio("CPU, cars to the bare handler", "cars -delay 0 -log-level warn", "bare net/http handler, the same bytes", cpu, "at most 1.05")
	ratio("CPU, limits and one goroutine to it", "that, with our limits and one goroutine", "bare net/http handler, the same bytes", cpu, "")
	ratio("CPU, cars to json-server", "cars -delay 0 -log-level warn", "json-server 0.17", cpu, "at most 0.1")
	ratio("answers, cars to a pool of five", "100 ms in cars -log-level warn", "100 ms in a pool of five", rate, "")
	ratio("durable POSTs of 64, to fsyncs", "durable POSTs, 64 connections", "a write and an fsync", rate, "at least 4")
	ratio("CPU of a GET, 100,000 cars to 24", "GET of 100,000 cars", "GET of 24 cars", cpu, "1")
	ratio("median of POSTs, beside 1,000 streams to alone", "100 durable POSTs a second, beside 1,000 streams", "100 durable POSTs a second", median, "at most 1.1")
	ratio("median of POSTs, with 500 stuck to alone", "100 durable POSTs a second, beside 500 streams and 500 stuck", "100 durable POSTs a second", median, "at most 1.1")
	bytes := func(m measure) float64 { return m.memory }
	i := slices.IndexFunc(rows, func(r row) bool { return r.name == "filter + sort + page of 1,000,000" })
	j := i - 2
	perCar := values(i, bytes)
	for k, m := range values(j, bytes) {
		perCar[k] -= m
	}
	fmt.Fprintln(out, "ms until a stream is told, p99\tsee above\tunder 50\nkB a stream\tsee above\tunder 40")
	fmt.Fprintf(out, "bytes for each of 1,000,000 cars, at peak\t%s\tunder 1024\n", spread("%.0f", perCar))
}

// A starter starts a server that listens on addr.
type starter func(b *testing.B, addr string) *exec.Cmd

// cars is the server itself. What it logs goes nowhere.
func cars(args ...string) starter {
	return func(b *testing.B, addr string) *exec.Cmd {
		return command(b, append([]string{"-addr", addr}, args...)...)
	}
}

// fresh is the server with a new catalogue's file.
func fresh(args ...string) starter {
	return func(b *testing.B, addr string) *exec.Cmd {
		return cars(append([]string{"-data", filepath.Join(b.TempDir(), "cars.jsonl")}, args...)...)(b, addr)
	}
}

// role is a server to compare with: this program, which TestMain has play that role.
func role(name string) starter {
	return func(b *testing.B, addr string) *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), roleEnv+"="+name, inputEnv+"="+addr)
		return cmd
	}
}

// jsonServer serves the built-in cars under the same paths; nil if it is not installed.
func jsonServer(b *testing.B, addr string) *exec.Cmd {
	path, err := exec.LookPath("json-server") // npm install -g json-server@0.17
	if err != nil {
		return nil
	}
	file := filepath.Join(b.TempDir(), "db.json")
	if err := os.WriteFile(file, []byte(`{"cars":[`+audi+`]}`), 0o644); err != nil {
		b.Fatal(err)
	}
	routes := filepath.Join(b.TempDir(), "routes.json")
	if err := os.WriteFile(routes, []byte(`{"/api/*":"/$1"}`), 0o644); err != nil {
		b.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(addr)
	return exec.Command(path, "--quiet", "--host", host, "--port", port, "--routes", routes, file)
}

// underLoad measures a server whose clients ask anew as soon as they have their answer.
func underLoad(start starter, request string, connections int) func(b *testing.B) measure {
	return func(b *testing.B) (m measure) {
		addr := freeAddr(b)
		cmd := start(b, addr) // the first builds the binary
		if cmd == nil {
			return m
		}
		began := time.Now()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		defer cmd.Wait()
		defer cmd.Process.Kill()
		waitForAnswer(b, addr)
		m.start = time.Since(began)
		before := cpuTime(cmd.Process.Pid)
		l := load{Addr: addr, Requests: []string{request}, Connections: connections, Duration: time.Duration(*seconds * float64(time.Second))}
		if connections == 1000 {
			l.Duration *= 5 // or the beginning, when all come at once, would be much of it
		}
		got := l.run(b)
		m.memory = peak(cmd.Process.Pid)
		cmd.Process.Kill()
		cmd.Wait()
		answers := 0
		for status, o := range got {
			if status/100 != 2 {
				b.Errorf("%s: got status %d, %d times", cmd, status, o.Count)
			}
			answers, m.p50, m.p99 = o.Count, o.P50, o.P99
		}
		m.rate = float64(answers) / l.Duration.Seconds()
		m.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime() - before) / time.Duration(max(1, answers))
		return m
	}
}

// waitForAnswer returns when a server has answered a request.
func waitForAnswer(b testing.TB, addr string) {
	for deadline := time.Now().Add(30 * time.Second); ; {
		resp, err := http.Get("http://" + addr + "/api/cars/1")
		if err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			b.Fatal(err)
		}
	}
}

// peak is the most memory that a process has had, in MB; 0 where there is no /proc.
func peak(pid int) float64 { return memoryOf(pid, "VmHWM:") }

// memoryOf reads a line of /proc/PID/status, in MB.
func memoryOf(pid int, name string) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(text), name)
	kb, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, _ := strconv.Atoi(kb)
	return float64(n) / 1e3
}

// cpuTime is what a process has used so far; 0 where there is no /proc, so that its
// start counts, too.
func cpuTime(pid int) time.Duration {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ") // behind its name
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // as long as USER_HZ is 100
}

// fsyncs is what a file takes that is synced after each write.
func fsyncs(b *testing.B) (m measure) {
	f, err := os.Create(filepath.Join(b.TempDir(), "file"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	line := []byte(seal(`{"put":[` + audi + `]}`))
	n := 0
	for end := time.Now().Add(time.Duration(*seconds * float64(time.Second))); time.Now().Before(end); n++ {
		f.Write(line)
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	m.rate = float64(n) / *seconds
	return m
}

// whileTheDiskHangs measures reads at an even rate while a write waits for its fsync.
func whileTheDiskHangs(b *testing.B) (m measure) {
	addr := freeAddr(b)
	s := launch(b, "", "-addr", addr, "-data", filepath.Join(b.TempDir(), "cars.jsonl"), "-delay", "0", "-log-level", "warn")
	s.url, s.addr = "http://"+addr, addr
	waitForAnswer(b, addr)
	unplug, missing := inject(b, s, syncs, "delay_enter=30000000")
	if missing != "" { // the row stays empty; b.Skip would take the whole table with it
		s.cmd.Process.Kill()
		return m
	}
	go s.send(b, "POST", "/api/cars", saab) // cut off in the end
	for s.metric(b, "cars_processor_waiting") == 0 {
	}
	l := load{Addr: addr, Requests: []string{getAudi}, Connections: 64, Duration: time.Duration(*seconds * float64(time.Second)), Rate: 1000}
	got := l.run(b)
	if s.metric(b, "cars_processor_waiting") == 0 {
		b.Error("the write has been answered meanwhile")
	}
	s.cmd.Process.Kill()
	unplug()
	m.rate, m.p50, m.p99 = float64(got.of(200).Count)/l.Duration.Seconds(), got.of(200).P50, got.of(200).P99
	return m
}

// catalogueOf writes a file of so many different cars.
func catalogueOf(b *testing.B, n int) string {
	random := rand.New(rand.NewPCG(uint64(n), 0))
	path := filepath.Join(b.TempDir(), "cars.jsonl")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var c car
	if err := json.Unmarshal([]byte(audi), &c); err != nil {
		b.Fatal(err)
	}
	categories := []string{"Sedan", "SUV", "Pickup", "Coupe", "Wagon"}
	var text []byte
	for c.ID = 1; c.ID <= n; c.ID++ {
		c.Name, c.Category = fmt.Sprintf("Audi A%d", c.ID), categories[random.IntN(len(categories))]
		c.Year, c.Price = 1990+random.IntN(36), 10_000+random.IntN(200_000)
		text = append(text, seal(`{"put":[`+encode(c)+`]}`)...)
		if len(text) > 1<<20 || c.ID == n {
			if _, err := f.Write(text); err != nil {
				b.Fatal(err)
			}
			text = text[:0]
		}
	}
	return path
}

const audi = `{"id":1,"name":"Audi A4","manufacturer":"Audi","category":"Sedan","year":2024,"price":42000,"imageUrl":"/images/sedan.svg","details":{"engine":"2.0L Inline-4","horsepower":201,"transmission":"7-speed Automatic","drivetrain":"All-Wheel Drive"}}`

var audiLine = []byte(audi + "\n")

// serveBare serves the car, and does nothing for it.
func serveBare(addr string) error {
	return http.ListenAndServe(addr, bare(func(*http.Request) []byte { return audiLine }))
}

// serveBareOwner does, too, but has the server's limits on slow clients and asks one goroutine
// for the car: what ours must do, at least.
func serveBareOwner(addr string) error {
	requests := make(chan chan []byte)
	go func() {
		for response := range requests {
			response <- audiLine
		}
	}()
	ask := func(r *http.Request) (body []byte) {
		response, done := make(chan []byte, 1), r.Context().Done()
		select {
		case requests <- response:
		case <-done:
			return nil
		}
		select {
		case body = <-response:
		case <-done:
		}
		return body
	}
	server := http.Server{Addr: addr, Handler: bare(ask), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 70 * time.Second, IdleTimeout: 75 * time.Second}
	return server.ListenAndServe()
}

// bare is a handler that answers with the header of ours.
func bare(get func(*http.Request) (body []byte)) http.Handler {
	h := http.Header{
		"Access-Control-Allow-Origin":   {"*"},
		"Access-Control-Expose-Headers": {"X-Total-Count, Catalogue-Version, Link, ETag, Location, Server-Timing, Retry-After, RateLimit, RateLimit-Policy"},
		"Cache-Control":                 {"no-cache"},
		"Content-Length":                {strconv.Itoa(len(audi) + 1)},
		"Content-Type":                  {"application/json"},
		"Etag":                          {`"0123456789abcdef"`},
		"Server-Timing":                 {"queue;dur=0.001, process;dur=0.002"},
		"Timing-Allow-Origin":           {"*"},
		"X-Content-Type-Options":        {"nosniff"},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := get(r)
		for name, value := range h {
			w.Header()[name] = value
		}
		w.Write(body)
	})
}

// serveLoops answers from so many loops that sleep.
func serveLoops(loops int) func(addr string) error {
	return func(addr string) error {
		requests := make(chan chan []byte)
		for range loops {
			go func() {
				for response := range requests {
					time.Sleep(100 * time.Millisecond)
					response <- []byte(audi + "\n")
				}
			}()
		}
		return http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			response := make(chan []byte)
			requests <- response
			body := <-response
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.Write(body)
		}))
	}
}
