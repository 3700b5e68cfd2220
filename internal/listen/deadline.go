package listen

import (
	"errors"
	"net"
	"sync"
	"time"
)

// A listener accepts connections whose deadlines cost next to nothing. net/http sets eight
// deadlines for each request, and hardly any passes. In the runtime each is a timer, and
// timers wake threads. Here a connection only remembers the times, and one timer for all
// connections looks which have passed. So a deadline ends a call up to interval late. Only
// a deadline before the connection was opened, with which net/http aborts a call, ends the
// call at once.
type listener struct {
	net.Listener

	mu    sync.Mutex
	conns map[*conn]bool // the connections that are open
	timer *time.Timer    // calls look; nil before the first connection
}

// interval is the time between two looks at the deadlines. It is short beside the deadlines:
// 5 s or more, but 500 ms for a stream that ends and after a refusal. A look at 10,000
// connections takes less than a millisecond.
const interval = 250 * time.Millisecond

func (l *listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.add(accepted), nil
}

func (l *listener) add(accepted net.Conn) *conn {
	c := &conn{Conn: accepted, listener: l, opened: time.Now()}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil {
		l.conns = make(map[*conn]bool)
		l.timer = time.AfterFunc(interval, l.look)
	} else if len(l.conns) == 0 {
		l.timer.Reset(interval)
	}
	l.conns[c] = true
	return c
}

// look ends the calls whose deadline has passed. While a connection is open, it sets the timer
// to come again.
func (l *listener) look() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for c := range l.conns {
		c.look(now)
	}
	if len(l.conns) > 0 {
		l.timer.Reset(interval)
	}
}

// A conn remembers its deadlines. Any goroutine may set them.
type conn struct {
	net.Conn
	listener *listener
	opened   time.Time

	mu          sync.Mutex
	read, write deadline
}

// A deadline is zero if there is none.
type deadline struct {
	time   time.Time
	passed bool // the net.Conn was told that the deadline has passed
}

var longAgo = time.Unix(1, 0)

// set makes t the deadline d. It calls put, which sets the deadline of the net.Conn, only if
// t ends calls at once or if d has ended calls until now.
func (c *conn) set(d *deadline, t time.Time, put func(time.Time) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := d.passed
	*d = deadline{t, !t.IsZero() && t.Before(c.opened)}
	switch {
	case d.passed:
		return put(longAgo)
	case passed:
		return put(time.Time{})
	}
	return nil
}

func (c *conn) look(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.read.passes(now) {
		c.Conn.SetReadDeadline(longAgo)
	}
	if c.write.passes(now) {
		c.Conn.SetWriteDeadline(longAgo)
	}
}

// passes reports whether d has passed since the last look.
func (d *deadline) passes(now time.Time) bool {
	if d.passed || d.time.IsZero() || now.Before(d.time) {
		return false
	}
	d.passed = true
	return true
}

func (c *conn) SetReadDeadline(t time.Time) error {
	return c.set(&c.read, t, c.Conn.SetReadDeadline)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	return c.set(&c.write, t, c.Conn.SetWriteDeadline)
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.conns, c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite lets net/http end its half of a connection first, so that the client reads the
// last answer.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
