package guard

import (
	"context"
	"iter"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"

	"cars/internal/rest"
)

// A Pool bounds what all lists together take: cores while they are made, memory while
// they are being answered.
//
// All cores but one, and at least one, are for lists. Each list has one core; further lists
// wait. The core that is left answers the other requests. If all cores were busy with lists,
// other requests would wait up to 20 ms, since Go's scheduler looks at the network when a
// core has nothing to do. A list that is alone borrows all cores until another list comes.
type Pool struct {
	cores   int
	turns   chan struct{} // a token for each list that has its turn
	waiting atomic.Int64  // lists that wait for their turn
	helpers atomic.Int64  // further goroutines that work for a list
	held    atomic.Int64  // bytes that lists hold until they are released
}

// NewPool returns a pool for a process that uses that many cores.
func NewPool(cores int) *Pool {
	return &Pool{cores: cores, turns: make(chan struct{}, max(1, cores-1))}
}

// Lists is the pool of this process, since the cores and the memory are the process's.
var Lists = NewPool(runtime.GOMAXPROCS(0))

const (
	// ShortList is the most blocks, of up to 512 items each, in a list that needs no turn:
	// such a list takes less than a millisecond.
	ShortList = 4

	// maxWaiting is how many lists may wait. The longest take some 50 ms, so the last one
	// waits for a few seconds. Further ones are refused.
	maxWaiting = 128

	// maxHeld is how many bytes all lists may hold while they are being answered. A million
	// matching items take 8 MB: 16 clients may read such lists as slowly as they like.
	maxHeld = 128 << 20

	// freeHeld is the most bytes of a list that need not be held. So pages are answered
	// whatever slow readers of long lists hold.
	freeHeld = 4 << 10
)

// Enter waits for a list's turn. Leave ends it. The errors have status 503: ctx is done, or
// too many lists are waiting.
func (p *Pool) Enter(ctx context.Context) error {
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > maxWaiting {
		return unavailable("Too many lists are being made")
	}
	select {
	case p.turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return rest.Gone(ctx)
	}
}

// Leave ends a list's turn.
func (p *Pool) Leave() { <-p.turns }

// Hold takes bytes out of the budget, until Release gives them back. The error has status
// 503: too much is held already.
func (p *Pool) Hold(bytes int) error {
	if bytes > freeHeld && p.held.Add(int64(bytes)) > maxHeld {
		p.Release(bytes)
		return unavailable("Too many lists are being answered")
	}
	return nil
}

// Release gives bytes back that Hold took.
func (p *Pool) Release(bytes int) {
	if bytes > freeHeld {
		p.held.Add(-int64(bytes))
	}
}

// unavailable returns an error for a client that may ask again in a second.
func unavailable(message string) error {
	err := rest.Errorf(http.StatusServiceUnavailable, "%s", message)
	err.RetryAfter = 1
	return err
}

// Share calls work in the caller's goroutine, and in others if cores are free. It divides
// the indexes 0 to n-1 among the calls; each call gets its own in ascending order. Between
// two indexes other requests may run. The caller must have its turn, unless n is at most
// ShortList. An error says that ctx is done.
func (p *Pool) Share(ctx context.Context, n int, work func(indexes iter.Seq[int])) error {
	var next atomic.Int64
	until := func(stop func() bool) iter.Seq[int] {
		return func(yield func(int) bool) {
			for ctx.Err() == nil && !stop() {
				i := int(next.Add(1)) - 1
				if i >= n || !yield(i) {
					return
				}
				runtime.Gosched()
			}
		}
	}
	var helping sync.WaitGroup
	for n > ShortList && p.borrow() {
		helping.Go(func() {
			defer p.helpers.Add(-1)
			work(until(p.wanted))
		})
	}
	work(until(func() bool { return false }))
	helping.Wait()
	if ctx.Err() != nil {
		return rest.Gone(ctx)
	}
	return nil
}

// borrow takes a core that no list needs, and reports whether there is one. To give the core
// back, subtract 1 from p.helpers.
func (p *Pool) borrow() bool {
	if p.helpers.Add(1); p.wanted() {
		p.helpers.Add(-1)
		return false
	}
	return true
}

// wanted reports whether another list needs the cores that helpers have borrowed.
func (p *Pool) wanted() bool {
	return p.waiting.Load() > 0 || len(p.turns)+int(p.helpers.Load()) > p.cores
}
