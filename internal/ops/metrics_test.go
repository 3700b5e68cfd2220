package ops

import (
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTextFormat(t *testing.T) {
	var r Registry
	requests := r.Counters("requests_total", "Requests.", "method", "code")
	durations := r.Histogram("seconds", "Durations.", 0.1, 1)
	r.Gauge("temperature", "Now.", func() float64 { return -1.5 })
	r.Counter("bytes_total", "Ever.", func() float64 { return 1e9 })
	r.Info("build_info", "Of what.", "version", `a"b\c`+"\n", "go", "1")
	var group sync.WaitGroup
	for range 100 {
		group.Go(func() {
			requests.Add(Values{"PUT", "555"})
			durations.Observe(0.5)
		})
	}
	group.Wait()
	requests.Add(Values{"GET", "55"})
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

// valueOf returns the value of a metric without labels, as r shows it.
func TestBuildHasLabelsOfItsOwn(t *testing.T) {
	var r Registry
	AddBuild(&r, "x_build_info")
	var got strings.Builder
	r.Write(&got)
	want := regexp.MustCompile(`(?m)^x_build_info\{version="[^" ]+",goversion="` + regexp.QuoteMeta(runtime.Version()) + `",goos="` + runtime.GOOS + `",goarch="` + runtime.GOARCH + `"\} 1$`)
	if !want.MatchString(got.String()) {
		t.Errorf("got %s, want %s", got.String(), want)
	}
}

func valueOf(t *testing.T, r *Registry, name string) float64 {
	t.Helper()
	var text strings.Builder
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`(?m)^` + name + ` (.*)$`).FindStringSubmatch(text.String())
	if match == nil {
		t.Fatalf("%s is missing in %s", name, text.String())
	}
	value, err := strconv.ParseFloat(match[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// TestProcess compares what is shown with what is known otherwise, or can be caused.
func TestProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	var r Registry
	AddProcess(&r)
	between := func(name string, least, most float64) {
		t.Helper()
		if got := valueOf(t, &r, name); got < least || got > most {
			t.Errorf("%s: got %g, want %g to %g", name, got, least, most)
		}
	}
	now := float64(time.Now().Unix())
	between("process_start_time_seconds", now-3600, now+1)
	between("process_max_fds", 16, 1e10)
	between("go_threads", 2, 1000)
	between("go_sched_gomaxprocs_threads", float64(runtime.GOMAXPROCS(0)), float64(runtime.GOMAXPROCS(0)))

	const size = 64 << 20
	heap, resident, virtual := valueOf(t, &r, "go_memstats_alloc_bytes"), valueOf(t, &r, "process_resident_memory_bytes"), valueOf(t, &r, "process_virtual_memory_bytes")
	block := make([]byte, size)
	for i := range block {
		block[i] = 1 // or it would take no memory
	}
	between("go_memstats_alloc_bytes", heap+size-10<<20, heap+size+10<<20)
	between("go_memstats_heap_inuse_bytes", size, heap+size+20<<20)
	between("process_resident_memory_bytes", resident+size/2, resident+5*size) // the race detector takes as much again and more
	between("process_virtual_memory_bytes", virtual, 1e15)
	runtime.KeepAlive(block)

	open := valueOf(t, &r, "process_open_fds")
	for range 50 {
		file, err := os.Open("/proc/self/stat")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
	}
	between("process_open_fds", open+40, open+60) // other tests' sockets may still be closing

	goroutines, hold := valueOf(t, &r, "go_goroutines"), make(chan struct{})
	for range 50 {
		go func() { <-hold }()
	}
	between("go_goroutines", goroutines+40, goroutines+60)
	close(hold)

	cycles := valueOf(t, &r, "go_gc_cycles_total")
	runtime.GC()
	between("go_gc_cycles_total", cycles+1, cycles+10)

	cpu := valueOf(t, &r, "process_cpu_seconds_total")
	for valueOf(t, &r, "process_cpu_seconds_total") < cpu+0.05 { // ends, since asking takes time
	}
}

// TestMetricsPassTheLinter of Prometheus, where that is installed.
func TestMetricsPassTheLinter(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	var r Registry
	AddProcess(&r)
	NewRequests(&r).counts.Add(Values{"GET", "/", "200"})
	r.Info("cars_build_info", "What is running.", "version", "v1", "goversion", runtime.Version())
	var text strings.Builder
	r.Write(&text)
	lint := exec.Command(promtool, "check", "metrics")
	lint.Stdin = strings.NewReader(text.String())
	if output, err := lint.CombinedOutput(); err != nil || len(output) > 0 {
		t.Errorf("%v: %s", err, output)
	}
}

func BenchmarkRecording(b *testing.B) {
	var r Registry
	requests := r.Counters("requests_total", "", "method", "route", "code")
	durations := r.Histogram("seconds", "", 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			requests.Add(Values{"GET", "/api/cars/{id}", "200"})
			durations.Observe(0.1005)
		}
	})
}

func BenchmarkScrape(b *testing.B) {
	var r Registry
	AddProcess(&r)
	for b.Loop() {
		r.Write(new(strings.Builder))
	}
}
