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
	// keepAlive is the longest silence of a stream. Proxies cut off one that is silent for long.
	keepAlive = 15 * time.Second

	// eventPatience is how long a client may take to read an event. It is longer than
	// keepAlive: HTTP/2 ends a stream whose deadline passes even while nothing is written.
	eventPatience = 2 * keepAlive
)

// StartEvents begins the answer.
func StartEvents(w http.ResponseWriter) *Events {
	e := &Events{w: w, connection: http.NewResponseController(w)}
	h := w.Header()
	SetHeader(h)
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform") // a proxy that compresses would hold events back
	h.Set("X-Accel-Buffering", "no")                 // nginx would do so even without compression
	e.connection.SetReadDeadline(time.Time{})        // an error means that there are no deadlines, as in tests
	w.WriteHeader(http.StatusOK)
	e.event = append(e.event, "retry: 1000\n"...) // ms until a client tries again
	return e
}

// Send sends an event. data must be on one line. An error says that the client has gone,
// or does not read.
func (e *Events) Send(name, id string, data []byte) error {
	e.event = append(append(e.event, "event: "...), name...)
	e.event = append(append(e.event, "\nid: "...), id...)
	e.event = append(append(e.event, "\ndata: "...), data...)
	return e.flush()
}

// Wait returns when the channel is closed. Meanwhile it keeps the connection alive by
// comments, which clients ignore. An error says that the client has gone.
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
