package cluster

import (
	"context"
	"errors"
	"time"

	"cars/internal/store"
)

// A question is whether the state here is current. etcd answers with the revision of the
// newest state. The question is settled when the watch has brought that state.
type question struct {
	owner    bool // the owner has asked
	asked    time.Time
	heard    int64 // the highest revision that was known when the question was asked
	deadline time.Time

	answered time.Time // zero: not yet
	revision int64     // the answer
	err      error     // or why there is none
}

// ask asks etcd for the revision of the newest state. The owner makes one call of Confirm at
// a time, so the question that this one replaces is run's own.
func (c *Store) ask(owner bool) {
	now := time.Now()
	q := &question{owner: owner, asked: now, heard: c.heard, deadline: now.Add(c.patience())}
	c.question, c.askedAt = q, now
	c.find(func() func() {
		ctx, cancel := context.WithDeadline(c.ctx, q.deadline)
		defer cancel()
		revision, err := c.layout.Newest(ctx)
		return func() {
			q.answered, q.revision, q.err = time.Now(), revision, err
			switch {
			case err != nil:
			case revision < min(q.heard, c.heard): // c.heard is lower if a backup was found out meanwhile
				c.reload(true)
			default:
				c.heard = max(c.heard, revision)
			}
		}
	})
}

// settleQuestion ends the question if its outcome is known, and tells the owner if it has asked.
func (c *Store) settleQuestion() {
	q := c.question
	if q == nil || q.answered.IsZero() {
		return
	}
	now := time.Now()
	impatient := c.options.times.impatient
	err := q.err
	switch {
	case err == nil && c.has(q.revision):
		c.fine(q.asked)
		c.confirmed.Add(1)
	case err == nil && now.Before(q.deadline):
		if now.Sub(q.answered) > impatient && now.Sub(c.followed) > impatient && !c.reloading {
			c.follow(0) // this watch brings nothing
		}
		return
	default:
		if err == nil {
			err = errors.New("cluster: the watch of etcd brings nothing")
		}
		c.fail(err)
		err = unavailable("The store does not answer, so it is not known whether the catalogue here is current", 1, err)
	}
	c.question = nil
	if q.owner {
		c.report(store.Event{Kind: store.Confirmed, Err: err})
	}
}

// has reports whether the state here is that of revision or a newer one, and not being loaded.
func (c *Store) has(revision int64) bool { return !c.reloading && c.newest.Revision >= revision }
