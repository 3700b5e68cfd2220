package e2e

import (
	"bufio"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

var stuck = flag.Int("stuck", 300, "clients that do not read, for BenchmarkFloods")

// worstLists are lists that cost as much as a client can make them: an expression that
// matches late, a text that is nowhere, and all cars in an order by texts.
var worstLists = []string{
	"/api/cars?name_like=" + "(a%7Ci%7C.)*4.*7.*4.*7.*0x",
	"/api/cars?q=nowhere+to+be+found",
	"/api/cars?_sort=-name,price",
	"/api/cars?_sort=details.engine,-name&_start=99000",
}

// BenchmarkFloods shows what one GET takes beside clients that ask for too much, and what
// memory these take. Goals are printed beside what is measured. The flood of lists is in
// BenchmarkTable.
func BenchmarkFloods(b *testing.B) {
	for range b.N {
		b.Run("1,000,000-cars-300-clients-that-do-not-read", func(b *testing.B) { floodOfStuckReaders(b, *stuck) })
	}
}

// A listFlood is 64 clients that ask for the worst lists as fast as they can.
type listFlood struct{ last measure }

// alone measures GETs at an even rate.
func (f *listFlood) alone(on *shared) func(b *testing.B) measure {
	return func(b *testing.B) measure {
		s := on.need(b)
		l := s.load(20, getAudi)
		l.Rate = 200
		return s.measure(b, l)
	}
}

// beside measures the same while the flood lasts.
func (f *listFlood) beside(on *shared) func(b *testing.B) measure {
	return func(b *testing.B) measure {
		lists := on.need(b).load(64)
		lists.Duration += 2 * time.Second
		for _, path := range worstLists {
			lists.Requests = append(lists.Requests, get(path))
		}
		flooded := make(chan outcomes, 1)
		go func() { flooded <- lists.run(b) }()
		time.Sleep(time.Second) // until all lists are under way
		m := f.alone(on)(b)
		m.cpu = 0 // that of the lists
		f.last = lists.measure((<-flooded).of(200))
		return m
	}
}

// lists returns what was measured of the lists meanwhile. The others were refused.
func (f *listFlood) lists(*testing.B) measure { return f.last }

// floodOfStuckReaders measures memory, and a GET, while clients ask for all cars with
// gzip and read nothing.
func floodOfStuckReaders(b *testing.B, clients int) {
	s := large(b, 1_000_000)
	before := settle(s)
	one := load{Addr: s.addr, Requests: []string{getAudi}, Connections: 20, Duration: time.Duration(*seconds * float64(time.Second)), Rate: 200}
	alone := one.run(b)
	for range clients {
		s.dial(b, "GET /api/cars HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n")
	}
	most := 0.0
	done := make(chan outcomes, 1)
	go func() { done <- one.run(b) }()
	var beside outcomes
	for beside == nil {
		select {
		case beside = <-done:
		case <-time.After(20 * time.Millisecond):
		}
		most = max(most, resident(s.cmd.Process.Pid))
	}
	b.ReportMetric(before, "MB-without")
	b.ReportMetric(most/before, "times-that-with(goal<1.5)")
	b.ReportMetric(milliseconds(alone.of(200).P99), "ms-p99-alone")
	b.ReportMetric(milliseconds(beside.of(200).P99), "ms-p99-beside")
	b.ReportMetric(0, "ns/op")
	if n := one.Duration.Seconds() * one.Rate; float64(beside.of(200).Count) < 0.99*n {
		b.Errorf("of %v GETs %d were answered", n, beside.of(200).Count)
	}
}

// large starts a server of so many cars, without processing time.
func large(b *testing.B, n int) *server {
	addr := freeAddr(b)
	s := launch(b, "", "-addr", addr, "-data", catalogueOf(b, n), "-delay", "0", "-log-level", "error")
	s.url, s.addr = "http://"+addr, addr
	s.skipLog()
	waitForAnswer(b, addr)
	return s
}

// settle returns the memory of a server when it no longer changes.
func settle(s *server) float64 {
	for last := 0.0; ; {
		now := resident(s.cmd.Process.Pid)
		if now == last {
			return now
		}
		last = now
		time.Sleep(time.Second)
	}
}

// resident is the memory that a process has now, in MB; 0 where there is no /proc.
func resident(pid int) float64 { return memoryOf(pid, "VmRSS:") }

func milliseconds(d time.Duration) float64 { return float64(max(0, d).Microseconds()) / 1000 }

// TestLongStaysLeaveRoom: clients that ask to be answered late, or announce a body for a
// read and do not send it, fill no more than half of the room.
func TestLongStaysLeaveRoom(t *testing.T) {
	t.Parallel()
	for _, long := range []string{header("GET", "/api/cars/1?_delay=60000", 0), header("GET", "/api/cars/1", 10)} {
		s := start(t, "-max-in-flight", "20")
		s.skipLog()
		for range 40 {
			s.dial(t, long)
		}
		for s.metric(t, "cars_requests_in_flight") < 10 {
		}
		for range 10 {
			s.wantCar(t, "/api/cars/1")
		}
		if body := s.wantStatus(t, 503, "GET", "/api/cars/1?%5fdelay=60000", ""); !strings.Contains(body, "asked for a delay") {
			t.Errorf("got %s, want a refusal because of the delay", body)
		}
	}
}

// TestTooManyCarsAreNotRead: a catalogue that is too large is refused at the first car that
// is one too many. Nobody looks at what comes behind it.
func TestTooManyCarsAreNotRead(t *testing.T) {
	t.Parallel()
	s := start(t, "-delay", "0", "-max-cars", "40")
	want := s.cars(t)
	minimal := `{"name":"a","manufacturer":"b"},`
	s.wantStatus(t, 507, "PUT", "/api/cars", "["+strings.Repeat(minimal, 41)+"this is not JSON")
	s.wantStatus(t, 400, "PUT", "/api/cars", "["+strings.Repeat(minimal, 40)+"this is not JSON")
	wantSame(t, s.cars(t), want)
}

// TestReplacementsComeOneAtATime: the body of one is not asked for before the one before
// it has ended.
func TestReplacementsComeOneAtATime(t *testing.T) {
	t.Parallel()
	s := start(t, "-delay", "0")
	begin := func() (net.Conn, *bufio.Reader) {
		conn := s.dial(t, header("PUT", "/api/cars", len(saab)+2, "Expect: 100-continue"))
		return conn, bufio.NewReader(conn)
	}
	wanted := func(r *bufio.Reader) {
		t.Helper()
		for _, want := range []string{"HTTP/1.1 100 Continue\r\n", "\r\n"} {
			if line, err := r.ReadString('\n'); line != want {
				t.Fatalf("got %q, %v, want %q", line, err, want)
			}
		}
	}
	first, r := begin()
	wanted(r)
	second, r2 := begin()
	for s.metric(t, "cars_requests_in_flight") < 2 {
	}
	second.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if line, err := r2.ReadString('\n'); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %q, %v while another replacement is under way", line, err)
	}
	second.SetReadDeadline(time.Time{})
	io.WriteString(first, "["+saab+"]")
	if resp, body := answer(t, r); resp.StatusCode != 200 {
		t.Errorf("the first: got %d %s", resp.StatusCode, body)
	}
	wanted(r2)
	io.WriteString(second, "["+saab+"]")
	if resp, body := answer(t, r2); resp.StatusCode != 200 {
		t.Errorf("the second: got %d %s", resp.StatusCode, body)
	}
}
