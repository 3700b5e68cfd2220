package query

import (
	"cmp"
	"errors"
	"math"
	"net/http"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode/utf8"

	"cars/internal/rest"
	"cars/internal/sorted"
	"cars/internal/strict"
)

// A field is what items can be filtered and sorted by.
type field struct {
	strict.Field
	index int // in the table, and of its line in a SearchText
}

// A condition reports whether an item belongs in the list.
type condition func(*sorted.Item) bool

const all, anyOf = false, true // of conditions, for combined

// combined returns the condition that all of conditions hold, or any of them.
func combined(any bool, conditions []condition) condition {
	if len(conditions) == 1 {
		return conditions[0]
	}
	return func(item *sorted.Item) bool {
		for _, holds := range conditions {
			if holds(item) == any {
				return any
			}
		}
		return !any
	}
}

// comparisons are the operators that compare. Each says whether it holds for a field that
// is less than the value, equal to it and greater.
var comparisons = map[string][3]bool{
	"ne":  {true, false, true},
	"gt":  {false, false, true},
	"gte": {false, true, true},
	"lt":  {true, false, false},
	"lte": {true, true, false},
}

// searches are the operators that look for a value in a text, whatever the case of both.
// Each returns what to look for in a SearchText, where each text is on a line of its own.
var searches = map[string]func(value string) string{
	"contains":   func(value string) string { return value },
	"startsWith": func(value string) string { return "\n" + value },
	"endsWith":   func(value string) string { return value + "\n" },
}

// isOperator reports whether there is an operator of that name. Those of 1.x are eq, in
// (a list separated by commas), comparisons and searches.
func isOperator(name string) bool {
	return name == "eq" || name == "in" || comparisons[name] != [3]bool{} || searches[name] != nil
}

// operators lists them, for a client that misspelt one.
const operators = "eq, ne, gt, gte, lt, lte, in, contains, startsWith and endsWith"

// malformed returns an error with status 400.
func malformed(format string, args ...any) error {
	return rest.Errorf(http.StatusBadRequest, format, args...)
}

// condition returns the condition that the operator holds for the field and the values:
// for one of them if it looks for something, for all of them if it compares. param is
// what a client calls it.
func (f field) condition(param, operator string, values []string) (condition, error) {
	if search := searches[operator]; search != nil {
		return f.searches(param, search, values)
	}
	holds, compares := comparisons[operator]
	if !compares {
		return f.equals(param, values)
	}
	var conditions []condition
	for _, value := range values {
		c, err := f.compares(param, holds, value)
		if err != nil {
			return nil, err
		}
		conditions = append(conditions, c)
	}
	return combined(all, conditions), nil
}

// equals returns the condition that the field is one of values.
func (f field) equals(param string, values []string) (condition, error) {
	texts, numbers := make(map[string]bool), make(map[int]bool)
	for _, value := range values {
		texts[value] = true
		floor, whole, ok := parseNumber(value)
		if f.Number != nil && !ok {
			return nil, malformed("%s must be a number", param)
		}
		if whole {
			numbers[floor] = true
		}
	}
	if f.Number != nil {
		return func(item *sorted.Item) bool { return numbers[*f.Number(item.Value)] }, nil
	}
	return func(item *sorted.Item) bool { return texts[*f.Text(item.Value)] }, nil
}

// compares returns the condition that the field, compared to value, is in one of the
// orders for which holds is true: less, equal, greater.
func (f field) compares(param string, holds [3]bool, value string) (condition, error) {
	if f.Text != nil {
		return func(item *sorted.Item) bool { return holds[1+strings.Compare(*f.Text(item.Value), value)] }, nil
	}
	floor, whole, ok := parseNumber(value)
	if !ok {
		return nil, malformed("%s must be a number", param)
	}
	if !whole { // between two integers; to be equal to the lower is to be less
		holds[1] = holds[0]
	}
	return func(item *sorted.Item) bool { return holds[1+cmp.Compare(*f.Number(item.Value), floor)] }, nil
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

// searches returns the condition that one of values is found in the field, which is a
// text.
func (f field) searches(param string, search func(value string) string, values []string) (condition, error) {
	if f.Text == nil {
		return nil, malformed("%s searches in a text, and %s is a number", param, f.Name)
	}
	var conditions []condition
	for _, value := range values {
		conditions = append(conditions, f.finds(search(lower(value))))
	}
	return combined(anyOf, conditions), nil
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
func (q *Query) addMatches(f field, param string, expressions []string) error {
	var conditions []condition
	for _, expression := range expressions {
		anyCase := "(?i)" + expression
		parsed, err := syntax.Parse(anyCase, syntax.Perl)
		if err != nil {
			return malformed("%s must be a regular expression (RE2 syntax)", param)
		}
		if q.expressions += expressionSize(parsed); q.expressions > maxExpressions {
			return malformed("%s is too large: the expressions of a query must not have more than %d states", param, maxExpressions)
		}
		// Beyond ASCII, to be equal whatever the case and to have the same lower case are
		// not the same: s and ſ are, and have not.
		ascii := strings.IndexFunc(expression, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
		if ascii && expression == regexp.QuoteMeta(expression) {
			conditions = append(conditions, f.finds(lower(expression)))
			continue
		}
		re := regexp.MustCompile(anyCase) // which has been parsed
		q.slow = true
		conditions = append(conditions, func(item *sorted.Item) bool {
			if f.Text != nil {
				return re.MatchString(*f.Text(item.Value))
			}
			return re.MatchString(strconv.Itoa(*f.Number(item.Value)))
		})
	}
	q.add(combined(anyOf, conditions))
	return nil
}

// add adds a condition that must hold.
func (q *Query) add(c condition) { q.conditions = append(q.conditions, c) }

// addCondition adds the condition that the operator holds.
func (q *Query) addCondition(f field, param, operator string, values []string) error {
	c, err := f.condition(param, operator, values)
	q.add(c)
	return err
}
