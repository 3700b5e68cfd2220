package ops

import (
	"net"
	"net/http"
	"runtime/debug"
	"sync/atomic"
)

// Connections count those that are open. When nearly all of a crowd have left, the
// memory that they took is given back to the operating system: by itself, the
// garbage collector keeps it until there is as much to do again.
type Connections struct {
	open, most atomic.Int64 // most: since memory was last given back
	free       func()       // in the background
}

// NewConnections returns a counter.
func NewConnections() *Connections {
	return &Connections{free: func() { go debug.FreeOSMemory() }}
}

// Open returns how many there are.
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
