package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"cars/internal/etcd"
	"cars/internal/rest"
	"cars/internal/store"
)

// A pending is a commit under way.
type pending struct {
	store.Commit
	batch string    // its name, which stands in the state once it is made
	sent  bool      // whether etcd has been asked
	since time.Time // when it came or, with refused, when that was known

	notBefore time.Time // when it may be sent
	gap       bool      // the state was loaded anew meanwhile, so that others' batches were not seen one by one

	// With refused, another state was found, of revision others. If the batch was made
	// before that nevertheless, by a request whose answer was lost, the watch brings it.
	refused  bool
	others   int64
	repeated bool // there was such a request
}

// An outcome is what came of asking etcd for a commit.
type outcome struct {
	batch    string
	stored   value // what stands in etcd now, if the commit succeeded
	revision int64 // of that
	before   int64 // the revision of the state that was compared
	refused  bool  // others were first
	others   int64 // with refused, the revision of the state that they made
	repeated bool  // the commit may have been made by a request whose answer was lost
	staged   *staged
	took     time.Duration
	err      error
}

// begin takes a commit, or learns that there will be none any more. If others compete, the
// program that has won last waits for about as long as a transaction takes. It would win
// again, since it is the first to learn that it has won, and the others would have judged
// in vain.
func (c *Store) begin(commit store.Commit, ok bool) {
	if !ok {
		c.closing, c.commits = true, nil
		return
	}
	c.batches++
	now := time.Now()
	c.pending = &pending{Commit: commit, batch: fmt.Sprintf("%s-%d", c.name, c.batches), since: now, notBefore: now}
	if c.wonAt.After(c.beatenAt) && now.Sub(c.beatenAt) < time.Second {
		wait := min(c.took, 20*time.Millisecond)
		c.pending.notBefore = c.wonAt.Add(wait)
		c.turn.Reset(wait)
	}
}

// settlePending does what is to be done next about the commit under way.
func (c *Store) settlePending(now time.Time) {
	p := c.pending
	switch {
	case p == nil || p.sent && !p.refused:
	case p.refused && c.has(p.others) && p.repeated && p.gap:
		c.finish(errUnknown(nil))
	case p.refused && c.has(p.others), !p.sent && !c.reloading && p.Before.Version != c.state.Version:
		c.conflicts.Add(1)
		c.finish(store.ErrConflict)
	case !p.sent && !c.reloading:
		if !now.Before(p.notBefore) {
			c.send()
		}
	case now.Sub(p.since) > c.patience() && p.repeated:
		c.finish(errUnknown(nil))
	case now.Sub(p.since) > c.patience():
		c.finish(errNotMade(nil))
	}
}

// send asks etcd for the commit under way.
func (c *Store) send() {
	p := c.pending
	p.sent = true
	stored, revision, staged, patience := c.stored, c.revision, c.staged, c.patience()
	c.staged = nil // until the outcome
	c.find(func() func() {
		o := c.transact(p.Commit, p.batch, stored, revision, staged, patience)
		return func() { c.ended(o) }
	})
}

// ended is told what came of asking. A commit that the watch has brought is no longer
// pending then.
func (c *Store) ended(o outcome) {
	p := c.pending
	if p == nil || p.batch != o.batch {
		return
	}
	c.staged = o.staged
	var e *etcd.Error
	switch {
	case o.refused:
		p.refused, p.others, p.repeated, p.since = true, o.others, o.repeated, time.Now()
		if o.others < min(o.before, c.heard) {
			c.reload(true) // an older state than one that was seen before: from a backup
		}
	case o.err == nil && o.revision == o.before && c.revision != o.before:
		c.conflicts.Add(1)
		c.finish(store.ErrConflict) // it changes nothing, but something else has changed since
	case o.err == nil:
		c.took = o.took
		c.succeed(o.stored, o.revision)
	case errors.As(o.err, &e) && e.Unknown:
		c.fail(o.err)
		c.finish(errUnknown(o.err))
	case e != nil && e.Full():
		c.tell(slog.LevelError, "A change could not be stored", o.err)
		c.finish(&rest.Error{Status: http.StatusInsufficientStorage, Message: "Nothing was changed: there is no room in the store", Cause: o.err})
	case e != nil && !e.Final():
		c.fail(o.err)
		c.finish(errNotMade(o.err))
	default: // refused by etcd
		c.tell(slog.LevelError, "A change could not be stored", o.err)
		c.finish(&rest.Error{Status: http.StatusServiceUnavailable, Message: "Nothing was changed: the change could not be stored", RetryAfter: 1, Cause: o.err})
	}
}

