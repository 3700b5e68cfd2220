// Package store keeps what must survive: items, and which IDs have been given. It knows
// neither what the items are nor who asks for them.
//
// One goroutine, the owner, holds the newest [State]. It calls a [Store] to make another
// durable, and is told what came of it on a channel. A store never blocks its owner.
package store

import (
	"errors"
	"time"

	"cars/internal/ops"
	"cars/internal/sorted"
)

// A State is all that a store keeps. It never changes; a change makes another.
type State struct {
	Items  sorted.List
	NextID int // 1 more than the highest ID that was ever in use

	// Version is the name of the state, for all programs that share the store. It is "" for
	// a store that gives no versions; the owner then names the states.
	Version string
}

// A Commit is a new state to make durable, wholly or not at all, and the one before it.
type Commit struct {
	Before, After State
	Writes        int // the number of requests that share the commit, for the metrics
}

// A Store makes states durable. Commit, Confirm and Events are for the owner alone. Any
// goroutine may call the other methods.
type Store interface {
	// Commit makes c durable. It returns at once; an event of kind Committed tells the
	// outcome. The owner makes one commit at a time, always from the newest state that
	// it knows, with that state's Version in c.Before. A commit that changes nothing
	// fails if c.Before is no longer the newest.
	Commit(c Commit)

	// Confirm asks whether the newest state that the owner knows is current. It returns at
	// once. An event of kind Confirmed tells the outcome. It comes after the events of all
	// changes that others had made when Confirm was called. The owner calls Confirm if
	// Confirms is true, and waits for the outcome before it calls again.
	Confirm()

	// Confirms reports whether the owner is to Confirm before it answers a read. If not,
	// the newest state is good enough, and Age tells how old it may be.
	Confirms() bool

	// Age returns how long ago the newest state is known to have been current. It is 0 for
	// a store that is not shared.
	Age() time.Duration

	// MaxWrites returns the most writes that may share a commit.
	MaxWrites() int

	// Events is the channel on which the store reports, in the order of what happened.
	Events() <-chan Event

	// Shared reports whether others write to what this store keeps. If not, the only
	// events are the outcomes of commits.
	Shared() bool

	// Failed returns why nothing can be stored, or nil. A store that is not shared has then
	// failed until the program is started anew; a shared one goes on trying.
	Failed() error

	// AddMetrics adds the store's metrics. It is called before the first Commit.
	AddMetrics(r *ops.Registry)

	// Close ends the store when the last commit has ended, and returns when its
	// goroutines have ended. Commit must not be called after it.
	Close() error
}

// A Kind says what an event is about.
type Kind int

const (
	Committed Kind = iota // the outcome of a commit
	Changed               // a state that another program has made
	Confirmed             // the outcome of a confirmation
)

// An Event is what a store reports.
type Event struct {
	Kind Kind

	// Err is nil if the commit is durable, even if the power fails now, or if the newest
	// state was current when Confirm was called. It is ErrConflict if other programs were
	// first: the commit has changed nothing, events of kind Changed have told what they did,
	// and the owner judges again. Any other error is a *rest.Error: the disk is full, or
	// nothing can be stored.
	Err error

	State   State  // with Changed
	Version string // with Committed: that of the new state, if the store gives versions
}

// ErrConflict says that other programs have written since the state Before of a commit.
var ErrConflict = errors.New("store: others were first")
