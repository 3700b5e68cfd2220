package rest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
)

// An Error is a failure that knows its answer. It is made where the fault is found.
type Error struct {
	Status  int               // HTTP status code, 400 to 599
	Message string            // a sentence for the client: no path, address or Go type
	Fields  map[string]string // with 422: what is wrong with each field, by its path
	Header  map[string]string // further header fields of the answer, such as Allow

	// RetryAfter is the number of seconds after which asking again may help. It is 0 if asking
	// again does not help, or if that is unknown.
	RetryAfter int

	// Cause is the error that led to this one, for the log. It is never sent.
	Cause error
}

// Errorf returns an error with that status and message.
func Errorf(status int, format string, args ...any) *Error {
	return &Error{Status: status, Message: fmt.Sprintf(format, args...)}
}

// Error returns the text of the cause or, if there is none, the message.
func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Cause.Error()
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Cause }

// Gone returns the error for a client that left before its request was processed. Only a
// client that has closed just its sending side reads it.
func Gone(ctx context.Context) *Error {
	return &Error{
		Status:     http.StatusServiceUnavailable,
		Message:    "The connection was closed before the request was processed",
		RetryAfter: 1,
		Cause:      context.Cause(ctx),
	}
}

// errorBody is the body of every answer with an error.
type errorBody struct {
	Error   string            `json:"error"`
	Message string            `json:"message"`
	Code    int               `json:"code"`
	Errors  map[string]string `json:"errors,omitempty"` // with 422
}

// WriteError answers with err. It is the one place where an error becomes an answer. An
// err that is not an [Error] becomes a 500 that says nothing about it.
func WriteError(w http.ResponseWriter, err error) {
	var e *Error
	if !errors.As(err, &e) {
		slog.Error("Unexpected error", "error", err)
		e = Errorf(http.StatusInternalServerError, "Internal error")
	}
	h := w.Header()
	delete(h, "Etag") // here it would be the tag of the error (RFC 9110, section 8.8.3)
	for name, value := range e.Header {
		h.Set(name, value)
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(e.RetryAfter))
	}
	text := cmp.Or(http.StatusText(e.Status), "Unassigned") // a simulated failure may have any status
	WriteJSON(w, errorBody{text, e.Message, e.Status, e.Fields}, e.Status)
}

// Handle returns a handler that calls h, and answers with the error that h returns, if
// any. An h that returns an error must not have begun to answer.
func Handle(h func(w http.ResponseWriter, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			WriteError(w, err)
		}
	}
}
