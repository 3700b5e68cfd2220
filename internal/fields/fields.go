// Package fields checks the members of a JSON object and puts them into a Go
// value: all problems at once, each under its field's path, in words for the
// person who sent the object.
package fields

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Errors are what is wrong with the fields of an object: a message for each, by
// the field's path.
type Errors map[string]string

// MaxErrors is how many there may be: who makes more mistakes did not mean to
// send what was expected.
const MaxErrors = 100

// Note adds a message about one more field. The first about a field stays.
func (e Errors) Note(path, message string) {
	const longest = 100 // of a path that makes sense
	if runes := []rune(path); len(runes) > longest {
		path = string(runes[:longest]) + "…"
	}
	if _, noted := e[path]; !noted && len(e) < MaxErrors {
		e[path] = message
	}
}

// Error names the first few, for who shows one message.
func (e Errors) Error() string {
	const most = 5
	var sentences []string
	for _, path := range slices.Sorted(maps.Keys(e)) {
		sentences = append(sentences, path+" "+e[path])
	}
	if more := len(sentences) - most; more > 0 {
		sentences = append(sentences[:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(sentences, "; ")
}

// A Schema is the fields that an object may have, by their paths: "year" is a
// member of the object itself, "details.engine" one of the object that is its
// member "details". There is no object in that.
type Schema[T any] map[string]Field[T]

// A Field is one place in a T.
type Field[T any] struct {
	set      func(to *T, value any) (problem string) // value was read from JSON, and may be nil
	get      func(from *T) any                       // what set would need to make it so
	required bool
}

// Fill sets the fields of to, which has none set but those that object may leave
// out, to those of a whole object. Others that are absent, and those that are null,
// are empty or zero. What is wrong is noted; then to is of no use.
func (s Schema[T]) Fill(to *T, object map[string]any, wrong Errors) {
	s.merge(to, "", object, wrong)
	for path, field := range s {
		if field.required {
			field.note(to, field.get(to), path, wrong)
		}
	}
}

// Merge changes to by the rules of JSON Merge Patch (RFC 7396): a field that
// patch has not stays, null resets one, and objects are merged likewise. What is
// wrong with patch is noted, and does not depend on what to was before; then to
// is of no use.
func (s Schema[T]) Merge(to *T, patch map[string]any, wrong Errors) {
	s.merge(to, "", patch, wrong)
}

func (s Schema[T]) merge(to *T, prefix string, patch map[string]any, wrong Errors) {
	for name, value := range patch {
		path := prefix + name
		field, known := s[path]
		switch object, isObject := value.(map[string]any); {
		case known && !strings.Contains(name, "."):
			field.note(to, value, path, wrong)
		case !s.hasObject(path):
			wrong.Note(path, "is not a known field"+s.hint(name))
		case isObject:
			s.merge(to, path+".", object, wrong)
		case value == nil:
			for name, field := range s {
				if strings.HasPrefix(name, path+".") {
					field.set(to, nil)
				}
			}
		default:
			wrong.Note(path, "must be an object")
		}
	}
}

// Check reports whether the values in v could have come in an object, and stores
// them as if they had.
func (s Schema[T]) Check(v *T) bool {
	for _, field := range s {
		if field.set(v, field.get(v)) != "" {
			return false
		}
	}
	return true
}

// note sets the field, or notes what is wrong with value.
func (f Field[T]) note(to *T, value any, path string, wrong Errors) {
	if problem := f.set(to, value); problem != "" {
		wrong.Note(path, problem)
	}
}

// hasObject reports whether some fields are members of the object at path.
func (s Schema[T]) hasObject(path string) bool {
	for name := range s {
		if strings.HasPrefix(name, path+".") {
			return true
		}
	}
	return false
}

// hint names the field or object that was perhaps meant by what does not exist.
func (s Schema[T]) hint(name string) string {
	for path := range s {
		object, member, nested := strings.Cut(path, ".")
		switch {
		case strings.EqualFold(object, name):
			return "; did you mean " + object + "?"
		case nested && strings.EqualFold(member, name):
			return "; did you mean " + path + "?"
		}
	}
	return ""
}

// Text is a field of least to most characters, without control characters. One
// that must have some is stored without the space around it. A check, if there
// is one, says what else is wrong with a text that is not empty.
func Text[T any](place func(*T) *string, least, most int, check func(string) (problem string)) Field[T] {
	set := func(to *T, value any) string {
		s, ok := value.(string)
		if !ok && value != nil {
			return "must be a string"
		}
		if least > 0 {
			s = strings.TrimSpace(s)
		}
		*place(to) = s
		switch length := utf8.RuneCountInString(s); {
		case length < least:
			return "is required"
		case length > most:
			return fmt.Sprintf("must be at most %d characters", most)
		case strings.ContainsFunc(s, unicode.IsControl):
			return "must not contain control characters"
		case check != nil && s != "":
			return check(s)
		}
		return ""
	}
	return Field[T]{set, func(from *T) any { return *place(from) }, least > 0}
}

// Number is a field that is a whole number. Null makes it zero; what else is
// wrong with other values is what check says.
func Number[T any](place func(*T) *int, check func(int) (problem string)) Field[T] {
	set := func(to *T, value any) string {
		n, problem := whole(value)
		*place(to) = n
		if problem == "" && value != nil {
			problem = check(n)
		}
		return problem
	}
	get := func(from *T) any {
		if n := *place(from); n != 0 {
			return float64(n)
		}
		return nil
	}
	return Field[T]{set, get, false}
}

// Between checks that a number is in a range.
func Between(least, most int) func(int) (problem string) {
	return func(n int) string {
		switch {
		case n < 0 && least == 0:
			return "must not be negative"
		case n < least:
			return fmt.Sprintf("must be at least %d", least)
		case n > most:
			return fmt.Sprintf("must be at most %d", most)
		}
		return ""
	}
}

// whole is value as an integer. In JSON, 2.0 and 2e3 are whole numbers, too. One
// that is far out of any range becomes another that is.
func whole(value any) (n int, problem string) {
	if value == nil {
		return 0, ""
	}
	x, ok := value.(float64)
	switch {
	case !ok:
		return 0, "must be a number"
	case x != math.Trunc(x):
		return 0, "must be a whole number"
	}
	const limit = 1 << 62
	return int(min(max(x, -limit), limit)), ""
}
