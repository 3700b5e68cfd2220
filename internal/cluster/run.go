package cluster

import (
	"context"
	"log/slog"
	"time"

	"cars/internal/journal"
	"cars/internal/store"
)

// run handles one event at a time, until Close is called and the last commit has ended.
func (c *Store) run() {
	defer close(c.done)
	defer c.cancel()
	tick := time.NewTicker(c.options.times.tick)
	defer tick.Stop()
	for !c.closing || c.pending != nil {
		var events chan<- store.Event // nil, so never ready, if there is nothing to send
		var next store.Event
		if len(c.outbox) > 0 {
			events, next = c.events, c.outbox[0]
		}
		select {
		case events <- next:
			c.outbox = c.outbox[1:]
		case commit, ok := <-c.commits:
			c.begin(commit, ok)
		case <-c.turn.C: // settlePending sends the commit
		case <-c.confirms:
			c.ask(true)
		case f := <-c.found:
			f()
		case <-tick.C:
			c.tick()
		}
		c.settlePending()
		c.settleQuestion()
	}
	for _, e := range c.outbox { // without waiting: the owner may not receive any more
		select {
		case c.events <- e:
		default:
		}
	}
}

// report puts an event into the outbox. The owner may be busy, and run does not wait.
func (c *Store) report(e store.Event) { c.outbox = append(c.outbox, e) }

// find calls f on a goroutine of its own, so f may wait. run then calls the function that f
// returns.
func (c *Store) find(f func() func()) {
	c.others.Go(func() { c.tellRun(c.ctx, f()) })
}

// tellRun has run call f, unless ctx is done by then.
func (c *Store) tellRun(ctx context.Context, f func()) {
	unlessDone := func() {
		if ctx.Err() == nil {
			f()
		}
	}
	select {
	case c.found <- unlessDone:
	case <-ctx.Done():
	}
}

// patience returns how long etcd may take to answer. Once it has not answered, clients wait
// for less long.
func (c *Store) patience() time.Duration {
	if c.failure.Load() != nil {
		return c.options.times.impatient
	}
	return c.options.times.patience
}

// tick asks whether the state is current if no reader has asked for a while. So a program
// learns that there is no quorum, or that there is one again. tick also has leftovers
// deleted when it is time.
func (c *Store) tick() {
	now := time.Now()
	if c.question == nil && now.Sub(c.askedAt) >= c.options.times.beat {
		c.ask(false)
	}
	if !c.cleaning && !c.cleanAt.IsZero() && now.After(c.cleanAt) {
		c.cleaning, c.cleanAt = true, time.Time{}
		c.find(func() func() {
			err := c.layout.Clean(c.ctx)
			return func() {
				if c.cleaning = false; err != nil {
					c.cleanIn(c.options.times.leftovers)
				}
			}
		})
	}
}

// cleanIn has leftovers deleted when after has passed, or earlier if that is planned.
func (c *Store) cleanIn(after time.Duration) {
	if at := time.Now().Add(after); c.cleanAt.IsZero() || at.Before(c.cleanAt) {
		c.cleanAt = at
	}
}

// fine notes that the state was current at the time at, so etcd answers.
func (c *Store) fine(at time.Time) {
	c.freshAt.Store(max(c.freshAt.Load(), at.UnixNano()))
	if c.failure.Swap(nil) != nil {
		c.tell(slog.LevelInfo, "etcd answers again", nil)
	}
	c.told = ""
}

// fail notes that nothing can be stored at present.
func (c *Store) fail(err error) {
	if c.ctx.Err() == nil && c.failure.Swap(&err) == nil {
		c.tell(slog.LevelError, "etcd does not answer; it is tried again", err)
	}
}

// tell tells an operator message and err, unless it has told the same just before.
func (c *Store) tell(level slog.Level, message string, err error) {
	text := message
	attrs := []slog.Attr{slog.String("prefix", c.options.Prefix)}
	if err != nil {
		text += err.Error()
		attrs = append(attrs, slog.Any("error", err))
	}
	if text != c.told && c.options.Notify != nil {
		c.options.Notify(journal.Notice{Level: level, Message: message, Attrs: attrs})
	}
	c.told = text
}
