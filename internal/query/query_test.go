package query

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cars/internal/guard"
	"cars/internal/rest"
	"cars/internal/sorted"
	"cars/internal/strict"
)

// A thing is the value of an item, with a field of each kind.
type thing struct {
	id     int
	name   string
	weight int
}

var table = strict.Table{
	{Name: "id", Number: func(v any) *int { return &v.(*thing).id }},
	{Name: "name", Text: func(v any) *string { return &v.(*thing).name }},
	{Name: "size.weight", Number: func(v any) *int { return &v.(*thing).weight }},
}

func newItem(id int, name string, weight int) *sorted.Item {
	t := &thing{id, name, weight}
	return &sorted.Item{ID: id, Value: t, Search: SearchText(table, t)}
}

// things have the given names, weights that fall from 90 by tens, and IDs from 1.
func things(names ...string) []*sorted.Item {
	var list []*sorted.Item
	for i, name := range names {
		list = append(list, newItem(i+1, name, 90-10*i))
	}
	return list
}

// parse returns the query of a query string.
func parse(raw string) (*Query, error) {
	values, err := Values(raw)
	if err != nil {
		return nil, err
	}
	return Parse(table, values)
}

// run returns the IDs of what a query string asks for.
func run(t *testing.T, list []*sorted.Item, raw string) (ids string, total int) {
	t.Helper()
	q, err := parse(raw)
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	found, total := runQuery(t, guard.NewPool(1), q, [][]*sorted.Item{list})
	// In how many pieces a list comes makes no difference, nor on how many cores.
	for size := range len(list) {
		again, totalAgain := runQuery(t, guard.NewPool(3), q, slices.Collect(slices.Chunk(list, size+1)))
		if !slices.Equal(again, found) || totalAgain != total {
			t.Errorf("%s: got %d of %d in pieces of %d, and %d of %d as a whole", raw, len(again), totalAgain, size+1, len(found), total)
		}
	}
	var b strings.Builder
	for _, item := range found {
		b.WriteString(strconv.Itoa(item.ID))
	}
	return b.String(), total
}

// runQuery returns what a query finds.
func runQuery(t testing.TB, p *guard.Pool, q *Query, blocks [][]*sorted.Item) (items []*sorted.Item, total int) {
	t.Helper()
	list, err := q.run(t.Context(), p, blocks)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Release()
	return slices.Concat(list.Pieces...), list.Total
}

