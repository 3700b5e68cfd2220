package ijson

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
)

// Body reads the body of r, which must be of one of the media types, not
// encoded and not larger than limit bytes. How long it may take is the server's
// ReadTimeout. The only errors are of type [*Error]; for some of them the
// answer needs header fields, which Body sets.
//
// Everything that can be refused without reading the body is: a client that
// sent Expect: 100-continue then never sends it.
func Body(w http.ResponseWriter, r *http.Request, limit int64, types ...string) ([]byte, error) {
	if len(r.Header["Content-Encoding"]) > 0 {
		w.Header().Set("Accept-Encoding", "identity") // RFC 9110, section 12.5.3
		return nil, &Error{http.StatusUnsupportedMediaType, "The body must not be encoded; send it without Content-Encoding"}
	}
	if !isOneOf(strings.Join(r.Header["Content-Type"], ","), types) {
		w.Header().Set("Accept", strings.Join(types, ", ")) // RFC 9110, section 15.5.16
		return nil, &Error{http.StatusUnsupportedMediaType, "The body must be JSON; send it with Content-Type: " + types[0]}
	}
	return read(w, r, limit)
}

// Discard reads the body of a request that needs none, so that net/http, which
// watches a connection only when all is read, notices if the client leaves.
func Discard(w http.ResponseWriter, r *http.Request, limit int64) error {
	if r.Body == http.NoBody || r.Body == nil {
		return nil
	}
	_, err := read(w, r, limit)
	return err
}

// isOneOf reports whether a Content-Type is one of types, in UTF-8.
func isOneOf(contentType string, types []string) bool {
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil || !slices.Contains(types, mediaType) {
		return false
	}
	charset, given := params["charset"]
	return !given || strings.EqualFold(charset, "utf-8")
}

func read(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	tooLarge := &Error{http.StatusRequestEntityTooLarge, fmt.Sprintf("The body is larger than %d bytes", limit)}
	if r.ContentLength > limit {
		hangUp(w, r) // or the server would read some of it
		return nil, tooLarge
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooMany *http.MaxBytesError
	switch {
	case err == nil:
		return data, nil
	case errors.As(err, &tooMany):
		return nil, tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		hangUp(w, r)
		return nil, &Error{http.StatusRequestTimeout, "The body did not arrive in time"}
	default:
		return nil, malformed("The body could not be read to its end")
	}
}

// hangUp has the connection closed behind the answer, unless it is that of other
// requests, too: an HTTP/2 client that is told so beforehand may not wait for the answer.
func hangUp(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor < 2 {
		w.Header().Set("Connection", "close")
	}
}
