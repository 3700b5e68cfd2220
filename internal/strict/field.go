package strict

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

	// CheckNumber or CheckText says what else is wrong with a value, or "". Neither is
	// called for null or for an empty text. Nil: nothing.
	CheckNumber func(n int) (problem string)
	CheckText   func(s string) (problem string)

	// Shared texts are the same in many objects. They are stored once.
	Shared bool
}

// A Table lists the fields of an object, in the order of its JSON. The first is
// its ID.
type Table []Field
