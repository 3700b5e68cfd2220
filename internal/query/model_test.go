package query

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cars/internal/guard"
	"cars/internal/sorted"
)

// A clause is a part of a query, and what it means.
type clause struct {
	param, value string
	json         string // as a member of _where, or "" if that has none
	holds        func(t *thing) bool
}

// randomClause returns a condition in one of the dialects.
func randomClause(random *rand.Rand) clause {
	names := []string{"", "a", "b", "ab", "Ab", "abc", "É", "K", "longer text", "longer text 2", "a.c", "7"}
	name := names[1+random.IntN(len(names)-1)]
	number := random.IntN(12)
	separator := []string{"_", ":"}[random.IntN(2)]
	compare := func(c int, operator string) bool {
		switch operator {
		case "ne":
			return c != 0
		case "gt":
			return c > 0
		case "gte":
			return c >= 0
		case "lt":
			return c < 0
		default:
			return c <= 0
		}
	}
	operator := []string{"ne", "gt", "gte", "lt", "lte"}[random.IntN(5)]
	switch random.IntN(9) {
	case 0:
		return clause{"name", name, fmt.Sprintf(`"name":{"eq":%q}`, name), func(t *thing) bool { return t.name == name }}
	case 1:
		half := number*2 + 1 // halves, so that some are no whole numbers
		text := strconv.FormatFloat(float64(half)/2, 'g', -1, 64)
		return clause{"size.weight" + separator + operator, text, fmt.Sprintf(`"size":{"weight":{%q:%s}}`, operator, text),
			func(t *thing) bool { return compare(cmp.Compare(2*t.weight, half), operator) }}
	case 2:
		return clause{"name" + separator + operator, name, fmt.Sprintf(`"name":{%q:%q}`, operator, name),
			func(t *thing) bool { return compare(strings.Compare(t.name, name), operator) }}
	case 3:
		return clause{"size.weight:in", fmt.Sprintf("%d, %d", number, number/2), fmt.Sprintf(`"size.weight":{"in":[%d,%d]}`, number, number/2),
			func(t *thing) bool { return t.weight == number || t.weight == number/2 }}
	case 4:
		search := []struct {
			operator string
			find     func(s, t string) bool
		}{{"contains", strings.Contains}, {"startsWith", strings.HasPrefix}, {"endsWith", strings.HasSuffix}}[random.IntN(3)]
		return clause{"name" + separator + search.operator, name, fmt.Sprintf(`"name":{%q:%q}`, search.operator, strings.ToUpper(name)),
			func(t *thing) bool { return search.find(strings.ToLower(t.name), strings.ToLower(name)) }}
	case 5:
		return clause{"q", name, "", func(t *thing) bool {
			return slices.ContainsFunc([]string{t.name, strconv.Itoa(t.weight), strconv.Itoa(t.id)},
				func(s string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(name)) })
		}}
	case 6:
		expression := []string{"b", "^a", "7$", "A.C", "t[e ]", "K"}[random.IntN(6)]
		re := regexp.MustCompile("(?i)" + expression)
		return clause{"name_like", expression, "", func(t *thing) bool { return re.MatchString(t.name) }}
	case 7:
		return clause{"id_like", strconv.Itoa(number), "", func(t *thing) bool { return strings.Contains(strconv.Itoa(t.id), strconv.Itoa(number)) }}
	default:
		a, b := randomClause(random), randomClause(random)
		if a.json == "" || b.json == "" {
			return a
		}
		where := fmt.Sprintf(`"or":[{%s},{%s}]`, a.json, b.json)
		return clause{"_where", "{" + where + "}", where, func(t *thing) bool { return a.holds(t) || b.holds(t) }}
	}
}

