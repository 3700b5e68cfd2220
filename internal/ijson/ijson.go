// Package ijson reads JSON, from bytes and from the bodies of HTTP requests, as
// strictly as I-JSON (RFC 7493) defines it: one document with nothing behind
// it, in UTF-8 without a byte order mark, in which no key occurs twice in an
// object, no surrogate stands alone and no number is beyond a double. Readers
// who accept more each guess differently what was meant. (Of what RFC 7493 rules
// out, only noncharacters such as U+FFFE are let through: they have one meaning.)
package ijson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Encode encodes v on one line with a newline at its end. It leaves <, > and & as
// they are, for what is never read as HTML.
func Encode(v any) ([]byte, error) {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return line.Bytes(), nil
}

// An Error is why a body was refused, in a sentence for who sent it.
type Error struct {
	Status  int // the HTTP status to answer with
	Message string
}

func (e *Error) Error() string { return e.Message }

func malformed(format string, args ...any) error {
	return &Error{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// Object reads a document that is an object. Its values are what
// [json.Unmarshal] stores in an any. The only errors are of type [*Error].
func Object(data []byte) (map[string]any, error) {
	if err := check(data, '{', "a JSON object"); err != nil {
		return nil, err
	}
	value, err := parse(data, 0)
	if err != nil {
		return nil, err
	}
	return value.(map[string]any), nil
}

// Members reads a document that is an object, and returns its members as they
// stand there. The only errors are of type [*Error].
func Members(data []byte) (map[string]json.RawMessage, error) {
	if err := check(data, '{', "a JSON object"); err != nil {
		return nil, err
	}
	object := json.NewDecoder(bytes.NewReader(data))
	object.Token() // the brace
	members := make(map[string]json.RawMessage)
	for object.More() {
		token, _ := object.Token()
		key := token.(string)
		if _, twice := members[key]; twice {
			return nil, malformed("The key %s occurs twice in one object; the second ends at offset %d", shorten(key), object.InputOffset())
		}
		var value json.RawMessage
		object.Decode(&value) // which check has read before
		members[key] = value
	}
	return members, nil
}

// maxElement bounds the elements of an Array, in bytes: as a value, one may take
// fifty times its size.
const maxElement = 1 << 20

// Array reads a document that is an array, element by element, so that it is
// never in memory as values as a whole. The first error is the last pair.
func Array(data []byte) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		if err := check(data, '[', "a JSON array"); err != nil {
			yield(nil, err)
			return
		}
		array := json.NewDecoder(bytes.NewReader(data))
		array.Token() // the bracket
		var element json.RawMessage
		for i := 0; array.More(); i++ {
			array.Decode(&element) // which check has read before
			if len(element) > maxElement {
				yield(nil, malformed("Element %d is larger than %d bytes", i, maxElement))
				return
			}
			value, err := parse(element, array.InputOffset()-int64(len(element)))
			if !yield(value, err) || err != nil {
				return
			}
		}
	}
}

// whitespace is what may stand around values (RFC 8259, section 2).
const whitespace = " \t\r\n"

// check refuses what can be refused without making values of data, and whatever
// does not begin with first, which is what the wanted kind of value begins with.
func check(data []byte, first byte, wanted string) error {
	switch {
	case len(bytes.Trim(data, whitespace)) == 0:
		return malformed("The body is empty; it must be %s", wanted)
	case bytes.HasPrefix(data, []byte("\uFEFF")):
		return malformed("The body must not begin with a byte order mark")
	case !utf8.Valid(data):
		return malformed("The body is not valid UTF-8: error at offset %d", validUTF8(data))
	}
	if !json.Valid(data) {
		// With one byte more, the end of a document that is cut short and an
		// error in the last byte of another have different offsets.
		var syntax *json.SyntaxError
		errors.As(json.Unmarshal(append(slices.Clip(data), 0), new(any)), &syntax)
		if syntax.Offset-1 == int64(len(data)) {
			return malformed("The body ends too early to be JSON, at offset %d", len(data))
		}
		return malformed("The body cannot be read as JSON: error at offset %d", syntax.Offset-1)
	}
	if i := loneSurrogate(data); i >= 0 {
		return malformed("The body has half of a surrogate pair at offset %d", i)
	}
	if bytes.TrimLeft(data, whitespace)[0] != first {
		return malformed("The body must be %s", wanted)
	}
	return nil
}

