package check

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

type object = map[string]any

// RandomCars returns n cars as encoding/json decodes them, with the IDs 1, 3, 5 and so
// on. They have few different values, so that queries find some and ties are common.
func RandomCars(random *rand.Rand, n int) []map[string]any {
	pick := func(values ...string) string { return values[random.IntN(len(values))] }
	list := make([]object, n)
	for i := range list {
		list[i] = object{
			"id":           float64(i*2 + 1),
			"name":         pick("a", "B", "ab", "Ab", "é", "É", "a.b", "Zoë"),
			"manufacturer": pick("Audi", "BMW", "audi", "Škoda"),
			"category":     pick("", "SUV", "Sedan"),
			"year":         []float64{0, 2001, 2002, 2010}[random.IntN(4)],
			"price":        float64(random.IntN(30) * 5),
			"imageUrl":     "/images/" + pick("suv", "sedan") + ".svg",
			"details": object{
				"engine":       pick("V6", "V8", "v8"),
				"horsepower":   float64(random.IntN(12)),
				"transmission": pick("CVT", "eCVT"),
				"drivetrain":   pick("FWD", "RWD"),
			},
		}
	}
	return list
}

var (
	textFields   = []string{"name", "manufacturer", "category", "imageUrl", "details.engine", "details.transmission", "details.drivetrain"}
	numberFields = []string{"id", "year", "price", "details.horsepower"}
)

// RandomQuery returns a query that makes sense, in the dialect of json-server 0.17.
func RandomQuery(random *rand.Rand) url.Values {
	pick := func(values ...string) string { return values[random.IntN(len(values))] }
	values := url.Values{}
	for range random.IntN(4) {
		field := pick(slices.Concat(textFields, numberFields)...)
		operator := pick("", "", "_ne", "_gt", "_gte", "_lt", "_lte", "_like")
		value := pick("a", "B", "Audi", "SUV", "V8", "e", "eCVT", "RWD", "ö")
		if operator == "_like" {
			value = pick("a", "^a", "b$", "a.b", "d|v", "É", "2", "[0-5]$")
		} else if slices.Contains(numberFields, field) {
			value = pick("0", "1", "2", "3", "7", "10", "50", "2001", "2002", "-1", "1.5", "1e1", "1e30")
		}
		values.Add(field+operator, value)
	}
	if random.IntN(3) == 0 {
		values.Set("q", pick("a", "É", "v8", "10", "SEDAN.SVG", "fwd"))
	}
	if random.IntN(2) == 0 {
		names := pick("name", "-year", "price,name", "year,-manufacturer,price", "details.horsepower,-details.engine", "-id")
		values.Set("_sort", names)
		if random.IntN(2) == 0 {
			values.Set("_order", pick("asc", "desc", "DESC"))
		}
	}
	number := func(least int) string { return strconv.Itoa(least + random.IntN(25)) }
	switch random.IntN(6) {
	case 0:
		values.Set("_start", number(0))
	case 1:
		values.Set("_end", number(0))
	case 2:
		values.Set("_start", number(0))
		values.Set("_end", number(25))
	case 3:
		values.Set("_limit", number(0))
		values.Set("_start", number(0))
	case 4:
		values.Set("_page", number(1))
		if random.IntN(2) == 0 {
			values.Set("_limit", number(1))
		}
	}
	return values
}

// ObviousList returns the IDs of those cars that a list with these parameters has, and
// how many cars match without regard to slices and pages. It is the definition of the
// dialect, read plainly: filter, sort everything, slice.
func ObviousList(cars []map[string]any, values url.Values) (ids []int, total int) {
	var list []object
	for _, car := range cars {
		keep := contains(car, values.Get("q"))
		for param, wanted := range values {
			path, operator, _ := strings.Cut(param, "_")
			value := at(car, path)
			if value == nil {
				continue
			}
			holding := 0
			for _, want := range wanted {
				if matches(value, operator, want) {
					holding++
				}
			}
			any := operator == "" || operator == "like"
			keep = keep && (holding == len(wanted) || any && holding > 0)
		}
		if keep {
			list = append(list, car)
		}
	}
	orders := strings.Split(strings.ToLower(values.Get("_order")), ",")
	slices.SortStableFunc(list, func(a, b object) int {
		if values.Get("_sort") == "" {
			return 0
		}
		for i, path := range strings.Split(values.Get("_sort"), ",") {
			path, descending := strings.CutPrefix(path, "-")
			if c := compare(at(a, path), at(b, path)); c != 0 {
				if descending || i < len(orders) && orders[i] == "desc" {
					return -c
				}
				return c
			}
		}
		return 0
	})
	number := func(param string, otherwise int) int {
		if n, err := strconv.Atoi(values.Get(param)); err == nil {
			return n
		}
		return otherwise
	}
	start := number("_start", 0)
	end := number("_end", start+number("_limit", len(list)))
	if page := number("_page", 0); page > 0 {
		start = (page - 1) * number("_limit", 10)
		end = start + number("_limit", 10)
	}
	for _, car := range list[min(start, len(list)):min(end, len(list))] {
		ids = append(ids, int(car["id"].(float64)))
	}
	return ids, len(list)
}

// at returns the value at a path such as details.engine, or nil.
func at(car object, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		value := car[name]
		nested, ok := value.(object)
		if !ok {
			return value
		}
		car = nested
	}
	return nil
}

func compare(a, b any) int {
	if x, ok := a.(float64); ok {
		return cmp.Compare(x, b.(float64))
	}
	return cmp.Compare(a.(string), b.(string))
}

func matches(value any, operator, want string) bool {
	if operator == "like" {
		return regexp.MustCompile("(?i)" + want).MatchString(fmt.Sprint(value))
	}
	var other any = want
	if _, ok := value.(float64); ok {
		other, _ = strconv.ParseFloat(want, 64)
	}
	c := compare(value, other)
	return map[string]bool{"": c == 0, "ne": c != 0, "gt": c > 0, "gte": c >= 0, "lt": c < 0, "lte": c <= 0}[operator]
}

func contains(value any, text string) bool {
	if nested, ok := value.(object); ok {
		return slices.ContainsFunc(slices.Collect(maps.Values(nested)), func(v any) bool { return contains(v, text) })
	}
	return strings.Contains(strings.ToLower(fmt.Sprint(value)), strings.ToLower(text))
}
