package ops

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestCutOffAnswersAreLogged on real connections, of HTTP/1.1 and HTTP/2. What the
// server does is a warning. That a client goes away is not.
func TestCutOffAnswersAreLogged(t *testing.T) {
	writeAll := func(w http.ResponseWriter, r *http.Request) {
		block := make([]byte, 64<<10)
		for {
			if _, err := w.Write(block); err != nil { // once the connection's buffers are full, and the time is over
				return
			}
		}
	}
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		leave   bool   // the client goes away after the header; otherwise it reads nothing until all is logged
		want    string // of the log line, at least
	}{
		{"too slow", func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			writeAll(w, r)
		}, false, `WARN Answer cut off method=GET path=/ status=200 error=`},
		{"client leaves", writeAll, true, `DEBUG Client went away during its answer method=GET path=/ status=200 error=`},
		{"client leaves, and the handler sees it", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "a")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, true, `DEBUG Client went away during its answer method=GET path=/ status=200 error="the answer ended before its 100 bytes" bytes=1 `},
		{"too short", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "a")
		}, false, `WARN Answer cut off method=GET path=/ status=200 error="the answer ended before its 100 bytes" bytes=1 `},
		{"aborted", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "a")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, false, `WARN Answer cut off method=GET path=/ status=200 error=aborted bytes=1 `},
		{"whole", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1")
			io.WriteString(w, "a")
		}, false, `DEBUG Request answered method=GET path=/ status=200 bytes=1 `},
		{"not modified", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusNotModified)
			io.WriteString(w, "a")
		}, false, `DEBUG Request answered method=GET path=/ status=304 bytes=0 `},
	} {
		for _, protocol := range []string{"http/1.1", "h2"} {
			t.Run(test.name+" "+protocol, func(t *testing.T) {
				lines := make(chan string, 10)
				capture(t, NewTextHandler(lineWriter(lines), slog.LevelDebug))
				server := httptest.NewUnstartedServer(NewRequests(new(Registry)).Wrap(test.handler))
				if protocol == "h2" {
					server.EnableHTTP2 = true
					server.StartTLS()
				} else {
					server.Start()
				}
				defer server.Close()
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				request, _ := http.NewRequestWithContext(ctx, "GET", server.URL, nil)
				response, err := server.Client().Do(request)
				if err == nil {
					defer response.Body.Close()
					if want := map[string]int{"http/1.1": 1, "h2": 2}[protocol]; response.ProtoMajor != want {
						t.Fatalf("got HTTP/%d", response.ProtoMajor)
					}
				}
				if test.leave {
					leave()
				}
				for line := range lines {
					if strings.Contains(line, "method=GET") {
						if !strings.Contains(line, test.want) {
							t.Errorf("got %s, want %s", line, test.want)
						}
						break
					}
				}
			})
		}
	}
}

// A lineWriter sends every line.
type lineWriter chan<- string

func (w lineWriter) Write(line []byte) (int, error) {
	w <- string(line)
	return len(line), nil
}

// TestHeadIsNotCutOff: its answer says how long a body would be, and has none.
func TestHeadIsNotCutOff(t *testing.T) {
	handler, _, logged := watch(t, slog.LevelDebug, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
	})
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("HEAD", "/", nil))
	if !strings.Contains(logged.String(), "DEBUG Request answered") {
		t.Errorf("got %s", logged)
	}
}

func TestMessageOf(t *testing.T) {
	for body, want := range map[string]string{
		`{"error":"Not Found","message":"Car not found","code":404}` + "\n":    "Car not found",
		`{"code":404,"errors":{"message":"inner"},"message":"outer"}`:          "outer",
		`{"error":"Unprocessable Entity","message":"Wrong","errors":{"year":"`: "Wrong",
		`{"error":"Bad","mess`: `{"error":"Bad","mess`,
		`{"message":5}`:        `{"message":5}`,
		" in plain text\n":     "in plain text",
		"[1]":                  "[1]",
		"":                     "",
	} {
		if got := messageOf([]byte(body)); got != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
	if got := messageOf(bytes.Repeat([]byte("["), 1000)); len(got) != 1000 {
		t.Errorf("got %q", got)
	}
}
