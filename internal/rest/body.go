package rest

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
)

// ReadBody reads the body of r. It must be of one of the media types types, without a
// Content-Encoding, and at most limit bytes long. How slowly it may come is up to the
// server. All errors are of type [*Error].
//
// ReadBody refuses what it can before it reads: a client that sent
// Expect: 100-continue then never sends the body.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64, types ...string) ([]byte, error) {
	if len(r.Header["Content-Encoding"]) > 0 {
		err := Errorf(http.StatusUnsupportedMediaType, "The body must not be encoded; send it without Content-Encoding")
		err.Header = map[string]string{"Accept-Encoding": "identity"} // RFC 9110, section 12.5.3
		return nil, err
	}
	if !isOneOf(strings.Join(r.Header["Content-Type"], ","), types) {
		err := Errorf(http.StatusUnsupportedMediaType, "The body must be JSON; send it with Content-Type: %s", types[0])
		err.Header = map[string]string{"Accept": strings.Join(types, ", ")} // RFC 9110, section 15.5.16
		return nil, err
	}
	return readBody(w, r, limit)
}

// DiscardBody reads the body of a request that needs none, up to limit bytes. Only when
// the whole body has been read does net/http watch the connection, and notice that the
// client leaves.
func DiscardBody(w http.ResponseWriter, r *http.Request, limit int64) error {
	if r.Body == http.NoBody || r.Body == nil {
		return nil
	}
	_, err := readBody(w, r, limit)
	return err
}

// isOneOf reports whether a Content-Type is one of types, with no charset but UTF-8.
func isOneOf(contentType string, types []string) bool {
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil || !slices.Contains(types, mediaType) {
		return false
	}
	charset, given := params["charset"]
	return !given || strings.EqualFold(charset, "utf-8")
}

func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		hangUp(w, r) // otherwise the server would read some of it
		return nil, tooLarge(limit)
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooMany *http.MaxBytesError
	switch {
	case err == nil:
		return data, nil
	case errors.As(err, &tooMany):
		return nil, tooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		hangUp(w, r)
		return nil, Errorf(http.StatusRequestTimeout, "The body did not arrive in time")
	default:
		return nil, Errorf(http.StatusBadRequest, "The body could not be read to its end")
	}
}

func tooLarge(limit int64) error {
	return Errorf(http.StatusRequestEntityTooLarge, "The body is larger than %d bytes", limit)
}

// hangUp has the connection closed after the answer, unless it is HTTP/2. With HTTP/2, other
// requests use the connection, too, and a client that is told of its end may not wait for
// the answer.
func hangUp(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor < 2 {
		w.Header().Set("Connection", "close")
	}
}
