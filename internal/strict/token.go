package strict

import (
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// peek skips space and returns the next byte, or 0 at the end.
func (r *Reader) peek() byte {
	if r.offset < len(r.data) && r.data[r.offset] > ' ' {
		return r.data[r.offset]
	}
	return r.skipSpace()
}

// skipSpace skips what may stand around values (RFC 8259, section 2).
func (r *Reader) skipSpace() byte {
	for ; r.offset < len(r.data); r.offset++ {
		switch c := r.data[r.offset]; c {
		case ' ', '\t', '\r', '\n':
			r.exact = false
		default:
			return c
		}
	}
	return 0
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
	if r.err != nil {
		return
	}
	rest := r.data[r.offset:]
	char, size := utf8.DecodeRune(rest)
	switch {
	case r.offset == 0 && char == '\uFEFF':
		r.malformed("%s must not begin with a byte order mark", r.Subject)
	case len(rest) == 0:
		r.malformed("%s ends too early to be JSON, at offset %d", r.Subject, r.offset)
	case char == utf8.RuneError && size == 1:
		r.malformed("%s is not valid UTF-8: error at offset %d", r.Subject, r.offset)
	default:
		r.malformed("%s cannot be read as JSON: error at offset %d", r.Subject, r.offset)
	}
}

// literal reads null, true or false.
func (r *Reader) literal(word string) {
	for i := range len(word) {
		if r.here() != word[i] {
			r.unexpected()
			return
		}
		r.offset++
	}
}

// number reads a number, and returns it if it is whole: 2.0 and 2e3 are, too. A number
// that no int holds becomes another that is far out of any range.
func (r *Reader) number() (n int, whole bool) {
	start := r.offset
	negative := r.here() == '-'
	if negative {
		r.offset++
	}
	first := r.offset
	if r.here() == '0' {
		r.offset++
	} else {
		for ; r.offset < len(r.data) && isDigit(r.data[r.offset]); r.offset++ {
			n = 10*n + int(r.data[r.offset]-'0') // this overflows if there are over 18 digits
		}
	}
	digits := r.offset - first
	if digits == 0 {
		r.unexpected()
		return 0, false
	}
	if c := r.here(); c == '.' || c == 'e' || c == 'E' {
		r.fraction()
	} else if digits <= 18 {
		if negative {
			n = -n
			r.exact = r.exact && n != 0 // -0 is 0
		}
		return n, true
	}
	r.exact = false
	if r.err != nil {
		return 0, false
	}
	x, err := strconv.ParseFloat(string(r.data[start:r.offset]), 64)
	if err != nil { // which can only be its range
		r.malformed("The number that ends at offset %d is too large", r.offset)
		return 0, false
	}
	const limit = 1 << 62
	return int(min(max(x, -limit), limit)), x == math.Trunc(x)
}

// fraction reads what follows the digits of a number that is not only digits.
func (r *Reader) fraction() {
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

// text reads a string, whose first byte is known to be next. The result holds until the
// next string is read.
func (r *Reader) text() []byte {
	start := r.offset + 1
	for i := start; i < len(r.data); i++ {
		c := r.data[i]
		if c == '"' {
			r.offset, r.plain = i+1, true
			return r.data[start:i]
		}
		if c < ' ' || c >= 0x7f || c == '\\' {
			break
		}
	}
	r.offset, r.plain = start, false
	return r.difficultText()
}

// difficultText reads the rest of a string behind its first quotation mark. It has
// characters that need a closer look, or no end.
func (r *Reader) difficultText() []byte {
	copied, escapes := r.offset, false // scratch has what stands before copied
	r.scratch = r.scratch[:0]
	for {
		switch c := r.here(); {
		case c == '"':
			text := r.data[copied:r.offset]
			r.offset++
			if escapes {
				r.scratch = append(r.scratch, text...)
				text = r.scratch
			}
			return text
		case c == '\\':
			r.scratch = append(r.scratch, r.data[copied:r.offset]...)
			r.scratch = utf8.AppendRune(r.scratch, r.escape())
			copied, escapes = r.offset, true
		case c < ' ':
			r.unexpected()
		case c < 0x7f:
			r.offset++
		default:
			char, size := utf8.DecodeRune(r.data[r.offset:])
			if char == utf8.RuneError && size == 1 {
				r.unexpected()
				return nil
			}
			if char == 0x7f || char == '\u2028' || char == '\u2029' {
				r.exact = false // rest.Encode may escape it
			}
			r.offset += size
		}
		if r.err != nil {
			return nil
		}
	}
}

// escape reads an escape, whose backslash is next.
func (r *Reader) escape() rune {
	start := r.offset
	r.offset++
	c := r.here()
	switch c {
	case '"', '\\': // as rest.Encode writes them
		r.offset++
		return rune(c)
	case '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		r.exact = false
		return r.unicode(start)
	default:
		r.unexpected()
	}
	if r.err == nil {
		r.exact = false
		r.offset++
	}
	return rune(c)
}

// unicode reads the rest of the \u escape that begins at start, and the other half of a
// surrogate pair. Half of a pair alone is no character (RFC 7493, section 2.1).
func (r *Reader) unicode(start int) rune {
	char := r.hex()
	if !utf16.IsSurrogate(char) {
		return char
	}
	if r.offset == len(r.data) {
		r.unexpected()
	}
	var low rune
	if r.here() == '\\' {
		r.offset++
		if r.here() == 'u' {
			low = r.hex()
		} else if r.offset == len(r.data) {
			r.unexpected()
		}
	}
	char = utf16.DecodeRune(char, low)
	if char == utf8.RuneError {
		r.malformed("%s has half of a surrogate pair at offset %d", r.Subject, start)
	}
	return char
}

// hex reads a u and four hexadecimal digits.
func (r *Reader) hex() (n rune) {
	r.offset++
	for range 4 {
		switch c := r.here(); {
		case isDigit(c):
			n = n<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			n = n<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			n = n<<4 | rune(c-'A'+10)
		default:
			r.unexpected()
			return 0
		}
		r.offset++
	}
	return n
}
