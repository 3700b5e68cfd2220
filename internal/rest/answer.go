// Package rest has what an HTTP API in JSON needs beside the standard library: errors
// that know their answer, conditions, bodies, files, lists and routes. It does not know
// what the API is about.
package rest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Encode encodes v on one line, with a newline at its end. It leaves <, > and & as
// they are, since no browser reads the result as HTML.
func Encode(v any) ([]byte, error) {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return line.Bytes(), nil
}

// WriteJSON answers with data encoded as JSON, or with 500 if it cannot be encoded.
func WriteJSON(w http.ResponseWriter, data any, status int) {
	body, err := Encode(data)
	if err != nil {
		WriteError(w, err)
		return
	}
	WriteBody(w, body, status)
}

// WriteBody answers with a body that is JSON already.
func WriteBody(w http.ResponseWriter, body []byte, status int) {
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

// Header values that all answers share. They must not be changed. http.Header.Set would
// make a slice for each answer, and check each name.
var (
	contentType  = []string{"application/json"}
	cacheControl = []string{"no-cache"} // caches must ask again before they use it
	nosniff      = []string{"nosniff"}  // browsers must not guess its type
	anyOrigin    = []string{"*"}        // pages of any origin may read it (Fetch standard, CORS protocol)
	anyTiming    = []string{"*"}        // and its times, Server-Timing included (W3C Resource Timing)
	exposed      = []string{"X-Total-Count, Catalogue-Version, Link, ETag, Location, Server-Timing, Retry-After, RateLimit, RateLimit-Policy"}
)

// SetHeader sets the fields of every answer, errors and those without a body included.
// It leaves Access-Control-Allow-Origin as it is if h has that key already: its value is
// the one origin that may read the answer. Without a value, no origin may.
func SetHeader(h http.Header) {
	if _, decided := h["Access-Control-Allow-Origin"]; !decided {
		h["Access-Control-Allow-Origin"] = anyOrigin
	}
	h["Access-Control-Expose-Headers"] = exposed
	h["Cache-Control"] = cacheControl
	h["Timing-Allow-Origin"] = anyTiming
	h["X-Content-Type-Options"] = nosniff
}

// AddVary adds the name of a request's field to Vary (RFC 9110, section 12.5.5). All names
// stand in one line.
func AddVary(h http.Header, name string) {
	if names := h["Vary"]; len(names) > 0 {
		name = strings.Join(names, ", ") + ", " + name
	}
	h["Vary"] = []string{name}
}

// SetTiming sets Server-Timing (W3C Server Timing) to two durations: queue, until the
// request was taken, and process, from then on. Both are in milliseconds, to the microsecond.
func SetTiming(h http.Header, queue, process time.Duration) {
	var text [64]byte
	b := appendMilliseconds(append(text[:0], "queue;dur="...), queue)
	b = appendMilliseconds(append(b, ", process;dur="...), process)
	h["Server-Timing"] = []string{string(b)}
}

// appendMilliseconds appends d in milliseconds, with three decimals.
func appendMilliseconds(b []byte, d time.Duration) []byte {
	us := max(d, 0).Microseconds()
	b = strconv.AppendInt(b, us/1000, 10)
	return append(b, '.', byte('0'+us/100%10), byte('0'+us/10%10), byte('0'+us%10))
}
