package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

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

// jsonServer measures json-server, which serves one car under the path of ours, or under
// /cars/1. It has to be in the cache of npx, where several releases can be.
func jsonServer(release, request string, args ...string) func(b *testing.B) measure {
	path := sync.OnceValue(func() string {
		out, _ := exec.Command("npx", "--offline", "-y", "-p", release, "-c", "command -v json-server").Output()
		return strings.TrimSpace(string(out))
	})
	return func(b *testing.B) measure {
		if path() == "" {
			return measure{why: "fetch it once with: npx -y " + release + " --version"}
		}
		return underLoad(func(b *testing.B, addr string) *exec.Cmd {
			dir := b.TempDir()
			for name, text := range map[string]string{"db.json": `{"cars":[` + audi + `]}`, "routes.json": `{"/api/*":"/$1"}`} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					b.Fatal(err)
				}
			}
			host, port, _ := net.SplitHostPort(addr)
			cmd := exec.Command(path(), append(args, "--host", host, "--port", port, "db.json")...)
			cmd.Dir = dir
			return cmd
		}, request, 64)(b)
	}
}

// A subject is a server that is measured.
type subject struct {
	cmd   *exec.Cmd
	addr  string
	start time.Duration // until its first answer
}

// run starts a server and returns when it has answered a request.
func (start starter) run(b *testing.B) *subject {
	s := &subject{addr: freeAddr(b)}
	s.cmd = start(b, s.addr) // the first builds the binary
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.stop)
	waitForAnswer(b, s.addr)
	s.start = time.Since(began)
	return s
}

func (s *subject) stop() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// load is a load for as long as -seconds says.
func (s *subject) load(connections int, requests ...string) load {
	return load{Addr: s.addr, Requests: requests, Connections: connections, Duration: time.Duration(*seconds * float64(time.Second))}
}

// measure returns what a load does to a server. No answer may be an error.
func (s *subject) measure(b *testing.B, l load) measure {
	cpu := cpuTime(s.cmd.Process.Pid)
	got := l.run(b)
	cpu = cpuTime(s.cmd.Process.Pid) - cpu
	m := l.measure(got.of(200))
	for status, o := range got {
		if status/100 != 2 {
			b.Errorf("%s: got status %d, %d times", s.cmd, status, o.Count)
		} else if o.Count > 0 {
			m = l.measure(o)
		}
	}
	m.start, m.memory = s.start, peak(s.cmd.Process.Pid)
	m.cpu = cpu / time.Duration(max(1, m.count))
	return m
}

// measure returns the figures of answers to a load.
func (l load) measure(o *outcome) measure {
	return measure{count: o.Count, rate: float64(o.Count) / l.Duration.Seconds(), p50: o.P50, p99: o.P99}
}

// underLoad measures a server of its own. Its clients ask anew as soon as they have their answer.
func underLoad(start starter, request string, connections int) func(b *testing.B) measure {
	return func(b *testing.B) measure {
		s := start.run(b)
		defer s.stop()
		l := s.load(connections, request)
		if connections == 1000 {
			l.Duration *= 5 // or the beginning, when all come at once, would be much of it
		}
		before := cpuTime(s.cmd.Process.Pid)
		m := s.measure(b, l)
		s.stop()
		m.cpu = (s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime() - before) / time.Duration(max(1, m.count)) // finer, and on all systems
		return m
	}
}

// A shared server is started by the first row that needs it, and ended behind the last.
type shared struct {
	start starter
	*subject
}

func (s *shared) need(b *testing.B) *subject {
	if s.subject == nil {
		s.subject = s.start.run(b)
	}
	return s.subject
}

func (s *shared) stop() {
	s.subject.stop()
	s.subject = nil
}

// underLoad is as that of a server of its own.
func (s *shared) underLoad(request string, connections int) func(b *testing.B) measure {
	return func(b *testing.B) measure {
		one := s.need(b)
		return one.measure(b, one.load(connections, request))
	}
}

// peak is the most memory that the server has had, for each of so many cars.
func (s *shared) peak(cars float64) func(b *testing.B) measure {
	return func(b *testing.B) measure {
		mb := peak(s.need(b).cmd.Process.Pid)
		return measure{memory: mb, size: mb * 1e3 / cars}
	}
}

// sizeOfBinary builds what make build builds.
func sizeOfBinary(b *testing.B) measure {
	path := filepath.Join(b.TempDir(), "cars.exe")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "cars")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	return measure{size: float64(info.Size()) / 1e3}
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

// whileTheDiskHangs measures reads at an even rate while a write waits for its fsync.
func whileTheDiskHangs(b *testing.B) (m measure) {
	addr := freeAddr(b)
	s := launch(b, "", "-addr", addr, "-data", filepath.Join(b.TempDir(), "cars.jsonl"), "-delay", "0", "-log-level", "warn")
	s.url, s.addr = "http://"+addr, addr
	waitForAnswer(b, addr)
	unplug, missing := inject(b, s, syncs, "delay_enter=30000000")
	if missing != "" { // b.Skip would take the whole table with it
		s.cmd.Process.Kill()
		return measure{why: missing}
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

// catalogueOf returns a file of so many different cars, which is written once.
func catalogueOf(b *testing.B, n int) string {
	path := filepath.Join(scratch, fmt.Sprint(n, ".jsonl"))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var text []byte
	for c := range differentCars(n) {
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

// differentCars are so many, the same ones each time.
func differentCars(n int) iter.Seq[car] {
	return func(yield func(car) bool) {
		random := rand.New(rand.NewPCG(uint64(n), 0))
		categories := []string{"Sedan", "SUV", "Pickup", "Coupe", "Wagon"}
		var c car
		json.Unmarshal(audiLine, &c)
		for c.ID = 1; c.ID <= n; c.ID++ {
			c.Name, c.Category = fmt.Sprintf("Audi A%d", c.ID), categories[random.IntN(len(categories))]
			c.Year, c.Price = 1990+random.IntN(36), 10_000+random.IntN(200_000)
			if !yield(c) {
				return
			}
		}
	}
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
