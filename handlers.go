// Reception: HTTP in, CarRequest out, JSON back. Everything in this file runs
// on the many goroutines that net/http starts, one for each connection.

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cars/internal/query"
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

// handleGetCars answers GET /api/cars with a list. The processor hands out the
// whole catalogue, which takes it no time; the work is done here.
func handleGetCars(w http.ResponseWriter, r *http.Request) {
	values, err := query.Values(r.URL.RawQuery)
	if err != nil {
		fail(w, err)
		return
	}
	list, err := listSchema.Parse(values)
	if err != nil {
		fail(w, err)
		return
	}
	resp, err := process(w, r, values, CarRequest{Op: listCars})
	if err != nil {
		fail(w, err)
		return
	}
	logf("Processing completed for car list: snapshot of %d cars", len(resp.snapshot.records))
	w.Header().Set("Vary", "Accept-Encoding")
	if notModified(w, r, resp.snapshot.etag(r.URL.RawQuery)) {
		return
	}
	records, total, err := list.Run(r.Context(), resp.snapshot.records)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("X-Total-Count", strconv.Itoa(total))
	if links := list.Links(r, total); links != "" {
		w.Header().Set("Link", links)
	}
	writeList(w, r, records)
}

// handleGetCarByID answers GET /api/cars/{id} with one car.
func handleGetCarByID(w http.ResponseWriter, r *http.Request) {
	id, err := parseID(strings.TrimPrefix(r.URL.Path, "/api/cars/"))
	if err != nil {
		fail(w, err)
		return
	}
	values, err := query.Values(r.URL.RawQuery)
	if err != nil {
		fail(w, err)
		return
	}
	resp, err := process(w, r, values, CarRequest{ID: id})
	if err != nil {
		fail(w, err)
		return
	}
	logf("Processing completed for car ID %d: %s", id, resp.Car.Name)
	if !notModified(w, r, resp.record.etag) {
		writeJSON(w, resp.record.json, http.StatusOK)
	}
}

// handleUnknownPath answers every path that has no handler. It lets preflights
// pass, or a page would see a failure of CORS and never the 404.
func handleUnknownPath(w http.ResponseWriter, r *http.Request) {
	if r.Method == "OPTIONS" && r.Header.Get("Access-Control-Request-Method") != "" {
		sendPreflight(w, "GET, HEAD")
		return
	}
	sendError(w, "No such path; the cars are at /api/cars", http.StatusNotFound)
}

// process has the processor carry out req for r, with what every request has in
// common: a processing time that the query may set, a log line, and the
// Server-Timing header (W3C Server Timing) that says where the time went.
func process(w http.ResponseWriter, r *http.Request, values url.Values, req CarRequest) (CarResponse, error) {
	ms, err := query.Int(values, "_delay", 0, int(maxDelay.Milliseconds()), -1)
	if err != nil {
		return CarResponse{}, err
	}
	if ms >= 0 {
		delay := time.Duration(ms) * time.Millisecond
		req.Delay = &delay
	}
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

var errInvalidID = errors.New("invalid car ID")

// parseID reads a car's ID as it stands in a path: decimal, without sign or
// leading zero, 1 to the largest int64.
func parseID(s string) (int, error) {
	id, err := strconv.Atoi(s)
	if err != nil || s[0] < '1' || s[0] > '9' {
		return 0, errInvalidID
	}
	return id, nil
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
		w.Header().Set("Allow", allow)
		sendPreflight(w, crossOrigin)
	})
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allow)
		sendError(w, "Method not allowed; this path knows "+allow, http.StatusMethodNotAllowed)
	})
}

// sendPreflight tells a browser what pages of other origins may send (Fetch
// standard, CORS protocol).
func sendPreflight(w http.ResponseWriter, methods string) {
	h := w.Header()
	setCommonHeaders(h)
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", "*, Authorization") // * does not cover Authorization
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
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
	known := strings.Join(r.Header["If-None-Match"], ",")
	if known == "" {
		return false
	}
	// Other servers' tags may contain commas; the pieces of those equal none of ours.
	same := strings.TrimSpace(known) == "*"
	for tag := range strings.SplitSeq(known, ",") {
		same = same || strings.TrimPrefix(strings.TrimSpace(tag), "W/") == strings.TrimPrefix(etag, "W/")
	}
	if same {
		setCommonHeaders(w.Header())
		w.WriteHeader(http.StatusNotModified)
	}
	return same
}

// fail answers for err. It is the one place where an error becomes a status
// and a sentence for the client.
func fail(w http.ResponseWriter, err error) {
	var inQuery query.Error
	switch {
	case errors.As(err, &inQuery):
		sendError(w, inQuery.Error(), http.StatusBadRequest)
	case errors.Is(err, errInvalidID):
		sendError(w, "Invalid car ID", http.StatusBadRequest)
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
	writeHeader(w, len(body), status)
	w.Write(body)
}

// writeHeader starts an answer whose body will be length bytes of JSON.
func writeHeader(w http.ResponseWriter, length, status int) {
	h := w.Header()
	setCommonHeaders(h)
	h["Content-Type"] = contentType
	h.Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(status)
}

// minGzip is the size from which a list is worth compressing: below it, it fits
// into one packet anyway.
const minGzip = 1 << 10

// gzipWriters are kept for reuse: each takes 1.2 MB.
var gzipWriters = sync.Pool{New: func() any {
	zw, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is a valid one
	return zw
}}

// writeList answers with a JSON array, put together from what the records hold.
func writeList(w http.ResponseWriter, r *http.Request, records []*record) {
	size := len("[]\n") + max(0, len(records)-1)
	for _, rec := range records {
		size += len(rec.json) - len("\n")
	}
	if size <= minGzip || !acceptsGzip(r) {
		writeHeader(w, size, http.StatusOK)
		writeRecords(w, size, records)
		return
	}
	var body bytes.Buffer
	zw := gzipWriters.Get().(*gzip.Writer)
	zw.Reset(&body)
	writeRecords(zw, size, records)
	zw.Close()
	gzipWriters.Put(zw)
	w.Header().Set("Content-Encoding", "gzip")
	writeJSON(w, body.Bytes(), http.StatusOK)
}

// writeRecords writes size bytes of JSON array in pieces of 64 KiB, so that a
// long list is never in memory as a whole.
func writeRecords(w io.Writer, size int, records []*record) {
	buffered := bufio.NewWriterSize(w, min(size, 64<<10))
	buffered.WriteByte('[')
	for i, rec := range records {
		if i > 0 {
			buffered.WriteByte(',')
		}
		buffered.Write(rec.json[:len(rec.json)-len("\n")])
	}
	buffered.WriteString("]\n")
	buffered.Flush()
}

// acceptsGzip reports whether r's client takes gzip (RFC 9110, section 12.5.3).
func acceptsGzip(r *http.Request) bool {
	accepted := false
	for _, line := range r.Header["Accept-Encoding"] {
		for part := range strings.SplitSeq(line, ",") {
			coding, params, err := mime.ParseMediaType(part)
			if err != nil {
				continue
			}
			weight, err := strconv.ParseFloat(cmp.Or(params["q"], "1"), 64)
			switch coding {
			case "gzip", "x-gzip":
				return err == nil && weight > 0
			case "*":
				accepted = err == nil && weight > 0
			}
		}
	}
	return accepted
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
