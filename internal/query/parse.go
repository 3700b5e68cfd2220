package query

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// An Error is a mistake in a query string, in a sentence for who wrote it.
type Error string

func (e Error) Error() string { return string(e) }

// maxParameters bounds a query string. No client needs as many; beyond it, the
// time to read and apply them would be the sender's to choose.
const maxParameters = 1000

// Values reads a query string: parameters are separated by &, names and values
// are percent-encoded.
func Values(raw string) (url.Values, error) {
	if strings.Count(strings.Trim(raw, "&"), "&") >= maxParameters {
		return nil, Error(fmt.Sprintf("The query must not have more than %d parameters", maxParameters))
	}
	if raw == "" { // as in nearly all requests that are not for a list
		return nil, nil
	}
	values, err := url.ParseQuery(raw)
	if err == nil {
		return values, nil
	}
	for pair := range strings.SplitSeq(raw, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if _, err := url.ParseQuery(pair); err != nil {
			return nil, Error(cmp.Or(name, pair) + ": parameters must be separated by & (write ; as %3B), and % must stand before two hexadecimal digits")
		}
	}
	return nil, Error("The query is malformed")
}

// given returns the values of a parameter that are not empty.
func given(values url.Values, param string) []string {
	return slices.DeleteFunc(slices.Clone(values[param]), func(value string) bool { return value == "" })
}

// single returns the value of a parameter that makes sense only once, or "".
func single(values url.Values, param string) (string, error) {
	switch all := given(values, param); len(all) {
	case 0:
		return "", nil
	case 1:
		return all[0], nil
	default:
		return "", Error(param + " must be given only once")
	}
}

// Int reads a parameter that is a whole number, least to most. It returns
// otherwise if there is none.
func Int(values url.Values, param string, least, most, otherwise int) (int, error) {
	value, err := single(values, param)
	if value == "" || err != nil {
		return otherwise, err
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		return 0, Error(fmt.Sprintf("%s must be a whole number, %d to %d", param, least, most))
	}
	return n, nil
}

// Parse reads the parameters of a list.
func (s *Schema[T]) Parse(values url.Values) (*Query[T], error) {
	q := new(Query[T])
	for _, param := range slices.Sorted(maps.Keys(values)) { // so that of two mistakes the same is named each time
		if err := s.addFilter(q, param, given(values, param)); err != nil {
			return nil, err
		}
	}
	if err := cmp.Or(s.addSearch(q, values), s.addSort(q, values), q.addSlice(values)); err != nil {
		return nil, err
	}
	return q, nil
}

// addFilter adds the conditions of a parameter such as year or year_gte.
func (s *Schema[T]) addFilter(q *Query[T], param string, values []string) error {
	name, operator := param, ""
	if i := strings.LastIndexByte(param, '_'); i > 0 {
		name, operator = param[:i], param[i:]
	}
	f := s.field(name)
	if f == nil || len(values) == 0 {
		return nil
	}
	add := func(c condition[T], err error) error {
		q.conditions = append(q.conditions, c)
		return err
	}
	switch _, compares := operators[operator]; {
	case operator == "":
		return add(f.equals(param, values))
	case operator == "_like":
		return q.addMatches(f, param, values)
	case compares:
		for _, value := range values {
			if err := add(f.compares(param, operator, value)); err != nil {
				return err
			}
		}
	}
	return nil
}

// addSearch reads q.
func (s *Schema[T]) addSearch(q *Query[T], values url.Values) error {
	text, err := single(values, "q")
	if text == "" || err != nil {
		return err
	}
	text = strings.ToLower(text)
	if strings.Contains(text, "\n") { // which stands between fields, and in none
		q.conditions = append(q.conditions, where(func(T) bool { return false }))
		return nil
	}
	q.conditions = append(q.conditions, where(func(item T) bool { return strings.Contains(s.Search(item), text) }))
	return nil
}

