package metrics

import (
	"strings"
	"sync"
	"testing"
)

func TestTextFormat(t *testing.T) {
	var r Registry
	type key struct {
		method string
		code   int
	}
	requests := NewCounters(&r, "requests_total", "Requests.", []string{"method", "code"}, func(k key) []string {
		return []string{k.method, strings.Repeat("5", k.code)}
	})
	durations := NewHistogram(&r, "seconds", "Durations.", 0.1, 1)
	r.Gauge("temperature", "Now.", func() float64 { return -1.5 })
	r.Counter("bytes_total", "Ever.", func() float64 { return 1e9 })
	r.Info("build_info", "Of what.", "version", `a"b\c`+"\n", "go", "1")
	var group sync.WaitGroup
	for range 100 {
		group.Go(func() {
			requests.Add(key{"PUT", 3})
			durations.Observe(0.5)
		})
	}
	group.Wait()
	requests.Add(key{"GET", 2})
	for _, x := range []float64{0.1, 0.0625, 1.5} {
		durations.Observe(x)
	}
	const want = `# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{method="GET",code="55"} 1
requests_total{method="PUT",code="555"} 100
# HELP seconds Durations.
# TYPE seconds histogram
seconds_bucket{le="0.1"} 2
seconds_bucket{le="1"} 102
seconds_bucket{le="+Inf"} 103
seconds_sum 51.6625
seconds_count 103
# HELP temperature Now.
# TYPE temperature gauge
temperature -1.5
# HELP bytes_total Ever.
# TYPE bytes_total counter
bytes_total 1e+09
# HELP build_info Of what.
# TYPE build_info gauge
build_info{version="a\"b\\c\n",go="1"} 1
`
	var got strings.Builder
	if err := r.Write(&got); err != nil || got.String() != want {
		t.Errorf("got %s, %v, want %s", got.String(), err, want)
	}
}

func BenchmarkRecording(b *testing.B) {
	var r Registry
	type key struct {
		method, route string
		code          int
	}
	requests := NewCounters(&r, "requests_total", "", []string{"method", "route", "code"}, func(k key) []string { return nil })
	durations := NewHistogram(&r, "seconds", "", 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			requests.Add(key{"GET", "/api/cars/{id}", 200})
			durations.Observe(0.1005)
		}
	})
}
