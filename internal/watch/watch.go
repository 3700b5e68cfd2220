// Package watch sees every request and its answer from outside: it counts, measures
// and logs them, and what panics on the way to an answer.
package watch

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

	"cars/internal/metrics"
)

// Requests are what is known of all requests so far.
type Requests struct {
	counts    *metrics.Counters[key]
	durations *metrics.Histogram
	overload  sampler
	refuse    func(w http.ResponseWriter, message string, status int)
}

// A key is what requests are counted by. Clients can choose neither as they like, or
// they could fill the memory with counters.
type key struct {
	method, route string
	status        int
}

// NewRequests adds the metrics of requests. refuse answers with an error, whose message
// is for a person.
func NewRequests(r *metrics.Registry, refuse func(w http.ResponseWriter, message string, status int)) *Requests {
	return &Requests{
		counts: metrics.NewCounters(r, "http_requests_total", "Requests that were answered.",
			[]string{"method", "route", "code"},
			func(k key) []string { return []string{k.method, k.route, strconv.Itoa(k.status)} }),
		durations: metrics.NewHistogram(r, "http_request_duration_seconds", "Time from a request's header to the end of its answer.",
			0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.125, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 60),
		refuse: refuse,
	}
}

// Wrap watches what next does. It logs refused and failed requests, with the answer,
// and others at level debug. Of those that are refused because there are too many, it
// logs a sample: a line for each would cost more than the refusal. If next panics it
// answers 500; should part of an answer be on its way already, it cuts the connection, so
// that the client does not take that for all.
func (q *Requests) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		a := &answer{ResponseWriter: w}
		switch cause := a.serve(next, r); {
		case cause == nil:
		case a.status == 0 && cause != http.ErrAbortHandler:
			q.refuse(a, "Internal error", http.StatusInternalServerError)
		default:
			defer panic(http.ErrAbortHandler) // which tells net/http to cut it
		}
		duration := time.Since(start)
		if a.status == 0 {
			a.status = http.StatusOK // net/http says so for who says nothing
		}
		q.counts.Add(key{methodOf(r), routeOf(r), a.status})
		q.durations.Observe(duration.Seconds())
		left, logged := 0, true
		if a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests {
			left, logged = q.overload.take(start)
		}
		if logged {
			a.log(r, duration, left)
		}
	})
}

// routeOf is the path of the ServeMux pattern that r has matched.
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

// An answer is a ResponseWriter that remembers what it has written.
type answer struct {
	http.ResponseWriter
	status  int
	bytes   int64
	failure []byte // the beginning of a body with an error
}

// serve has next answer r, and returns what it has panicked with, which it logs, or nil.
func (a *answer) serve(next http.Handler, r *http.Request) (cause any) {
	defer func() {
		if cause = recover(); cause != nil && cause != http.ErrAbortHandler {
			slog.Error(fmt.Sprintf("%s %q - Panic: %v\n%s", r.Method, r.URL.Path, cause, debug.Stack()))
		}
	}()
	next.ServeHTTP(a, r)
	return nil
}

// Unwrap lets an http.ResponseController through.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 { // those below announce another
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	const enough = 1000
	if a.status >= 400 && len(a.failure) < enough {
		a.failure = append(a.failure, b[:min(len(b), enough-len(a.failure))]...)
	}
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	return n, err
}

// log writes the line of a request, if there is to be one: at level warn for what was
// refused or could not be done, at info for other mistakes of clients.
func (a *answer) log(r *http.Request, duration time.Duration, left int) {
	level := slog.LevelDebug
	switch {
	case a.status >= 500, a.status == 401, a.status == 403, a.status == 429:
		level = slog.LevelWarn
	case a.status >= 400:
		level = slog.LevelInfo
	}
	logger := slog.Default()
	if !logger.Enabled(context.Background(), level) {
		return
	}
	line := fmt.Sprintf("%s %s - %d, %d bytes, %v", r.Method, shorten(r.URL.EscapedPath()), a.status, a.bytes, duration.Round(time.Microsecond))
	if a.status >= 400 {
		line += fmt.Sprintf(", to %s for host %q: %s", r.RemoteAddr, shorten(r.Host), strings.ReplaceAll(strings.TrimSpace(string(a.failure)), "\n", " "))
	}
	if left > 0 {
		line += fmt.Sprintf(" (and %d more before)", left)
	}
	logger.Log(context.Background(), level, line)
}

// A sampler picks a few of many events.
type sampler struct {
	mu     sync.Mutex
	second int64 // in which so many were picked
	picked int
	left   int // out since the last that was picked
}

// take reports whether an event is picked, and then how many were left out before it.
func (s *sampler) take(now time.Time) (left int, picked bool) {
	const most = 10 // in a second: enough to see what is the matter
	s.mu.Lock()
	defer s.mu.Unlock()
	if second := now.Unix(); second != s.second {
		s.second, s.picked = second, 0
	}
	if s.picked == most {
		s.left++
		return 0, false
	}
	s.picked++
	left, s.left = s.left, 0
	return left, true
}

// shorten keeps a line from being as long as clients like.
func shorten(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
