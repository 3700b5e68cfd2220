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
	// keepAlive is how often a stream says something, or proxies take it for dead.
	keepAlive = 15 * time.Second

	// patience is how long a client may leave an event unread. It is longer than
	// keepAlive, since HTTP/2 ends a stream whose deadline has passed even if nothing is
	// being written.
	patience = 2 * keepAlive

	// lastWords is how long a client has for the event that is under way when the stream
	// ends. One that does not read must not hold up a server that stops.
	lastWords = 500 * time.Millisecond
)

// A Stream is an answer that is a stream of events. It holds no memory for events while
// it waits. One goroutine uses it.
type Stream struct {
	ctx        context.Context // of the request; the stream ends with it
	w          http.ResponseWriter
	connection *http.ResponseController
	timer      *time.Timer
	deadline   time.Time     // of writes, as it was set last
	silenced   func() bool   // forgets that the context is to end a write
	ended      chan struct{} // closed when the context has ended a write
}

// Start begins the answer to r. Call End when the stream has ended.
func Start(w http.ResponseWriter, r *http.Request) *Stream {
	s := &Stream{ctx: r.Context(), w: w, connection: http.NewResponseController(w), timer: time.NewTimer(keepAlive), ended: make(chan struct{})}
	h := w.Header()
	rest.SetHeader(h)
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform") // a proxy that compresses would wait for more
	h.Set("X-Accel-Buffering", "no")                 // and so would nginx, even without
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
		<-s.ended // or it would use the ResponseWriter after the handler
	}
}

// buffers are for events. Each stream needs one only while it sends.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// Send sends an event of that name. data appends its data, one line, to b; without data,
// nothing is sent. With the id "", the client goes on from the last one that it has. An
// error says that the stream is to end: the client is gone or does not read, or the
// context is done.
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

// Wait waits until the channel is closed. It keeps the connection alive meanwhile, by
// comments, which clients ignore, but for the id. From that they go on: nobody may know
// the one that their last event had any longer. An error is as that of Send.
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

// Pause waits for so long, up to keepAlive. An error says that the context is done.
func (s *Stream) Pause(d time.Duration) error {
	s.timer.Reset(d)
	select {
	case <-s.ctx.Done():
		return s.ctx.Err()
	case <-s.timer.C:
		return nil
	}
}

// write sends b, unless the context is done: it would set the deadline anew. It does so if
// that is later by a second at least, since it costs as much as a tenth of a step.
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
