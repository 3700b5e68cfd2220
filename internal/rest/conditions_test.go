package rest

import (
	"net/http/httptest"
	"strings"
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

// TestWeakTags never match by strong comparison (RFC 9110, section 8.8.3.2), and the
// client reads why.
func TestWeakTags(t *testing.T) {
	err := Conditions{IfMatch: []string{`W/"5a"`}}.Check(`"5a"`)
	if err == nil || !strings.Contains(err.Error(), "proxy") {
		t.Errorf("got %v, want that a proxy has made the tag weak", err)
	}
	err = Conditions{IfMatch: []string{`W/"5b"`}}.Check(`"5a"`)
	if err == nil || strings.Contains(err.Error(), "proxy") {
		t.Errorf("got %v for a tag that does not match anyhow", err)
	}
}

// TestTagsOfCompressedContent are others, and stand for the same content.
func TestTagsOfCompressedContent(t *testing.T) {
	get := func(accepts, field, value string) (*httptest.ResponseRecorder, error) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept-Encoding", accepts)
		r.Header.Set(field, value)
		rec := httptest.NewRecorder()
		answered, err := NotModified(rec, r, `"5a"`)
		if !answered && err == nil {
			WriteList(rec, r, "", numbers(100))
		}
		return rec, err
	}
	for _, test := range []struct {
		accepts, field, value string
		status                int // 412 stands for an error
		etag                  string
	}{
		{"", "X-Nothing", "", 200, `"5a"`},
		{"gzip", "X-Nothing", "", 200, `"5a-gzip"`},
		{"gzip", "If-None-Match", `"5a-gzip"`, 304, `"5a-gzip"`},
		{"gzip", "If-None-Match", `W/"5a-gzip"`, 304, `"5a-gzip"`},
		{"", "If-None-Match", `"5a"`, 304, `"5a"`},
		{"", "If-None-Match", `"5b"`, 200, `"5a"`},
		{"", "If-Match", `"5a-gzip"`, 200, `"5a"`},
		{"", "If-Match", `"5a"`, 200, `"5a"`},
		{"", "If-Match", `*`, 200, `"5a"`},
		{"", "If-Match", `"5b"`, 412, `"5a"`},
		{"", "If-Match", `W/"5a"`, 412, `"5a"`},
	} {
		rec, err := get(test.accepts, test.field, test.value)
		status := rec.Code
		if err != nil {
			status = err.(*Error).Status
		}
		if etag := rec.Header().Get("ETag"); status != test.status || etag != test.etag {
			t.Errorf("%s: %s, accepting %q: got %d and %s, want %d and %s", test.field, test.value, test.accepts, status, etag, test.status, test.etag)
		}
	}
}
