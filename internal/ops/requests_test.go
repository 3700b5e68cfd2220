package ops

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cars/internal/rest"
)

// watch returns what q makes of h, with the log in text, and where that goes.
func watch(t *testing.T, level slog.Level, h http.HandlerFunc) (handler http.Handler, registry *Registry, logged *bytes.Buffer) {
	t.Helper()
	registry, logged = new(Registry), new(bytes.Buffer)
	capture(t, NewTextHandler(logged, level))
	return NewRequests(registry).Wrap(h), registry, logged
}

// wantMetrics wants each of these lines in what registry shows.
func wantMetrics(t *testing.T, registry *Registry, lines ...string) {
	t.Helper()
	var got strings.Builder
	registry.Write(&got)
	for _, want := range lines {
		if !strings.Contains(got.String(), "\n"+want+"\n") {
			t.Errorf("lacks %s: %s", want, got.String())
		}
	}
}

// TestOverloadIsLoggedInSamples, other failures are logged each.
func TestOverloadIsLoggedInSamples(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status := 0
		handler, _, logged := watch(t, slog.LevelInfo, func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "no", status)
		})
		lines := func(n int) (count int) {
			logged.Reset()
			for range n {
				handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			}
			return strings.Count(logged.String(), "\n")
		}
		for _, status = range []int{503, 429} {
			if got := lines(1000); got != 10 {
				t.Errorf("%d: got %d lines, want 10", status, got)
			}
			time.Sleep(time.Second)
			if got := lines(1); got != 1 || !strings.HasSuffix(logged.String(), " omitted=990\n") {
				t.Errorf("%d: a second later: logged %q", status, logged)
			}
			time.Sleep(time.Second)
		}
		for _, status = range []int{400, 403, 500, 507} {
			if got := lines(100); got != 100 {
				t.Errorf("%d: got %d lines, want 100", status, got)
			}
		}
	})
}

func TestCutOffAnswersAreLoggedInSamples(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler, _, logged := watch(t, slog.LevelInfo, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
		})
		for range 100 {
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		}
		if got := strings.Count(logged.String(), " WARN Answer cut off "); got != 10 {
			t.Errorf("got %d lines, want 10", got)
		}
	})
}

func TestReportsAreSampled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		capture(t, NewTextHandler(&logged, slog.LevelInfo))
		q := NewRequests(new(Registry))
		for range 15 {
			q.Report("Preflight refused", slog.String("origin", "https://a.example"), slog.String("flag", "-origins https://a.example"))
		}
		line := ` WARN Preflight refused origin=https://a.example flag="-origins https://a.example"` + "\n"
		if got := strings.Count(logged.String(), line); got != 10 {
			t.Errorf("got %d lines, want 10: %s", got, &logged)
		}
		time.Sleep(time.Second)
		logged.Reset()
		q.Report("Preflight refused")
		if !strings.HasSuffix(logged.String(), " WARN Preflight refused omitted=5\n") {
			t.Errorf("got %q", &logged)
		}
	})
}

