package cluster

import (
	"context"
	"errors"
	"time"

	"cars/internal/etcd"
	"cars/internal/store"
)

// A question is whether the state is current. It is answered by the revision of the
// newest state, and settled when the watch has brought that.
type question struct {
	owner    bool // it is the owner's
	asked    time.Time
	known    int64 // the highest revision of a state that etcd had told of then
	revision int64 // the answer
	err      error // or why there is none
	answered time.Time
	deadline time.Time
}

// ask asks etcd for the revision of the newest state.
func (c *Store) ask(owner bool) {
	now := time.Now()
	q := question{owner: owner, asked: now, known: c.heard, deadline: now.Add(c.patience())}
	c.asking++
	c.askedAt = now
	c.find(func() func() {
		ctx, cancel := context.WithDeadline(c.ctx, q.deadline)
		defer cancel()
		var kv etcd.KeyValue
		kv, q.err = c.readState(ctx, 0)
		q.revision = kv.ModRevision
		return func() { c.answered(q) }
	})
}

func (c *Store) answered(q question) {
	c.asking--
	q.answered = time.Now()
	switch {
	case q.err != nil:
	case q.revision < min(q.known, c.heard): // not if that was found out meanwhile
		c.reload(true) // an older state than one that there was before: from a backup
	default:
		c.heard = max(c.heard, q.revision)
	}
	c.questions = append(c.questions, q)
}

// settle tells the owner what is certain by now.
func (c *Store) settle() {
	now := time.Now()
	c.settlePending(now)
	kept := c.questions[:0]
	for _, q := range c.questions {
		switch {
		case q.err == nil && c.has(q.revision):
			c.fine(q.asked)
			c.confirmed.Add(1)
		case q.err == nil && now.Before(q.deadline):
			if now.Sub(q.answered) > c.options.times.impatient && now.Sub(c.follower.began) > c.options.times.impatient && !c.reloading {
				c.follow(false) // the watch brings nothing
			}
			kept = append(kept, q)
			continue
		case q.err == nil:
			q.err = errors.New("cluster: the watch of etcd brings nothing")
			fallthrough
		default:
			c.fail(q.err)
		}
		if q.owner {
			c.report(store.Event{Kind: store.Confirmed, Err: notConfirmed(q.err)})
		}
	}
	c.questions = kept
}

// has reports whether the state here is that of a revision, or a newer one.
func (c *Store) has(revision int64) bool { return !c.reloading && c.revision >= revision }
