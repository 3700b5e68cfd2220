// Package query filters, searches, sorts and slices lists, as the parameters
// of a URL ask. It knows fields and parameters, not what the items are.
//
// The dialect is that of json-server 0.17:
//
//	field=value                  equal; repeated: any of the values
//	field_ne=value               not equal; repeated: none of them
//	field_gt, _gte, _lt, _lte    compared as the field's type; repeated: all must hold
//	field_like=expression        matches, whatever the case (RE2 syntax); repeated: any of them
//	q=text                       some field contains the text, whatever the case
//	_sort=a,b  _order=asc,desc   the order, or _sort=-a,b; equals stay in the order of the key
//	_start, _end, _limit         a slice
//	_page, _limit or _per_page   pages, of 10 items if nothing else is said
//
// Unknown parameters are ignored, and so are known ones without a value. A
// value that makes no sense is an [Error].
package query

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Field is what items can be filtered and sorted by. It has either a Number
// or a Text.
type Field[T any] struct {
	Name   string // as in parameters
	Number func(T) int
	Text   func(T) string
}

// asText is the field's value as patterns and searches see it.
func (f *Field[T]) asText(item T) string {
	if f.Text != nil {
		return f.Text(item)
	}
	return strconv.Itoa(f.Number(item))
}

// compare orders two items by the field: numbers by value, texts by bytes.
func (f *Field[T]) compare(a, b T) int {
	if f.Text != nil {
		return strings.Compare(f.Text(a), f.Text(b))
	}
	return cmp.Compare(f.Number(a), f.Number(b))
}

// A Schema is what can be asked of lists of one kind of item.
type Schema[T any] struct {
	// Fields are all there are. The first is the key: no two items of a list
	// have the same, and lists are in its order unless another is asked for.
	Fields []Field[T]

	// Search returns the SearchText of an item, which is worth keeping.
	Search func(T) string
}

// field returns the field of that name, or nil.
func (s *Schema[T]) field(name string) *Field[T] {
	i := slices.IndexFunc(s.Fields, func(f Field[T]) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &s.Fields[i]
}

// SearchText is what q searches: all fields in lower case, each with a newline
// at its end.
func (s *Schema[T]) SearchText(item T) string {
	b := make([]byte, 0, 256)
	for i := range s.Fields {
		if f := &s.Fields[i]; f.Text != nil {
			b = append(b, f.Text(item)...)
		} else {
			b = strconv.AppendInt(b, int64(f.Number(item)), 10)
		}
		b = append(b, '\n')
	}
	for i, c := range b {
		switch {
		case 'A' <= c && c <= 'Z':
			b[i] += 'a' - 'A'
		case c >= utf8.RuneSelf:
			return string(bytes.ToLower(b))
		}
	}
	return string(b)
}

// A Query says which items a list contains, in which order, and which slice of
// it is wanted.
type Query[T any] struct {
	conditions  []condition[T] // all must hold
	expressions int            // the size of those in conditions
	sortBy      []sortKey[T]   // the first decides, the next among equals; empty: the order of the key
	start, end  int            // the slice, half-open, of a list that may be shorter
	page, size  int            // the slice as a page; page is 0 if none was asked for
}

// A condition appends to kept those of items that belong in a list. It works on
// many at a time because a call for each of a million would take longer than
// the look at it. kept is empty, and may begin where items does.
type condition[T any] func(kept, items []T) []T

// where is the condition that holds does.
func where[T any](holds func(T) bool) condition[T] {
	return func(kept, items []T) []T {
		for _, item := range items {
			if holds(item) {
				kept = append(kept, item)
			}
		}
		return kept
	}
}

type sortKey[T any] struct {
	*Field[T]
	descending bool
}

// operators are what can stand behind a field's name in a parameter, beside
// nothing and _like. Each says whether it holds for a field that is less than
// the parameter's value, equal to it and greater.
var operators = map[string][3]bool{
	"_ne":  {true, false, true},
	"_gt":  {false, false, true},
	"_gte": {false, true, true},
	"_lt":  {true, false, false},
	"_lte": {true, true, false},
}

// equals is the condition that the field is one of values.
func (f *Field[T]) equals(param string, values []string) (condition[T], error) {
	switch {
	case f.Text != nil && len(values) == 1:
		text, value := f.Text, values[0]
		return func(kept, items []T) []T {
			for _, item := range items {
				if text(item) == value {
					kept = append(kept, item)
				}
			}
			return kept
		}, nil
	case f.Text != nil:
		return where(func(item T) bool { return slices.Contains(values, f.Text(item)) }), nil
	}
	var numbers []int
	for _, value := range values {
		floor, whole, ok := parseNumber(value)
		if !ok {
			return nil, Error(param + " must be a number")
		}
		if whole {
			numbers = append(numbers, floor)
		}
	}
	return where(func(item T) bool { return slices.Contains(numbers, f.Number(item)) }), nil
}

// compares is the condition that the operator holds for the field and value.
func (f *Field[T]) compares(param, operator, value string) (condition[T], error) {
	holds := operators[operator]
	if f.Text != nil {
		return where(func(item T) bool { return holds[1+strings.Compare(f.Text(item), value)] }), nil
	}
	floor, whole, ok := parseNumber(value)
	if !ok {
		return nil, Error(param + " must be a number")
	}
	if !whole { // between two integers; to be equal to the lower is to be less
		holds[1] = holds[0]
	}
	number := f.Number
	return func(kept, items []T) []T {
		for _, item := range items {
			if holds[1+cmp.Compare(number(item), floor)] {
				kept = append(kept, item)
			}
		}
		return kept
	}, nil
}

// parseNumber reads a decimal number, which fields are compared to as integers:
// floor is the greatest that is not above it, whole says that it is the number
// itself. A number beyond all integers becomes the last of them.
func parseNumber(s string) (floor int, whole, ok bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return n, true, true
	}
	if strings.Trim(s, "0123456789+-.eE") != "" {
		return 0, false, false // not decimal, though ParseFloat reads some such: 0x1p4, Inf
	}
	x, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange): // for which x is infinite
		return 0, false, false
	case x >= math.MaxInt:
		return math.MaxInt, false, true
	case x < math.MinInt:
		return math.MinInt, false, true
	}
	return int(math.Floor(x)), x == math.Floor(x), true
}

