package ops

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// An answer is a ResponseWriter that notes its status, its length and its first error.
type answer struct {
	http.ResponseWriter
	status  int // 0 before the header is written
	bytes   int64
	err     error  // the first error of Write
	failure []byte // the beginning of the body, if the status is 400 or more
}

// Unwrap lets an [http.ResponseController] through.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 { // a status below 200 comes before the final one
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
	if err != nil && a.err == nil && err != http.ErrBodyNotAllowed {
		a.err = err
	}
	return n, err
}

// isStream reports whether the answer is an event stream, which lasts as long as its
// client likes.
func (a *answer) isStream() bool {
	contentType := a.Header()["Content-Type"]
	return len(contentType) > 0 && strings.HasPrefix(contentType[0], "text/event-stream")
}

// cutOff returns why the client has only a part of the answer to r, or nil if it has all of
// it. byClient reports whether the client is the cause. panicked is the value of the
// handler's panic, or nil.
func (a *answer) cutOff(r *http.Request, panicked any) (cause error, byClient bool) {
	switch {
	case panicked != nil && panicked != http.ErrAbortHandler:
		return fmt.Errorf("panic: %v", panicked), false
	case a.err != nil:
		ours := errors.Is(a.err, os.ErrDeadlineExceeded) || errors.Is(a.err, net.ErrClosed) || errors.Is(a.err, http.ErrContentLength)
		return a.err, !ours
	case panicked != nil:
		return errors.New("aborted"), r.Context().Err() != nil
	case a.isShort(r):
		return fmt.Errorf("the answer ended before its %s bytes", a.Header().Get("Content-Length")), r.Context().Err() != nil
	}
	return nil, false
}

// isShort reports whether the body of an answer is shorter than its header says.
func (a *answer) isShort(r *http.Request) bool {
	length := a.Header()["Content-Length"]
	if len(length) == 0 || r.Method == http.MethodHead || a.status == http.StatusNotModified {
		return false
	}
	n, err := strconv.ParseInt(length[0], 10, 64)
	return err == nil && a.bytes < n
}

// messageOf returns the member "message" of an error's JSON body, which may be cut off at
// its end. It returns body itself if body has no such member.
func messageOf(body []byte) string {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if start, _ := decoder.Token(); start == json.Delim('{') {
		for decoder.More() {
			key, err := decoder.Token()
			var value any
			if err != nil || decoder.Decode(&value) != nil {
				break
			}
			if message, ok := value.(string); ok && key == "message" {
				return message
			}
		}
	}
	return string(bytes.TrimSpace(body))
}
