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

// reload has the state loaded. Until then nobody is told that what is here is current.
// restored tells that it is older than what is here.
func (c *Store) reload(restored bool) {
	if !c.reloading {
		c.reloading, c.seen = true, 0
		c.follow(restored)
	}
}

// follow begins to follow anew, from where the watch has come. restored is as with reload.
func (c *Store) follow(restored bool) {
	if c.follower != nil {
		c.follower.cancel()
	}
	f := &follower{Store: c, began: time.Now(), restored: restored, stored: c.stored, revision: c.revision, seen: c.seen}
	if f.seen == 0 {
		f.known = c.state.Items
	}
	f.ctx, f.cancel = context.WithCancel(c.ctx)
	c.follower = f
	c.others.Go(f.run)
}

// A follower is a goroutine that watches etcd, from beginning to end. Of the cluster, it
// touches nothing that belongs to another goroutine.
type follower struct {
	*Store
	ctx      context.Context
	cancel   context.CancelFunc
	began    time.Time
	known    sorted.List // what is to be loaded may have these items
	restored bool        // what is to be loaded is older than these
	stored   value       // the newest state that was seen
	revision int64       // that put it there
	seen     int64       // up to which everything was seen; 0: the state is to be loaded
	quiet    bool        // that the watch has ended was told, and nothing has come since
}

// run follows until its context is done, or until the state has to be loaded.
func (f *follower) run() {
	for f.ctx.Err() == nil {
		err := f.watch()
		var e *etcd.Error
		if restored := errors.Is(err, errRestored); restored || errors.As(err, &e) && e.Lost() && f.seen > 0 {
			f.then(func() {
				f.tell(slog.LevelWarn, "The catalogue is loaded anew", err)
				f.reload(restored)
			})
			return
		}
		if !f.quiet {
			f.then(func() { f.tell(slog.LevelWarn, "The watch of etcd has ended; it is tried again", err) })
			f.quiet = true
		}
		select {
		case <-f.ctx.Done():
		case <-time.After(f.options.times.tick + rand.N(f.options.times.tick)):
		}
	}
}

// then has the cluster's run do something, unless another follower has taken the place of
// this.
func (f *follower) then(do func()) {
	f.tellRun(f.ctx, func() {
		if f.ctx.Err() == nil {
			do()
		}
	})
}

// watch loads the state, if it has to be, and watches until an error ends that.
func (f *follower) watch() error {
	if f.seen > 0 && f.diverged() {
		return errRestored
	}
	if f.seen == 0 {
		s, err := f.load(f.ctx, f.known, f.options.times.patience)
		if err == nil && s.revision == 0 {
			err = errors.New("cluster: the state is gone")
		}
		if err != nil {
			return err
		}
		s.restored = f.restored
		f.known, f.stored, f.revision, f.seen = sorted.List{}, s.stored, s.revision, s.seen
		f.then(func() { f.loaded(s) })
	}
	w, err := f.client.Watch(f.ctx, []byte(f.keys+"/"), []byte(f.keys+"0"), f.seen+1) // "0" comes behind "/"
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		events, err := w.Next()
		if err != nil {
			return err
		}
		f.quiet = false
		f.then(func() { f.followed(events) })
		for _, e := range events {
			if bytes.Equal(e.KV.Key, f.keys.state()) && !e.Deleted() && e.KV.ModRevision > f.revision {
				f.revision = e.KV.ModRevision
				json.Unmarshal(e.KV.Value, &f.stored)
			}
			f.seen = e.KV.ModRevision
		}
	}
}

var errRestored = errors.New("cluster: etcd was restored from a backup")

// diverged reports whether the history of etcd is no longer that which was seen: it was
// restored from a backup.
func (f *follower) diverged() bool {
	ctx, cancel := context.WithTimeout(f.ctx, f.options.times.patience)
	defer cancel()
	kv, err := f.readState(ctx, max(f.seen, f.revision))
	var e *etcd.Error
	if errors.As(err, &e) && e.Lost() {
		return strings.Contains(e.Message, "future")
	}
	var there value
	return err == nil && (kv.ModRevision != f.revision || json.Unmarshal(kv.Value, &there) != nil || there.Batch != f.stored.Batch)
}

