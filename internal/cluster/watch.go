package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"cars/internal/etcd"
	"cars/internal/sorted"
	"cars/internal/store"
)

var errRestored = errors.New("cluster: etcd was restored from a backup")

// reload has the state loaded. Until that is done, nobody is told that the one here is
// current. restored tells that the state in etcd is older than the one here.
func (c *Store) reload(restored bool) {
	if !c.reloading {
		c.reloading, c.restored = true, restored
		c.follow(0)
	}
}

// follow starts a goroutine that watches etcd, after a delay, from where the last one has
// come. It takes the place of that one. If the state is to be loaded, it does that first.
func (c *Store) follow(delay time.Duration) {
	c.unfollow()
	ctx, cancel := context.WithCancel(c.ctx)
	c.unfollow, c.followed = cancel, time.Now()
	from, seen, reload := c.snapshot, c.seen, c.reloading
	c.others.Go(func() {
		select {
		case <-ctx.Done():
		case <-time.After(delay):
			err := c.watch(ctx, from, seen, reload)
			c.tellRun(ctx, func() { c.ceased(err) })
		}
	})
}

// watch tells run what happens in etcd after revision seen, until an error ends that. from
// is the state that run has, which etcd is asked to have, too. With reload, it is loaded
// instead.
func (c *Store) watch(ctx context.Context, from snapshot, seen int64, reload bool) error {
	if reload {
		s, err := c.load(ctx, from.state.Items, c.options.times.patience)
		if err == nil && s.revision == 0 {
			err = errGone
		}
		if err != nil {
			return err
		}
		seen = s.seen
		c.tellRun(ctx, func() { c.loaded(s) })
	} else if c.diverged(ctx, from, seen) {
		return errRestored
	}
	w, err := c.client.Watch(ctx, []byte(c.keys), []byte(c.keys[:len(c.keys)-1]+"0"), seen+1) // "0" comes behind "/"
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

// diverged reports whether etcd's history is not the one that was seen: it was restored from
// a backup.
func (c *Store) diverged(ctx context.Context, from snapshot, seen int64) bool {
	ctx, cancel := context.WithTimeout(ctx, c.options.times.patience)
	defer cancel()
	kv, _, err := c.readState(ctx, max(seen, from.revision))
	var e *etcd.Error
	if errors.As(err, &e) && e.Lost() {
		return strings.Contains(e.Message, "future")
	}
	var there value
	return err == nil && (kv.ModRevision != from.revision || json.Unmarshal(kv.Value, &there) != nil || there.Batch != from.stored.Batch)
}

// ceased is told why the watch has ended.
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

// loaded takes a state that was read. If it is older than the one here, it was read before
// this program's last commit, and the watch goes on from there; unless etcd was restored
// from a backup.
func (c *Store) loaded(s loaded) {
	c.reloading = false
	c.reloads.Add(1)
	c.seen = s.seen
	c.writing = make(map[string]*sorted.Builder)
	if c.restored {
		c.heard = s.revision
		c.tell(slog.LevelError, "etcd has an older state than before, as from a backup; it was loaded", nil)
	}
	if c.pending != nil {
		c.pending.gap = true
	}
	if c.restored || s.revision > c.revision {
		c.advance(s.snapshot)
	}
}

// happened is told what has changed, in one revision or several.
func (c *Store) happened(events []etcd.Event) {
	c.unwatched = false
	for len(events) > 0 && !c.reloading {
		revision := events[0].KV.ModRevision
		n := 1
		for n < len(events) && events[n].KV.ModRevision == revision {
			n++
		}
		if err := c.changed(revision, events[:n]); err != nil {
			c.tell(slog.LevelWarn, "The catalogue is loaded anew", err)
			c.reload(false)
			return
		}
		c.seen = revision
		events = events[n:]
	}
}

// changed is told all that one revision has changed. If it returns an error, the state
// has to be loaded.
func (c *Store) changed(revision int64, events []etcd.Event) error {
	var next snapshot
	for _, e := range events {
		what, name, _ := c.keys.parse(e.KV.Key)
		switch builder := c.writing[name]; {
		case bytes.Equal(e.KV.Key, c.keys.state()):
			next.revision = revision
			if err := json.Unmarshal(e.KV.Value, &next.stored); err != nil || e.Deleted() {
				return errors.New("cluster: the state was deleted, or overwritten by another program")
			}
		case strings.HasPrefix(name, c.name): // this program knows what it writes
		case what == aMarker && !e.Deleted() && e.KV.CreateRevision == revision:
			c.writing[name] = new(sorted.Builder)
		case what == aPack && builder != nil:
			items, err := c.items(e.KV, c.state.Items)
			if err != nil {
				return err
			}
			for _, item := range items {
				builder.Put(item)
			}
		}
	}
	if next.revision > c.revision {
		if !c.isMine(next.stored) {
			if err := c.build(&next, events); err != nil {
				return err
			}
		}
		c.advance(next)
	}
	for _, e := range events {
		if what, name, _ := c.keys.parse(e.KV.Key); what == aMarker && e.Deleted() {
			delete(c.writing, name)
			c.cleanIn(c.options.times.leftovers + rand.N(c.options.times.leftovers))
		}
	}
	return nil
}

// build makes the items of the state that another program has committed.
func (c *Store) build(next *snapshot, events []etcd.Event) error {
	list := c.state.Items
	next.packed = c.packed
	if next.stored.Generation != c.stored.Generation {
		builder := c.writing[next.stored.Generation]
		if builder == nil {
			return errors.New("cluster: a generation was not seen from its beginning")
		}
		list = builder.List()
		next.packed = list
	}
	for _, e := range events {
		what, name, id := c.keys.parse(e.KV.Key)
		if what != anItem || name != next.stored.Generation {
			continue
		}
		var items []*sorted.Item
		if !e.Deleted() {
			var err error
			if items, err = c.items(e.KV, list); err != nil {
				return err
			}
		}
		if len(items) == 0 {
			list = list.Delete(id)
		} else {
			list = list.Put(items[0])
		}
	}
	next.state = store.State{Items: list, NextID: next.stored.NextID, Version: version(next.revision)}
	return nil
}

// isMine reports whether a state was made by the commit under way. The watch may bring that
// before the answer comes, or instead of it.
func (c *Store) isMine(next value) bool { return c.pending != nil && c.pending.batch == next.Batch }

// advance makes another state the newest one.
func (c *Store) advance(next snapshot) {
	if c.isMine(next.stored) {
		c.succeed(next.stored, next.revision)
		return
	}
	if next.stored.Generation != c.stored.Generation {
		c.cleanIn(c.options.times.leftovers + rand.N(c.options.times.leftovers))
	}
	c.beatenAt = time.Now()
	c.snapshot, c.heard = next, max(c.heard, next.revision)
	c.report(store.Event{Kind: store.Changed, State: c.state})
}
