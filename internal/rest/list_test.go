package rest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
)

// numbers yields n texts of 100 characters.
func numbers(n int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := range n {
			if !yield(fmt.Appendf(nil, `"%098d"`, i)) {
				return
			}
		}
	}
}

// checkList wants the list of numbers in an answer.
func checkList(t *testing.T, rec *httptest.ResponseRecorder, envelope string, n int) {
	t.Helper()
	body := rec.Body.Bytes()
	if length := rec.Header().Get("Content-Length"); length != "" && length != strconv.Itoa(len(body)) {
		t.Errorf("got Content-Length %s for %d bytes", length, len(body))
	}
	if rec.Header().Get("Content-Encoding") == "gzip" {
		zr, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body, err = io.ReadAll(zr); err != nil {
			t.Fatal(err)
		}
	}
	var list []string
	var err error
	if envelope == "" {
		err = json.Unmarshal(body, &list)
	} else {
		var object struct{ Data []string }
		err = json.Unmarshal(body, &object)
		list = object.Data
	}
	if err != nil || len(list) != n || n > 0 && list[n-1] != fmt.Sprintf("%098d", n-1) || !bytes.HasSuffix(body, []byte("\n")) {
		t.Errorf("got %d elements and %v, want %d", len(list), err, n)
	}
}

func TestLists(t *testing.T) {
	for _, envelope := range []string{"", `{"pages":1,"data":`} {
		for _, n := range []int{0, 1, 2, 5, 20, 161, 162, 163, 2000, 10_000} {
			for _, accepts := range []string{"", "gzip"} {
				r := httptest.NewRequest("GET", "/", nil)
				r.Header.Set("Accept-Encoding", accepts)
				rec := httptest.NewRecorder()
				WriteList(rec, r, envelope, numbers(n))
				checkList(t, rec, envelope, n)
				h := rec.Header()
				if got, want := h.Get("Content-Encoding") == "gzip", accepts == "gzip" && n > 5; got != want {
					t.Errorf("%d, accepting %q: compressed: %v, want %v", n, accepts, got, want)
				}
				if got, want := h.Get("Content-Length") != "", accepts == "" || n <= 2000; got != want {
					t.Errorf("%d, accepting %q: its length is known: %v, want %v", n, accepts, got, want)
				}
				if h.Get("Content-Type") != "application/json" || h.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%d, accepting %q: got header %v", n, accepts, h)
				}
			}
		}
	}
}

// A stuck client takes nothing until it is released.
type stuck struct {
	*httptest.ResponseRecorder
	reached chan bool     // receives when the first piece is ready
	release chan struct{} // closed when the client reads
}

func (s stuck) Write(b []byte) (int, error) {
	s.reached <- true
	<-s.release
	return s.ResponseRecorder.Write(b)
}

// TestListsBesideStuckClients: those that do not read leave the others what they need,
// but for the compression.
func TestListsBesideStuckClients(t *testing.T) {
	writers := cap(gzipWriters)
	release, ended := make(chan struct{}), make(chan bool)
	reached := make(chan bool, 1000)
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	for range writers {
		go func() {
			s := stuck{httptest.NewRecorder(), reached, release}
			WriteList(s, r, "", numbers(10_000))
			ended <- s.Header().Get("Content-Encoding") == "gzip"
		}()
	}
	for range writers {
		<-reached
	}
	rec := httptest.NewRecorder()
	WriteList(rec, r, "", numbers(1000))
	checkList(t, rec, "", 1000)
	if rec.Header().Get("Content-Encoding") != "" {
		t.Error("a list was compressed by more writers than there are")
	}
	close(release)
	for range writers {
		if !<-ended {
			t.Error("a list was not compressed though there was a writer")
		}
	}
	rec = httptest.NewRecorder()
	WriteList(rec, r, "", numbers(1000))
	if rec.Header().Get("Content-Encoding") != "gzip" {
		t.Error("the writers have not come back")
	}
}

func TestErrors(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{Errorf(404, "No %s", "car"), `404 map[] {"error":"Not Found","message":"No car","code":404}`},
		{&Error{Status: 422, Message: "year is", Fields: map[string]string{"year": "is"}}, `422 map[] {"error":"Unprocessable Entity","message":"year is","code":422,"errors":{"year":"is"}}`},
		{fmt.Errorf("wrapped: %w", &Error{Status: 405, Message: "m", Header: map[string]string{"Allow": "GET"}}), `405 map[Allow:[GET]] {"error":"Method Not Allowed","message":"m","code":405}`},
		{&Error{Status: 503, Message: "m", RetryAfter: 7, Cause: io.EOF}, `503 map[Retry-After:[7]] {"error":"Service Unavailable","message":"m","code":503}`},
		{&Error{Status: 599, Message: "m"}, `599 map[] {"error":"Unassigned","message":"m","code":599}`},
		{io.EOF, `500 map[] {"error":"Internal Server Error","message":"Internal error","code":500}`},
	} {
		rec := httptest.NewRecorder()
		rec.Header().Set("ETag", `"5a"`) // of the answer that is not given
		Handle(func(http.ResponseWriter, *http.Request) error { return test.err })(rec, nil)
		special := http.Header{}
		for _, name := range []string{"Allow", "Etag", "Retry-After"} {
			if values := rec.Header()[name]; values != nil {
				special[name] = values
			}
		}
		if got := fmt.Sprint(rec.Code, " ", special, " ", rec.Body); got != test.want+"\n" {
			t.Errorf("%v: got %s, want %s", test.err, got, test.want)
		}
	}
}

// TestListsTakeTurns: a long list is measured and put together only in its turn. A short
// one needs none.
func TestListsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := turns
		defer func() { turns = all }()
		turns = make(chan struct{}, 1)
		for _, accepts := range []string{"", "gzip"} {
			turns <- struct{}{} // another list has the only turn
			read := 0
			counted := func(yield func([]byte) bool) {
				for element := range numbers(10_000) {
					if read++; !yield(element) {
						return
					}
				}
			}
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Accept-Encoding", accepts)
			rec := httptest.NewRecorder()
			ended := make(chan bool)
			go func() { WriteList(rec, r, "", counted); close(ended) }()
			synctest.Wait()
			if read > 1000 {
				t.Errorf("accepting %q: %d elements were read without a turn", accepts, read)
			}
			rec2 := httptest.NewRecorder()
			WriteList(rec2, httptest.NewRequest("GET", "/", nil), "", numbers(150))
			checkList(t, rec2, "", 150)
			<-turns
			<-ended
			checkList(t, rec, "", 10_000)
			if len(turns) != 0 {
				t.Errorf("accepting %q: a turn was not given back", accepts)
			}
		}
	})
}

// TestCompressedListsAreNotMeasured beyond what decides how they are sent.
func TestCompressedListsAreNotMeasured(t *testing.T) {
	if got := length("", numbers(1<<20), maxBuffered); got <= maxBuffered || got > maxBuffered+1000 {
		t.Errorf("got %d, want little more than %d", got, maxBuffered)
	}
}
