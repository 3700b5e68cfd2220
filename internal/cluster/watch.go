package cluster

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"cars/internal/cluster/layout"
	"cars/internal/etcd"
	"cars/internal/store"
)

var errRestored = errors.New("cluster: etcd was restored from a backup")

// reload has the state loaded. Until then, no read is told that the state here is current.
// restored says that the state in etcd is older than the one here.
// If a load is under way that did not know that, another one begins.
func (c *Store) reload(restored bool) {
	if !c.reloading || restored && !c.restored {
		c.reloading, c.restored = true, restored
		c.follow(0)
	}
}

// follow starts a goroutine that watches etcd, and ends the goroutine before it. The new one
// waits for delay, and goes on at the revision that was seen. While c.reloading is true, it
// loads the state first.
func (c *Store) follow(delay time.Duration) {
	c.unfollow()
	ctx, cancel := context.WithCancel(c.ctx)
	c.unfollow, c.followed = cancel, time.Now()
	newest, seen, reload := c.newest, c.seen, c.reloading
	c.others.Go(func() {
		select {
		case <-ctx.Done():
		case <-time.After(delay):
			err := c.watch(ctx, newest, seen, reload)
			c.tellRun(ctx, func() { c.ceased(err) })
		}
	})
}

// watch tells run what happens in etcd after revision seen, until an error ends that. newest
// is the state that run has. With reload, watch first loads the state instead.
func (c *Store) watch(ctx context.Context, newest layout.Snapshot, seen int64, reload bool) error {
	if reload {
		s, err := c.layout.Load(ctx, newest.State.Items, c.options.times.patience)
		if err == nil && s.Revision == 0 {
			err = layout.ErrGone
		}
		if err != nil {
			return err
		}
		seen = s.Seen
		c.tellRun(ctx, func() { c.loaded(s) })
	} else if c.layout.Diverged(ctx, newest, seen) {
		return errRestored
	}
	w, err := c.layout.Watch(ctx, seen)
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		events, err := w.Next()
		if err != nil {
			return err
		}
		c.tellRun(ctx, func() { c.happened(events) })
	}
}

// ceased takes the error that has ended the watch.
func (c *Store) ceased(err error) {
	var e *etcd.Error
	restored := errors.Is(err, errRestored)
	if restored || errors.As(err, &e) && e.Lost() && !c.reloading {
		c.tell(slog.LevelWarn, "The catalogue is loaded anew", err)
		c.reload(restored)
		return
	}
	if !c.unwatched {
		c.tell(slog.LevelWarn, "The watch of etcd has ended; it is tried again", err)
		c.unwatched = true
	}
	c.follow(c.options.times.tick + rand.N(c.options.times.tick))
}

// loaded takes a state that was read. A state older than the one here was read before this
// program's last commit: the one here stays, and the watch brings what is missing. But if a
// backup was restored, the older state counts.
func (c *Store) loaded(s layout.Loaded) {
	c.reloading = false
	c.reloads.Add(1)
	c.seen = s.Seen
	c.follower = c.layout.NewFollower(c.name)
	if c.restored {
		c.heard = s.Revision
		c.tell(slog.LevelError, "etcd has an older state than before, as from a backup; it was loaded", nil)
	}
	if c.pending != nil {
		c.pending.gap = true
	}
	if c.restored || s.Revision > c.newest.Revision {
		c.advance(s.Snapshot)
	}
}

// happened takes events of the watch, which are all changes of one revision or of several.
func (c *Store) happened(events []etcd.Event) {
	c.unwatched = false
	for len(events) > 0 && !c.reloading {
		n := 1
		for n < len(events) && events[n].KV.ModRevision == events[0].KV.ModRevision {
			n++
		}
		own := ""
		if c.pending != nil {
			own = c.pending.batch
		}
		next, ended, err := c.follower.Next(c.newest, events[:n], own)
		if err != nil {
			c.tell(slog.LevelWarn, "The catalogue is loaded anew", err)
			c.reload(false)
			return
		}
		c.seen = events[0].KV.ModRevision
		if next.Revision > 0 {
			c.advance(next)
		}
		if ended {
			c.cleanLater()
		}
		events = events[n:]
	}
}

// advance makes next the newest state. If the commit under way has made it, the watch was
// faster than the answer of etcd, or the answer is lost.
func (c *Store) advance(next layout.Snapshot) {
	if c.pending != nil && c.pending.batch == next.Stored.Batch {
		c.succeed(next.Stored, next.Revision)
		return
	}
	if next.Stored.Generation != c.newest.Stored.Generation {
		c.cleanLater()
	}
	c.beatenAt = time.Now()
	c.newest, c.heard = next, max(c.heard, next.Revision)
	c.report(store.Event{Kind: store.Changed, State: next.State})
}

// cleanLater has leftovers deleted in a while, so that the program that has left them can do
// it first. Each program waits for a different time, so that one does the work for all.
func (c *Store) cleanLater() {
	c.cleanIn(c.options.times.leftovers + rand.N(c.options.times.leftovers))
}