// succeed makes what the commit under way leads to the newest state.
func (c *Store) succeed(stored value, revision int64) {
	p := c.pending
	now := time.Now()
	if stored.Generation != c.stored.Generation {
		c.cleanSoon(0)
	}
	c.state, c.stored, c.revision, c.heard = p.After, stored, revision, max(c.heard, revision)
	c.state.Version = version(revision)
	c.wonAt = now
	c.committed.Add(1)
	if m := c.metrics.Load(); m != nil {
		m.writes.Observe(float64(p.Writes))
		m.seconds.Observe(now.Sub(p.since).Seconds())
	}
	c.finish(nil)
}

// finish tells the owner what came of the commit under way.
func (c *Store) finish(err error) {
	c.pending = nil
	e := store.Event{Kind: store.Committed, Err: err}
	if err == nil {
		e.Version = c.state.Version
	}
	c.report(e)
}

// errNotMade, errUnknown and notConfirmed return the errors for the client, with err as
// their cause. Who does not know whether a change was made is not told to ask for it again.
func errNotMade(err error) error {
	return &rest.Error{Status: http.StatusServiceUnavailable, Message: "Nothing was changed: the store does not answer", RetryAfter: 1, Cause: err}
}

func errUnknown(err error) error {
	return &rest.Error{Status: http.StatusServiceUnavailable, Message: "The store does not answer; whether the change was made is not known", Cause: err}
}

func notConfirmed(err error) error {
	if err == nil {
		return nil
	}
	return &rest.Error{Status: http.StatusServiceUnavailable, Message: "The store does not answer, so that it is not known whether the catalogue here is current", RetryAfter: 1, Cause: err}
}

// transact asks etcd for a commit to what is stored, put there by revision. All that it
// sends may be done more than once: the comparisons hold only once.
func (c *Store) transact(commit store.Commit, batch string, stored value, revision int64, ready *staged, patience time.Duration) outcome {
	o := outcome{batch: batch, before: revision, staged: ready}
	began := time.Now()
	t := etcd.Txn{
		Compare: []etcd.Compare{etcd.Modified(c.keys.state(), revision)},
		// Without a range, a member that has lost its cluster would answer comparisons.
		Failure: []etcd.Op{{Range: &etcd.Range{Key: c.keys.state()}}},
	}
	next := value{batch, commit.After.NextID, stored.Generation}
	ops, changed, fits := c.changes(next.Generation, commit.Before.Items, commit.After.Items, etcd.MaxOps-1) // and the state
	changed = changed || commit.After.NextID != commit.Before.NextID || revision == 0
	if !fits {
		if ready != nil {
			ops, _, fits = c.changes(ready.name, ready.items, commit.After.Items, etcd.MaxOps-2) // and the state and the marker
		}
		if !fits {
			if o.staged, o.err = c.stage(batch, commit.After.Items, patience); o.err != nil {
				return o
			}
			ops = nil
		}
		next.Generation = o.staged.name
		marker := c.keys.marker(o.staged.name)
		t.Compare = append(t.Compare, etcd.Created(marker, o.staged.created))
		ops = append(ops, etcd.Op{Delete: &etcd.Delete{Key: marker}})
	}
	if changed {
		data, _ := json.Marshal(next)
		t.Success = append(ops, etcd.Op{Put: &etcd.Put{Key: c.keys.state(), Value: data}})
	} else {
		next = stored
	}
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	result, err := c.client.Txn(ctx, t)
	o.took = time.Since(began)
	switch {
	case err != nil:
		o.err = err
		return o
	case result.Succeeded:
		o.stored, o.revision, o.staged = next, revision, nil
		if changed {
			o.revision = result.Header.Revision
		}
		return o
	}
	o.repeated = result.Repeated
	if there := result.Responses; len(there) > 0 && len(there[0].Range.KVs) > 0 {
		o.others = there[0].Range.KVs[0].ModRevision
	}
	if o.refused = o.others != revision; !o.refused { // then the marker is gone
		o.staged, o.err = nil, errTooSlow
	}
	return o
}