func TestFiltersAndOrder(t *testing.T) {
	list := things("ant", "Bee", "cat", "Cow", "bee", "éclair") // weights 90 80 70 60 50 40
	tests := []struct{ query, want string }{
		{"", "123456"},
		{"unknown=1&_unknown=2&name_unknown=3&_ne=4", "123456"},

		{"name=cat", "3"},
		{"name=Cat", ""},
		{"name=cat&name=ant", "13"},
		{"name=cat&name=ant&id=3", "3"},
		{"name=", "123456"},
		{"name&id&_sort&_order&_start&_end&_limit&_page&_per_page&q&name_like&id_gte", "123456"},
		{"name=&name=cat", "3"},
		{"q=cat&q=", "3"},
		{"_end&_end=1&_end=", "1"},
		{"size.weight=70", "3"},
		{"size.weight=70.0", "3"},
		{"size.weight=7e1", "3"},
		{"size.weight=70.5", ""},
		{"id=003", "3"},

		{"name_ne=cat", "12456"},
		{"name_ne=cat&name_ne=ant", "2456"},
		{"size.weight_ne=70", "12456"},
		{"size.weight_ne=70.5", "123456"},

		{"name_gt=cat", "6"}, // in order of bytes, capitals come first and accents last
		{"name_lte=ant", "124"},
		{"size.weight_gt=70", "12"},
		{"size.weight_gt=70.5", "12"},
		{"size.weight_gt=69.5", "123"},
		{"size.weight_gte=70", "123"},
		{"size.weight_gte=70.5", "12"},
		{"size.weight_lt=70", "456"},
		{"size.weight_lt=70.5", "3456"},
		{"size.weight_lte=70", "3456"},
		{"size.weight_lte=69.5", "456"},
		{"size.weight_gte=8", "123456"}, // as texts, 8 would be the greatest
		{"size.weight_gt=50&size.weight_gt=70", "12"},
		{"size.weight_gt=50&size.weight_lt=70", "4"},
		{"size.weight_lt=1e300", "123456"},
		{"size.weight_gt=-1e300", "123456"},
		{"size.weight_gte=1e300", ""},
		{"size.weight_lt=1e999", "123456"},
		{"size.weight_gt=-1e999", "123456"},
		{"size.weight_lte=9223372036854775808", "123456"},
		{"size.weight_gte=9223372036854775808", ""},
		{"id_lte=9223372036854775807", "123456"},

		{"name_like=EE", "25"},
		{"name_like=^c", "34"},
		{"name_like=^c&name_like=ant", "134"},
		{"name_like=É", "6"},
		{`name_like=^\p{Lu}\w%2B$`, "123456"}, // a large class is one state
		{`name_like=^\p{Greek}`, ""},
		{"name_like=ſ", ""}, // K and ſ have a lower case of other length
		{"name_like=BEE&name_like=x{300}", "25"},
		{"name_like=.", "123456"},
		{"size.weight_like=0", "123456"},
		{"size.weight_like=^[67]", "34"},
		{"name_like=b%2B%7Ca", "12356"},

		{"q=BEE", "25"},
		{"q=ÉCL", "6"},
		{"q=9", "1"},
		{"q=ant%0A90", ""}, // not from field to field

		{"_sort=name", "241536"},
		{"_sort=name&_order=desc", "635142"},
		{"_sort=-name", "635142"},
		{"_sort=-name&_order=asc", "635142"},
		{"_sort=size.weight", "654321"},
		{"_sort=size.weight&_order=DESC", "123456"},
		{"_order=desc", "123456"},
		{"_sort=name,name,name&_order=desc,asc,asc", "635142"},
		{"_sort=-id,name", "654321"},
	}
	for _, test := range tests {
		if got, _ := run(t, list, test.query); got != test.want {
			t.Errorf("%s: got %s, want %s", test.query, got, test.want)
		}
	}
}

