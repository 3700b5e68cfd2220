package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"cars/internal/etcd"
	"cars/internal/rest"
	"cars/internal/sorted"
)

// A pending is a commit under way.
type pending struct {
	Commit
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

// A staged is a generation that has been written, and that no state names yet.
type staged struct {
	name    string
	created int64 // revision of its marker, which goes when the state names it
	items   sorted.List
}

// begin takes a commit, or learns that there will be none any more. If others compete, the
// program that has won last waits for about as long as a transaction takes. It would win
// again, since it is the first to learn that it has won, and the others would have judged
// in vain.
func (c *Cluster) begin(commit Commit, ok bool) {
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
func (c *Cluster) settlePending(now time.Time) {
	p := c.pending
	switch {
	case p == nil || p.sent && !p.refused:
	case p.refused && c.has(p.others) && p.repeated && p.gap:
		c.finish(errUnknown(nil))
	case p.refused && c.has(p.others), !p.sent && !c.reloading && p.Before.Version != c.state.Version:
		c.conflicts.Add(1)
		c.finish(ErrConflict)
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
func (c *Cluster) send() {
	p := c.pending
	p.sent = true
	stored, revision, staged, patience := c.stored, c.revision, c.staged, c.patience()
	c.staged = nil // until the outcome
	c.spawn(func() {
		o := c.transact(c.ctx, p.Commit, p.batch, stored, revision, staged, patience)
		select {
		case c.outcomes <- o:
		case <-c.ctx.Done():
		}
	})
}

// ended is told what came of asking. A commit that the watch has brought is no longer
// pending then.
func (c *Cluster) ended(o outcome) {
	p := c.pending
	if p == nil || p.batch != o.batch {
		return
	}
	c.staged = o.staged
	var e *etcd.Error
	switch {
	case o.refused:
		p.refused, p.others, p.repeated, p.since = true, o.others, o.repeated, time.Now()
		if o.others < o.before {
			c.reload() // an older state than one that was seen before: from a backup
		}
	case o.err == nil && o.revision == o.before && c.revision != o.before:
		c.conflicts.Add(1)
		c.finish(ErrConflict) // it changes nothing, but something else has changed since
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
	default:
		c.tell(slog.LevelError, "A change could not be stored", o.err)
		c.finish(errNotMade(o.err))
	}
}

// succeed makes what the commit under way leads to the newest state.
func (c *Cluster) succeed(stored value, revision int64) {
	p := c.pending
	now := time.Now()
	if stored.Generation != c.stored.Generation {
		c.cleanSoon(0)
	}
	c.state, c.stored, c.revision = p.After, stored, revision
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
func (c *Cluster) finish(err error) {
	c.pending = nil
	e := Event{Kind: Committed, Err: err}
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
func (c *Cluster) transact(ctx context.Context, commit Commit, batch string, stored value, revision int64, ready *staged, patience time.Duration) outcome {
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
			if o.staged, o.err = c.stage(ctx, batch, commit.After.Items, patience); o.err != nil {
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
	ctx, cancel := context.WithTimeout(ctx, patience)
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
	var there value
	var kv etcd.KeyValue
	if len(result.Responses) > 0 && len(result.Responses[0].Range.KVs) > 0 {
		kv = result.Responses[0].Range.KVs[0]
		o.err = json.Unmarshal(kv.Value, &there)
	}
	switch o.others = kv.ModRevision; {
	case there.Batch == batch: // made by a request whose answer was lost
		o.stored, o.revision, o.staged = there, kv.ModRevision, nil
	case kv.ModRevision == revision:
		o.staged, o.err = nil, errTooSlow
	default:
		o.refused = true
	}
	return o
}

// maxBytes is the most that the items of a transaction take. etcd takes 1.5 MiB
// (--max-request-bytes).
const maxBytes = 1 << 20

// changes returns the operations that make the items after of those before, whether there
// is any difference, and whether the operations fit into a transaction that has room for
// so many.
func (c *Cluster) changes(generation string, before, after sorted.List, room int) (ops []etcd.Op, changed, fits bool) {
	size := 0
	for old, now := range sorted.Changes(before, after) {
		changed = true
		switch {
		case now == nil:
			ops = append(ops, etcd.Op{Delete: &etcd.Delete{Key: c.keys.item(generation, old.ID)}})
		case old == nil || !bytes.Equal(old.Line, now.Line):
			ops = append(ops, c.put(generation, now))
			size += len(now.Line)
		}
		if len(ops) > room || size > maxBytes {
			return nil, true, false
		}
	}
	return ops, changed, true
}

func (c *Cluster) put(generation string, item *sorted.Item) etcd.Op {
	return etcd.Op{Put: &etcd.Put{Key: c.keys.item(generation, item.ID), Value: item.JSON()}}
}

// writers is how many transactions write a generation at once. With one, each would wait for
// the disks alone.
const writers = 4

var errTooSlow = errors.New("store: writing a generation took longer than its lease")

// stage writes items as another generation. A marker with a lease says that it is being
// written: if this program dies, others delete the rest when the lease is over. Whatever is
// written compares the marker, so that nothing comes late into a generation in use.
func (c *Cluster) stage(ctx context.Context, name string, items sorted.List, patience time.Duration) (*staged, error) {
	s := &staged{name: name, items: items}
	marker := c.keys.marker(name)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	within := func(f func(ctx context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return f(ctx)
	}
	err := within(func(ctx context.Context) error {
		lease, err := c.client.Grant(ctx, 30+items.Len()/1000)
		if err != nil {
			return err
		}
		result, err := c.client.Txn(ctx, etcd.Txn{Success: []etcd.Op{
			{Put: &etcd.Put{Key: marker, Value: []byte(strconv.Itoa(items.Len())), Lease: lease}},
			{Range: &etcd.Range{Key: marker}},
		}})
		if err != nil {
			return err
		}
		if len(result.Responses) < 2 || len(result.Responses[1].Range.KVs) == 0 {
			return errors.New("store: etcd did not store a marker")
		}
		s.created = result.Responses[1].Range.KVs[0].CreateRevision
		return nil
	})
	if err != nil {
		return nil, nothingMade(err)
	}
	pieces := make(chan []etcd.Op)
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for ops := range pieces {
				err := within(func(ctx context.Context) error {
					result, err := c.client.Txn(ctx, etcd.Txn{Compare: []etcd.Compare{etcd.Created(marker, s.created)}, Success: ops})
					if err == nil && !result.Succeeded {
						return errTooSlow
					}
					return err
				})
				if err != nil {
					cancel(err) // and the first error counts
				}
			}
		})
	}
	var ops []etcd.Op
	size := 0
	write := func() {
		select {
		case pieces <- ops:
		case <-ctx.Done():
		}
		ops, size = nil, 0
	}
	for item := range items.All() {
		ops = append(ops, c.put(name, item))
		if size += len(item.Line); len(ops) == etcd.MaxOps || size > maxBytes {
			write()
		}
	}
	write()
	close(pieces)
	group.Wait()
	return s, nothingMade(context.Cause(ctx))
}

// nothingMade returns err for a caller to whom it is all the same whether what was asked
// for was done: nobody sees it.
func nothingMade(err error) error {
	var e *etcd.Error
	if errors.As(err, &e) {
		known := *e
		known.Unknown = false
		return &known
	}
	return err
}