func TestRequestsAreCountedAndLogged(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /things/{id}", func(w http.ResponseWriter, r *http.Request) {
		switch r.PathValue("id") {
		case "silent":
		case "early":
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusOK)
		case "flush":
			io.WriteString(w, "a")
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Errorf("flush: %v", err)
			}
		case "missing":
			rest.WriteError(w, rest.Errorf(404, "No such thing \u202e\n at all"))
		case "invalid":
			fields := map[string]string{}
			for i := range 100 {
				fields[fmt.Sprint("field", i)] = "must not be negative"
			}
			rest.WriteError(w, &rest.Error{Status: 422, Message: "Some fields are wrong", Fields: fields})
		case "plain":
			http.Error(w, "in plain text", http.StatusNotFound)
		case "broken":
			http.Error(w, strings.Repeat("x", 5000), http.StatusInternalServerError)
		case "forbidden":
			http.Error(w, "no", http.StatusForbidden)
		}
	})
	handler, registry, logged := watch(t, slog.LevelDebug, mux.ServeHTTP)
	for _, test := range []struct {
		method, path string
		level        slog.Level
		want         string // the log line, but for its time and took
	}{
		{"GET", "/things/silent", slog.LevelDebug, "DEBUG Request answered method=GET path=/things/silent status=200 bytes=0 remote=192.0.2.1:1234 host=example.com"},
		{"GET", "/things/silent", slog.LevelInfo, ""},
		{"HEAD", "/things/flush", slog.LevelDebug, "DEBUG Request answered method=HEAD path=/things/flush status=200 bytes=1 "},
		{"GET", "/things/missing", slog.LevelInfo, `INFO Request refused method=GET path=/things/missing status=404 error="No such thing \u202e\n at all" bytes=72 `},
		{"GET", "/things/missing", slog.LevelWarn, ""},
		{"GET", "/things/invalid", slog.LevelInfo, `INFO Request refused method=GET path=/things/invalid status=422 error="Some fields are wrong" bytes=`},
		{"GET", "/things/plain", slog.LevelInfo, `INFO Request refused method=GET path=/things/plain status=404 error="in plain text" bytes=14 `},
		{"GET", "/things/forbidden", slog.LevelWarn, `WARN Request refused method=GET path=/things/forbidden status=403 error=no bytes=3 `},
		{"GET", "/things/broken", slog.LevelWarn, "WARN Request failed method=GET path=/things/broken status=500 error=" + strings.Repeat("x", 1000) + " bytes=5001 "},
		{"BREW", "/a%0ab", slog.LevelInfo, "INFO Request refused method=BREW path=/a%0ab status=404 "},
		{"GET", "/" + strings.Repeat("y", 1000), slog.LevelInfo, "INFO Request refused method=GET path=/" + strings.Repeat("y", 199) + "… status=404 "},
		{strings.Repeat("M", 1000), "/", slog.LevelInfo, "INFO Request refused method=" + strings.Repeat("M", 200) + "… path=/ "},
	} {
		logged.Reset()
		capture(t, NewTextHandler(logged, test.level))
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(test.method, test.path, nil))
		line := logged.String()
		before, after, _ := strings.Cut(line, " took=")
		_, after, _ = strings.Cut(after, " ")
		if got := before + " " + after; !strings.Contains(got, test.want) || test.want == "" && line != "" || strings.Count(line, "\n") > 1 {
			t.Errorf("%s %s at %v: logged %q, want %q", test.method, test.path, test.level, line, test.want)
		}
	}
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/things/early", nil))
	wantMetrics(t, registry,
		`http_requests_total{method="GET",route="/things/{id}",code="200"} 3`,
		`http_requests_total{method="HEAD",route="/things/{id}",code="200"} 1`,
		`http_requests_total{method="GET",route="/things/{id}",code="404"} 3`,
		`http_requests_total{method="other",route="other",code="404"} 2`,
		`http_requests_total{method="GET",route="other",code="404"} 1`,
		`http_request_duration_seconds_count 13`,
	)
}

// TestFieldsInJSON: a program finds what a line is about without taking English apart.
func TestFieldsInJSON(t *testing.T) {
	handler, _, logged := watch(t, slog.LevelInfo, func(w http.ResponseWriter, r *http.Request) {
		rest.WriteError(w, rest.Errorf(404, "Car not found"))
	})
	capture(t, NewJSONHandler(logged, slog.LevelInfo))
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/api/cars/99", nil))
	var got map[string]any
	if err := json.Unmarshal(logged.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, logged)
	}
	if took, ok := got["took"].(float64); !ok || took < 0 || took > 60_000 {
		t.Errorf("took: got %v, want milliseconds", got["took"])
	}
	for key, want := range map[string]any{"level": "INFO", "msg": "Request refused", "method": "GET", "path": "/api/cars/99", "status": 404.0,
		"bytes": 59.0, "remote": "192.0.2.1:1234", "host": "example.com", "error": "Car not found"} {
		if got[key] != want {
			t.Errorf("%s: got %v, want %v", key, got[key], want)
		}
	}
}

// TestRouteOf patterns of ServeMux, and of routers that set r.Pattern as it does.
func TestRouteOf(t *testing.T) {
	for pattern, want := range map[string]string{"": "other", "/": "other", "GET /": "other", "GET /api/cars/{id}": "/api/cars/{id}",
		"/api/cars": "/api/cars", "GET /{$}": "/"} {
		if got := routeOf(&http.Request{Pattern: pattern}); got != want {
			t.Errorf("%q: got %q, want %q", pattern, got, want)
		}
	}
}

// TestStreamsAreNotMeasured: they last as long as their clients like.
func TestStreamsAreNotMeasured(t *testing.T) {
	handler, registry, _ := watch(t, slog.LevelInfo, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		io.WriteString(w, ": hello\n\n")
	})
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	wantMetrics(t, registry, `http_requests_total{method="GET",route="other",code="200"} 1`, `http_request_duration_seconds_count 0`)
}

