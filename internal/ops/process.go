package ops

import (
	"bytes"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

// AddProcess adds the metrics that every Go program has, under the names that Prometheus'
// client libraries use. Reading them from the runtime does not stop the program. Metrics
// that come from Linux's /proc are left out on other systems.
func AddProcess(r *Registry) {
	started := float64(time.Now().UnixNano()) / 1e9
	r.Gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", func() float64 { return started })
	for _, m := range []struct {
		add        func(r *Registry, name, help string, read func() float64)
		name, help string
		read       func() (value float64, ok bool)
	}{
		{(*Registry).Counter, "process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", cpuSeconds},
		{(*Registry).Gauge, "process_resident_memory_bytes", "Resident memory size in bytes.", residentBytes},
		{(*Registry).Gauge, "process_virtual_memory_bytes", "Virtual memory size in bytes.", virtualBytes},
		{(*Registry).Gauge, "process_open_fds", "Number of open file descriptors.", openFiles},
		{(*Registry).Gauge, "process_max_fds", "Maximum number of open file descriptors.", maxOpenFiles},
	} {
		if _, ok := m.read(); ok {
			m.add(r, m.name, m.help, func() float64 { value, _ := m.read(); return value })
		}
	}

	r.Info("go_info", "Information about the Go environment.", "version", runtime.Version())
	r.Gauge("go_goroutines", "Number of goroutines that currently exist.", func() float64 { return float64(runtime.NumGoroutine()) })
	r.Gauge("go_threads", "Number of OS threads created.", func() float64 {
		n, _ := runtime.ThreadCreateProfile(nil)
		return float64(n)
	})
	for _, m := range []struct {
		name, help string
		sum        []string // of the runtime's metrics
	}{
		{"go_gc_cycles_total", "Garbage collections.", []string{"/gc/cycles/total:gc-cycles"}},
		{"go_sched_gomaxprocs_threads", "Threads that may run Go code at once.", []string{"/sched/gomaxprocs:threads"}},
		{"go_memstats_alloc_bytes", "Bytes of heap objects, those not yet collected included.", []string{heapObjects}},
		{"go_memstats_alloc_bytes_total", "Bytes of all heap objects that were ever allocated.", []string{"/gc/heap/allocs:bytes"}},
		{"go_memstats_sys_bytes", "Bytes of memory from the operating system, untouched ones included.", []string{"/memory/classes/total:bytes"}},
		{"go_memstats_mallocs_total", "Heap objects that were ever allocated.", []string{"/gc/heap/allocs:objects", "/gc/heap/tiny/allocs:objects"}},
		{"go_memstats_frees_total", "Heap objects that were ever freed.", []string{"/gc/heap/frees:objects", "/gc/heap/tiny/allocs:objects"}},
		{"go_memstats_heap_alloc_bytes", "The same as go_memstats_alloc_bytes.", []string{heapObjects}},
		{"go_memstats_heap_sys_bytes", "Bytes of heap from the operating system.", []string{heapObjects, heapUnused, heapReleased, heapFree}},
		{"go_memstats_heap_idle_bytes", "Bytes of heap that wait to be used.", []string{heapReleased, heapFree}},
		{"go_memstats_heap_inuse_bytes", "Bytes of heap that are in use.", []string{heapObjects, heapUnused}},
		{"go_memstats_heap_released_bytes", "Bytes of heap given back to the operating system.", []string{heapReleased}},
		{"go_memstats_heap_objects", "Heap objects, those not yet collected included.", []string{"/gc/heap/objects:objects"}},
		{"go_memstats_stack_inuse_bytes", "Bytes of goroutines' stacks.", []string{"/memory/classes/heap/stacks:bytes"}},
		{"go_memstats_stack_sys_bytes", "Bytes of all stacks.", []string{"/memory/classes/heap/stacks:bytes", "/memory/classes/os-stacks:bytes"}},
		{"go_memstats_gc_sys_bytes", "Bytes that the garbage collector needs for itself.", []string{"/memory/classes/metadata/other:bytes"}},
		{"go_memstats_next_gc_bytes", "Bytes of heap at which the next garbage collection starts.", []string{"/gc/heap/goal:bytes"}},
	} {
		add := (*Registry).Gauge
		if strings.HasSuffix(m.name, "_total") {
			add = (*Registry).Counter
		}
		add(r, m.name, m.help, sumOf(m.sum))
	}
}

// Metrics of the runtime that are parts of several sums.
const (
	heapObjects  = "/memory/classes/heap/objects:bytes"
	heapUnused   = "/memory/classes/heap/unused:bytes"
	heapReleased = "/memory/classes/heap/released:bytes"
	heapFree     = "/memory/classes/heap/free:bytes"
)

// sumOf returns a function that reads metrics of the runtime and adds them up. Each must
// be a whole number.
func sumOf(names []string) func() float64 {
	return func() float64 {
		samples := make([]metrics.Sample, len(names))
		for i, name := range names {
			samples[i].Name = name
		}
		metrics.Read(samples)
		sum := 0.0
		for _, s := range samples {
			sum += float64(s.Value.Uint64())
		}
		return sum
	}
}

func cpuSeconds() (float64, bool) {
	user, ok := statField(14)
	system, ok2 := statField(15)
	const ticks = 100 // USER_HZ, sysconf(_SC_CLK_TCK): 100 on every common platform
	return (user + system) / ticks, ok && ok2
}

func virtualBytes() (float64, bool) { return statField(23) }

func residentBytes() (float64, bool) {
	pages, ok := statField(24)
	return pages * float64(os.Getpagesize()), ok
}

// statField returns field n of /proc/self/stat, a number. n counts from 1, as in
// proc_pid_stat(5), and must be above 2.
func statField(n int) (float64, bool) {
	stat, _ := os.ReadFile("/proc/self/stat")
	// The second field is the program's name in parentheses. The name may have some, too.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) <= n-3 {
		return 0, false
	}
	value, err := strconv.ParseFloat(fields[n-3], 64)
	return value, err == nil
}

func openFiles() (float64, bool) {
	folder, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, false
	}
	defer folder.Close()
	names, err := folder.Readdirnames(-1)
	return float64(len(names) - 1), err == nil // without the one that reads the folder
}

// maxOpenFiles returns the soft limit, which is the one in force.
func maxOpenFiles() (float64, bool) {
	limits, _ := os.ReadFile("/proc/self/limits")
	_, rest, _ := strings.Cut(string(limits), "\nMax open files ")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, false
	}
	limit, err := strconv.ParseFloat(fields[0], 64)
	return limit, err == nil
}
