package listen

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// TestDeadlines has calls wait for a client that does nothing. They must end when their
// deadline has passed, and not before, however often it was changed meanwhile.
func TestDeadlines(t *testing.T) {
	for _, way := range []struct {
		name string
		set  func(net.Conn, time.Time) error
		call func(net.Conn) error
	}{
		{"read", net.Conn.SetReadDeadline, func(c net.Conn) error { _, err := c.Read(make([]byte, 1)); return err }},
		{"write", net.Conn.SetWriteDeadline, func(c net.Conn) error { _, err := c.Write(make([]byte, 1)); return err }},
		{"read, both set", net.Conn.SetDeadline, func(c net.Conn) error { _, err := c.Read(make([]byte, 1)); return err }},
		{"write, both set", net.Conn.SetDeadline, func(c net.Conn) error { _, err := c.Write(make([]byte, 1)); return err }},
	} {
		t.Run(way.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := new(listener)
				server, client := net.Pipe()
				c := l.add(server)
				defer client.Close()
				defer c.Close()
				// ends wants a call to end after least, or up to interval later.
				ends := func(step string, least time.Duration) {
					t.Helper()
					start := time.Now()
					err := way.call(c)
					if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took < least || took > least+interval {
						t.Errorf("%s: got %v after %v, want %v after %v", step, err, took, os.ErrDeadlineExceeded, least)
					}
				}
				set := func(after time.Duration) { way.set(c, time.Now().Add(after)) }

				set(5 * time.Second)
				ends("first", 5*time.Second)
				ends("passed already", 0)
				set(10 * time.Second)
				set(time.Second)
				ends("earlier than before", time.Second)
				set(time.Second)
				time.AfterFunc(900*time.Millisecond, func() { set(2 * time.Second) })
				ends("made later while the call waits", 2900*time.Millisecond)
				set(time.Minute)
				time.AfterFunc(time.Second, func() { way.set(c, time.Unix(1, 0)) }) // as net/http does
				start := time.Now()
				ends("in the past", time.Second)
				if took := time.Since(start); took != time.Second {
					t.Errorf("a deadline in the past ended the call after %v, want %v", took, time.Second)
				}
				way.set(c, time.Time{})
				time.AfterFunc(time.Hour, func() { way.set(c, time.Unix(1, 0)) })
				ends("none", time.Hour)
				way.set(c, time.Time{})
				go func() {
					time.Sleep(time.Minute)
					go client.Write(make([]byte, 1))
					client.Read(make([]byte, 1))
				}()
				if err := way.call(c); err != nil {
					t.Errorf("without a deadline, after others: %v", err)
				}
			})
		})
	}
}

// TestDeadlinesAfterAPause: the timer stops when all connections are closed, and goes on with
// the next.
func TestDeadlinesAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(listener)
		for range 3 {
			server, client := net.Pipe()
			c := l.add(server)
			c.SetReadDeadline(time.Now().Add(time.Second))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %v, want %v", err, os.ErrDeadlineExceeded)
			}
			c.Close()
			client.Close()
			time.Sleep(3 * interval)
			l.mu.Lock()
			if len(l.conns) > 0 || l.timer.Stop() {
				t.Errorf("%d connections are left, or the timer runs", len(l.conns))
			}
			l.mu.Unlock()
		}
	})
}
