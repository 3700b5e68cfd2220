package metrics

import (
	"runtime"
	gometrics "runtime/metrics"
	"time"
)

// AddProcess adds what is to be known of every Go program, under the names that are
// usual for it.
func AddProcess(r *Registry) {
	started := float64(time.Now().UnixNano()) / 1e9
	r.Gauge("process_start_time_seconds", "When the process started, in seconds since 1970.", func() float64 { return started })
	r.Info("go_info", "The Go release that the program was built with.", "version", runtime.Version())
	r.Gauge("go_goroutines", "Goroutines.", func() float64 { return float64(runtime.NumGoroutine()) })
	r.Gauge("go_memory_heap_objects_bytes", "Memory of objects, those not yet collected included.", read("/memory/classes/heap/objects:bytes"))
	r.Gauge("go_memory_total_bytes", "Memory that the process has from the operating system, that which it has not touched included.", read("/memory/classes/total:bytes"))
	r.Counter("go_gc_cycles_total", "Garbage collections.", read("/gc/cycles/total:gc-cycles"))
}

// read returns a function that reads a metric of the runtime.
func read(name string) func() float64 {
	return func() float64 {
		sample := []gometrics.Sample{{Name: name}}
		gometrics.Read(sample)
		return float64(sample[0].Value.Uint64())
	}
}
