package strict

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// peek skips space (RFC 8259, section 2) and returns the next byte, or 0 at the end.
func (r *Reader) peek() byte {
	for {
		switch c := r.here(); c {
		case ' ', '\t', '\r', '\n':
			r.exact = false
			r.offset++
		default:
			return c
		}
	}
}

// here returns the next byte, or 0 at the end.
func (r *Reader) here() byte {
	if r.offset < len(r.data) {
		return r.data[r.offset]
	}
	return 0
}

// unexpected fails because of the next byte, or because there is none.
func (r *Reader) unexpected() {
	left := r.data[r.offset:]
	char, size := utf8.DecodeRune(left)
	switch {
	case r.offset == 0 && char == '\uFEFF':
		r.malformed("%s must not begin with a byte order mark", r.Subject)
	case len(left) == 0:
		r.malformed("%s ends too early to be JSON, at offset %d", r.Subject, r.offset)
	case char == utf8.RuneError && size == 1:
		r.malformed("%s is not valid UTF-8: error at offset %d", r.Subject, r.offset)
	default:
		r.malformed("%s cannot be read as JSON: error at offset %d", r.Subject, r.offset)
	}
}

// literal reads null, true, false or a colon.
func (r *Reader) literal(word string) {
	r.peek()
	for i := range len(word) {
		if r.here() != word[i] {
			r.unexpected()
			return
		}
		r.offset++
	}
}

// number reads a number. whole reports whether it is an integer, as 2.0 and 2e3 are, too;
// n is then that integer, as Int returns it.
func (r *Reader) number() (n int, whole bool) {
	start := r.offset
	if r.here() == '-' {
		r.offset++
	}
	if r.here() == '0' {
		r.offset++
	} else {
		r.digits()
	}
	if r.here() == '.' {
		r.offset++
		r.digits()
	}
	if c := r.here(); c == 'e' || c == 'E' {
		r.offset++
		if c := r.here(); c == '+' || c == '-' {
			r.offset++
		}
		r.digits()
	}
	if r.err != nil {
		return 0, false
	}
	raw := string(r.data[start:r.offset])
	if n, err := strconv.Atoi(raw); err == nil && len(raw) <= 18 {
		r.exact = r.exact && raw != "-0"
		return n, true
	}
	r.exact = false
	x, err := strconv.ParseFloat(raw, 64)
	if err != nil { // the syntax is right, so the number is out of range
		r.malformed("The number that ends at offset %d is too large", r.offset)
		return 0, false
	}
	return int(min(max(x, -1<<62), 1<<62)), x == math.Trunc(x)
}

// digits reads one digit or more.
func (r *Reader) digits() {
	if !isDigit(r.here()) {
		r.unexpected()
	}
	for isDigit(r.here()) {
		r.offset++
	}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// text reads a string. Do not change the result: it may be a part of the document.
func (r *Reader) text() []byte {
	if r.peek() != '"' {
		r.unexpected()
		return nil
	}
	r.offset++
	start, escapes := r.offset, false
	for r.err == nil {
		i := r.offset
		for i < len(r.data) && ' ' <= r.data[i] && r.data[i] < 0x7f && r.data[i] != '"' && r.data[i] != '\\' {
			i++
		}
		r.offset = i
		switch c := r.here(); {
		case c == '"' && escapes:
			r.offset++
			var s string
			json.Unmarshal(r.data[start-1:r.offset], &s) // does not fail: the string has been checked
			return []byte(s)
		case c == '"':
			r.offset++
			return r.data[start : r.offset-1]
		case c == '\\':
			escapes = true
			r.escape()
		case c < ' ':
			r.unexpected()
		default:
			char, size := utf8.DecodeRune(r.data[r.offset:])
			if char == utf8.RuneError && size == 1 {
				r.unexpected()
				break
			}
			if char == 0x7f || char == '\u2028' || char == '\u2029' {
				r.exact = false // rest.Encode may escape it
			}
			r.offset += size
		}
	}
	return nil
}

// escape checks an escape, whose backslash is next.
func (r *Reader) escape() {
	start := r.offset
	r.offset++
	switch r.here() {
	case '"', '\\': // as rest.Encode writes them
		r.offset++
		return
	case '/', 'b', 'f', 'n', 'r', 't':
		r.offset++
	case 'u':
		r.unicode(start)
	default:
		r.unexpected()
	}
	r.exact = false
}

// unicode checks the rest of the \u escape that begins at start, and the other half of a
// surrogate pair. Half of a pair alone is no character (RFC 7493, section 2.1).
func (r *Reader) unicode(start int) {
	char, low := r.hex(), rune(0)
	if !utf16.IsSurrogate(char) {
		return
	}
	switch left := r.data[r.offset:]; {
	case bytes.HasPrefix(left, []byte(`\u`)):
		r.offset++
		low = r.hex()
	case len(left) == 0 || string(left) == `\`:
		r.offset = len(r.data)
		r.unexpected()
	}
	if r.err == nil && utf16.DecodeRune(char, low) == utf8.RuneError {
		r.malformed("%s has half of a surrogate pair at offset %d", r.Subject, start)
	}
}

// hex reads a u and four hexadecimal digits.
func (r *Reader) hex() rune {
	r.offset++
	start := r.offset
	for range 4 {
		if strings.IndexByte("0123456789abcdefABCDEF", r.here()) < 0 {
			r.unexpected()
			return 0
		}
		r.offset++
	}
	n, _ := strconv.ParseUint(string(r.data[start:r.offset]), 16, 16)
	return rune(n)
}
