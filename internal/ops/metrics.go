package ops

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// A Registry is a list of metrics. Add all of them before Write is called.
type Registry struct {
	families []family
}

// A family is a metric, with all the values of its labels.
type family struct {
	name, help, kind string
	write            func(w *bufio.Writer, name string)
}

// Write writes all metrics in the text format that Prometheus scrapes (version 0.0.4).
func (r *Registry) Write(w io.Writer) error {
	out := bufio.NewWriter(w)
	for _, f := range r.families {
		fmt.Fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
		f.write(out, f.name)
	}
	return out.Flush()
}

func (r *Registry) add(name, help, kind string, write func(w *bufio.Writer, name string)) {
	r.families = append(r.families, family{name, help, kind, write})
}

// Gauge adds a value that goes up and down. Write calls read to get it.
func (r *Registry) Gauge(name, help string, read func() float64) {
	r.add(name, help, "gauge", single(read))
}

// Counter adds a value that only grows. Write calls read to get it.
func (r *Registry) Counter(name, help string, read func() float64) {
	r.add(name, help, "counter", single(read))
}

func single(read func() float64) func(w *bufio.Writer, name string) {
	return func(w *bufio.Writer, name string) { fmt.Fprintf(w, "%s %s\n", name, number(read())) }
}

// Info adds a metric that is always 1: its labels are the information. labels are pairs of
// name and value.
func (r *Registry) Info(name, help string, labels ...string) {
	var pairs []string
	for pair := range slices.Chunk(labels, 2) {
		pairs = append(pairs, label(pair[0], pair[1]))
	}
	r.add(name, help, "gauge", func(w *bufio.Writer, name string) {
		fmt.Fprintf(w, "%s{%s} 1\n", name, strings.Join(pairs, ","))
	})
}

// Values are the values of a metric's labels, in the order of the labels. A metric with
// fewer than three labels leaves the last values empty.
type Values [3]string

// Counters has one counter for each combination of label values. A counter stays forever,
// so no value may be a text that clients choose.
type Counters struct {
	mu     sync.Mutex
	counts map[Values]uint64
}

// Counters adds counters with up to three labels, which are the labels' names.
func (r *Registry) Counters(name, help string, labels ...string) *Counters {
	c := &Counters{counts: make(map[Values]uint64)}
	r.add(name, help, "counter", func(w *bufio.Writer, name string) {
		c.mu.Lock()
		counts := maps.Clone(c.counts)
		c.mu.Unlock()
		var lines []string
		for values, count := range counts {
			var pairs []string
			for i := range labels {
				pairs = append(pairs, label(labels[i], values[i]))
			}
			lines = append(lines, fmt.Sprintf("%s{%s} %d\n", name, strings.Join(pairs, ","), count))
		}
		slices.Sort(lines)
		for _, line := range lines {
			w.WriteString(line)
		}
	})
	return c
}

// Add adds 1 to the counter with these values.
func (c *Counters) Add(values Values) {
	c.mu.Lock()
	c.counts[values]++
	c.mu.Unlock()
}

// A Histogram counts measurements by size.
type Histogram struct {
	bounds []float64 // ascending; each is the largest value of its bucket
	counts []atomic.Uint64
	sum    atomic.Uint64 // bits of a float64
}

// Histogram adds a histogram. bounds are ascending: each is the largest value of its
// bucket. One more bucket takes larger values.
func (r *Registry) Histogram(name, help string, bounds ...float64) *Histogram {
	h := &Histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
	r.add(name, help, "histogram", func(w *bufio.Writer, name string) {
		var count uint64
		for i := range h.counts {
			count += h.counts[i].Load()
			bound := math.Inf(1)
			if i < len(bounds) {
				bound = bounds[i]
			}
			fmt.Fprintf(w, "%s_bucket{le=\"%s\"} %d\n", name, number(bound), count)
		}
		fmt.Fprintf(w, "%s_sum %s\n%s_count %d\n", name, number(math.Float64frombits(h.sum.Load())), name, count)
	})
	return h
}

// Observe counts a measurement.
func (h *Histogram) Observe(x float64) {
	i, _ := slices.BinarySearch(h.bounds, x)
	h.counts[i].Add(1)
	for {
		old := h.sum.Load()
		if h.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+x)) {
			return
		}
	}
}

func number(x float64) string {
	return strconv.FormatFloat(x, 'g', -1, 64)
}

// label returns a label and its value in the text format.
func label(name, value string) string {
	return name + `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value) + `"`
}
