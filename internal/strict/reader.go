// Package strict reads JSON as strictly as I-JSON (RFC 7493) defines it: one document
// with nothing behind it, in UTF-8 without a byte order mark, in which no key occurs
// twice in an object, no surrogate stands alone and no number is beyond a double. A
// reader that accepts more has to guess what was meant, and each guesses differently.
// (Of what RFC 7493 rules out, only noncharacters such as U+FFFE are accepted: they have
// one meaning.)
//
// A [Reader] reads values one after the other. A [Table] of fields reads whole objects
// and patches into Go values, and says in words for a person what is wrong with each
// field. Both make one pass over the document, and report its first fault with the
// offset in bytes.
//
// Once go.mod allows it, this becomes a thin layer over encoding/json/v2: its
// jsontext.Decoder knows offsets, duplicate keys and invalid UTF-8 by itself. Then
// token.go goes, and reader.go becomes a few calls of that decoder. The fields stay
// (field.go, table.go, patch.go, problems.go), and so does the range of numbers.
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
	// Subject is what the document is called at the beginning of messages.
	Subject string

	data    []byte
	offset  int // of the next byte; at the end after an error
	depth   int // of the arrays and objects that are open
	limit   int // no member or element may begin behind it
	err     error
	scratch []byte // for strings with escapes

	// What the table asks about what was read last.
	exact bool // everything since exact was set is surely as rest.Encode writes it
	plain bool // the last string has only printable ASCII characters and no escapes
}

// NewReader returns a Reader of data. Messages call it "The body".
func NewReader(data []byte) *Reader {
	return &Reader{Subject: "The body", data: data, limit: math.MaxInt}
}

// Reset has r read data from its beginning, as a new Reader would. Those who read many
// documents need only one Reader.
func (r *Reader) Reset(data []byte) {
	*r = Reader{Subject: r.Subject, data: data, limit: math.MaxInt, scratch: r.scratch}
}

// Err returns the first error, or nil. Those of the Reader are *[rest.Error], 400.
func (r *Reader) Err() error { return r.err }

// Fail makes err the error of r unless there is one, and ends the reading.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.offset = len(r.data) // where no read finds anything
}

// Kind returns the kind of the next value as jsontext.Kind has it: 'n' (null), 'f', 't',
// '"', '0' (any number), '{' or '['. It returns 0 if no value can begin here.
func (r *Reader) Kind() byte {
	switch c := r.peek(); c {
	case 'n', 'f', 't', '"', '{', '[':
		return c
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return '0'
	}
	return 0
}

// Offset returns the offset of the next value or token, or that of the end.
func (r *Reader) Offset() int {
	r.peek()
	return r.offset
}

// End expects that nothing follows, and returns the first error.
func (r *Reader) End() error {
	r.peek()
	if r.offset < len(r.data) {
		r.unexpected()
	}
	return r.err
}

// Object reads an object. It calls member with the name of each member; member reads
// the value. A value that it leaves is skipped.
func (r *Reader) Object(member func(name string)) {
	var names nameSet
	for first := r.open('{'); r.more(first, '}'); first = false {
		name := string(r.name())
		r.unique(name, &names)
		r.colon()
		r.value(func() { member(name) })
	}
}

// Array reads an array. It calls element with the index of each element; element reads
// the value. A value that it leaves is skipped.
func (r *Reader) Array(element func(i int)) {
	i := 0
	for first := r.open('['); r.more(first, ']'); first = false {
		r.value(func() { element(i) })
		i++
	}
}

// value calls read, and skips the next value if read has not read it.
func (r *Reader) value(read func()) {
	start := r.Offset()
	if r.err != nil {
		return
	}
	if read(); r.offset == start {
		r.Skip()
	}
}

// Int reads a whole number. One that no int holds becomes one that is far out of any
// range.
func (r *Reader) Int() int {
	start := r.Offset()
	if !r.expect('0') {
		return 0
	}
	n, whole := r.number()
	if !whole {
		r.malformed("%s must have a whole number at offset %d", r.Subject, start)
		return 0
	}
	return n
}