// followed is told what has happened, in one revision or several.
func (c *Store) followed(events []etcd.Event) {
	for len(events) > 0 {
		revision := events[0].KV.ModRevision
		n := 1
		for n < len(events) && events[n].KV.ModRevision == revision {
			n++
		}
		if err := c.happened(revision, events[:n]); err != nil {
			c.tell(slog.LevelWarn, "The catalogue is loaded anew", err)
			c.reload(false)
			return
		}
		c.seen = revision
		events = events[n:]
	}
}

// loaded takes a snapshot. An older one than what is here was made before this program's
// last commit, and the watch goes on from there; unless etcd was restored from a backup.
func (c *Store) loaded(s *snapshot) {
	c.reloading = false
	c.reloads.Add(1)
	c.seen = s.seen
	c.writing = make(map[string]*sorted.Builder)
	if s.restored {
		c.heard = s.revision
		c.tell(slog.LevelError, "etcd has an older state than before, as from a backup; it was loaded", nil)
	}
	if p := c.pending; p != nil {
		p.gap = true
	}
	switch {
	case !s.restored && s.revision <= c.revision:
	case c.isMine(s.stored):
		c.succeed(s.stored, s.revision)
	default:
		c.step(s.stored, s.revision, s.state.Items)
	}
}

// happened is told all that one revision has changed. An error says that the state
// is to be loaded instead.
func (c *Store) happened(revision int64, events []etcd.Event) error {
	var next *value
	for _, e := range events {
		name, id := c.keys.parse(e.KV.Key)
		builder := c.writing[name]
		switch {
		case bytes.Equal(e.KV.Key, c.keys.state()):
			next = new(value)
			if err := json.Unmarshal(e.KV.Value, next); err != nil || e.Deleted() {
				return errors.New("cluster: the state was deleted, or overwritten by another program")
			}
		case name == "" || strings.HasPrefix(name, c.name):
		case id == 0 && !e.Deleted() && e.KV.CreateRevision == revision:
			c.writing[name] = new(sorted.Builder)
		case id > 0 && builder != nil && e.Deleted():
			builder.Delete(id)
		case id > 0 && builder != nil:
			item, err := c.reader(c.state.Items)(e.KV)
			if err != nil {
				return err
			}
			builder.Put(item)
		}
	}
	switch {
	case next == nil || revision <= c.revision:
	case c.isMine(*next):
		c.succeed(*next, revision)
	default:
		list, err := c.changed(*next, events)
		if err != nil {
			return err
		}
		c.step(*next, revision, list)
	}
	for _, e := range events {
		if name, id := c.keys.parse(e.KV.Key); name != "" && id == 0 && e.Deleted() {
			delete(c.writing, name)
			c.cleanSoon(c.options.times.leftovers + rand.N(c.options.times.leftovers))
		}
	}
	return nil
}

// changed returns the items of the next state.
func (c *Store) changed(next value, events []etcd.Event) (list sorted.List, err error) {
	if next.Generation != c.stored.Generation {
		builder := c.writing[next.Generation]
		if builder == nil {
			return list, errors.New("cluster: a generation was not seen from its beginning")
		}
		return builder.List(), nil
	}
	list = c.state.Items
	read := c.reader(list)
	for _, e := range events {
		name, id := c.keys.parse(e.KV.Key)
		switch {
		case name != next.Generation || id == 0:
		case e.Deleted():
			list = list.Delete(id)
		default:
			item, err := read(e.KV)
			if err != nil {
				return list, err
			}
			list = list.Put(item)
		}
	}
	return list, nil
}

// isMine reports whether another state was made by the commit under way. The watch may bring
// that before the answer comes, or instead of it.
func (c *Store) isMine(next value) bool { return c.pending != nil && c.pending.batch == next.Batch }

// step makes what others have committed the newest state.
func (c *Store) step(next value, revision int64, list sorted.List) {
	if next.Generation != c.stored.Generation {
		c.cleanSoon(c.options.times.leftovers + rand.N(c.options.times.leftovers))
	}
	c.beatenAt = time.Now()
	c.stored, c.revision, c.heard = next, revision, max(c.heard, revision)
	c.state = store.State{Items: list, NextID: next.NextID, Version: version(revision)}
	c.report(store.Event{Kind: store.Changed, State: c.state})
}
