package ops

import (
	"net"
	"net/http"
	"runtime/debug"
	"sync/atomic"
)

// Connections counts the connections that are open. When nearly all of a crowd have been
// closed, their memory is given back to the operating system. By itself, the garbage
// collector would keep it for the next crowd.
type Connections struct {
	open, most atomic.Int64 // most is the largest open since memory was last given back
	free       func()       // gives memory back, in the background
}

// NewConnections returns a counter at 0.
func NewConnections() *Connections {
	return &Connections{free: func() { go debug.FreeOSMemory() }}
}

// Open returns how many connections are open.
func (c *Connections) Open() int { return int(c.open.Load()) }

// State is for the field ConnState of an [http.Server].
func (c *Connections) State(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		n := c.open.Add(1)
		for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); {
			most = c.most.Load()
		}
	case http.StateClosed, http.StateHijacked:
		const crowd = 1000 // connections, of some 20 KB each
		n, most := c.open.Add(-1), c.most.Load()
		if most >= crowd && n <= most/10 && c.most.CompareAndSwap(most, n) {
			c.free()
		}
	}
}