// validUTF8 returns how many bytes data begins with that are valid UTF-8.
func validUTF8(data []byte) (n int) {
	for n < len(data) {
		r, size := utf8.DecodeRune(data[n:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		n += size
	}
	return n
}

// loneSurrogate returns the offset of the first \u escape in data, which is
// JSON, that is half of a pair without the other (RFC 7493, section 2.1), or -1.
// json.Unmarshal would replace it by U+FFFD and say nothing.
func loneSurrogate(data []byte) int {
	for i := 0; ; {
		next := bytes.IndexByte(data[i:], '\\')
		if next < 0 {
			return -1
		}
		i += next
		r, ok := escape(data[i:])
		switch {
		case !ok:
			i += len(`\n`)
		case !utf16.IsSurrogate(r):
			i += len(`\u0000`)
		default:
			low, _ := escape(data[i+len(`\u0000`):])
			if utf16.DecodeRune(r, low) == utf8.RuneError {
				return i
			}
			i += 2 * len(`\u0000`)
		}
	}
}

// escape reads the \u escape at the beginning of data, if there is one.
func escape(data []byte) (r rune, ok bool) {
	if !bytes.HasPrefix(data, []byte(`\u`)) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(data[2:6]), 16, 16)
	return rune(n), err == nil
}

// parse makes a value of JSON that check has found nothing wrong with. What it
// refuses are numbers that no double holds, and keys that occur twice; start is
// where the JSON begins in the body.
func parse(data []byte, start int64) (any, error) {
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		var number *json.UnmarshalTypeError
		errors.As(err, &number)
		return nil, malformed("The number that ends at offset %d is too large", start+number.Offset-1)
	}
	if colons(data) > members(value) {
		return nil, duplicate(json.NewDecoder(bytes.NewReader(data)), start)
	}
	return value, nil
}

// colons counts the colons in JSON that are not in strings: one for each member
// of an object.
func colons(data []byte) (n int) {
	inString := false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			inString = !inString
		case c == '\\':
			i++ // and what follows, which may be a quotation mark
		case c == ':' && !inString:
			n++
		}
	}
	return n
}

// members counts the members of all objects in value. A key that occurs twice
// makes one.
func members(value any) (n int) {
	switch value := value.(type) {
	case map[string]any:
		n = len(value)
		for _, v := range value {
			n += members(v)
		}
	case []any:
		for _, v := range value {
			n += members(v)
		}
	}
	return n
}

// duplicate reads the next value, of JSON that is without fault otherwise, and
// names the first key that occurs twice in one of its objects.
func duplicate(decoder *json.Decoder, start int64) error {
	first, _ := decoder.Token()
	if _, ok := first.(json.Delim); !ok {
		return nil
	}
	keys := make(map[json.Token]bool)
	for decoder.More() {
		if first == json.Delim('{') {
			key, _ := decoder.Token()
			if keys[key] {
				return malformed("The key %s occurs twice in one object; the second ends at offset %d", shorten(key.(string)), start+decoder.InputOffset())
			}
			keys[key] = true
		}
		if err := duplicate(decoder, start); err != nil {
			return err
		}
	}
	decoder.Token() // the end of what first began
	return nil
}

// shorten quotes a key, and cuts it short if it is longer than any that makes
// sense.
func shorten(key string) string {
	const most = 40
	if runes := []rune(key); len(runes) > most {
		key = strings.TrimSpace(string(runes[:most])) + "…"
	}
	return strconv.Quote(key)
}
