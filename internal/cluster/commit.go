package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"cars/internal/cluster/layout"
	"cars/internal/etcd"
	"cars/internal/rest"
	"cars/internal/store"
)

// A pending is a commit under way. Once it is sent, only run's goroutine touches the fields
// from refused on, and nobody changes the others.
type pending struct {
	store.Commit
	batch     string // its name, which stands in the state once it is made
	came      time.Time
	notBefore time.Time      // when it may be sent
	sent      time.Time      // when etcd was asked; zero: not yet
	staged    *layout.Staged // a generation that has been written for an earlier try; nil: none

	// etcd refuses a commit if another state is in force. The commit then waits until the
	// watch has brought that state. The answer to an earlier request for the commit may be
	// lost. If that request has made the commit, the watch brings it before the other state.
	refused  time.Time // when etcd has refused; zero: it has not
	others   int64     // the revision of the other state
	repeated bool      // there was an earlier request
	gap      bool      // the state was loaded meanwhile, so the watch has not brought every commit
}

// begin takes a commit. ok is false when there are no more. While programs compete, the one
// that has committed last waits as long as that commit took, at most 20 ms. It is the first
// to know the new state, so it would win each time, and the others would judge in vain.
func (c *Store) begin(commit store.Commit, ok bool) {
	if !ok {
		c.closing, c.commits = true, nil
		return
	}
	c.batches++
	now := time.Now()
	c.pending = &pending{Commit: commit, batch: fmt.Sprintf("%s-%d", c.name, c.batches), came: now}
	if c.wonAt.After(c.beatenAt) && now.Sub(c.beatenAt) < time.Second {
		wait := min(c.took, 20*time.Millisecond)
		c.pending.notBefore = c.wonAt.Add(wait)
		c.turn.Reset(wait)
	}
}

// settlePending takes the next step with the commit under way, if it is time for one.
func (c *Store) settlePending() {
	p := c.pending
	if p == nil {
		return
	}
	now := time.Now()
	late := func(since time.Time) bool { return now.Sub(since) > c.patience() }
	switch known := !p.refused.IsZero(); {
	case known && c.has(p.others):
		if p.repeated && p.gap {
			c.finish(errUnknown(nil))
		} else {
			c.conflict()
		}
	case known && late(p.refused) && p.repeated:
		c.finish(errUnknown(nil))
	case known && late(p.refused):
		c.finish(errNotMade(nil))
	case !p.sent.IsZero(): // etcd answers, or the client of etcd gives up
	case c.reloading && late(p.came):
		c.finish(errNotMade(nil))
	case c.reloading:
	case p.Before.Version != c.newest.State.Version:
		c.conflict()
	case !now.Before(p.notBefore):
		c.send()
	}
}

// send asks etcd for the commit under way.
func (c *Store) send() {
	p, from, patience := c.pending, c.newest, c.patience()
	p.sent = time.Now()
	p.staged, c.staged = c.staged, nil // until the outcome
	c.find(func() func() {
		o := c.layout.Commit(c.ctx, p.Commit, p.batch, from, p.staged, patience)
		return func() {
			if c.pending == p { // otherwise the watch has brought the commit
				c.ended(o, from.Revision)
			}
		}
	})
}

// ended takes the outcome of the commit under way. compared is the revision of the state
// that the commit was based on.
func (c *Store) ended(o layout.Outcome, compared int64) {
	p := c.pending
	c.staged = o.Staged
	var e *etcd.Error
	switch errors.As(o.Err, &e); {
	case o.Err == store.ErrConflict:
		p.refused, p.others, p.repeated = time.Now(), o.Others, o.Repeated
		if o.Others < min(compared, c.heard) {
			c.reload(true) // an older state is in force than one that was seen: a backup was restored
		}
	case o.Err == nil && o.Revision == compared && c.newest.Revision != compared:
		c.conflict() // this commit changes nothing, and another has changed something since
	case o.Err == nil && o.Revision < c.newest.Revision:
		// The state was loaded meanwhile, and another commit had followed this one. The owner
		// has that state, and must not go back to the one of this commit.
		c.finish(errUnknown(nil))
	case o.Err == nil:
		c.succeed(o.Stored, o.Revision)
	case e != nil && e.Unknown:
		c.fail(o.Err)
		c.finish(errUnknown(o.Err))
	case e != nil && !e.Final():
		c.fail(o.Err)
		c.finish(errNotMade(o.Err))
	default: // etcd does not accept it
		c.tell(slog.LevelError, "A change could not be stored", o.Err)
		if e != nil && e.Full() {
			c.finish(&rest.Error{Status: http.StatusInsufficientStorage, Message: "Nothing was changed: there is no room in the store", Cause: o.Err})
		} else {
			c.finish(unavailable("Nothing was changed: the change could not be stored", 1, o.Err))
		}
	}
}

// succeed ends the commit under way: its state is the newest one, and durable.
func (c *Store) succeed(stored layout.Value, revision int64) {
	p := c.pending
	now := time.Now()
	if stored.Generation != c.newest.Stored.Generation {
		c.newest.Packed = p.After.Items
		if p.staged != nil && p.staged.Name == stored.Generation {
			c.newest.Packed = p.staged.Items
		}
		c.cleanIn(0)
	}
	c.newest.State, c.newest.Stored, c.newest.Revision, c.heard = p.After, stored, revision, max(c.heard, revision)
	c.newest.State.Version = layout.Version(revision, stored.Batch)
	c.wonAt, c.took = now, now.Sub(p.sent)
	c.committed.Add(1)
	if m := c.metrics.Load(); m != nil {
		m.writes.Observe(float64(p.Writes))
		m.seconds.Observe(now.Sub(p.came).Seconds())
	}
	c.finish(nil)
}

func (c *Store) conflict() {
	c.conflicts.Add(1)
	c.finish(store.ErrConflict)
}

// finish ends the commit under way, and tells the owner its outcome.
func (c *Store) finish(err error) {
	c.pending = nil
	e := store.Event{Kind: store.Committed, Err: err}
	if err == nil {
		e.Version = c.newest.State.Version
	}
	c.report(e)
}

// errNotMade returns the error for a change that was certainly not made. The client may try
// again.
func errNotMade(cause error) error {
	return unavailable("Nothing was changed: the store does not answer", 1, cause)
}

// errUnknown returns the error for a change that may have been made. The client is not told
// to try again, because the change could then be made twice.
func errUnknown(cause error) error {
	return unavailable("The store does not answer; whether the change was made is not known", 0, cause)
}

// unavailable returns an error with status 503. It tells the client to try again after
// retryAfter seconds, unless that is 0.
func unavailable(message string, retryAfter int, cause error) error {
	return &rest.Error{Status: http.StatusServiceUnavailable, Message: message, RetryAfter: retryAfter, Cause: cause}
}