// String reads a string.
func (r *Reader) String() string {
	if !r.expect('"') {
		return ""
	}
	return string(r.text())
}

// Skip reads a value of any kind, as strictly as all others, and returns it as it
// stands in the document.
func (r *Reader) Skip() (raw []byte) {
	start := r.Offset()
	switch r.Kind() {
	case '{':
		var names nameSet
		for first := r.open('{'); r.more(first, '}'); first = false {
			r.unique(string(r.name()), &names)
			r.colon()
			r.Skip()
		}
	case '[':
		for first := r.open('['); r.more(first, ']'); first = false {
			r.Skip()
		}
	case '"':
		r.text()
	case '0':
		r.number()
	case 'n':
		r.literal("null")
	case 't':
		r.literal("true")
	case 'f':
		r.literal("false")
	default:
		r.unexpected()
	}
	if r.err != nil {
		return nil
	}
	return r.data[start:r.offset]
}

// expect reports whether the next value is of that kind. If not, it fails.
func (r *Reader) expect(kind byte) bool {
	switch got := r.Kind(); got {
	case kind:
		return true
	case 0:
		r.unexpected()
	default:
		wanted := map[byte]string{'"': "a string", '0': "a number", '{': "an object", '[': "an array"}[kind]
		r.malformed("%s must have %s at offset %d", r.Subject, wanted, r.offset)
	}
	return false
}

// open reads the beginning of an array or object. It returns true: what follows is the
// first element or member.
func (r *Reader) open(bracket byte) (first bool) {
	if r.peek() != bracket {
		r.expect(bracket)
		return true
	}
	if r.depth++; r.depth > maxDepth {
		r.unexpected()
		return true
	}
	r.offset++
	return true
}

// more reads what stands before an element or member, and reports whether there is one.
// If not, it has read the end of the array or object.
func (r *Reader) more(first bool, closing byte) bool {
	switch c := r.peek(); {
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
	case r.offset >= r.limit:
		r.Fail(errTooLong)
		return false
	}
	r.offset++
	return true
}

// name reads the name of a member. The result holds until the next string is read.
func (r *Reader) name() []byte {
	if r.peek() != '"' {
		r.unexpected()
		return nil
	}
	return r.text()
}

// colon reads what stands between a name and a value.
func (r *Reader) colon() {
	if r.peek() != ':' {
		r.unexpected()
		return
	}
	r.offset++
}

// unique fails if name, which was read last, is among names, and adds it.
func (r *Reader) unique(name string, names *nameSet) {
	if r.err == nil && !names.add(name) {
		r.twice(name)
	}
}

// twice fails because of name, which was read last.
func (r *Reader) twice(name string) {
	const most = 40 // characters of a key that makes sense
	if runes := []rune(name); len(runes) > most {
		name = strings.TrimSpace(string(runes[:most])) + "…"
	}
	r.malformed("The key %s occurs twice in one object; the second ends at offset %d", strconv.Quote(name), r.offset)
}

// malformed fails with 400.
func (r *Reader) malformed(format string, args ...any) {
	if r.err == nil {
		r.Fail(rest.Errorf(http.StatusBadRequest, format, args...))
	}
}

// A nameSet holds the names of an object's members.
type nameSet struct {
	few  [4]string // which take no allocation, and less time to compare with than to hash
	n    int
	more map[string]struct{} // those that are not among the few
}

// add reports whether name was not in the set.
func (s *nameSet) add(name string) bool {
	for _, other := range s.few[:s.n] {
		if other == name {
			return false
		}
	}
	if s.n < len(s.few) {
		s.few[s.n] = name
		s.n++
		return true
	}
	if s.more == nil {
		s.more = make(map[string]struct{})
	}
	before := len(s.more)
	s.more[name] = struct{}{}
	return len(s.more) > before
}