// randomQuery returns a query string and a naive way to answer it.
func randomQuery(random *rand.Rand) (raw string, answer func(list []*sorted.Item) (found []*sorted.Item, total int)) {
	values := url.Values{}
	var holds []func(t *thing) bool
	for range max(0, random.IntN(5)-2) {
		if c := randomClause(random); values[c.param] == nil { // for repeated ones, see TestFiltersAndOrder
			values.Set(c.param, c.value)
			if c.param == "_where" {
				holds = nil // of those before
			}
			if values.Has("_where") && c.param != "_where" {
				continue
			}
			holds = append(holds, c.holds)
		}
	}
	var orders []func(a, b *thing) int
	if random.IntN(3) > 0 {
		var names []string
		for range 1 + random.IntN(2) {
			order := []func(a, b *thing) int{
				func(a, b *thing) int { return strings.Compare(a.name, b.name) },
				func(a, b *thing) int { return cmp.Compare(a.weight, b.weight) },
				func(a, b *thing) int { return cmp.Compare(a.id, b.id) },
			}
			i := random.IntN(3)
			name := []string{"name", "size.weight", "id"}[i]
			if random.IntN(2) == 0 {
				names, orders = append(names, name), append(orders, order[i])
			} else {
				names, orders = append(names, "-"+name), append(orders, func(a, b *thing) int { return order[i](b, a) })
			}
		}
		values.Set("_sort", strings.Join(names, ","))
	}
	start, end, size, page := 0, 1<<40, 0, 0
	set := func(param string, n int) int {
		values.Set(param, strconv.Itoa(n))
		return n
	}
	switch random.IntN(5) {
	case 0:
		start, end = set("_start", random.IntN(3000)), set("_end", random.IntN(6000))
	case 1:
		end = set("_limit", random.IntN(100))
	case 2:
		page, size = set("_page", 1+random.IntN(100)), set("_limit", 1+random.IntN(100))
		start, end = page*size-size, page*size
	case 3:
		page, size = set("_page", 1+random.IntN(100)), set("_per_page", 1+random.IntN(100))
	}
	return values.Encode(), func(list []*sorted.Item) (found []*sorted.Item, total int) {
		for _, item := range list {
			if !slices.ContainsFunc(holds, func(holds func(t *thing) bool) bool { return !holds(item.Value.(*thing)) }) {
				found = append(found, item)
			}
		}
		slices.SortStableFunc(found, func(a, b *sorted.Item) int {
			for _, order := range orders {
				if c := order(a.Value.(*thing), b.Value.(*thing)); c != 0 {
					return c
				}
			}
			return 0
		})
		if values.Has("_per_page") {
			start = min((page-1)*size, max(0, (len(found)-1)/size*size))
			end = start + size
		}
		start, end = min(start, len(found)), min(end, len(found))
		return found[start:max(start, end)], len(found)
	}
}

// randomList returns n items of which many are alike.
func randomList(random *rand.Rand, n int) []*sorted.Item {
	names := []string{"", "a", "a\x00", "a\x00b", "ab", "Ab", "aBc", "é", "\u212A", "ſ", "longer text", "longer text 2", "longer text 27", "longer tex", "axc"}
	var list []*sorted.Item
	for id := 1; id <= n; id++ {
		list = append(list, newItem(id, names[random.IntN(len(names))]+names[random.IntN(len(names))], random.IntN(16)-2))
	}
	return list
}

// TestQueriesAnswerAsTheModel compares random queries, answered on one core and on
// several, with the naive way.
func TestQueriesAnswerAsTheModel(t *testing.T) {
	seeds := uint64(300)
	if testing.Short() {
		seeds = 60
	}
	for seed := range seeds {
		random := rand.New(rand.NewPCG(seed, 1))
		list := randomList(random, []int{1, 50, 3000, 9000}[random.IntN(4)])
		raw, answer := randomQuery(random)
		q, err := parse(raw)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		want, wantTotal := answer(list)
		for _, cores := range []int{1, 2, 4} {
			blocks := slices.Collect(slices.Chunk(list, 1+random.IntN(1500)))
			got, total := runQuery(t, guard.NewPool(cores), q, blocks)
			if total != wantTotal || !slices.Equal(got, want) {
				t.Fatalf("seed %d, %d cores: %s of %d items: got %d of %d, want %d of %d", seed, cores, raw, len(list), len(got), total, len(want), wantTotal)
			}
		}
	}
}

