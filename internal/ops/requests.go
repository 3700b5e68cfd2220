// Package ops is what the operator sees of the server: metrics, the log of requests, and
// the form and the writing of log lines.
package ops

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cars/internal/rest"
)

// Requests counts, measures and logs requests.
type Requests struct {
	counts    *Counters
	durations *Histogram
	codes     [600]string // texts of status codes, by code
	answers   sync.Pool   // of *answer

	// There may be thousands of these events a second, so only a sample is logged.
	overload, cutOffs, reports sampler
}

// NewRequests adds the metrics of requests to r.
func NewRequests(r *Registry) *Requests {
	q := &Requests{
		counts: r.Counters("http_requests_total", "Requests that were answered.", "method", "route", "code"),
		durations: r.Histogram("http_request_duration_seconds", "Time from a request's header to the end of its answer; event streams are not among them.",
			0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.125, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 60),
		answers: sync.Pool{New: func() any { return new(answer) }},
	}
	for code := range q.codes {
		q.codes[code] = strconv.Itoa(code)
	}
	return q
}

// Wrap returns a handler that counts, measures and logs the requests that next answers.
//
// Refused and failed requests are logged with the answer's message, and others at level
// debug. Of the requests that are refused because there are too many, a sample is logged:
// a line for each would cost more than the refusal. If next panics, the answer is 500. If
// a part of the answer has been sent by then, the connection is cut, so that the client
// does not take that part for the whole.
//
// next must not use its ResponseWriter after it has returned: the writer then serves
// another request.
func (q *Requests) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		a := q.answers.Get().(*answer)
		*a = answer{ResponseWriter: w, failure: a.failure[:0]}
		cause := a.serve(next, r)
		switch {
		case cause == nil:
		case a.status == 0 && cause != http.ErrAbortHandler:
			h := w.Header()
			h.Del("Content-Encoding") // of the answer that never began
			h.Del("Etag")
			rest.WriteError(a, rest.Errorf(http.StatusInternalServerError, "Internal error"))
			cause = nil
		default:
			defer panic(http.ErrAbortHandler) // tells net/http to cut the connection
		}
		took := time.Since(start)
		if a.status == 0 {
			a.status = http.StatusOK // net/http sends 200 for a handler that sends no status
		}
		q.counts.Add(Values{methodOf(r), routeOf(r), q.codeOf(a.status)})
		if !a.isStream() {
			q.durations.Observe(took.Seconds())
		}
		q.log(r, a, took, cause)
		a.ResponseWriter = nil
		q.answers.Put(a)
	})
}

// Report logs, at level warn, an event that clients can cause as often as they like, such
// as a refused preflight. It logs at most ten a second.
func (q *Requests) Report(message string, attrs ...slog.Attr) {
	if omitted, picked := q.reports.take(time.Now()); picked {
		logWith(slog.LevelWarn, message, withOmitted(attrs, omitted))
	}
}

func (q *Requests) codeOf(status int) string {
	if status < len(q.codes) {
		return q.codes[status]
	}
	return "other" // 600 to 999, which only a faulty handler sends
}

// routeOf returns the path of the pattern that r has matched, or "other". [http.ServeMux]
// sets r.Pattern; a router that takes its place must set it, too.
func routeOf(r *http.Request) string {
	_, path, hasMethod := strings.Cut(r.Pattern, " ")
	if !hasMethod {
		path = r.Pattern
	}
	if path == "" || path == "/" {
		return "other"
	}
	return strings.TrimSuffix(path, "{$}")
}

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

func methodOf(r *http.Request) string {
	if slices.Contains(methods, r.Method) {
		return r.Method
	}
	return "other"
}

// serve has next answer r. If next panics, serve logs the value of the panic and returns it.
func (a *answer) serve(next http.Handler, r *http.Request) (cause any) {
	defer func() {
		if cause = recover(); cause != nil && cause != http.ErrAbortHandler {
			slog.Error("Panic", "method", Shorten(r.Method), "path", Shorten(r.URL.EscapedPath()), "error", fmt.Sprint(cause), "stack", string(debug.Stack()))
		}
	}()
	next.ServeHTTP(a, r)
	return nil
}

// log writes the line of a request, unless its level or a sampler leaves it out. cause is
// the value of a panic after a part of the answer was sent, or nil.
func (q *Requests) log(r *http.Request, a *answer, took time.Duration, cause any) {
	level, message, problem, sample := slog.LevelDebug, "Request answered", "", (*sampler)(nil)
	switch cut, byClient := a.cutOff(r, cause); {
	case cut != nil && byClient:
		message, problem = "Client went away during its answer", cut.Error()
	case cut != nil:
		level, message, problem, sample = slog.LevelWarn, "Answer cut off", cut.Error(), &q.cutOffs
	case a.status >= 500:
		level, message = slog.LevelWarn, "Request failed"
	case a.status == 401, a.status == 403, a.status == 429:
		level, message = slog.LevelWarn, "Request refused"
	case a.status >= 400:
		level, message = slog.LevelInfo, "Request refused"
	}
	if sample == nil && (a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests) {
		sample = &q.overload
	}
	omitted := 0
	if sample != nil {
		var picked bool
		if omitted, picked = sample.take(time.Now()); !picked {
			return
		}
	}
	if !slog.Default().Enabled(context.Background(), level) {
		return
	}
	if problem == "" && a.status >= 400 {
		problem = messageOf(a.failure)
	}
	attrs := make([]slog.Attr, 0, 9)
	attrs = append(attrs, slog.String("method", Shorten(r.Method)), slog.String("path", Shorten(r.URL.EscapedPath())), slog.Int("status", a.status))
	if problem != "" {
		attrs = append(attrs, slog.String("error", problem))
	}
	attrs = append(attrs, slog.Int64("bytes", a.bytes), slog.Duration("took", took.Round(time.Microsecond)),
		slog.String("remote", r.RemoteAddr), slog.String("host", Shorten(r.Host)))
	logWith(level, message, withOmitted(attrs, omitted))
}

// withOmitted adds the number n of lines of a kind that were left out before this one.
func withOmitted(attrs []slog.Attr, n int) []slog.Attr {
	if n == 0 {
		return attrs
	}
	return append(attrs, slog.Int("omitted", n))
}

func logWith(level slog.Level, message string, attrs []slog.Attr) {
	slog.LogAttrs(context.Background(), level, message, attrs...)
}

// A sampler picks a few of many events. Its zero value is ready.
type sampler struct {
	mu      sync.Mutex
	second  int64 // Unix time of the second to which picked applies
	picked  int
	omitted int // events since the last that was picked
}

// take reports whether an event is picked, and if so, how many were omitted before it.
func (s *sampler) take(now time.Time) (omitted int, picked bool) {
	const most = 10 // a second: enough to see what is wrong
	s.mu.Lock()
	defer s.mu.Unlock()
	if second := now.Unix(); second != s.second {
		s.second, s.picked = second, 0
	}
	if s.picked == most {
		s.omitted++
		return 0, false
	}
	s.picked++
	omitted, s.omitted = s.omitted, 0
	return omitted, true
}

// Shorten returns s, or its beginning if s is longer than 200 bytes. Without it, clients
// would choose the length of log lines.
func Shorten(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