// addSort reads _sort and _order.
func (s *Schema[T]) addSort(q *Query[T], values url.Values) error {
	names, errSort := single(values, "_sort")
	order, errOrder := single(values, "_order")
	if err := cmp.Or(errSort, errOrder); err != nil {
		return err
	}
	var directions []string
	if order != "" {
		directions = strings.Split(strings.ToLower(order), ",")
	}
	for _, direction := range directions {
		if direction != "asc" && direction != "desc" {
			return Error("_order must be asc or desc, for each field of _sort")
		}
	}
	if names == "" {
		return nil
	}
	fields := strings.Split(names, ",")
	if len(directions) > len(fields) {
		return Error("_order must not name more directions than _sort names fields")
	}
	for i, name := range fields {
		name, descending := strings.CutPrefix(name, "-")
		f := s.field(name)
		if f == nil {
			return Error(fmt.Sprintf("_sort must name fields, and %q is none; there are %s", name, s.fieldNames()))
		}
		q.addSortKey(f, descending || i < len(directions) && directions[i] == "desc")
	}
	q.addSortKey(&s.Fields[0], false) // so that no two are equal
	return nil
}

// addSortKey adds a field to sort by, unless it is there already: among items
// that are equal in it, it decides nothing any more.
func (q *Query[T]) addSortKey(f *Field[T], descending bool) {
	if !slices.ContainsFunc(q.sortBy, func(key sortKey[T]) bool { return key.Field == f }) {
		q.sortBy = append(q.sortBy, sortKey[T]{f, descending})
	}
}

// fieldNames lists the fields, for who misspelt one.
func (s *Schema[T]) fieldNames() string {
	names := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		names[i] = f.Name
	}
	return strings.Join(names, ", ")
}

// maxSlice bounds _start, _end, _limit and _page, so that neither the sum nor
// the product of two overflows an int64.
const maxSlice = 1_000_000_000

// addSlice reads which part of the list is wanted. As in json-server, _page
// goes before _end, and _end before _limit.
func (q *Query[T]) addSlice(values url.Values) error {
	start, errStart := Int(values, "_start", 0, maxSlice, 0)
	end, errEnd := Int(values, "_end", start, maxSlice, -1)
	limit, errLimit := Int(values, "_limit", 0, maxSlice, -1)
	page, errPage := Int(values, "_page", 1, maxSlice, 0)
	size, errSize := Int(values, "_per_page", 1, maxSlice, limit)
	if err := cmp.Or(errStart, errEnd, errLimit, errPage, errSize); err != nil {
		return err
	}
	switch {
	case page > 0 && size == 0:
		return Error("_limit must be at least 1 with _page")
	case page > 0:
		if size < 0 {
			size = 10
		}
		q.page, q.size = page, size
		q.start, q.end = (page-1)*size, page*size
	case end >= 0:
		q.start, q.end = start, end
	case limit >= 0:
		q.start, q.end = start, start+limit
	default:
		q.start, q.end = start, math.MaxInt
	}
	return nil
}

// Links is the value of the Link header (RFC 8288) of a page of r's list: where
// the first, previous, next and last page are, of a list of total items. It is
// "" if no page was asked for. A page beyond the last has the last before it.
func (q *Query[T]) Links(r *http.Request, total int) string {
	if q.page == 0 {
		return ""
	}
	target := url.URL{Host: r.Host, Path: r.URL.Path}
	switch {
	case r.Host == "": // HTTP/1.0; the reference stays relative
	case r.TLS == nil:
		target.Scheme = "http"
	default:
		target.Scheme = "https"
	}
	last := max(1, (total+q.size-1)/q.size)
	values := r.URL.Query()
	var links []string
	link := func(rel string, page int) {
		values.Set("_page", strconv.Itoa(page))
		target.RawQuery = values.Encode()
		links = append(links, fmt.Sprintf(`<%s>; rel="%s"`, &target, rel))
	}
	link("first", 1)
	if q.page > 1 {
		link("prev", min(q.page-1, last))
	}
	if q.page < last {
		link("next", q.page+1)
	}
	link("last", last)
	return strings.Join(links, ", ")
}
