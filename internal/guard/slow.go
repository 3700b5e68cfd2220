package guard

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// limits bound how slow a client may be.
type limits struct {
	ahead time.Duration // the time that a client has to begin with
	rate  float64       // the least bytes a second, on average after that
	small int           // bytes of an answer to which only the server's WriteTimeout applies

	// The longest time that a client may stop, however fast it was before.
	stopBody, stopAnswer time.Duration

	patience time.Duration // how long the server reads on after a refusal
}

// slowest are the limits of Pace. A line of 64 KiB/s loads 5 MB in 80 seconds. Slower lines
// exist, but so do clients that hold a connection for as long as they can.
//
// stopAnswer is so long because of the buffers between the server and a client: on Linux
// they take up to 14 MB at once, and at this rate it takes minutes until they have room
// again. patience is the time that net/http gives to clients that have not asked for a
// close.
var slowest = limits{ahead: 10 * time.Second, rate: 64 << 10, small: 64 << 10,
	stopBody: time.Minute, stopAnswer: 5 * time.Minute, patience: 500 * time.Millisecond}

// Pace returns the handler that has next serve clients on slow lines for as long as they
// make progress: a body has 10 s to begin and must then come at no less than 64 KiB/s on
// average, and an answer must be taken at that rate. A body may not stop for a minute, an
// answer not for five. A client that does not keep up is cut off. Reading or writing then
// fails with [os.ErrDeadlineExceeded], whatever the version of HTTP. Only time spent
// waiting for the client counts, but a handler must not pause for 10 s in the middle of a
// body or an answer: HTTP/2 ends that.
//
// A handler that sets a write deadline itself, by [http.ResponseController], has limits
// of its own. Pace then leaves its answer alone.
//
// If next refuses a request before its body has been read, and the client has asked for the
// connection to be closed, Pace reads the rest. net/http alone would close the connection
// at once. The operating system would then answer the rest with a reset, which can reach
// the client before the refusal.
//
// Pace has to be the outermost handler, so that others see why an answer was cut off.
func Pace(next http.Handler) http.Handler { return slowest.pace(next) }

func (l limits) pace(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &pacedWriter{ResponseWriter: w, limits: l, pace: pace{left: l.ahead, most: l.stopAnswer}}
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(answer, r)
			return
		}
		connection := http.NewResponseController(w)
		paced := *r // a copy: net/http needs the body of r
		paced.Body = &pacedBody{ReadCloser: r.Body, limits: l, pace: pace{left: l.ahead, most: l.stopBody}, set: func(deadline time.Time) error {
			// The server's WriteTimeout counts from the header, but is meant for the time after the body.
			if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok && server.WriteTimeout > 0 {
				connection.SetWriteDeadline(deadline.Add(server.WriteTimeout))
			}
			return connection.SetReadDeadline(deadline)
		}}
		next.ServeHTTP(answer, &paced)
		if r.Close && r.ContentLength != 0 {
			l.linger(connection, r.Body)
		}
	})
}

// linger reads the rest of a body, for at most l.patience.
func (l limits) linger(connection *http.ResponseController, body io.Reader) {
	const enough = 256 << 20 // bytes, on a fast network
	if connection.Flush() == nil && connection.SetReadDeadline(time.Now().Add(l.patience)) == nil {
		io.CopyN(io.Discard, body, enough)
	}
}

// A pace is the time that a client has left. Waiting for the client uses the time up, and
// each byte that moves adds to it.
type pace struct {
	left     time.Duration
	most     time.Duration // the largest value of left
	deadline time.Time     // the deadline in force
}

// add adds the time that n bytes may take.
func (p *pace) add(n int, rate float64) {
	p.left = min(p.left+time.Duration(float64(n)/rate*float64(time.Second)), p.most)
}

// wait calls move, which waits for the client, under a deadline. It sets a new deadline only
// if that is later by a second or more: a deadline for every few bytes would cost more than
// the bytes do.
func (p *pace) wait(set func(time.Time) error, move func([]byte) (int, error), bytes []byte) (int, error) {
	start := time.Now()
	if deadline := start.Add(p.left); deadline.Sub(p.deadline) >= time.Second {
		p.deadline = deadline
		set(deadline) // an error means that there are no deadlines, as in tests without a network
	}
	n, err := move(bytes)
	p.left -= time.Since(start)
	return n, err
}

type pacedBody struct {
	io.ReadCloser
	limits limits
	pace   pace
	set    func(deadline time.Time) error
	err    error // what ended the body. A deadline set after that would end the next request
}

func (b *pacedBody) Read(p []byte) (n int, err error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err = b.pace.wait(b.set, b.ReadCloser.Read, p)
	b.pace.add(n, b.limits.rate)
	b.err = err
	return n, err
}

type pacedWriter struct {
	http.ResponseWriter
	limits limits
	pace   pace
	size   int         // bytes so far
	own    atomic.Bool // the handler has limits of its own
}

// Unwrap lets an [http.ResponseController] through.
func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// SetWriteDeadline is for an [http.ResponseController]. A stream that ends calls it while it
// writes, from another goroutine.
func (w *pacedWriter) SetWriteDeadline(deadline time.Time) error {
	w.own.Store(true)
	return http.NewResponseController(w.ResponseWriter).SetWriteDeadline(deadline)
}

func (w *pacedWriter) Write(p []byte) (n int, err error) {
	if w.own.Load() || w.size+len(p) <= w.limits.small {
		w.size += len(p)
		return w.ResponseWriter.Write(p)
	}
	connection := http.NewResponseController(w.ResponseWriter)
	for len(p) > 0 && err == nil { // in pieces: the first byte may not take the time for all of p
		piece := p[:min(len(p), w.limits.small)]
		w.pace.add(len(piece), w.limits.rate)
		var written int
		written, err = w.pace.wait(connection.SetWriteDeadline, w.ResponseWriter.Write, piece)
		n += written
		p = p[len(piece):]
	}
	w.size += n
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("guard: cut off after %d bytes, since the client took the answer too slowly: %w", w.size, err)
	}
	return n, err
}
