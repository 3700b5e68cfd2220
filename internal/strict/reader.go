// Package strict reads JSON as strictly as I-JSON (RFC 7493) defines it: one document
// with nothing behind it, in UTF-8 without a byte order mark, in which no key occurs
// twice in an object, no surrogate stands alone and no number is beyond a double. A
// reader that accepts more has to guess the meaning, and each guesses differently. (RFC
// 7493 also rules out noncharacters such as U+FFFE. They are accepted, since they have one
// meaning.)
//
// A [Reader] reads values one after the other. A [Table] of fields reads whole objects
// and patches into Go values, and says in words for a person what is wrong with each
// field. Both make one pass over the document, and report its first fault with the
// offset in bytes.
package strict

import (
	"math"
	"net/http"
	"strconv"
	"strings"

	"cars/internal/rest"
)

// maxDepth is how deeply arrays and objects may be nested, as in encoding/json. It
// keeps a document of brackets from filling the stack.
const maxDepth = 10_000

// A Reader reads a JSON document value by value. Its first error stays: from then on
// all values are zero, and nothing is read.
type Reader struct {
	// Subject is the name of the document at the beginning of messages.
	Subject string

	data   []byte
	offset int  // of the next byte; at the end after an error
	depth  int  // of the arrays and objects that are open
	first  bool // the first element or member of an array or object comes next
	err    error

	element int // index of the object that Objects reads
	limit   int // the offset behind which no member or element may begin

	exact bool // since it was set to true, all that was read is certain to be as rest.Encode writes it
}

// NewReader returns a Reader of data. Messages call it "The body".
func NewReader(data []byte) *Reader {
	return &Reader{Subject: "The body", data: data, limit: math.MaxInt}
}

// End expects that nothing follows, and returns the first error or nil. An error of the
// Reader is a *[rest.Error], 400.
func (r *Reader) End() error {
	r.peek()
	if r.offset < len(r.data) {
		r.unexpected()
	}
	return r.err
}

// Object reads an object. It calls member with the name of each member; member reads
// the value. A value that member does not read is skipped.
func (r *Reader) Object(member func(name string)) {
	names := make(map[string]bool)
	r.open('{')
	for r.more('}') {
		name := string(r.text())
		r.unique(name, names)
		r.literal(":")
		r.value(func() { member(name) })
	}
}

// Array reads an array. It calls element with the index of each element; element reads
// the value. A value that element does not read is skipped.
func (r *Reader) Array(element func(i int)) {
	r.open('[')
	for i := 0; r.more(']'); i++ {
		r.value(func() { element(i) })
	}
}

// value calls read, and skips the next value if read has not read it.
func (r *Reader) value(read func()) {
	r.peek()
	start := r.offset
	if r.err != nil {
		return
	}
	if read(); r.offset == start {
		r.Skip()
	}
}

// Int reads a whole number. A number of more than 18 characters may lose its last
// digits; one beyond 2^62 becomes 2^62 or -2^62.
func (r *Reader) Int() int {
	if !r.expect('0') {
		return 0
	}
	start := r.offset
	n, whole := r.number()
	if !whole {
		r.malformed("%s must have a whole number at offset %d", r.Subject, start)
		return 0
	}
	return n
}

// Skip reads a value of any kind, as strictly as all others, and returns it as it
// stands in the document.
func (r *Reader) Skip() (raw []byte) {
	kind := r.kind()
	start := r.offset
	switch kind {
	case '{':
		r.Object(func(string) {})
	case '[':
		r.Array(func(int) {})
	case '"':
		r.text()
	case '0':
		r.number()
	case 'n', 't', 'f':
		r.literal(map[byte]string{'n': "null", 't': "true", 'f': "false"}[kind])
	default:
		r.unexpected()
	}
	if r.err != nil {
		return nil
	}
	return r.data[start:r.offset]
}

// kind returns the kind of the next value as jsontext.Kind has it: 'n' (null), 'f', 't',
// '"', '0' (any number), '{' or '['. It returns 0 if no value can begin here.
func (r *Reader) kind() byte {
	switch c := r.peek(); c {
	case 'n', 'f', 't', '"', '{', '[':
		return c
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return '0'
	}
	return 0
}

// expect reports whether the next value is of that kind. If not, it fails.
func (r *Reader) expect(kind byte) bool {
	switch got := r.kind(); got {
	case kind:
		return true
	case 0:
		r.unexpected()
	default:
		r.malformed("%s must have %s at offset %d", r.Subject, map[byte]string{'0': "a number", '{': "an object", '[': "an array"}[kind], r.offset)
	}
	return false
}

// begins reports whether the document is of the kind wanted. If not, it fails.
func (r *Reader) begins(kind byte, wanted string) bool {
	switch got := r.kind(); {
	case r.offset == len(r.data):
		r.malformed("%s is empty; it must be %s", r.Subject, wanted)
	case got != kind:
		r.Skip() // any fault of syntax is reported instead
		r.End()
		r.malformed("%s must be %s", r.Subject, wanted)
	}
	return r.err == nil
}

// open reads the beginning of an array or object. Call more next.
func (r *Reader) open(bracket byte) {
	if !r.expect(bracket) {
		return
	}
	if r.depth++; r.depth > maxDepth {
		r.unexpected()
		return
	}
	r.offset++
	r.first = true
}

// more reads up to the next element or member, and reports whether there is one. If not,
// it has read the end of the array or object.
func (r *Reader) more(closing byte) bool {
	c, first := r.peek(), r.first
	r.first = false
	switch {
	case r.err != nil:
		return false
	case c == closing:
		r.depth--
		r.offset++
		return false
	case first:
		return true
	case c != ',':
		r.unexpected()
		return false
	}
	if r.checkSize(); r.err != nil {
		return false
	}
	r.offset++
	return true
}

// unique fails if name, which was read last, is among names, and adds it.
func (r *Reader) unique(name string, names map[string]bool) {
	if names[name] {
		r.twice(name)
	}
	names[name] = true
}

// twice fails because of name, which was read last.
func (r *Reader) twice(name string) {
	if runes := []rune(name); len(runes) > 40 { // no key that makes sense is longer
		name = strings.TrimSpace(string(runes[:40])) + "…"
	}
	r.malformed("The key %s occurs twice in one object; the second ends at offset %d", strconv.Quote(name), r.offset)
}

// malformed fails with 400.
func (r *Reader) malformed(format string, args ...any) {
	r.fail(rest.Errorf(http.StatusBadRequest, format, args...))
}

// fail makes err the error of r unless there is one, and ends the reading.
func (r *Reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.offset = len(r.data) // where no read finds anything
}
