package rest

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

// unread fails the test that reads it.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func TestBodyTypes(t *testing.T) {
	const wrong = "The body must be JSON; send it with Content-Type: application/json"
	for contentType, want := range map[string]string{
		"application/json":                  "",
		"Application/JSON":                  "",
		"application/json; charset=utf-8":   "",
		`application/json;charset="UTF-8"`:  "",
		"application/json; a=b":             "",
		"application/merge-patch+json":      "",
		"":                                  wrong,
		"text/plain":                        wrong,
		"application/x-www-form-urlencoded": wrong,
		"application/jsonp":                 wrong,
		"application/vnd.api+json":          wrong,
		"json":                              wrong,
		"application/json; charset=latin1":  wrong,
		"application/json, text/plain":      wrong,
		"application/json; charset":         wrong,
		"text/plain; x=application/json":    wrong,
		"multipart/form-data; boundary=a":   wrong,
		"application/json-patch+json":       wrong,
		"application/json\ntext/plain":      wrong,
	} {
		r := httptest.NewRequest("POST", "/", strings.NewReader("{}"))
		if want != "" {
			r.Body = io.NopCloser(unread{t})
		}
		for line := range strings.SplitSeq(contentType, "\n") {
			r.Header.Add("Content-Type", line)
		}
		rec := httptest.NewRecorder()
		body, err := ReadBody(rec, r, 10, "application/json", "application/merge-patch+json")
		accept := ""
		var refused *Error
		if errors.As(err, &refused) {
			accept = refused.Header["Accept"]
		}
		if want == "" {
			if err != nil || string(body) != "{}" || accept != "" {
				t.Errorf("%q: got %q, %v, Accept %q", contentType, body, err, accept)
			}
			continue
		}
		checkError(t, contentType, err, 415, want)
		if want := "application/json, application/merge-patch+json"; accept != want {
			t.Errorf("%q: Accept: got %q, want %q", contentType, accept, want)
		}
	}
}

func checkError(t *testing.T, name string, err error, status int, message string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Status != status || e.Message != message {
		t.Errorf("%s: got %+v, want %d %s", name, err, status, message)
	}
}

func TestBodyIsRefusedUnread(t *testing.T) {
	const tooLarge = "The body is larger than 10 bytes"
	for _, test := range []struct {
		name    string
		change  func(*http.Request)
		status  int
		message string
	}{
		{"encoded", func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, 415, "The body must not be encoded; send it without Content-Encoding"},
		{"encoded, not at all", func(r *http.Request) { r.Header.Set("Content-Encoding", "identity") }, 415, "The body must not be encoded; send it without Content-Encoding"},
		{"announced too large", func(r *http.Request) { r.ContentLength = 11 }, 413, tooLarge},
		{"announced too large in HTTP/2", func(r *http.Request) { r.ContentLength, r.ProtoMajor = 11, 2 }, 413, tooLarge},
		{"announced far too large", func(r *http.Request) { r.ContentLength = 1 << 62 }, 413, tooLarge},
	} {
		r := httptest.NewRequest("POST", "/", unread{t})
		r.Header.Set("Content-Type", "application/json")
		test.change(r)
		rec := httptest.NewRecorder()
		_, err := ReadBody(rec, r, 10, "application/json")
		checkError(t, test.name, err, test.status, test.message)
		if got := rec.Header().Get("Connection") == "close"; got != (test.status == 413 && r.ProtoMajor == 1) {
			t.Errorf("%s: closes the connection: %v", test.name, got)
		}
		var refused *Error
		if got := errors.As(err, &refused) && refused.Header["Accept-Encoding"] == "identity"; got != (test.status == 415) {
			t.Errorf("%s: says that it accepts no encoding: %v", test.name, got)
		}
	}
}

func TestReading(t *testing.T) {
	broken := func(err error) func() io.Reader {
		return func() io.Reader { return io.MultiReader(strings.NewReader("{"), iotest.ErrReader(err)) }
	}
	whole := func(body string) func() io.Reader {
		return func() io.Reader { return strings.NewReader(body) }
	}
	for _, test := range []struct {
		name    string
		body    func() io.Reader
		status  int
		message string
	}{
		{"empty", whole(""), 0, ""},
		{"as large as may be", whole("0123456789"), 0, ""},
		{"too large, not announced", whole("0123456789a"), 413, "The body is larger than 10 bytes"},
		{"too slow", broken(os.ErrDeadlineExceeded), 408, "The body did not arrive in time"},
		{"broken off", broken(io.ErrUnexpectedEOF), 400, "The body could not be read to its end"},
	} {
		request := func() *http.Request {
			r := httptest.NewRequest("POST", "/", nil)
			r.Body, r.ContentLength = io.NopCloser(test.body()), -1
			r.Header.Set("Content-Type", "application/json")
			return r
		}
		_, err := ReadBody(httptest.NewRecorder(), request(), 10, "application/json")
		errDiscard := DiscardBody(httptest.NewRecorder(), request(), 10)
		if test.status > 0 {
			checkError(t, test.name, err, test.status, test.message)
			checkError(t, test.name+", discarded", errDiscard, test.status, test.message)
		} else if err != nil || errDiscard != nil {
			t.Errorf("%s: got %v and, discarded, %v", test.name, err, errDiscard)
		}
	}
	if err := DiscardBody(httptest.NewRecorder(), httptest.NewRequest("DELETE", "/", nil), 10); err != nil {
		t.Errorf("no body: %v", err)
	}
}
