package check

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestReaders: pages of every origin may read, and one that may write is named.
func TestReaders(t *testing.T) {
	const (
		page  = "http://localhost:5173"
		named = "Access-Control-Allow-Origin: " + page + "; Access-Control-Allow-Credentials: true; Vary: Origin"
		all   = "Access-Control-Allow-Origin: *; Vary: Origin"
	)
	for _, test := range []struct {
		request string // method, path and origin
		status  int
		header  string
		ok      bool
	}{
		{"GET /api/cars/1", 200, "Access-Control-Allow-Origin: *", true},
		{"GET /api/cars/1", 200, "Vary: Accept-Encoding", false},
		{"GET /api/cars/1", 200, all, false},
		{"GET /api/cars/1", 200, named, false},
		{"GET /api/cars/1", 200, "Access-Control-Allow-Origin: *; Access-Control-Allow-Credentials: true", false},
		{"GET /api/cars/1 " + page, 200, named, true},
		{"GET /api/cars/1 " + page, 200, all, true}, // it may not write, then
		{"GET /api/cars/1 " + page, 200, strings.Replace(named, "Vary: Origin", "Vary: Origin, Accept-Encoding", 1), true},
		{"GET /api/cars/1 " + page, 200, strings.Replace(named, "Vary: Origin", "Vary: Accept-Encoding", 1), false},
		{"GET /api/cars/1 " + page, 200, strings.Replace(named, "true", "false", 1), false},
		{"GET /api/cars/1 " + page, 200, strings.Replace(named, "5173", "5174", 1), false},
		{"GET /api/cars/1 " + page, 200, "Access-Control-Allow-Origin: " + page + "; Vary: Origin", false},
		{"GET /api/cars/1 " + page, 200, "Access-Control-Allow-Origin: *", false},
		{"GET /api/cars/1 " + page, 200, "Vary: Origin", false},
		{"GET /api/cars/1 null", 200, all, true},
		{"GET /api/cars/1 null", 200, strings.Replace(named, page, "null", 1), false},
		{"PATCH /api/cars/1 " + page, 200, named, true},
		{"PATCH /api/cars/1 " + page, 200, all, false},
		{"PATCH /api/cars/1 " + page, 403, all, true},
		{"PATCH /api/cars/1 null", 200, all, true}, // by the page's own server
		{"OPTIONS /api/cars/1 " + page, 204, all + "; Access-Control-Allow-Methods: GET, HEAD", true},
		{"OPTIONS /api/cars/1 " + page, 204, all + "; Access-Control-Allow-Methods: GET, DELETE", false},
		{"OPTIONS /api/cars/1 " + page, 204, named + "; Access-Control-Allow-Methods: GET, DELETE", true},
		{"GET /metrics " + page, 200, "", true},
		{"GET /metrics/", 200, "", true},
		{"GET /metrics", 200, "Access-Control-Allow-Credentials: true", false},
		{"GET /metrics", 200, "Access-Control-Allow-Origin: *", true},
	} {
		part := strings.Split(test.request+" ", " ")
		r := httptest.NewRequest(part[0], part[1], nil)
		if part[2] != "" {
			r.Header.Set("Origin", part[2])
		}
		if err := checkReaders(r, &http.Response{StatusCode: test.status, Header: header(test.header)}); (err == nil) != test.ok {
			t.Errorf("%s: %d with %q: got %v, want that this is right: %v", test.request, test.status, test.header, err, test.ok)
		}
	}
}

// TestForms: tags are strong, and say whether a list is compressed.
func TestForms(t *testing.T) {
	const list = "Vary: Accept-Encoding"
	for _, test := range []struct {
		request string
		status  int
		header  string
		ok      bool
	}{
		{"GET /api/cars", 200, list + `; ETag: "0123456789abcdef"`, true},
		{"GET /api/cars/", 200, list + `; ETag: "0123456789abcdef-gzip"; Content-Encoding: gzip`, true},
		{"GET /api/cars", 200, list + `; ETag: "0123456789abcdef-gzip"`, false},
		{"GET /api/cars", 200, list + `; ETag: "0123456789abcdef"; Content-Encoding: gzip`, false},
		{"GET /api/cars", 200, list + `; ETag: W/"0123456789abcdef"`, false},
		{"GET /api/cars", 200, list + `; ETag: "0123456789abcde"`, false},
		{"GET /api/cars", 304, list + `; ETag: "0123456789abcdef-gzip"`, true},
		{"GET /api/cars", 304, `ETag: "0123456789abcdef"`, false},
		{"GET /api/cars", 200, "", false},
		{"GET /api/cars", 200, "Vary: Origin", false},
		{"GET /api/cars", 200, "Vary: Origin, Accept-Encoding", true},
		{"GET /api/cars", 200, "Vary: Accept-Encoding, Origin", false},
		{"GET /api/cars", 404, "", true},
		{"GET /api/cars", 412, list, true},
		{"GET /api/cars/1", 200, list, false},
		{"POST /api/cars", 201, "Location: /api/cars/33", true},
		{"POST /api/cars", 201, "Location: /garage/api/cars/33", true},
		{"POST /api/cars", 201, "Location: //evil.example/api/cars/33", false},
		{"PUT /api/cars/1", 200, "Content-Location: /api/cars/01", false},
	} {
		method, path, _ := strings.Cut(test.request, " ")
		r := httptest.NewRequest(method, path, nil)
		if err := checkForms(r, &http.Response{StatusCode: test.status, Header: header(test.header)}); (err == nil) != test.ok {
			t.Errorf("%s: %d with %q: got %v, want that this is right: %v", test.request, test.status, test.header, err, test.ok)
		}
	}
}

// header returns fields that are separated by semicolons.
func header(text string) http.Header {
	h := http.Header{}
	for line := range strings.SplitSeq(text, "; ") {
		if name, value, found := strings.Cut(line, ": "); found {
			h.Add(name, value)
		}
	}
	return h
}

// TestPages: with _page and _per_page, and only then, a list is in an object.
func TestPages(t *testing.T) {
	const list, page = "[]", `{"first":1,"prev":null,"next":null,"last":1,"pages":1,"items":0,"data":[]}`
	for _, test := range []struct {
		query, body string
		ok          bool
	}{
		{"", list, true},
		{"", page, false},
		{"_page=2&_per_page=5", page, true},
		{"_page=2&_per_page=5", list, false},
		{"_page[]=2&_per_page[]=5", page, true},
		{"_page[0]=2&_per_page[x]=5", list, true},
		{"_page=2&_per_page", list, true},
		{"_page=2", list, true},
		{"_per_page=2", list, true},
		{"_page=2&_per_page=5", strings.Replace(page, `"next":null,`, "", 1), false},
		{"_page=2&_per_page=5", strings.Replace(page, "[]", "[7]", 1), false},
	} {
		r := httptest.NewRequest("GET", "/api/cars?"+test.query, nil)
		h := http.Header{
			"Access-Control-Expose-Headers": {"…"}, "Cache-Control": {"no-cache"}, "Content-Type": {"application/json"}, "Etag": {`"0123456789abcdef"`},
			"Timing-Allow-Origin": {"*"}, "Vary": {"Accept-Encoding"}, "X-Content-Type-Options": {"nosniff"}, "X-Total-Count": {"0"},
		}
		if err := checkDescribed(r, nil, &http.Response{StatusCode: 200, Header: h}, []byte(test.body)); (err == nil) != test.ok {
			t.Errorf("%q: %s: got %v, want that this is right: %v", test.query, test.body, err, test.ok)
		}
	}
}
