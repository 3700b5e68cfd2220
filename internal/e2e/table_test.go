package e2e

import (
	"cmp"
	"flag"
	"fmt"
	"math"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

var (
	rounds  = flag.Int("rounds", 1, "measure everything this many times")
	seconds = flag.Float64("seconds", 0.3, "put load on each server for this long")
	only    = flag.String("rows", "", "measure only the rows with names that match this regular `expression`")
)

// A measure is what one server did under one load. What was not measured is 0.
type measure struct {
	cpu    time.Duration // of the server's process for each answer
	rate   float64       // answers a second
	p50    time.Duration
	p99    time.Duration
	memory float64       // peak of the resident set, in MB; on Linux
	start  time.Duration // until the first answer
	size   float64       // memory for each car or stream, or size of a file, in kB
	count  int           // of answers
	owner  time.Duration // that the processor was busy for each answer
	told   time.Duration // until a stream was told of a change, 99th percentile
	why    string        // why nothing was measured
}

// A figure is one number of a measure.
type figure struct {
	unit string
	of   func(measure) float64
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

var (
	cpu     = figure{"µs", func(m measure) float64 { return float64(m.cpu.Nanoseconds()) / 1e3 }}
	rate    = figure{"/s", func(m measure) float64 { return m.rate }}
	median  = figure{"ms", func(m measure) float64 { return ms(m.p50) }}
	late    = figure{"ms", func(m measure) float64 { return ms(m.p99) }}
	memory  = figure{"MB", func(m measure) float64 { return m.memory }}
	started = figure{"ms", func(m measure) float64 { return ms(m.start) }}
	size    = figure{"kB", func(m measure) float64 { return m.size }}
	owner   = figure{"µs", func(m measure) float64 { return float64(m.owner.Nanoseconds()) / 1e3 }}
	heard   = figure{"ms", func(m measure) float64 { return ms(m.told) }}
)

// A goal is what the design promises of a row's figure, or of its ratio to that of another row.
type goal struct {
	promise string
	figure
	over    string  // the other row; "": none
	atMost  float64 // 0: it has no upper bound
	atLeast float64
}

// A row is measured once a round, in turn with the others, so that whatever else the
// machine does meets them all.
type row struct {
	name    string
	measure func(b *testing.B) measure
	goals   []goal
	on      *shared // the server that it shares with the rows beside it
}

const getAudi = "GET /api/cars/1 HTTP/1.1\r\nHost: localhost\r\n\r\n"

func get(target string) string { return header("GET", target, 0) }

// clusterRows returns the rows of three servers on one catalogue, or says why there are none;
// nil where no such test runs.
var clusterRows func(b *testing.B) (rows []row, missing string)

// tableRows returns the rows that need nothing but this machine. Each says which server it
// starts, what load that gets, and what the design promises of it.
func tableRows(b *testing.B) []row {
	const (
		bare  = "bare net/http handler, the same bytes"
		json0 = "json-server 0.17"
		json1 = "json-server 1.0.0-beta.15"
		posts = "POSTs in memory, 64 connections"
		few   = "GET of 24 cars"
		alone = "100 durable POSTs a second"
		list  = "/api/cars?category=SUV&price_lte=90000&_sort=-year,price&_page=2&_limit=25"
	)
	post := header("POST", "/api/cars", len(saab)) + saab
	quiet := []string{"-delay", "0", "-log-level", "warn"}
	on := func(cars int) starter { // with its cars in a file
		return func(b *testing.B, addr string) *exec.Cmd {
			return command(b, append([]string{"-addr", addr, "-data", catalogueOf(b, cars)}, quiet...)...)
		}
	}
	rows := []row{
		{name: "the binary of make build", measure: sizeOfBinary, goals: []goal{
			{promise: "binary", figure: size, atMost: 10_000}}},
		{name: bare, measure: underLoad(role("bare"), getAudi, 64)},
		{name: "that, with our limits and one goroutine", measure: underLoad(role("bare owner"), getAudi, 64)},
		{name: "cars -delay 0 -log-level warn", measure: underLoad(cars(quiet...), getAudi, 64), goals: []goal{
			{promise: "CPU of a GET, to a bare handler", figure: cpu, over: bare, atMost: 1.20},
			{promise: "CPU of a GET, to json-server 0.17", figure: cpu, over: json0, atMost: 0.1},
			{promise: "CPU of a GET, to json-server 1.x", figure: cpu, over: json1, atMost: 0.1},
			{promise: "memory with 64 connections", figure: memory, atMost: 40},
			{promise: "first answer after start", figure: started, atMost: 50}}},
		{name: "cars -delay 0, with its log", measure: underLoad(cars("-delay", "0"), getAudi, 64)},
		{name: json0, measure: jsonServer("json-server@0.17", getAudi, "--quiet", "--routes", "routes.json")},
		{name: json1, measure: jsonServer("json-server@1.0.0-beta.15", get("/cars/1"))},
		{name: "100 ms in a loop that sleeps", measure: underLoad(role("sleeping loop"), getAudi, 1000)},
		{name: "100 ms in a pool of five", measure: underLoad(role("pool of five"), getAudi, 1000)},
		{name: "100 ms in cars, 1,000 connections", measure: underLoad(cars("-log-level", "warn"), getAudi, 1000), goals: []goal{
			{promise: "answers of the 10,000 that 100 ms allow", figure: rate, atLeast: 9500},
			{promise: "99th percentile of these", figure: late, atMost: 115}}},
		{name: posts, measure: underLoad(cars(quiet...), post, 64)},
		{name: "durable POSTs, 1 connection", measure: underLoad(fresh(quiet...), post, 1)},
		{name: "durable POSTs, 64 connections", measure: underLoad(fresh(quiet...), post, 64), goals: []goal{
			{promise: "CPU of a durable POST, to one in memory", figure: cpu, over: posts, atMost: 1.3}}},
		{name: "GETs while the disk hangs", measure: whileTheDiskHangs, goals: []goal{
			{promise: "reads while the disk hangs, p99", figure: late, atMost: 5}}},
		{name: few, measure: underLoad(on(24), getAudi, 64)},
		{name: "GET of 100,000 cars", measure: underLoad(on(100_000), getAudi, 64), goals: []goal{
			{promise: "CPU of a GET, of 100,000 cars to 24", figure: cpu, over: few, atMost: 1.1}}}, // 1, but for noise
		{name: "filter + sort + page of 24 cars", measure: underLoad(on(24), get(list), 1)},
		{name: "filter + sort + page of 100,000 cars", measure: underLoad(on(100_000), get(list), 1), goals: []goal{
			{promise: "filter + sort + page of 100,000 cars", figure: median, atMost: 5}}},
	}

	flooded := &shared{start: on(100_000)}
	var flood listFlood
	rows = append(rows,
		row{name: "200 GETs a second of 100,000 cars", measure: flood.alone(flooded), on: flooded},
		row{name: "these, beside 64 clients with the worst lists", measure: flood.beside(flooded), on: flooded, goals: []goal{
			{promise: "GET beside 64 clients with the worst lists, p99", figure: late, atMost: 25}}},
		row{name: "the lists of these 64", measure: flood.lists, on: flooded})

	var without float64 // MB that the server has after as many writes without streams
	rows = append(rows,
		row{name: alone, measure: besideStreams(&without, 0, 0)},
		row{name: alone + ", beside 1,000 streams", measure: besideStreams(&without, 1000, 0), goals: []goal{
			{promise: "1,000 streams are told of a change, p99", figure: heard, atMost: 50},
			{promise: "memory of a stream", figure: size, atMost: 40},
			{promise: "a write beside 1,000 streams, to one without, median", figure: median, over: alone, atMost: 1.1},
			{promise: "the same, what the processor takes for it", figure: owner, over: alone, atMost: 1.1}}},
		row{name: alone + ", beside 500 streams and 500 stuck", measure: besideStreams(&without, 500, 500), goals: []goal{
			{promise: "500 streams are told, beside 500 that do not read", figure: heard, atMost: 50},
			{promise: "a write beside both, to one without, median", figure: median, over: alone, atMost: 1.1}}})

	million := &shared{start: on(1_000_000)}
	rows = append(rows, row{name: "GET of 1,000,000 cars", measure: million.underLoad(getAudi, 64), on: million, goals: []goal{
		{promise: "1,000,000 cars, first answer", figure: started, atMost: 3000}}})
	for _, kind := range []struct {
		name, query string
		within      float64 // ms
	}{
		{"first page", "_page=1&_limit=25", 50},
		{"filter", "category=SUV&price_lte=90000&_limit=25", 50},
		{"filter by two values", "category=SUV&category=Coupe&_limit=25", 50},
		{"_where", "_where=" + url.QueryEscape(`{"or":[{"year":{"gte":2020}},{"name":{"contains":"a77"}}]}`) + "&_limit=25", 50},
		{"q", "q=a77&_limit=25", 50},
		{"q, in no car", "q=nowhere+to+be+found&_limit=25", 50},
		{"name_like, a text", "name_like=a77&_limit=25", 50},
		{"name:contains", "name:contains=a77&_limit=25", 50},
		{"_like, the last field", "details.drivetrain_like=all-wheel&_limit=25", 50},
		{"sort by number", "_sort=-price&_limit=25", 50},
		{"sort by text", "_sort=-name&_limit=25", 50},
		{"sort by two", "_sort=category,-price&_limit=25", 50},
		{"sort by what is the same in all", "_sort=details.engine,-name&_limit=25", 50},
		{"filter + sort + page", "category=SUV&price_lte=90000&_sort=-year,price&_page=2&_limit=25", 50},
		{"an expression", "name_like=" + url.QueryEscape("^a.*7$") + "&_limit=25", 100},
		{"deep page", "_page=36000&_limit=25", 100},
		{"deep page, filtered", "year_gte=2000&_page=20000&_limit=25", 100},
		{"deep page, sorted", "_sort=-price&_page=20000&_limit=25", 100},
		{"deep page, sorted by text", "_sort=-name&_page=20000&_limit=25", 100},
		{"deep page, sorted by two", "_sort=category,-price&_page=20000&_limit=25", 100},
	} {
		rows = append(rows, row{name: "1,000,000 cars: " + kind.name, measure: million.underLoad(get("/api/cars?"+kind.query), 1), on: million, goals: []goal{
			{promise: "1,000,000 cars, " + kind.name, figure: median, atMost: kind.within}}})
	}
	return append(rows, row{name: "1,000,000 cars: memory after these", measure: million.peak(1_000_000), on: million, goals: []goal{
		{promise: "1,000,000 cars, memory of each at peak", figure: size, atMost: 1.3}}})
}

// BenchmarkTable prints what the design promises and what came of it, and below that what
// the server costs beside others, in one table.
func BenchmarkTable(b *testing.B) {
	wanted, err := regexp.Compile(*only)
	if err != nil {
		b.Fatal("-rows: ", err)
	}
	sections := [][]row{tableRows(b)}
	missing := "needs Unix"
	if clusterRows != nil {
		var rows []row
		rows, missing = clusterRows(b)
		sections = append(sections, rows)
	}
	var rows []row
	for i, section := range sections {
		sections[i] = pick(section, wanted)
		rows = append(rows, sections[i]...)
	}
	for range b.N {
		measures := make(map[string][]measure)
		for _, section := range sections {
			for round := range *rounds {
				for i, r := range section {
					fmt.Fprintf(os.Stderr, "round %d of %d, row %d of %d: %s\n", round+1, *rounds, i+1, len(section), r.name)
					measures[r.name] = append(measures[r.name], r.measure(b))
					if r.on != nil && (i+1 == len(section) || section[i+1].on != r.on) {
						r.on.stop()
					}
				}
			}
		}
		print(rows, measures, missing)
	}
}

// pick returns the rows whose name is wanted, and the rows that their goals compare with.
func pick(rows []row, wanted *regexp.Regexp) (picked []row) {
	names := make(map[string]bool)
	for _, r := range rows {
		if wanted.MatchString(r.name) && !(testing.Short() && strings.Contains(r.name, "1,000,000 cars")) {
			names[r.name] = true
			for _, g := range r.goals {
				names[cmp.Or(g.over, r.name)] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return !names[r.name] })
}

// print writes the medians of what was measured and, behind each, its lowest and highest.
func print(rows []row, measures map[string][]measure, missing string) {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "%s %s/%s, %d cores, %s, %d rounds of %g s%s\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), time.Now().Format(time.DateOnly), *rounds, *seconds, loadAverage())
	if slices.ContainsFunc(rows, func(r row) bool { return r.goals != nil }) {
		fmt.Fprintln(out, "promise\tmeasured\tgoal\t")
	}
	for _, r := range rows {
		for _, g := range r.goals {
			measured, met := g.measured(measures[r.name], measures[g.over])
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", g.promise, measured, g, met)
		}
	}
	out.Flush()
	fmt.Fprintln(out, "\n\tCPU µs/answer\tanswers/s\tp50 ms\tp99 ms\tpeak MB\tms to first answer")
	for _, r := range rows {
		fmt.Fprint(out, r.name)
		if why := measures[r.name][0].why; why != "" {
			fmt.Fprintf(out, "\tnot measured: %s\n", why)
			continue
		}
		for _, column := range []figure{cpu, rate, median, late, memory, started} {
			_, text := spread(short, column.all(measures[r.name]))
			fmt.Fprint(out, "\t", text)
		}
		fmt.Fprintln(out)
	}
	out.Flush()
	fmt.Println("\n" + notes)
	if missing != "" {
		fmt.Println("Three servers on one catalogue are not measured: " + missing + ".")
	}
}

// loadAverage is how busy the machine was with this and, maybe, with other things; empty where there is no /proc.
func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	if len(fields) < 3 {
		return ""
	}
	return ", load average " + fields[0] + ", in the last 15 minutes " + fields[2]
}

// notes say how to read some of the figures.
const notes = `The process that plays the readers of streams runs at the lowest priority (nice 19), since in
reality they are on other machines. What the processor takes for a write is what its metric
cars_processor_busy_seconds_total says.`

// all returns the figure of each round.
func (f figure) all(measures []measure) (values []float64) {
	for _, m := range measures {
		values = append(values, f.of(m))
	}
	return values
}

// measured returns what came of a goal in all rounds, and whether the median is what it has to be.
func (g goal) measured(of, over []measure) (text, met string) {
	for _, m := range append(slices.Clone(of), over...) {
		if m.why != "" {
			return m.why, ""
		}
	}
	values, bases := g.all(of), g.all(over)
	ratios := slices.Clone(values)
	for i := range bases {
		ratios[i] /= bases[i]
	}
	middle, text := spread(short, ratios)
	if text != "" && bases != nil {
		top, _ := spread(short, values)
		bottom, _ := spread(short, bases)
		text += fmt.Sprintf(" = %s/%s %s", short(top), short(bottom), g.unit)
	}
	switch {
	case text == "":
		return "a round had no answer in time", "MISSED"
	case g.atMost > 0 && middle > g.atMost || middle < g.atLeast:
		return text, "MISSED"
	}
	return text, "met"
}

func (g goal) String() string {
	unit := " " + g.unit
	if g.over != "" {
		unit = ""
	}
	if g.atMost == 0 {
		return fmt.Sprintf("at least %g%s", g.atLeast, unit)
	}
	return fmt.Sprintf("at most %g%s", g.atMost, unit)
}

// spread returns the median, and as text that and, if there are several, the lowest and highest.
// The text is empty if a round has nothing.
func spread(format func(float64) string, values []float64) (middle float64, text string) {
	slices.Sort(values)
	last := len(values) - 1
	if last < 0 || values[0] == 0 || math.IsNaN(values[0]) || math.IsInf(values[last], 0) {
		return 0, ""
	}
	middle = values[len(values)/2]
	if text = format(middle); last > 0 {
		text += " (" + format(values[0]) + "–" + format(values[last]) + ")"
	}
	return middle, text
}

// short returns a value with three digits or more.
func short(value float64) string {
	digits := 2
	if value >= 100 {
		digits = 0
	} else if value >= 10 {
		digits = 1
	}
	return strconv.FormatFloat(value, 'f', digits, 64)
}