func TestEqualsStayInOrderOfTheKey(t *testing.T) {
	list := things("b", "a", "b", "a", "c")
	for query, want := range map[string]string{
		"_sort=name":                              "24135",
		"_sort=-name":                             "51324",
		"_sort=name,size.weight":                  "42315",
		"_sort=name,size.weight&_order=desc":      "53142",
		"_sort=name,-size.weight&_order=desc,asc": "51324",
		"_sort=-name&_end=3":                      "513",
	} {
		if got, _ := run(t, list, query); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
}

func TestSlices(t *testing.T) {
	list := things("a", "b", "c", "d", "e", "f", "g", "h", "i")
	tests := []struct{ query, want string }{
		{"_start=7", "89"},
		{"_start=9", ""},
		{"_start=1000000000", ""},
		{"_end=2", "12"},
		{"_end=0", ""},
		{"_end=1000000000", "123456789"},
		{"_start=2&_end=4", "34"},
		{"_start=2&_end=2", ""},
		{"_start=5&_end=4", ""},
		{"_start=5&_end=4&_sort=-id", ""},
		{"_sort=-id&_end=0", ""},
		{"_limit=3", "123"},
		{"_limit=0", ""},
		{"_start=7&_limit=3", "89"},
		{"_start=1000000000&_limit=1000000000", ""},
		{"_start=2&_end=4&_limit=1", "34"},
		{"_page=1", "123456789"},
		{"_page=2", ""},
		{"_page=2&_limit=4", "5678"},
		{"_page=3&_per_page=4", "9"},
		{"_page=2&_per_page=2&_limit=4", "34"},
		{"_page=2&_limit=2&_start=8", "34"},
		{"_page=1000000000&_limit=1000000000", ""},
		{"_per_page=2", "123456789"},
		{"_sort=-id&_page=2&_limit=4", "5432"},
		{"_sort=-id&_start=8", "1"},
	}
	for _, test := range tests {
		got, total := run(t, list, test.query)
		if got != test.want || total != len(list) {
			t.Errorf("%s: got %q of %d, want %q of %d", test.query, got, total, test.want, len(list))
		}
	}
	if got, total := run(t, list, "id_gt=4&_limit=2"); got != "56" || total != 5 {
		t.Errorf("got %q of %d, want %q of %d", got, total, "56", 5)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	const (
		whole0 = " must be a whole number, 0 to 1000000000"
		whole1 = " must be a whole number, 1 to 1000000000"
		once   = " must be given only once"
		states = " is too large: the expressions of a query must not have more than 1000 states"
		coding = ": parameters must be separated by & (write ; as %3B), and % must stand before two hexadecimal digits"
	)
	tests := []struct{ query, want string }{
		{"id=x", "id must be a number"},
		{"size.weight_gte=heavy", "size.weight_gte must be a number"},
		{"size.weight_ne=1_000", "size.weight_ne must be a number"},
		{"size.weight=0x10", "size.weight must be a number"},
		{"size.weight=0x1p4", "size.weight must be a number"},
		{"size.weight=Inf", "size.weight must be a number"},
		{"size.weight=NaN", "size.weight must be a number"},
		{"size.weight=-", "size.weight must be a number"},
		{"size.weight=%20", "size.weight must be a number"},
		{"id=1&id=x", "id must be a number"},
		{"name_like=((x{100}){10}){10}", "name_like must be a regular expression (RE2 syntax)"}, // repeats too often for RE2 itself
		{"name_like=(xxxxxxxxxxxxxxxx){500}", "name_like" + states},
		{"name_like=x{200}&id_like=x{200}", "name_like" + states},
		{"name_like=" + strings.Repeat("x", 1001), "name_like" + states},
		{strings.Repeat("name_like=x&", 999), "name_like" + states},
		{"name_like=(", "name_like must be a regular expression (RE2 syntax)"},
		{"id_like=a{2000}", "id_like must be a regular expression (RE2 syntax)"},
		{"q=a&q=b", "q" + once},
		{"_sort=colour", `_sort must name fields, and "colour" is none; there are id, name, size.weight`},
		{"_sort=name,", `_sort must name fields, and "" is none; there are id, name, size.weight`},
		{"_sort=name&_sort=id", "_sort" + once},
		{"_order=up", "_order must be asc or desc, for each field of _sort"},
		{"_sort=name&_order=asc,", "_order must be asc or desc, for each field of _sort"},
		{"_sort=name&_order=asc,asc", "_order must not name more directions than _sort names fields"},
		{"_order=asc&_order=asc", "_order" + once},
		{"_start=-1", "_start" + whole0},
		{"_start=1.5", "_start" + whole0},
		{"_start=99999999999999999999", "_start" + whole0},
		{"_start=1000000001", "_start" + whole0},
		{"_start=1&_start=1", "_start" + once},
		{"_end=x", "_end" + whole0},
		{"_limit=-1", "_limit" + whole0},
		{"_page=0", "_page" + whole1},
		{"_page=-1", "_page" + whole1},
		{"_page=one", "_page" + whole1},
		{"_page=1&_limit=0", "_limit must be at least 1 with _page"},
		{"_page=1&_per_page=0", "_per_page" + whole1},
		{"name=a;b=c", "name" + coding},
		{"id=1&name=%zz", "name" + coding},
		{"%=1", "%" + coding},
		{"name=%", "name" + coding},
		{"=;", "=;" + coding},
		{strings.Repeat("x&", 1000) + "x", "The query must not have more than 1000 parameters"},
	}
	for _, test := range tests {
		_, err := parse(test.query)
		var e *rest.Error
		if !errors.As(err, &e) || e.Status != 400 || e.Message != test.want {
			t.Errorf("%.40s: got %v, want %s", test.query, err, test.want)
		}
	}
	if _, err := Values(strings.Repeat("x&", 1000)); err != nil {
		t.Errorf("1,000 parameters: %v", err)
	}
}

func TestLinks(t *testing.T) {
	tests := []struct {
		query, page string // page: the query of a link, for any page
		total       int
		want        []string // page and relation
	}{
		{"_page=1&_limit=10", "_limit=10&_page=%s", 25, []string{"1 first", "2 next", "3 last"}},
		{"_page=2&_limit=10", "_limit=10&_page=%s", 25, []string{"1 first", "1 prev", "3 next", "3 last"}},
		{"_page=3&_limit=10", "_limit=10&_page=%s", 25, []string{"1 first", "2 prev", "3 last"}},
		{"_page=4&_limit=10", "_limit=10&_page=%s", 25, []string{"1 first", "3 prev", "3 last"}},
		{"_page=9&_limit=10", "_limit=10&_page=%s", 25, []string{"1 first", "3 prev", "3 last"}},
		{"_page=1&_limit=10", "_limit=10&_page=%s", 10, []string{"1 first", "1 last"}},
		{"_page=1&_limit=10", "_limit=10&_page=%s", 0, []string{"1 first", "1 last"}},
		{"_page=2&_limit=10", "_limit=10&_page=%s", 0, []string{"1 first", "1 prev", "1 last"}},
		{"_page=2&_per_page=10", "_page=%s&_per_page=10", 25, []string{"1 first", "1 prev", "3 next", "3 last"}},
		{"_page=9&_per_page=10", "_page=%s&_per_page=10", 25, []string{"1 first", "2 prev", "3 last"}},
	}
	for _, test := range tests {
		raw := test.query + "&name_like=a%26b"
		q, err := parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, link := range test.want {
			page, rel, _ := strings.Cut(link, " ")
			want = append(want, fmt.Sprintf(`<https://example.com/x/things?`+test.page+`&name_like=a%%26b>; rel="%s"`, page, rel))
		}
		if got := q.Links("https://example.com/x/things", raw, test.total); got != strings.Join(want, ", ") {
			t.Errorf("%s of %d:\ngot  %s\nwant %s", test.query, test.total, got, strings.Join(want, ", "))
		}
	}
	q, _ := parse("_start=3")
	if got := q.Links("", "_start=3", 1); got != "" {
		t.Errorf("without pages: got %s", got)
	}
}

func TestOfTwoMistakesTheSameIsNamed(t *testing.T) {
	for range 20 {
		if _, err := parse("size.weight=x&id=x&id_gt=x&id_lt=x"); err == nil || err.Error() != "id must be a number" {
			t.Errorf("got %v, want the first in order of name", err)
		}
	}
}

func TestParseNumber(t *testing.T) {
	for s, want := range map[string]struct {
		floor int
		whole bool
	}{
		"0": {0, true}, "-7": {-7, true}, "2.0": {2, true}, "1.5": {1, false}, "-1.5": {-2, false}, "1e3": {1000, true},
		".5": {0, false}, "3000000000.5": {3000000000, false}, "1e999": {math.MaxInt, false}, "1e300": {math.MaxInt, false}, "-1e300": {math.MinInt, false},
		"9223372036854775807": {math.MaxInt, true}, "9223372036854775808": {math.MaxInt, false},
	} {
		if floor, whole, ok := parseNumber(s); floor != want.floor || whole != want.whole || !ok {
			t.Errorf("%s: got %d, %v, %v, want %d, %v", s, floor, whole, ok, want.floor, want.whole)
		}
	}
}
