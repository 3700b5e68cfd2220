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

// A field is a field of the table that items can be filtered and sorted by.
type field struct {
	strict.Field
	index int // in the table, and of its line in a SearchText
}

// A condition reports whether it holds for an item.
type condition func(*sorted.Item) bool

const all, anyOf = false, true // values of any in combined

// combined returns the condition that all of conditions hold or, if any is true, one of them.
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

// comparisons are the operators that compare. Each has three results: for a field that is
// less than the value, equal to it, and greater.
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

// isOperator reports whether there is an operator of that name: eq, in (a list separated by
// commas), the comparisons and the searches.
func isOperator(name string) bool {
	return name == "eq" || name == "in" || comparisons[name] != [3]bool{} || searches[name] != nil
}

// operators lists all operators, for a client that misspelt one.
const operators = "eq, ne, gt, gte, lt, lte, in, contains, startsWith and endsWith"

// malformed returns an error with status 400.
func malformed(format string, args ...any) error {
	return rest.Errorf(http.StatusBadRequest, format, args...)
}

// condition returns the condition that the operator holds for the field and the values. A
// search or an equality must hold for one of the values, a comparison for all of them. param
// is the client's name for the field and operator, for messages.
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

// compares returns the condition that holds has true for the field: less than value, equal
// to it, or greater.
func (f field) compares(param string, holds [3]bool, value string) (condition, error) {
	if f.Text != nil {
		return func(item *sorted.Item) bool { return holds[1+strings.Compare(*f.Text(item.Value), value)] }, nil
	}
	floor, whole, ok := parseNumber(value)
	if !ok {
		return nil, malformed("%s must be a number", param)
	}
	if !whole { // value is between two integers: a field that equals the lower one is less
		holds[1] = holds[0]
	}
	return func(item *sorted.Item) bool { return holds[1+cmp.Compare(*f.Number(item.Value), floor)] }, nil
}

// parseNumber parses a decimal number that integers are compared to. floor is the greatest
// integer that is not above it, and whole reports whether floor is the number itself. If
// the number is beyond all ints, floor is the greatest or the least int.
func parseNumber(s string) (floor int, whole, ok bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return n, true, true
	}
	if strings.Trim(s, "0123456789+-.eE") != "" {
		return 0, false, false // not decimal; ParseFloat would accept 0x1p4 and Inf
	}
	x, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange): // out of range, x is infinite
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

// maxExpressions bounds the number of states of all expressions of a query together. In RE2
// syntax a few characters can make very many states: (x{100}){10} makes a thousand. Every
// state costs time and memory for each item.
const maxExpressions = 1000

// expressionSize returns about how many states re has once it is compiled.
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

// addMatches adds the condition that the field matches one of the expressions. If an
// expression is only a word, it is searched for, which is faster than matching.
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
		// Only in ASCII do two texts that are equal whatever the case have the same lower
		// case: (?i) takes s and ſ for equal, but lower leaves them different.
		ascii := strings.IndexFunc(expression, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
		if ascii && expression == regexp.QuoteMeta(expression) {
			conditions = append(conditions, f.finds(lower(expression)))
			continue
		}
		re := regexp.MustCompile(anyCase) // does not panic: anyCase has been parsed
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

// addCondition adds the condition that f.condition returns.
func (q *Query) addCondition(f field, param, operator string, values []string) error {
	c, err := f.condition(param, operator, values)
	q.add(c)
	return err
}
