package e2e

import (
	"strconv"
	"testing"
	"time"
)

// overload offers a server requests at even intervals, whatever becomes of those
// before.
func (s *server) overload(t testing.TB, rate float64, duration time.Duration) outcomes {
	// Enough connections that none is waiting for its last answer when it asks anew.
	connections := max(200, int(rate/5))
	return load{
		Addr:        s.addr,
		Requests:    []string{header("GET", "/api/cars/1", 0)},
		Connections: connections,
		Duration:    duration,
		Rate:        rate,
	}.run(t)
}

// TestOverload offers ten times what there is room for. Each request is answered, with
// a car or a refusal, and those who look after the server get through.
func TestOverload(t *testing.T) {
	t.Parallel()
	s := start(t, "-max-in-flight", "10", "-delay", "100ms")
	s.skipLog()
	loaded := make(chan outcomes, 1)
	go func() { loaded <- s.overload(t, 1000, 2*time.Second) }()
	var got outcomes
	for got == nil {
		select {
		case got = <-loaded:
		default:
			for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
				if status, body, err := s.get(path); status != 200 || err != nil {
					t.Fatalf("%s: got %d %.300s, %v, want 200", path, status, body, err)
				}
			}
		}
	}
	total := 0
	for status, o := range got {
		total += o.Count
		if status != 200 && status != 503 {
			t.Errorf("got status %d, %d times", status, o.Count)
		}
	}
	if got[200] == nil || got[503] == nil || total != 2000 {
		t.Errorf("got %d answers, 200: %v, 503: %v, want 2000 of both kinds", total, got[200], got[503])
	}
	s.wantCar(t, "/api/cars/1") // at once
}

// BenchmarkOverload offers a server with room for 1,000 requests a second nearly all it
// can do, twice and ten times as much, and again what it can do.
func BenchmarkOverload(b *testing.B) {
	const room, delay, most = 100, 100 * time.Millisecond, 1000
	addr := freeAddr(b)
	s := launch(b, "", "-addr", addr, "-log-level", "warn", "-max-in-flight", strconv.Itoa(room), "-delay", delay.String())
	s.url, s.addr = "http://"+addr, addr
	s.skipLog()
	waitForAnswer(b, addr)
	for _, offer := range []struct {
		name  string
		times float64
	}{{"what-it-can-do", 0.95}, {"twice", 2}, {"ten-times", 10}, {"what-it-can-do-again", 0.95}} {
		b.Run(offer.name, func(b *testing.B) {
			for range b.N {
				const duration = 5 * time.Second
				got := s.overload(b, offer.times*most, duration)
				b.ReportMetric(float64(got.of(200).Count)/duration.Seconds(), "answers/s")
				b.ReportMetric(milliseconds(got.of(200).P99-delay), "ms-late-p99")
				b.ReportMetric(float64(got.of(503).Count)/duration.Seconds(), "refused/s")
				b.ReportMetric(milliseconds(got.of(503).P99), "ms-to-refuse-p99")
			}
			b.ReportMetric(0, "ns/op") // leaves it out
		})
	}
}
