package watch

import (
	"bytes"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cars/internal/metrics"
)

// TestOverloadIsLoggedInSamples, other failures are logged each.
func TestOverloadIsLoggedInSamples(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status := 0
		handler := NewRequests(new(metrics.Registry), nil).Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "no", status)
		}))
		var logged bytes.Buffer
		log.SetOutput(&logged)
		defer log.SetOutput(io.Discard)
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
			if got := lines(1); got != 1 || !strings.Contains(logged.String(), "no (and 990 more before)\n") {
				t.Errorf("%d: a second later: logged %q", status, &logged)
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

func TestMemoryIsGivenBackAfterACrowd(t *testing.T) {
	freed := 0
	c := Connections{free: func() { freed++ }}
	come := func(n int) {
		for range n {
			c.State(nil, http.StateNew)
			c.State(nil, http.StateActive)
			c.State(nil, http.StateIdle)
		}
	}
	leave := func(n int) {
		for range n {
			c.State(nil, http.StateClosed)
		}
	}
	for i, step := range []struct{ come, leave, freed int }{{999, 999, 0}, {1000, 899, 0}, {0, 1, 1}, {0, 100, 1}, {20_000, 17_999, 1}, {0, 1, 2}, {0, 1800, 3}, {0, 200, 3}} {
		come(step.come)
		leave(step.leave)
		if freed != step.freed {
			t.Errorf("step %d: given back %d times, want %d", i, freed, step.freed)
		}
	}
	if open := c.Open(); open != 0 {
		t.Errorf("%d connections are open", open)
	}
}

func TestRequestsAreCountedAndLogged(t *testing.T) {
	var registry metrics.Registry
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
			http.Error(w, "no such thing\nat all", http.StatusNotFound)
		case "broken":
			http.Error(w, strings.Repeat("x", 5000), http.StatusInternalServerError)
		case "forbidden":
			http.Error(w, "no", http.StatusForbidden)
		}
	})
	handler := NewRequests(&registry, nil).Wrap(mux)
	for _, test := range []struct {
		method, path string
		level        slog.Level
		want         string // of the log line
	}{
		{"GET", "/things/silent", slog.LevelDebug, "DEBUG GET /things/silent - 200, 0 bytes, "},
		{"GET", "/things/silent", slog.LevelInfo, ""},
		{"HEAD", "/things/flush", slog.LevelDebug, "DEBUG HEAD /things/flush - 200, 1 bytes, "},
		{"GET", "/things/missing", slog.LevelInfo, "INFO GET /things/missing - 404, 21 bytes, "},
		{"GET", "/things/missing", slog.LevelWarn, ""},
		{"GET", "/things/forbidden", slog.LevelWarn, `WARN GET /things/forbidden - 403, 3 bytes, `},
		{"GET", "/things/broken", slog.LevelWarn, "WARN GET /things/broken - 500, 5001 bytes, "},
		{"BREW", "/a%0ab", slog.LevelInfo, "INFO BREW /a%0ab - 404, "},
		{"GET", "/" + strings.Repeat("y", 1000), slog.LevelInfo, "INFO GET /" + strings.Repeat("y", 199) + "… - 404, "},
	} {
		var logged bytes.Buffer
		log.SetOutput(&logged)
		old := slog.SetLogLoggerLevel(test.level)
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(test.method, test.path, nil))
		slog.SetLogLoggerLevel(old)
		line := logged.String()
		if !strings.Contains(line, test.want) || test.want == "" && line != "" || strings.Count(line, "\n") > 1 || len(line) > 1500 {
			t.Errorf("%s %s at %v: logged %q, want %q", test.method, test.path, test.level, line, test.want)
		}
	}
	log.SetOutput(io.Discard)
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/things/early", nil))
	var got strings.Builder
	registry.Write(&got)
	for _, want := range []string{
		`http_requests_total{method="GET",route="/things/{id}",code="200"} 3`,
		`http_requests_total{method="HEAD",route="/things/{id}",code="200"} 1`,
		`http_requests_total{method="GET",route="/things/{id}",code="404"} 2`,
		`http_requests_total{method="other",route="other",code="404"} 1`,
		`http_requests_total{method="GET",route="other",code="404"} 1`,
		`http_request_duration_seconds_count 10`,
	} {
		if !strings.Contains(got.String(), "\n"+want+"\n") {
			t.Errorf("lacks %s: %s", want, got.String())
		}
	}
}

// TestPanicIsAnswered as long as nothing else has been; then the connection is cut.
func TestPanicIsAnswered(t *testing.T) {
	defer log.SetOutput(io.Discard)
	secret := errors.New("secret")
	for _, test := range []struct {
		written string
		cause   error
		code    string // as it is counted
		logged  string
		cut     bool
	}{
		{"", secret, "500", "ERROR GET \"/x\\ny\" - Panic: secret\n", false},
		{"[1,", secret, "200", "ERROR GET \"/x\\ny\" - Panic: secret\n", true},
		{"", http.ErrAbortHandler, "200", "", true},
	} {
		var logged bytes.Buffer
		log.SetOutput(&logged)
		var registry metrics.Registry
		handler := NewRequests(&registry, http.Error).Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if test.written != "" {
				io.WriteString(w, test.written)
			}
			panic(test.cause)
		}))
		rec := httptest.NewRecorder()
		cut := func() (v any) {
			defer func() { v = recover() }()
			handler.ServeHTTP(rec, httptest.NewRequest("GET", "/x%0ay", nil))
			return nil
		}()
		want := test.written
		if !test.cut {
			want = "Internal error\n"
		}
		if (cut == http.ErrAbortHandler) != test.cut || rec.Body.String() != want {
			t.Errorf("%+v: panicked with %v and wrote %q", test, cut, rec.Body)
		}
		if got := logged.String(); !strings.Contains(got, test.logged) || strings.Contains(got, "watch_test.go") != (test.logged != "") {
			t.Errorf("%+v: logged %s", test, got)
		}
		var metrics strings.Builder
		registry.Write(&metrics)
		if !strings.Contains(metrics.String(), `code="`+test.code+`"} 1`) {
			t.Errorf("%+v: counted %s", test, metrics.String())
		}
	}
}
