package strict

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Field is one member of the JSON of an object, and the place in a Go value that it
// belongs to. It is a number or a text.
type Field struct {
	Name string // path in the JSON: "year", or "details.engine" for a member of the object "details"

	// Number or Text returns the place in v, a pointer to the Go value. The other is nil.
	Number func(v any) *int
	Text   func(v any) *string

	// Least and Most bound the characters of a text, or a number unless both are 0. A
	// text of at least one character is required, and stored without the space around it.
	Least, Most int

	// CheckNumber or CheckText returns what else is wrong with a value, or "". Neither is
	// called for null or for an empty text. If it is nil, nothing else is checked.
	CheckNumber func(n int) (problem string)
	CheckText   func(s string) (problem string)

	// Shared says that many objects have the same text. Memory then has it once.
	Shared bool
}

// A Table lists the fields of an object, in the order of its JSON. The first is the
// object's ID, a number with the name "id". The fields of an object in the object stand
// together. A table has at most maxFields.
type Table []Field

const maxFields = 64

// required reports whether the field must have a value.
func (f *Field) required() bool { return f.Text != nil && f.Least > 0 }

// numberProblem returns what is wrong with n, or "".
func (f *Field) numberProblem(n int) string {
	switch bounded := f.Least != 0 || f.Most != 0; {
	case bounded && n < 0 && f.Least == 0:
		return "must not be negative"
	case bounded && n < f.Least:
		return fmt.Sprintf("must be at least %d", f.Least)
	case bounded && n > f.Most:
		return fmt.Sprintf("must be at most %d", f.Most)
	case f.CheckNumber != nil:
		return f.CheckNumber(n)
	}
	return ""
}

// textProblem returns what is wrong with s, or "".
func (f *Field) textProblem(s string) string {
	switch length := utf8.RuneCountInString(s); {
	case length < f.Least:
		return "is required"
	case length > f.Most:
		return fmt.Sprintf("must be at most %d characters", f.Most)
	}
	for _, char := range s {
		switch {
		case unicode.IsControl(char):
			return "must not contain control characters"
		case isDeceptive(char):
			return fmt.Sprintf("must not contain the invisible character %U", char)
		}
	}
	if f.CheckText != nil && s != "" {
		return f.CheckText(s)
	}
	return ""
}

// isDeceptive reports whether a character is invisible and makes a text look like
// another one: line separators, which are control characters in all but name; overrides
// and isolates of the writing direction (Unicode Technical Report 36, section 2.5); spaces
// without width. Joiners are allowed: languages and emoji need them.
func isDeceptive(char rune) bool {
	return '\u2028' <= char && char <= '\u202E' || '\u2066' <= char && char <= '\u2069' || char == '\u200B' || char == '\uFEFF'
}

// hint returns a text such as "; did you mean details.engine?" if name differs only in case
// from a field or an object, or lacks the name of the object. Otherwise it returns "".
func (t Table) hint(name string) string {
	for _, f := range t {
		object, member, nested := strings.Cut(f.Name, ".")
		switch {
		case strings.EqualFold(object, name):
			return "; did you mean " + object + "?"
		case nested && strings.EqualFold(member, name):
			return "; did you mean " + f.Name + "?"
		}
	}
	return ""
}