// TestStrangeStatus codes, up to 999, can be sent.
func TestStrangeStatus(t *testing.T) {
	handler, registry, _ := watch(t, slog.LevelInfo, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(999) })
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	wantMetrics(t, registry, `http_requests_total{method="GET",route="other",code="other"} 1`)
}

// TestPanicIsAnswered as long as nothing else has been; then the connection is cut.
func TestPanicIsAnswered(t *testing.T) {
	secret := errors.New("secret")
	for _, test := range []struct {
		written string
		cause   any
		code    string // as it is counted
		logged  string // at level info
		cut     bool
	}{
		{"", secret, "500", `ERROR Panic method=GET path=/x%0ay error=secret`, false},
		{"", []int{1}, "500", `ERROR Panic method=GET path=/x%0ay error=[1]`, false},
		{"[1,", secret, "200", `WARN Answer cut off method=GET path=/x%0ay status=200 error="panic: secret" bytes=3 `, true},
		{"", http.ErrAbortHandler, "200", "WARN Answer cut off method=GET path=/x%0ay status=200 error=aborted bytes=0 ", true},
	} {
		handler, registry, logged := watch(t, slog.LevelInfo, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			if test.written != "" {
				io.WriteString(w, test.written)
			}
			panic(test.cause)
		})
		rec := httptest.NewRecorder()
		cut := func() (v any) {
			defer func() { v = recover() }()
			handler.ServeHTTP(rec, httptest.NewRequest("GET", "/x%0ay", nil))
			return nil
		}()
		want := test.written
		if !test.cut {
			want = `{"error":"Internal Server Error","message":"Internal error","code":500}` + "\n"
			if rec.Code != 500 || rec.Header().Get("Content-Encoding") != "" {
				t.Errorf("%+v: answered %d with %v", test, rec.Code, rec.Header())
			}
		}
		if (cut == http.ErrAbortHandler) != test.cut || rec.Body.String() != want {
			t.Errorf("%+v: panicked with %v and wrote %q", test, cut, rec.Body)
		}
		if got := logged.String(); !strings.Contains(got, test.logged) || strings.Contains(got, "requests_test.go:") != (test.cause != http.ErrAbortHandler) {
			t.Errorf("%+v: logged %s", test, got)
		}
		wantMetrics(t, registry, `http_requests_total{method="GET",route="other",code="`+test.code+`"} 1`)
	}
}

// TestAnswersDoNotMix: what one request's answer remembers is not the next one's.
func TestAnswersDoNotMix(t *testing.T) {
	handler, _, _ := watch(t, slog.LevelError, func(w http.ResponseWriter, r *http.Request) {
		a := w.(*answer)
		if a.status != 0 || a.bytes != 0 || a.err != nil || len(a.failure) > 0 {
			t.Errorf("an answer begins with %+v", a)
		}
		http.Error(w, r.URL.Path, 400)
		if got := string(a.failure); got != r.URL.Path+"\n" {
			t.Errorf("%s: got %q", r.URL.Path, got)
		}
	})
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 200 {
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, httptest.NewRequest("GET", fmt.Sprint("/", i), nil))
				if w.Body.String() != fmt.Sprintf("/%d\n", i) {
					t.Errorf("%d: got %q", i, w.Body)
				}
			}
		})
	}
	group.Wait()
}

// TestRequestsAllocateNothing of their own.
func TestRequestsAllocateNothing(t *testing.T) {
	handler, _, _ := watch(t, slog.LevelInfo, func(w http.ResponseWriter, r *http.Request) {
		r.Pattern = "GET /api/cars/{id}"
		w.WriteHeader(http.StatusOK)
	})
	w, r := &sink{http.Header{}}, httptest.NewRequest("GET", "/api/cars/1", nil)
	if got := testing.AllocsPerRun(1000, func() { handler.ServeHTTP(w, r) }); got >= 1 {
		t.Errorf("got %v allocations, want 0", got)
	}
}

func TestShorten(t *testing.T) {
	long := strings.Repeat("x", 199)
	for in, want := range map[string]string{"": "", long + "y": long + "y", long + "yz": long + "y…", long + "é": long + "…"} {
		if got := Shorten(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

type sink struct{ h http.Header }

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }

func BenchmarkRequests(b *testing.B) {
	capture(b, NewTextHandler(io.Discard, slog.LevelWarn))
	body := make([]byte, 300)
	h := NewRequests(new(Registry)).Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Pattern = "GET /api/cars/{id}"
		w.Header()["Content-Type"] = []string{"application/json"}
		w.WriteHeader(200)
		w.Write(body)
	}))
	r := httptest.NewRequest("GET", "/api/cars/1", nil)
	w := &sink{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
