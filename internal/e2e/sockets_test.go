package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestRawSockets pins down what net/http answers by itself, in plain text, and that
// all other answers are JSON.
func TestRawSockets(t *testing.T) {
	t.Parallel()
	s := start(t, "-delay", "0")
	const plain, ours = "text/plain; charset=utf-8", "application/json"
	const host = " HTTP/1.1\r\nHost: localhost\r\n"
	for _, test := range []struct {
		text   string
		status int
		kind   string
	}{
		{"garbage\r\n\r\n", 400, plain},
		{"\r\n\r\n", 400, plain},
		{"GET /api/cars/1\r\n\r\n", 400, plain}, // HTTP/0.9
		{"GET /api/cars/1 HTTP/x\r\n\r\n", 400, plain},
		{"G@T /" + host + "\r\n", 400, plain},
		{"GET /a b" + host + "\r\n", 400, plain},
		{"GET /%zz" + host + "\r\n", 400, plain},
		{"GET api/cars" + host + "\r\n", 400, plain},
		{"GET / HTTP/1.1\r\n\r\n", 400, plain}, // no Host
		{"GET /" + host + "Host: localhost\r\n\r\n", 400, plain},
		{"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, plain},
		{"GET /" + host + "X Y: 1\r\n\r\n", 400, plain},
		{"GET /" + host + "XY\r\n\r\n", 400, plain},
		{"GET /" + host + "X: \x01\r\n\r\n", 400, plain},
		{"POST /api/cars" + host + "Content-Length: x\r\n\r\n", 400, plain},
		{"POST /api/cars" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, plain},
		{"POST /api/cars" + host + "Expect: something-else\r\n\r\n", 417, ""},
		{"GET /" + host + "X: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", 431, plain},
		{"GET /" + strings.Repeat("x", 20<<10) + host + "\r\n", 431, plain},
		{"POST /api/cars" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501, plain},
		{"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505, plain},
		{"GET / HTTP/0.9\r\nHost: localhost\r\n\r\n", 505, plain},

		{"OPTIONS / HTTP/1.0\r\n\r\n", 204, ""},         // a load balancer's health check: HAProxy's option httpchk
		{"GET /readyz HTTP/1.0\r\n\r\n", 200, ours},     // and with a path
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 403, ours}, // the preface of HTTP/2: a request without Host to HTTP/1.1
		{"POST /api/cars HTTP/1.0\r\n\r\n", 403, ours},  // without Host one may only read
		{"POST /api/cars HTTP/1.1\r\nHost:\r\n\r\n", 403, ours},
		{"GET /api/cars/1 HTTP/1.0\r\n\r\n", 200, ours},
		{"GET /api/cars/1 HTTP/1.1\r\nHost:\r\n\r\n", 200, ours},
		{"GET http://evil.com/" + host + "\r\n", 403, ours}, // the target counts, not Host (RFC 9112, section 3.2.2)
		{"GET *" + host + "\r\n", 404, ours},
		{"OPTIONS *" + host + "\r\n", 204, ""},
		{"OPTIONS * HTTP/1.1\r\nHost: evil.com\r\n\r\n", 403, ours},
		{"CONNECT localhost:80" + host + "\r\n", 404, ours},
		{"TRACE /" + host + "\r\n", 405, ours},
		{"BREW /api/cars" + host + "\r\n", 405, ours},
		{"POST /api/cars" + host + "\r\n", 415, ours},
		{"GET /api/cars/1 HTTP/1.0\r\nHost: localhost\r\n\r\n", 200, ours},
		{"GET /api/cars/1 HTTP/1.9\r\nHost: localhost\r\n\r\n", 200, ours},
		{"GET /api/cars/1" + host + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", 200, ours},
		{"POST /api/cars" + host + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, ours},
	} {
		resp, body := answer(t, bufio.NewReader(s.dial(t, test.text)))
		if kind := resp.Header.Get("Content-Type"); resp.StatusCode != test.status || kind != test.kind {
			t.Errorf("%.80q: got %d, %q, want %d, %q", test.text, resp.StatusCode, kind, test.status, test.kind)
		}
		if test.kind == ours && !json.Valid([]byte(body)) {
			t.Errorf("%.80q: got %q, want JSON", test.text, body)
		}
		if test.kind != ours && test.status >= 400 && !resp.Close {
			t.Errorf("%.80q: the connection stays open", test.text)
		}
	}
}

func TestPipelining(t *testing.T) {
	t.Parallel()
	r := bufio.NewReader(start(t).dial(t, header("GET", "/api/cars/1", 0)+header("POST", "/api/cars", len(saab))+saab+header("GET", "/api/cars/33?_delay=0", 0)))
	for i, want := range []string{`"id":1,"name":"Audi A4"`, `"id":33,"name":"Saab 900"`, `"id":33,"name":"Saab 900"`} {
		if resp, body := answer(t, r); resp.StatusCode >= 300 || !strings.Contains(body, want) {
			t.Errorf("answer %d: got %d %s, want %s", i, resp.StatusCode, body, want)
		}
	}
}

// TestHalfClose has clients that send nothing more but read. To net/http they are
// gone, so that they are answered at once, and not with a car.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	s := start(t)
	for text, want := range map[string]int{
		header("GET", "/api/cars/1?_delay=60000", 0):      503,
		header("POST", "/api/cars", len(saab)) + saab[:9]: 400,
	} {
		conn := s.dial(t, text)
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(conn)
		if resp, body := answer(t, r); resp.StatusCode != want || !json.Valid([]byte(body)) {
			t.Errorf("%.40q: got %d %s, want %d in JSON", text, resp.StatusCode, body, want)
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("%.40q: got %v, want the other half closed, too", text, err)
		}
	}
	s.wantCar(t, "/api/cars/1")
}

func TestResets(t *testing.T) {
	t.Parallel()
	s := start(t, "-delay", "0")
	want := s.cars(t)
	for i := range 200 {
		for _, text := range []string{header("POST", "/api/cars", len(saab)) + saab[:i%len(saab)], strings.Repeat(header("GET", "/api/cars", 0), i)} {
			conn := s.dial(t, text)
			conn.(*net.TCPConn).SetLinger(0) // Close sends a reset
			conn.Close()
		}
	}
	wantSame(t, s.cars(t), want)
	s.signal(t, syscall.SIGTERM)
	for line := range s.lines {
		if strings.Contains(line, " ERROR ") || strings.Contains(line, "panic") {
			t.Errorf("got line %q", line)
		}
	}
	if state := s.wait(t); !state.Success() {
		t.Errorf("the server ended with %v, want exit status 0", state)
	}
}

// metric returns the value of a metric that has no labels.
func (s *server) metric(t testing.TB, name string) float64 {
	t.Helper()
	_, text, err := s.get("/metrics")
	_, value, _ := strings.Cut(text, "\n"+name+" ")
	value, _, _ = strings.Cut(value, "\n")
	n, wrong := strconv.ParseFloat(value, 64)
	if err := errors.Join(err, wrong); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestBrokenClientsByTheThousand has clients that are idle, do not read, stop in the
// middle of a body and stop in the middle of a header. The others do not notice.
func TestBrokenClientsByTheThousand(t *testing.T) {
	addr := freeAddr(t)
	s := launch(t, "", "-addr", addr, "-log-level", "warn", "-delay", "0", "-jitter", "1ms")
	s.url, s.addr = "http://"+addr, addr
	s.waitForLine(t, "WARN -jitter has no effect") // logged when it listens already
	for n := range 100 {                           // so that a list is 800 KB
		s.wantStatus(t, 201, "POST", "/api/cars", encode(carOf(2*n)))
	}
	before := s.metric(t, "go_goroutines")
	var conns []net.Conn
	crowd := func(n int, text string) []net.Conn {
		for range n {
			conn, err := net.Dial("tcp", s.addr)
			if errors.Is(err, syscall.EMFILE) {
				t.Skipf("needs 2,600 open files and has %d; raise the limit with ulimit -n", len(conns))
			} else if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			io.WriteString(conn, text)
			conns = append(conns, conn)
		}
		return conns[len(conns)-n:]
	}
	for _, idle := range crowd(1000, header("GET", "/healthz", 0)) { // from then on it may stay for 75 s
		answer(t, bufio.NewReader(idle))
	}
	crowd(400, strings.Repeat(header("GET", "/api/cars?_page=1", 0), 20)) // the kernel has room for that, so the server is done with them
	crowd(100, strings.Repeat(header("GET", "/api/cars", 0), 50))         // and not for 40 MB; 500 of these would have it keep 2 GB
	crowd(500, header("POST", "/api/cars", len(saab))+saab[:9])
	for s.metric(t, "cars_requests_in_flight") < 100+500 {
	}
	crowd(500, "GET /api/cars/1 HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
	// A server of which nobody wants anything else takes as long, on the same machine at
	// the same time.
	quiet := start(t, "-delay", "0")
	quiet.skipLog()
	took := func(s *server) time.Duration {
		began := time.Now()
		s.wantCar(t, "/api/cars/1")
		return time.Since(began)
	}
	var crowded, alone []time.Duration
	for range 200 {
		crowded, alone = append(crowded, took(s)), append(alone, took(quiet))
	}
	slices.Sort(crowded)
	slices.Sort(alone)
	if got, want := crowded[100], alone[100]; got > 10*want+time.Millisecond {
		t.Errorf("the median of 200 requests is %v, want at most 10 times the %v of a server without a crowd", got, want)
	}
	if got := s.metric(t, "cars_requests_in_flight"); got < 500 {
		t.Errorf("%v requests are inside, want those with half a body at least: the crowd left too early", got)
	}
	for _, conn := range conns {
		conn.Close()
	}
	for s.metric(t, "go_goroutines") > before+10 || s.metric(t, "cars_requests_in_flight") > 0 { // until all are forgotten
	}
}

func TestOutOfFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no ulimit; run this test on Linux or macOS")
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	limited := filepath.Join(t.TempDir(), "cars.sh")
	if err := os.WriteFile(limited, []byte("#!/bin/sh\nulimit -n 64; exec '"+path+"' \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	unlimited := binary // no other test runs meanwhile, since this one is not parallel
	binary = func() (string, error) { return limited, nil }
	defer func() { binary = unlimited }()

	file := filepath.Join(t.TempDir(), "cars.jsonl")
	s := serve(t, file)
	early := s.dial(t, header("GET", "/api/cars/1", 0))
	r := bufio.NewReader(early)
	answer(t, r)
	var conns []net.Conn
	for range 100 {
		conns = append(conns, s.dial(t, ""))
	}
	s.waitForLine(t, "too many open files")
	for id := 33; id < 63; id++ {
		io.WriteString(early, header("POST", "/api/cars", len(saab))+saab+header("GET", fmt.Sprint("/api/cars/", id), 0))
		for _, want := range []int{201, 200} {
			if resp, body := answer(t, r); resp.StatusCode != want {
				t.Fatalf("car %d: got %d %s, want %d", id, resp.StatusCode, body, want)
			}
		}
	}
	for _, conn := range conns {
		conn.Close()
	}
	want := s.cars(t) // over a new connection
	s.wantStatus(t, 201, "POST", "/api/cars", saab)
	s.crash(t)
	if got := replay(t, file); len(got) != 63 || len(want) != 62 {
		t.Errorf("got %d cars in the file and %d before the last write, want 63 and 62", len(got), len(want))
	}
}

// TestDrain stops the server under load. Requests inside get a whole answer. Other requests
// get none, not even a part of one.
func TestDrain(t *testing.T) {
	t.Parallel()
	cert, key, trust := selfSigned(t)
	for name, args := range map[string][]string{"HTTP/1.1": nil, "HTTPS": {"-tls-cert", cert, "-tls-key", key}, "HTTP/2": {"-tls-cert", cert, "-tls-key", key}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, append(args, "-delay", "50ms")...)
			c := trusting(t, trust, name == "HTTP/2")
			var answers atomic.Int64
			request := func(method, path string) bool {
				begun := false
				req, _ := http.NewRequest(method, s.url+path, strings.NewReader(saab))
				req.Header.Set("Content-Type", "application/json")
				req = req.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotFirstResponseByte: func() { begun = true }}))
				resp, err := c.Do(req)
				if err != nil {
					if begun {
						t.Errorf("%s %s: got %v after the first byte of an answer", method, path, err)
					}
					return false
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err != nil || !json.Valid(body) || resp.StatusCode != 200 && resp.StatusCode != 201 {
					t.Errorf("%s %s: got %d %.300q, %v, want 200 or 201 and JSON", method, path, resp.StatusCode, body, err)
				}
				answers.Add(1)
				return true
			}
			var clients sync.WaitGroup
			for range 32 {
				clients.Go(func() {
					for request("GET", "/api/cars") && request("POST", "/api/cars") {
					}
				})
			}
			inside := int64(0)
			for line := range s.lines {
				if strings.Contains(line, "Requesting") {
					if inside++; inside == 200 {
						s.signal(t, syscall.SIGTERM)
					}
				}
			}
			if state := s.wait(t); !state.Success() {
				t.Errorf("the server ended with %v, want exit status 0", state)
			}
			clients.Wait()
			if got := answers.Load(); got != inside {
				t.Errorf("got %d answers, want one for each of %d requests inside", got, inside)
			}
		})
	}
}
