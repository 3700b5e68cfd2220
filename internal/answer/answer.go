// Package answer writes answers in JSON, with the header fields that go with them.
package answer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"cars/internal/header"
)

// JSON answers with a body that is JSON already.
func JSON(w http.ResponseWriter, body []byte, status int) {
	start(w, len(body), status)
	w.Write(body)
}

// start begins an answer whose body will be length bytes of JSON.
func start(w http.ResponseWriter, length, status int) {
	h := w.Header()
	SetHeader(h)
	h["Content-Type"] = contentType
	h["Content-Length"] = []string{strconv.Itoa(length)}
	w.WriteHeader(status)
}

// Header values that many answers share. Set would make a new slice of each for every
// answer, and look at each name; these are never changed.
var (
	contentType  = []string{"application/json"}
	cacheControl = []string{"no-cache"} // caches must ask again before they use it
	nosniff      = []string{"nosniff"}  // browsers must not guess its type
	anyOrigin    = []string{"*"}        // pages of any origin may read it (Fetch standard, CORS protocol)
	exposed      = []string{"X-Total-Count, Link, ETag, Location, Server-Timing, Retry-After, RateLimit, RateLimit-Policy"}
)

// SetHeader sets what every answer carries, errors and those without a body included.
func SetHeader(h http.Header) {
	h["Access-Control-Allow-Origin"] = anyOrigin
	h["Access-Control-Expose-Headers"] = exposed
	h["Cache-Control"] = cacheControl
	h["X-Content-Type-Options"] = nosniff
}

// NotModified answers 304 if the client has the content with this entity tag,
// and reports whether it did (RFC 9110, section 13.1.2).
func NotModified(w http.ResponseWriter, r *http.Request, etag string) bool {
	w.Header()["Etag"] = []string{etag}
	if !header.ReadConditions(r).HasCurrent(etag) {
		return false
	}
	SetHeader(w.Header())
	w.WriteHeader(http.StatusNotModified)
	return true
}

// minGzip is the size from which a list is worth compressing: below it, it fits
// into one packet anyway.
const minGzip = 1 << 10

// gzipWriters are kept for reuse: each takes 1.2 MB.
var gzipWriters = sync.Pool{New: func() any {
	zw, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is a valid one
	return zw
}}

// List answers with an array, put together from the JSON of its items, and compressed
// if it is long and the client accepts that.
func List[T any](w http.ResponseWriter, r *http.Request, items []T, json func(T) []byte) {
	size := len("[]\n") + max(0, len(items)-1)
	for _, item := range items {
		size += len(json(item))
	}
	if size <= minGzip || !header.AcceptsGzip(r) {
		start(w, size, http.StatusOK)
		writeList(w, size, items, json)
		return
	}
	var body bytes.Buffer
	zw := gzipWriters.Get().(*gzip.Writer)
	zw.Reset(&body)
	writeList(zw, size, items, json)
	zw.Close()
	gzipWriters.Put(zw)
	w.Header().Set("Content-Encoding", "gzip")
	JSON(w, body.Bytes(), http.StatusOK)
}

// writeList writes size bytes of array in pieces of 64 KiB, so that a long list is
// never in memory as a whole.
func writeList[T any](w io.Writer, size int, items []T, json func(T) []byte) {
	buffered := bufio.NewWriterSize(w, min(size, 64<<10))
	buffered.WriteByte('[')
	for i, item := range items {
		if i > 0 {
			buffered.WriteByte(',')
		}
		buffered.Write(json(item))
	}
	buffered.WriteString("]\n")
	buffered.Flush()
}

// SetTiming sets Server-Timing (W3C Server Timing): durations in milliseconds, to the
// microsecond.
func SetTiming(h http.Header, queue, process time.Duration) {
	var text [64]byte
	b := appendMilliseconds(append(text[:0], "queue;dur="...), queue)
	b = appendMilliseconds(append(b, ", process;dur="...), process)
	h["Server-Timing"] = []string{string(b)}
}

// appendMilliseconds appends what fmt would for %.3f. Every answer carries two
// of these, and formatting floating-point numbers is dear.
func appendMilliseconds(b []byte, d time.Duration) []byte {
	us := max(d, 0).Microseconds()
	b = strconv.AppendInt(b, us/1000, 10)
	return append(b, '.', byte('0'+us/100%10), byte('0'+us/10%10), byte('0'+us%10))
}
