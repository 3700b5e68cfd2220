package e2e

import (
	"flag"
	"path/filepath"
	"testing"
	"time"
)

var soak = flag.Duration("soak", 5*time.Second, "how long TestSoak lasts; what is to stay flat is compared from a minute on")

// TestSoak has writes, lists, reads of one car and streams at once, at an even rate, in ten
// parts. Memory, goroutines and file descriptors must be after the last part what they were
// after the second. It logs them for each part, and the latency beside.
func TestSoak(t *testing.T) {
	const streams, rate, parts = 50, 200, 10
	addr := freeAddr(t)
	s := launch(t, "", "-addr", addr, "-data", filepath.Join(t.TempDir(), "cars.jsonl"), "-delay", "0", "-jitter", "0", "-log-level", "warn")
	s.url, s.addr = "http://"+addr, addr
	waitForAnswer(t, addr)
	get := func(target string) string { return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n\r\n" }
	with := func(method, target, body string) string { return header(method, target, len(body)) + body }
	newer := encode(car{ID: 5, Name: stamp, Manufacturer: "Toyota", Category: "Sedan"})
	requests := []string{getAudi, get("/api/cars/7"), with("PUT", "/api/cars/5", newer), get("/api/cars"), with("PATCH", "/api/cars/3", `{"price":1}`),
		with("POST", "/api/cars", encode(car{ID: 1000, Name: "Comes and goes", Manufacturer: "Fiat", Category: "Coupe"})),
		get("/api/cars?q=audi&_sort=-year"), get("/api/cars?category=SUV&_page=1&_limit=5"), with("PATCH", "/api/cars/3", `{"price":2}`),
		with("DELETE", "/api/cars/1000", "")}

	type state struct{ memory, goroutines, files float64 }
	var states []state
	for part := range parts {
		told := followers{Addr: addr, Streams: streams}.follow(t)
		l := load{Addr: addr, Requests: requests, Connections: 16, Duration: *soak / parts, Rate: rate, Stamped: true}
		got := l.run(t)
		now := state{s.metric(t, "process_resident_memory_bytes") / 1e6, s.metric(t, "go_goroutines"), s.metric(t, "process_open_fds")}
		states = append(states, now)
		heard := told.end(t, 1)
		for status := range got {
			if status != 200 && status != 201 && status != 404 && status != 409 { // the last two where the one that comes has not gone yet, or not come
				t.Errorf("part %d: got %d answers %d", part+1, got[status].Count, status)
			}
		}
		t.Logf("part %d: %.1f MB, %g goroutines, %g files; %d answers 200 in p50 %v, p99 %v, at most %v; %d changes told in p99 %v",
			part+1, now.memory, now.goroutines, now.files, got.of(200).Count, got.of(200).P50, got.of(200).P99, got.of(200).Max, heard.Count, heard.P99)
	}
	if *soak < time.Minute {
		return
	}
	early, last := states[1], states[parts-1]
	if last.goroutines > early.goroutines+10 || last.files > early.files+10 {
		t.Errorf("%g goroutines and %g files became %g and %g", early.goroutines, early.files, last.goroutines, last.files)
	}
	if last.memory > 1.3*early.memory+5 {
		t.Errorf("%.1f MB became %.1f", early.memory, last.memory)
	}
}
