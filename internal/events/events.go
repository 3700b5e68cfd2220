// Package events writes event streams: answers that do not end, in the form that a
// browser's EventSource reads (HTML standard, section 9.2). It does not know what the
// events are about.
package events

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"cars/internal/rest"
)

// Wanted reports whether r asks for a stream of events, as EventSource does.
func Wanted(r *http.Request) bool {
	return r.Method == "GET" && strings.Contains(r.Header.Get("Accept"), "text/event-stream")
}

const (
	// keepAlive is the longest silence of a stream. Proxies cut off one that is silent longer.
	keepAlive = 15 * time.Second

	// patience is how long a client may leave an event unread. It is longer than
	// keepAlive, since HTTP/2 ends a stream whose deadline passes even while nothing is
	// written.
	patience = 2 * keepAlive

	// lastWords is how long a client may take to read the event under way when the stream
	// ends. A client that does not read must not hold up a server that stops.
	lastWords = 500 * time.Millisecond
)

// A Stream is an answer that is a stream of events. It holds no memory for events while
// it waits. One goroutine uses it.
type Stream struct {
	ctx        context.Context // of the request; the stream ends with it
	w          http.ResponseWriter
	connection *http.ResponseController
	timer      *time.Timer
	deadline   time.Time     // of writes, as write has set it last
	silenced   func() bool   // keeps the end of ctx from setting a deadline; false: it has begun to
	ended      chan struct{} // closed once the end of ctx has set a deadline
}

// Start begins the answer to r. Call End when the stream has ended.
func Start(w http.ResponseWriter, r *http.Request) *Stream {
	s := &Stream{ctx: r.Context(), w: w, connection: http.NewResponseController(w), timer: time.NewTimer(keepAlive), ended: make(chan struct{})}
	h := w.Header()
	rest.SetHeader(h)
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform") // a proxy that compresses would hold events back
	h.Set("X-Accel-Buffering", "no")                 // nginx would hold them back even so
	s.connection.SetReadDeadline(time.Time{})        // an error means that there are no deadlines, as in tests
	s.silenced = context.AfterFunc(s.ctx, func() {
		s.connection.SetWriteDeadline(time.Now().Add(lastWords))
		close(s.ended)
	})
	begun := make(chan struct{})
	go func() { // on its own stack: net/http takes so much of it here that this one would double, for good
		defer close(begun)
		w.WriteHeader(http.StatusOK)
		io.WriteString(w, "retry: 1000\n\n") // ms until a client tries again
		s.connection.Flush()
	}()
	<-begun
	return s
}

// End releases what the stream holds. The answer itself ends with its handler.
func (s *Stream) End() {
	s.timer.Stop()
	if !s.silenced() {
		<-s.ended // the ResponseWriter must not be used after the handler
	}
}

// buffers holds buffers for events. A stream needs one only while it sends.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// Send sends an event of that name and ID. data appends the event's data, one line, to b; if
// it appends nothing, nothing is sent. With the id "", the client keeps the last ID that it
// has. An error says that the stream has to end: the client has gone or does not read, or
// the request's context is done.
func (s *Stream) Send(name, id string, data func(b []byte) []byte) error {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	b := append(append((*buffer)[:0], "event: "...), name...)
	if id != "" {
		b = append(append(b, "\nid: "...), id...)
	}
	b = append(b, "\ndata: "...)
	head := len(b)
	b = data(b)
	*buffer = b
	if len(b) == head {
		return nil
	}
	*buffer = append(b, "\n\n"...)
	return s.write(*buffer)
}

// Wait returns when the channel is closed. Each time that keepAlive passes, it sends a
// comment, which clients ignore, and id. A client that connects again sends the last ID: the
// server may have forgotten the ID of the last event. The error is like that of Send.
func (s *Stream) Wait(closed <-chan struct{}, id string) error {
	for {
		s.timer.Reset(keepAlive)
		select {
		case <-closed:
			return s.ctx.Err()
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-s.timer.C:
			if err := s.write([]byte(":\nid: " + id + "\n\n")); err != nil {
				return err
			}
		}
	}
}

// Pause waits for d, which is at most keepAlive. An error says that the request's context is
// done.
func (s *Stream) Pause(d time.Duration) error {
	s.timer.Reset(d)
	select {
	case <-s.ctx.Done():
		return s.ctx.Err()
	case <-s.timer.C:
		return nil
	}
}

// write sends b, or nothing if the context is done: the deadline is lastWords then. It sets a
// new deadline only if that is later by a second or more, since with HTTP/2 each new one
// wakes another goroutine.
func (s *Stream) write(b []byte) error {
	if deadline := time.Now().Add(patience); deadline.Sub(s.deadline) >= time.Second {
		s.deadline = deadline
		s.connection.SetWriteDeadline(deadline)
	}
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.connection.Flush()
}