// TestSortsAsTheStandardLibrary has lists longer than a selection has room for, with texts
// that begin alike, in orders that make it keep the least and the most.
func TestSortsAsTheStandardLibrary(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	texts := []string{"", "\x00", "short", "seven77", "seven77\x00", "seven778", "longer than that", "longer than those", "longer than", "longer than that and that"}
	for _, size := range []int{1, 2, 70, 5000, 40_000} { // the last so long that parts are sorted on another core
		var list []*sorted.Item
		for id := 1; id <= size; id++ {
			list = append(list, newItem(id, texts[random.IntN(len(texts))], random.IntN(size)-size/2))
		}
		for by, compare := range map[string]func(a, b *thing) int{
			"id":                func(a, b *thing) int { return a.id - b.id },
			"-id":               func(a, b *thing) int { return b.id - a.id },
			"size.weight":       func(a, b *thing) int { return cmp.Or(a.weight-b.weight, a.id-b.id) },
			"-size.weight":      func(a, b *thing) int { return cmp.Or(b.weight-a.weight, a.id-b.id) },
			"name":              func(a, b *thing) int { return cmp.Or(strings.Compare(a.name, b.name), a.id-b.id) },
			"-name":             func(a, b *thing) int { return cmp.Or(strings.Compare(b.name, a.name), a.id-b.id) },
			"-name,size.weight": func(a, b *thing) int { return cmp.Or(strings.Compare(b.name, a.name), a.weight-b.weight, a.id-b.id) },
			"name,-id":          func(a, b *thing) int { return cmp.Or(strings.Compare(a.name, b.name), b.id-a.id) },
		} {
			want := slices.SortedFunc(slices.Values(list), func(a, b *sorted.Item) int { return compare(a.Value.(*thing), b.Value.(*thing)) })
			for _, window := range [][2]int{{0, 1}, {0, 25}, {10, 1000}, {size / 2, size/2 + 10}, {size - 1, size}, {0, size}} {
				start, end := min(window[0], size), min(window[1], size)
				q, err := parse(fmt.Sprintf("_sort=%s&_start=%d&_end=%d", by, start, end))
				if err != nil {
					t.Fatal(err)
				}
				if got, _ := runQuery(t, guard.NewPool(2), q, slices.Collect(slices.Chunk(list, 100))); !slices.Equal(got, want[start:end]) {
					t.Errorf("%d to %d of %d by %s are wrong", start, end, size, by)
				}
			}
		}
	}
}

// TestSearchesLookInTheirField has texts that other fields have, too.
func TestSearchesLookInTheirField(t *testing.T) {
	list := []*sorted.Item{newItem(2, "8", 2), newItem(8, "r8", 8), newItem(80, "x", 3), newItem(88, "y", 8), newItem(89, "8r", 1)}
	for query, want := range map[string]string{"name:contains=8": "2889", "name_like=8": "2889", "name:startsWith=8": "289", "name:endsWith=8": "28",
		"size.weight_like=8": "888", "id_like=8": "8808889", "q=8": "28808889"} {
		if got, _ := run(t, list, query); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
}

// TestFinderFindsAsStringsIndex compares a finder with the standard library.
func TestFinderFindsAsStringsIndex(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	text := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "a7z"[random.IntN(3)]
		}
		return string(b)
	}
	for range 10_000 {
		s, sub := text(random.IntN(30)), text(1+random.IntN(4))
		find := newFinder(sub)
		if got, want := find.index(s), strings.Index(s, sub); got != want {
			t.Fatalf("%s in %s: got %d, want %d", sub, s, got, want)
		}
	}
}

// FuzzQuery looks for query strings that end in a panic or in an answer that is wrong in
// itself.
func FuzzQuery(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 1))
	list := randomList(random, 200)
	for range 50 {
		raw, _ := randomQuery(random)
		f.Add(raw)
	}
	f.Add(`_where={"size":{"weight":{"gte":70,"lt":8.5e1},"or":[{"weight":{"eq":70}},{"and":[]}]}}&_page=2&_per_page=3`)
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parse(raw)
		if err != nil {
			return
		}
		got, total := runQuery(t, guard.NewPool(2), q, slices.Collect(slices.Chunk(list, 20)))
		matching := 0
		for _, item := range list {
			if q.Matches(item) {
				matching++
			}
		}
		if total != matching || len(got) > total || slices.ContainsFunc(got, func(item *sorted.Item) bool { return !q.Matches(item) }) {
			t.Errorf("got %d of %d, and %d match", len(got), total, matching)
		}
		q.Envelope(total)
		q.Links("", raw, total)
	})
}
