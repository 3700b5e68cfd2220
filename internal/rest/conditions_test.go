package rest

import (
	"net/http/httptest"
	"testing"
)

func TestConditions(t *testing.T) {
	const etag = `"5a"`
	tests := []struct {
		name  string // of the header field
		lines []string
		hold  bool
		has   bool // whether a reader would be answered 304
	}{
		{"If-Match", nil, true, false},
		{"If-Match", []string{`"5a"`}, true, false},
		{"If-Match", []string{` "1" , "5a","2"`}, true, false},
		{"If-Match", []string{`"1"`, `"5a"`}, true, false},
		{"If-Match", []string{`*`}, true, false},
		{"If-Match", []string{` * `}, true, false},
		{"If-Match", []string{`W/"5a"`}, false, false},
		{"If-Match", []string{`5a`}, false, false},
		{"If-Match", []string{`"5A"`}, false, false},
		{"If-Match", []string{`"5a`}, false, false},
		{"If-Match", []string{`"1", "2"`}, false, false},
		{"If-Match", []string{`"1", *`}, false, false},
		{"If-Match", []string{`*, "1"`}, false, false},
		{"If-Match", []string{`"x,*,y"`}, false, false},
		{"If-Match", []string{``}, false, false},

		{"If-None-Match", nil, true, false},
		{"If-None-Match", []string{`"1"`, `W/"2"`}, true, false},
		{"If-None-Match", []string{``}, true, false},
		{"If-None-Match", []string{`5a`}, true, false},
		{"If-None-Match", []string{`"1", *`}, true, false},
		{"If-None-Match", []string{`"5a"`}, false, true},
		{"If-None-Match", []string{`W/"5a"`}, false, true},
		{"If-None-Match", []string{`"1", "5a"`}, false, true},
		{"If-None-Match", []string{`*`}, false, true},
	}
	for _, test := range tests {
		r := httptest.NewRequest("PUT", "/", nil)
		for _, line := range test.lines {
			r.Header.Add(test.name, line)
		}
		c := ReadConditions(r)
		if hold, has := c.Check(etag) == nil, c.hasCurrent(etag); hold != test.hold || has != test.has {
			t.Errorf("%s %q: hold %v, has current %v; want %v, %v", test.name, test.lines, hold, has, test.hold, test.has)
		}
	}
}

// TestWeakTags: one that is weak never matches by strong comparison, not even
// itself (RFC 9110, section 8.8.3.2).
func TestWeakTags(t *testing.T) {
	const etag = `W/"5a"`
	for _, test := range []struct {
		c         Conditions
		hold, has bool
	}{
		{Conditions{IfMatch: []string{etag}}, false, false},
		{Conditions{IfMatch: []string{`"5a"`}}, false, false},
		{Conditions{IfMatch: []string{"*"}}, true, false},
		{Conditions{IfNoneMatch: []string{`"5a"`}}, false, true},
		{Conditions{IfMatch: []string{"*"}, IfNoneMatch: []string{etag}}, false, true},
	} {
		if hold, has := test.c.Check(etag) == nil, test.c.hasCurrent(etag); hold != test.hold || has != test.has {
			t.Errorf("%+v: hold %v, has current %v; want %v, %v", test.c, hold, has, test.hold, test.has)
		}
	}
}
