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

	revision int64 // the answer
	err      error // or why there is none
	answered time.Time
}

// ask asks etcd for the revision of the newest state.
func (c *Store) ask(owner bool) {
	now := time.Now()
	q := question{owner: owner, asked: now, heard: c.heard, deadline: now.Add(c.patience())}
	c.asking++
	c.askedAt = now
	c.find(func() func() {
		ctx, cancel := context.WithDeadline(c.ctx, q.deadline)
		defer cancel()
		q.revision, q.err = c.layout.Newest(ctx)
		return func() { c.answered(q) }
	})
}

func (c *Store) answered(q question) {
	c.asking--
	q.answered = time.Now()
	switch {
	case q.err != nil:
	case q.revision < min(q.heard, c.heard): // c.heard is lower if a backup was found out meanwhile
		c.reload(true)
	default:
		c.heard = max(c.heard, q.revision)
	}
	c.questions = append(c.questions, q)
}

// settleQuestions tells the owner which questions are settled by now.
func (c *Store) settleQuestions() {
	now := time.Now()
	impatient := c.options.times.impatient
	kept := c.questions[:0]
	for _, q := range c.questions {
		switch {
		case q.err == nil && c.has(q.revision):
			c.fine(q.asked)
			c.confirmed.Add(1)
		case q.err == nil && now.Before(q.deadline):
			if now.Sub(q.answered) > impatient && now.Sub(c.followed) > impatient && !c.reloading {
				c.follow(0) // this watch brings nothing
			}
			kept = append(kept, q)
			continue
		default:
			if q.err == nil {
				q.err = errors.New("cluster: the watch of etcd brings nothing")
			}
			c.fail(q.err)
			q.err = unavailable("The store does not answer, so that it is not known whether the catalogue here is current", 1, q.err)
		}
		if q.owner {
			c.report(store.Event{Kind: store.Confirmed, Err: q.err})
		}
	}
	c.questions = kept
}

// has reports whether the state here is the one of a revision, or a newer one.
func (c *Store) has(revision int64) bool { return !c.reloading && c.newest.Revision >= revision }
