package rest

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// WantsEvents reports whether r asks for a stream of events, as EventSource does.
func WantsEvents(r *http.Request) bool {
	return r.Method == "GET" && strings.Contains(r.Header.Get("Accept"), "text/event-stream")
}

// Events is an answer that does not end: a stream of server-sent events (HTML standard,
// section 9.2). A client that does not read for eventPatience is cut off. One goroutine
// uses it.
type Events struct {
	w          http.ResponseWriter
	connection *http.ResponseController
	event      []byte
}

const (
	// keepAlive is how often a stream says something, or proxies take it for dead.
	keepAlive = 15 * time.Second

	// eventPatience is longer than keepAlive, since HTTP/2 ends a stream whose deadline has
	// passed even if nothing is being written.
	eventPatience = 2 * keepAlive
)

// StartEvents begins the answer.
func StartEvents(w http.ResponseWriter) *Events {
	e := &Events{w: w, connection: http.NewResponseController(w)}
	h := w.Header()
	SetHeader(h)
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform") // a proxy that compresses would wait for more
	h.Set("X-Accel-Buffering", "no")                 // and so would nginx, even without
	e.connection.SetReadDeadline(time.Time{})        // an error means that there are no deadlines, as in tests
	w.WriteHeader(http.StatusOK)
	e.event = append(e.event, "retry: 1000\n"...) // ms until a client tries again
	return e
}

// Send sends an event. data is on one line. An error says that the client is gone, or does
// not read.
func (e *Events) Send(name, id string, data []byte) error {
	e.event = append(append(e.event, "event: "...), name...)
	e.event = append(append(e.event, "\nid: "...), id...)
	e.event = append(append(e.event, "\ndata: "...), data...)
	return e.flush()
}

// Wait waits until the channel is closed, and keeps the connection alive meanwhile, by
// comments, which clients ignore. An error says that the client is gone.
func (e *Events) Wait(ctx context.Context, closed <-chan struct{}) error {
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case <-closed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			e.event = append(e.event, ':')
			if err := e.flush(); err != nil {
				return err
			}
		}
	}
}

// flush sends the event, and forgets a large one.
func (e *Events) flush() error {
	e.event = append(e.event, "\n\n"...)
	e.connection.SetWriteDeadline(time.Now().Add(eventPatience))
	_, err := e.w.Write(e.event)
	if err == nil {
		err = e.connection.Flush()
	}
	const roomy = 8 << 10
	if e.event = e.event[:0]; cap(e.event) > roomy {
		e.event = nil
	}
	return err
}
