package ijson

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// A Scanner reads JSON whose form is known beforehand, several times as fast as
// what has to expect anything. Once something is not as expected, it has failed,
// and the JSON must be read in another way; if it has not failed, that would have
// read the same.
type Scanner struct {
	data   []byte
	offset int
	failed bool
	spaces int // skipped so far
}

// NewScanner returns a Scanner of data.
func NewScanner(data []byte) *Scanner { return &Scanner{data: data} }

// Failed reports whether something was not as expected.
func (s *Scanner) Failed() bool { return s.failed }

// AtEnd reports whether all has been read as expected.
func (s *Scanner) AtEnd() bool {
	s.skipSpace()
	return !s.failed && s.offset == len(s.data)
}

// Try reads a token if it comes next.
func (s *Scanner) Try(token string) bool {
	if s.failed {
		return false
	}
	if s.offset < len(s.data) && s.data[s.offset] <= ' ' {
		s.skipSpace()
	}
	if rest := s.data[s.offset:]; len(rest) < len(token) || string(rest[:len(token)]) != token {
		return false
	}
	s.offset += len(token)
	return true
}

// Expect reads tokens, which are given without space between them. They are
// punctuation, and strings without escapes.
func (s *Scanner) Expect(tokens string) {
	if s.Try(tokens) {
		return
	}
	for len(tokens) > 0 {
		length := 1
		if tokens[0] == '"' {
			length = 2 + strings.IndexByte(tokens[1:], '"')
		}
		if !s.Try(tokens[:length]) {
			s.failed = true
			return
		}
		tokens = tokens[length:]
	}
}

func (s *Scanner) skipSpace() {
	for s.offset < len(s.data) && s.data[s.offset] <= ' ' && strings.IndexByte(whitespace, s.data[s.offset]) >= 0 {
		s.offset++
		s.spaces++
	}
}

// Int reads a whole number in its shortest form, of at most 18 digits.
func (s *Scanner) Int() (n int) {
	s.skipSpace()
	start := s.offset
	for ; s.offset < len(s.data) && '0' <= s.data[s.offset] && s.data[s.offset] <= '9'; s.offset++ {
		n = 10*n + int(s.data[s.offset]-'0') // if this overflows, the digits are too many
	}
	digits := s.offset - start
	switch {
	case digits == 0, digits > 18, s.data[start] == '0' && digits > 1:
		s.failed = true
	case s.offset < len(s.data) && strings.IndexByte(".eE", s.data[s.offset]) >= 0:
		s.failed = true
	}
	return n
}

// Text reads a string in the form in which [Encode] writes it.
func (s *Scanner) Text() string {
	s.Expect(`"`)
	start, plain := s.offset, true
	for ; s.offset < len(s.data) && s.data[s.offset] != '"'; s.offset++ {
		c := s.data[s.offset]
		if c == '\\' {
			s.offset++ // and what follows, which may be a quotation mark
		}
		plain = plain && c != '\\' && ' ' <= c && c < utf8.RuneSelf
	}
	if s.failed || s.offset >= len(s.data) {
		s.failed = true
		s.offset = min(s.offset, len(s.data))
		return ""
	}
	text := s.data[start:s.offset]
	s.offset++
	if plain {
		return string(text)
	}
	return s.unquote(s.data[start-1 : s.offset])
}

// unquote reads a string that is not just what stands between its quotation marks.
func (s *Scanner) unquote(quoted []byte) (text string) {
	err := json.Unmarshal(quoted, &text)
	again, _ := Encode(text)
	if err != nil || string(again) != string(quoted)+"\n" {
		s.failed = true
	}
	return text
}

// Raw returns what read reads, and whether it is without any space between its
// tokens.
func (s *Scanner) Raw(read func()) (raw []byte, dense bool) {
	s.skipSpace()
	start, spaces := s.offset, s.spaces
	read()
	return s.data[start:s.offset], s.spaces == spaces
}