// maxExpressions bounds the size of all expressions of a query together. In
// RE2 syntax a few characters can stand for a million states, (x{100}){10} for
// a thousand, and each costs time and memory for each item.
const maxExpressions = 1000

// expressionSize is about how many states re will have when it is compiled.
func expressionSize(re *syntax.Regexp) int {
	size := 1
	if re.Op == syntax.OpLiteral {
		size += len(re.Rune)
	}
	for _, sub := range re.Sub {
		size += expressionSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		size *= max(re.Min, re.Max, 1)
	}
	return size
}

// addMatches adds the condition that the field matches one of the expressions.
// Most people only look for a word, which is faster to find than to match.
func (q *Query[T]) addMatches(f *Field[T], param string, expressions []string) error {
	var matchers []func(string) bool
	for _, expression := range expressions {
		anyCase := "(?i)" + expression
		parsed, err := syntax.Parse(anyCase, syntax.Perl)
		if err != nil {
			return Error(param + " must be a regular expression (RE2 syntax)")
		}
		if q.expressions += expressionSize(parsed); q.expressions > maxExpressions {
			return Error(fmt.Sprintf("%s is too large: the expressions of a query must not have more than %d states", param, maxExpressions))
		}
		if isASCII(expression) && expression == regexp.QuoteMeta(expression) {
			word := strings.ToLower(expression)
			matchers = append(matchers, func(s string) bool { return strings.Contains(strings.ToLower(s), word) })
			continue
		}
		matchers = append(matchers, regexp.MustCompile(anyCase).MatchString) // which has been parsed
	}
	q.conditions = append(q.conditions, where(func(item T) bool {
		text := f.asText(item)
		return slices.ContainsFunc(matchers, func(match func(string) bool) bool { return match(text) })
	}))
	return nil
}

// isASCII reports whether s is ASCII. Elsewhere, to be equal whatever the case
// and to have the same lower case are not the same: s and ſ are, and have not.
func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// Run returns the slice of a list that the query asks for, and how many items
// there are before slicing. The list comes in pieces, in the order of the key.
// Run only reads them; what it returns may be a part of one, and must only be
// read, too. The only error is ctx's.
func (q *Query[T]) Run(ctx context.Context, pieces [][]T) (list []T, total int, err error) {
	if len(q.conditions) > 0 {
		matching, err := q.matching(ctx, pieces)
		if err != nil {
			return nil, 0, err
		}
		pieces = [][]T{matching}
	}
	for _, piece := range pieces {
		total += len(piece)
	}
	start, end := min(q.start, total), min(q.end, total)
	switch {
	case start >= end:
		return nil, total, nil
	case len(q.sortBy) > 0:
		return first(end, total, pieces, q.compare)[start:], total, nil
	default:
		return slice(pieces, start, end), total, nil
	}
}

// blockSize is how many items go from condition to condition together: so few
// that what one has looked at is still in the CPU's cache for the next.
const blockSize = 512

// matching returns the items for which all conditions hold.
func (q *Query[T]) matching(ctx context.Context, pieces [][]T) ([]T, error) {
	var matching []T
	kept := make([]T, 0, blockSize)
	for _, piece := range pieces {
		for block := range slices.Chunk(piece, blockSize) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			for _, condition := range q.conditions {
				block = condition(kept, block)
			}
			matching = append(matching, block...)
		}
	}
	return matching, nil
}

// slice returns items start to end, half-open, of all pieces together.
func slice[T any](pieces [][]T, start, end int) []T {
	var list []T
	for _, piece := range pieces {
		from, to := min(start, len(piece)), min(end, len(piece))
		switch {
		case from < to && to-from == end-start && list == nil:
			return piece[from:to] // nothing to put together
		case from < to:
			list = append(list, piece[from:to]...)
		}
		start, end = start-from, end-to
		if end == 0 {
			break
		}
	}
	return list
}

// compare orders two items as the query asks.
func (q *Query[T]) compare(a, b T) int {
	for i := range q.sortBy {
		if c := q.sortBy[i].compare(a, b); c != 0 {
			if q.sortBy[i].descending {
				return -c
			}
			return c
		}
	}
	return 0
}

// first returns the first n of total items, 1 at least, in the order of compare,
// in which no two are equal. It sorts little more than n of them: an item behind
// n others found so far is passed over.
func first[T any](n, total int, pieces [][]T, compare func(a, b T) int) []T {
	// Sorting makes room for as many items as it took in, and for 1,000 at
	// least, so that each costs a few comparisons whatever order they come in.
	room := min(n+max(n, 1000), total)
	best := make([]T, 0, room)
	full := false // there are n in best, sorted, before those that came since
	for _, piece := range pieces {
		for _, item := range piece {
			if full && compare(item, best[n-1]) > 0 {
				continue
			}
			if len(best) == room {
				slices.SortFunc(best, compare)
				best, full = best[:n], true
				if compare(item, best[n-1]) > 0 {
					continue
				}
			}
			best = append(best, item)
		}
	}
	slices.SortFunc(best, compare)
	return best[:n]
}
