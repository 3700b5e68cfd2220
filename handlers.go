// Reception: HTTP in, CarRequest out, JSON back. Everything in this file runs
// on the many goroutines that net/http starts, one for each connection.

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// newHandler returns the whole server: every path it knows, and a JSON answer
// for every path it does not.
func newHandler() http.Handler {
	mux := http.NewServeMux()
	handle(mux, "/api/cars", methods{"GET": handleGetCars})
	handle(mux, "/api/cars/{id}", methods{"GET": handleGetCarByID})
	mux.HandleFunc("/", handleUnknownPath)
	return recoverPanics(refuseOddPaths(mux))
}

// handleGetCars answers GET /api/cars with the whole catalogue.
func handleGetCars(w http.ResponseWriter, r *http.Request) {
	resp, err := process(w, r, CarRequest{Op: listCars})
	if err != nil {
		fail(w, err)
		return
	}
	logf("Processing completed for car list: %d found", len(resp.snapshot.records))
	w.Header().Set("X-Total-Count", strconv.Itoa(len(resp.snapshot.records)))
	if !notModified(w, r, resp.snapshot.etag) {
		writeJSON(w, resp.snapshot.json(), http.StatusOK)
	}
}

// handleGetCarByID answers GET /api/cars/{id} with one car.
func handleGetCarByID(w http.ResponseWriter, r *http.Request) {
	id, err := parseID(strings.TrimPrefix(r.URL.Path, "/api/cars/"))
	if err != nil {
		fail(w, err)
		return
	}
	resp, err := process(w, r, CarRequest{ID: id})
	if err != nil {
		fail(w, err)
		return
	}
	logf("Processing completed for car ID %d: %s", id, resp.Car.Name)
	if !notModified(w, r, resp.record.etag) {
		writeJSON(w, resp.record.json, http.StatusOK)
	}
}

// handleUnknownPath answers every path that has no handler.
func handleUnknownPath(w http.ResponseWriter, r *http.Request) {
	sendError(w, "No such path; the cars are at /api/cars", http.StatusNotFound)
}

// process has the processor carry out req for r, with what every request has in
// common: a processing time that the query may set, a log line, and the
// Server-Timing header (W3C Server Timing) that says where the time went.
func process(w http.ResponseWriter, r *http.Request, req CarRequest) (CarResponse, error) {
	delay, err := parseDelay(r.URL.RawQuery)
	if err != nil {
		return CarResponse{}, err
	}
	req.Delay = delay
	logf("%s %s - Requesting %v asynchronously", r.Method, r.URL.Path, req.Op)
	sent := time.Now()
	resp, err := ask(r.Context(), carRequestChan, req)
	if err != nil {
		return CarResponse{}, err
	}
	w.Header().Set("Server-Timing", serverTiming(resp.received.Sub(sent), time.Since(resp.received)))
	if resp.Error != nil {
		logf("Processing completed for car ID %d: %v", req.ID, resp.Error)
	}
	return resp, resp.Error
}

// ask sends req to a processor and waits for the answer. Either step ends when
// ctx does. After the first, whether the request was processed is unknown to
// the caller.
func ask(ctx context.Context, requests chan<- CarRequest, req CarRequest) (CarResponse, error) {
	req.Response = make(chan CarResponse, 1)
	req.Done = ctx.Done()
	select {
	case requests <- req:
	case <-req.Done:
		return CarResponse{}, ctx.Err()
	}
	select {
	case resp := <-req.Response:
		return resp, nil
	case <-req.Done:
		return CarResponse{}, ctx.Err()
	}
}

// serverTiming is the value of a Server-Timing header: durations in
// milliseconds, to the microsecond.
func serverTiming(queue, process time.Duration) string {
	b := make([]byte, 0, len("queue;dur=60000.000, process;dur=60000.000"))
	b = appendMilliseconds(append(b, "queue;dur="...), queue)
	b = appendMilliseconds(append(b, ", process;dur="...), process)
	return string(b)
}

// appendMilliseconds appends what fmt would for %.3f. Every answer carries two
// of these, and formatting floating-point numbers is dear.
func appendMilliseconds(b []byte, d time.Duration) []byte {
	us := max(d, 0).Microseconds()
	b = strconv.AppendInt(b, us/1000, 10)
	return append(b, '.', byte('0'+us/100%10), byte('0'+us/10%10), byte('0'+us%10))
}

// A badRequest is a mistake of the client, in a sentence for the client.
type badRequest string

func (b badRequest) Error() string { return string(b) }

const errInvalidID = badRequest("Invalid car ID")

// parseID reads a car's ID as it stands in a path: decimal, without sign or
// leading zero, 1 to the largest int64.
func parseID(s string) (int, error) {
	id, err := strconv.Atoi(s)
	if err != nil || s[0] < '1' || s[0] > '9' {
		return 0, errInvalidID
	}
	return id, nil
}

// maxDelay bounds every processing time, so that the server's write timeout
// can leave room for the longest.
const maxDelay = time.Minute

// parseDelay reads _delay from a query: whole milliseconds, 0 to 60000. It
// returns nil if the query does not name one.
func parseDelay(rawQuery string) (*time.Duration, error) {
	if rawQuery == "" {
		return nil, nil
	}
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, badRequest("Invalid query: parameters are separated by &, and % stands before two hexadecimal digits")
	}
	values := query["_delay"]
	if len(values) > 1 {
		return nil, badRequest("_delay is given more than once")
	}
	if len(values) == 0 || values[0] == "" {
		return nil, nil
	}
	ms, err := strconv.ParseUint(values[0], 10, 32)
	delay := time.Duration(ms) * time.Millisecond
	if err != nil || delay > maxDelay {
		return nil, badRequest("_delay must be a whole number of milliseconds, 0 to 60000")
	}
	return &delay, nil
}

// methods are the handlers of one path, by request method.
type methods map[string]http.HandlerFunc

// handle registers the handlers of one path, and with them the answers that
// follow from them: OPTIONS, CORS preflights, and 405 for every other method.
func handle(mux *http.ServeMux, pattern string, byMethod methods) {
	for method, handler := range byMethod {
		mux.HandleFunc(method+" "+pattern, handler)
	}
	allowed := slices.Collect(maps.Keys(byMethod))
	if byMethod["GET"] != nil {
		allowed = append(allowed, "HEAD") // which a GET pattern also matches
	}
	slices.Sort(allowed)
	crossOrigin := strings.Join(allowed, ", ")
	allow := crossOrigin + ", OPTIONS"

	mux.HandleFunc("OPTIONS "+pattern, func(w http.ResponseWriter, r *http.Request) {
		setCommonHeaders(w.Header())
		w.Header().Set("Allow", allow)
		w.Header().Set("Access-Control-Allow-Methods", crossOrigin)
		w.Header().Set("Access-Control-Allow-Headers", "*, Authorization") // * does not cover Authorization
		w.Header().Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allow)
		sendError(w, "Method not allowed; this path knows "+allow, http.StatusMethodNotAllowed)
	})
}

// refuseOddPaths keeps paths such as //api/cars and /api/../x from ServeMux,
// which would answer them with a redirect in HTML. None of ours ends in a
// slash, so a path is either clean or unknown.
func refuseOddPaths(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := r.URL.EscapedPath()
		if !strings.HasPrefix(p, "/") || path.Clean(p) != p {
			handleUnknownPath(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// recoverPanics answers 500 for a handler that panics. Should part of an answer
// be on its way already, net/http refuses these bytes: they are beyond the
// Content-Length it was sent with.
func recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler:
				panic(v)
			default:
				slog.Error(fmt.Sprintf("%s %q - Panic: %v\n%s", r.Method, r.URL.Path, v, debug.Stack()))
				sendError(w, "Internal error", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// notModified answers 304 if the client has the content with this entity tag,
// and reports whether it did. Comparison is weak (RFC 9110, section 13.1.2).
func notModified(w http.ResponseWriter, r *http.Request, etag string) bool {
	w.Header().Set("ETag", etag)
	opaque := strings.TrimPrefix(etag, "W/")
	for _, line := range r.Header["If-None-Match"] {
		for tag := range strings.SplitSeq(line, ",") {
			tag = strings.TrimSpace(tag)
			if tag == "*" || strings.TrimPrefix(tag, "W/") == opaque {
				setCommonHeaders(w.Header())
				w.WriteHeader(http.StatusNotModified)
				return true
			}
		}
	}
	return false
}

// fail answers for err. It is the one place where an error becomes a status
// and a sentence for the client.
func fail(w http.ResponseWriter, err error) {
	var bad badRequest
	switch {
	case errors.As(err, &bad):
		sendError(w, bad.Error(), http.StatusBadRequest)
	case errors.Is(err, errCarNotFound):
		sendError(w, "Car not found", http.StatusNotFound)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		// Seldom read: the client has gone, or has closed its sending side.
		w.Header().Set("Retry-After", "1")
		sendError(w, "The connection was closed before the request was processed", http.StatusServiceUnavailable)
	default:
		slog.Error("unexpected error", "error", err)
		sendError(w, "Internal error", http.StatusInternalServerError)
	}
}

// sendError answers with an error: its status, and a sentence for a person.
func sendError(w http.ResponseWriter, message string, status int) {
	sendJSON(w, struct {
		Error   string `json:"error"`
		Message string `json:"message"`
		Code    int    `json:"code"`
	}{http.StatusText(status), message, status}, status)
}

// sendJSON answers with data encoded as JSON, or with 500 if it cannot be
// encoded.
func sendJSON(w http.ResponseWriter, data any, status int) {
	body, err := encodeJSON(data)
	if err != nil {
		fail(w, err)
		return
	}
	writeJSON(w, body, status)
}

// writeJSON answers with a body that is JSON already.
func writeJSON(w http.ResponseWriter, body []byte, status int) {
	h := w.Header()
	setCommonHeaders(h)
	h["Content-Type"] = contentType
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

// Header values that many answers share. Set would make a new slice of each
// for every answer; these are never changed.
var (
	contentType   = []string{"application/json"}
	cacheControl  = []string{"no-cache"} // caches must ask again before they use it
	nosniff       = []string{"nosniff"}  // browsers must not guess its type
	allowOrigin   = []string{"*"}        // pages of any origin may read it (Fetch standard, CORS protocol)
	exposeHeaders = []string{"X-Total-Count, Link, ETag, Location, Server-Timing"}
)

// setCommonHeaders sets what every answer carries, errors included.
func setCommonHeaders(h http.Header) {
	h["Access-Control-Allow-Origin"] = allowOrigin
	h["Access-Control-Expose-Headers"] = exposeHeaders
	h["Cache-Control"] = cacheControl
	h["X-Content-Type-Options"] = nosniff
}

// logf logs one line at level info. It does not put the line together if
// nobody will read it.
func logf(format string, args ...any) {
	if logger := slog.Default(); logger.Enabled(context.Background(), slog.LevelInfo) {
		logger.Info(fmt.Sprintf(format, args...))
	}
}
