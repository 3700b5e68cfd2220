package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"cars/internal/etcd"
	"cars/internal/sorted"
	"cars/internal/strict"
)

// keys are the prefix of all keys. Names of generations begin with a hexadecimal digit, so
// that they stand before "state" and "writing".
type keys string

func (k keys) state() []byte             { return []byte(k + "/state") }
func (k keys) marker(name string) []byte { return []byte(string(k) + "/writing/" + name) }
func (k keys) item(name string, id int) []byte {
	return fmt.Appendf(nil, "%s/%s/%016d", k, name, id)
}

// parse returns which generation a key is of: it is that of an item, or a marker (id 0).
// For other keys, name is empty.
func (k keys) parse(key []byte) (name string, id int) {
	rest, _ := strings.CutPrefix(string(key), string(k)+"/")
	if name, ok := strings.CutPrefix(rest, "writing/"); ok {
		return name, 0
	}
	name, number, _ := strings.Cut(rest, "/")
	id, err := strconv.Atoi(number)
	if err != nil || id < 1 || len(number) != 16 {
		return "", 0
	}
	return name, id
}

// A value is what stands in etcd at the state's key.
type value struct {
	Batch      string `json:"batch"` // the commit that has put it there
	NextID     int    `json:"nextId"`
	Generation string `json:"generation"`
}

func version(revision int64) string { return strconv.FormatInt(revision, 10) }

// A snapshot is all there is in etcd at one instant.
type snapshot struct {
	state    State
	stored   value
	revision int64     // that has put stored there; 0: there is no state
	seen     int64     // the revision of that instant
	asked    time.Time // the snapshot is no older
	restored bool      // from a backup: it is older than what was here before
}

// A step is what the goroutine that follows has found: a snapshot, or else events, or why
// there are none.
type step struct {
	snapshot *snapshot
	events   []etcd.Event
	err      error
}

// follow begins to follow anew, from where the watch has come.
func (c *Cluster) follow() { c.followFrom(false) }

// reload has the state loaded. Until then nobody is told that what is here is current.
func (c *Cluster) reload() {
	if !c.reloading {
		c.reloading = true
		c.followFrom(true)
	}
}

func (c *Cluster) followFrom(nothing bool) {
	if c.unfollow != nil {
		c.unfollow()
	}
	var ctx context.Context
	ctx, c.unfollow = context.WithCancel(c.ctx)
	c.steps = make(chan step)
	c.followedAt = time.Now()
	f := &follower{Cluster: c, steps: c.steps, known: c.state.Items, stored: c.stored, revision: c.revision, seen: c.seen}
	if nothing {
		f.seen = 0
	}
	c.spawn(func() { f.run(ctx) })
}

// A follower is the goroutine that watches etcd. Of the cluster, it touches nothing that
// belongs to another goroutine.
type follower struct {
	*Cluster
	steps    chan<- step
	known    sorted.List // items that need not be read again
	stored   value       // the newest state that was seen
	revision int64       // that put it there
	seen     int64       // up to which everything was seen; 0: the state is to be loaded
}

// run follows until ctx is done.
func (f *follower) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := f.watch(ctx)
		var e *etcd.Error
		if errors.As(err, &e) && e.Lost() {
			f.seen = 0
		}
		f.send(ctx, step{err: err})
		select {
		case <-ctx.Done():
		case <-time.After(f.options.times.tick + rand.N(f.options.times.tick)):
		}
	}
}

func (f *follower) send(ctx context.Context, s step) {
	select {
	case f.steps <- s:
	case <-ctx.Done():
	}
}

// watch loads what is not known, and watches, until an error ends that.
func (f *follower) watch(ctx context.Context) error {
	restored := f.seen > 0 && f.lost(ctx)
	if restored {
		f.seen = 0
	}
	if f.seen == 0 {
		s, err := f.load(ctx, f.known, f.options.times.patience)
		if err == nil && s.revision == 0 {
			err = errors.New("store: the state is gone")
		}
		if err != nil {
			return err
		}
		s.restored = restored || s.revision < f.revision
		f.known, f.stored, f.revision, f.seen = s.state.Items, s.stored, s.revision, s.seen
		f.send(ctx, step{snapshot: s})
	}
	w, err := f.client.Watch(ctx, []byte(f.keys+"/"), []byte(f.keys+"0"), f.seen+1) // "0" comes behind "/"
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		events, err := w.Next()
		if err != nil {
			return err
		}
		if len(events) == 0 {
			continue
		}
		f.send(ctx, step{events: events})
		for _, e := range events {
			if bytes.Equal(e.KV.Key, f.keys.state()) && !e.Deleted() && e.KV.ModRevision > f.revision {
				f.revision = e.KV.ModRevision
				json.Unmarshal(e.KV.Value, &f.stored)
			}
			f.seen = e.KV.ModRevision
		}
	}
}

// lost reports whether the history of etcd is no longer that which was seen: it was
// restored from a backup.
func (f *follower) lost(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, f.options.times.patience)
	defer cancel()
	kv, err := f.readState(ctx, max(f.seen, f.revision))
	var e *etcd.Error
	if errors.As(err, &e) && e.Lost() {
		return strings.Contains(e.Message, "future")
	}
	var there value
	return err == nil && (kv.ModRevision != f.revision || json.Unmarshal(kv.Value, &there) != nil || there.Batch != f.stored.Batch)
}

// readState returns the state as it is, or as it was in a revision. If there is none, all
// is zero.
func (c *Cluster) readState(ctx context.Context, revision int64) (*etcd.KeyValue, error) {
	result, err := c.client.Range(ctx, etcd.Range{Key: c.keys.state(), Revision: revision})
	if err != nil || len(result.KVs) == 0 {
		return new(etcd.KeyValue), err
	}
	return &result.KVs[0], nil
}

// pageSize is the most items that are read or deleted in one request.
const pageSize = 5000

// load reads everything. What is known need not be made again.
func (c *Cluster) load(ctx context.Context, known sorted.List, patience time.Duration) (*snapshot, error) {
	s := &snapshot{asked: time.Now()}
	first, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	result, err := c.client.Range(first, etcd.Range{Key: c.keys.state()})
	if err != nil || len(result.KVs) == 0 {
		return s, err
	}
	s.revision, s.seen = result.KVs[0].ModRevision, result.Header.Revision
	if err := json.Unmarshal(result.KVs[0].Value, &s.stored); err != nil {
		return s, fmt.Errorf("store: what stands at %s is not a state: %w", c.keys.state(), err)
	}
	type page struct {
		kvs []etcd.KeyValue
		err error
	}
	pages := make(chan page, 1) // so that the next is read while one is made into items
	ctx, cancel = context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(pages)
		err := c.scan(ctx, s.stored.Generation, s.stored.NextID, etcd.Range{Revision: s.seen, Limit: pageSize}, func(kvs []etcd.KeyValue) error {
			select {
			case pages <- page{kvs: kvs}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if err != nil && ctx.Err() == nil {
			pages <- page{err: err}
		}
	}()
	var items []*sorted.Item
	read := c.reader(known)
	for p := range pages {
		if p.err != nil {
			return s, p.err
		}
		for _, kv := range p.kvs {
			item, err := read(kv)
			if err != nil {
				return s, err
			}
			items = append(items, item)
		}
	}
	if ctx.Err() != nil {
		return s, ctx.Err()
	}
	s.state = State{Items: sorted.NewList(items), NextID: s.stored.NextID, Version: version(s.revision)}
	return s, nil
}

// reader returns a function that makes an item of what stands at its key.
func (c *Cluster) reader(known sorted.List) func(kv etcd.KeyValue) (*sorted.Item, error) {
	r := strict.NewReader(nil)
	r.Subject = "It"
	return func(kv etcd.KeyValue) (*sorted.Item, error) {
		_, id := c.keys.parse(kv.Key)
		if item := known.Get(id); item != nil && bytes.Equal(item.JSON(), kv.Value) {
			return item, nil
		}
		r.Reset(kv.Value)
		item := c.options.Read(r, nil)
		if err := r.End(); err != nil {
			return nil, fmt.Errorf("store: what stands at %s cannot be read: %w", kv.Key, err)
		}
		if item.ID != id {
			return nil, fmt.Errorf("store: what stands at %s has ID %d", kv.Key, item.ID)
		}
		return item, nil
	}
}

// scan reads a generation's items below an ID, in pieces: etcd counts what lies between
// the limit and the end of a range, so that the end must be near. Where IDs are far
// between, the ranges grow.
func (c *Cluster) scan(ctx context.Context, generation string, end int, r etcd.Range, page func([]etcd.KeyValue) error) error {
	for from, width := 1, r.Limit; from < end; {
		to := min(from+width, end)
		r.Key, r.End = c.keys.item(generation, from), c.keys.item(generation, to)
		within, cancel := context.WithTimeout(ctx, 4*c.options.times.patience)
		result, err := c.client.Range(within, r)
		cancel()
		if err != nil {
			return err
		}
		if len(result.KVs) > 0 {
			if err := page(result.KVs); err != nil {
				return err
			}
		}
		switch n := len(result.KVs); {
		case n == r.Limit && to-from > n:
			_, last := c.keys.parse(result.KVs[n-1].Key)
			from, width = last+1, max(width/2, r.Limit)
		case n < r.Limit/2:
			from, width = to, 2*width
		default:
			from = to
		}
	}
	return nil
}

// followed is told what the goroutine that follows has found.
func (c *Cluster) followed(s step) {
	switch {
	case s.snapshot != nil:
		c.loaded(s.snapshot)
	case s.err != nil:
		c.tell(slog.LevelWarn, "The watch of etcd has ended; it is tried again", s.err)
	}
	for events := s.events; len(events) > 0 && !c.reloading; {
		revision := events[0].KV.ModRevision
		n := 1
		for n < len(events) && events[n].KV.ModRevision == revision {
			n++
		}
		if err := c.happened(revision, events[:n]); err != nil {
			c.tell(slog.LevelWarn, "The catalogue is loaded anew", err)
			c.reload()
			return
		}
		c.seen = revision
		events = events[n:]
	}
}

// loaded takes a snapshot. An older one than what is here was made before this program's
// last commit, and the watch goes on from there; unless etcd was restored from a backup.
func (c *Cluster) loaded(s *snapshot) {
	c.reloading = false
	c.reloads.Add(1)
	c.seen = s.seen
	c.writing = make(map[string]*sorted.Builder)
	if s.restored {
		c.tell(slog.LevelError, "etcd has an older state than before, as from a backup; it was loaded", nil)
	}
	if p := c.pending; p != nil {
		p.gap = true
	}
	if s.restored || s.revision > c.revision {
		c.step(s.stored, s.revision, s.state.Items)
	}
}

// happened is told all that one revision has changed. An error says that the state
// is to be loaded instead.
func (c *Cluster) happened(revision int64, events []etcd.Event) error {
	var next *value
	for _, e := range events {
		name, id := c.keys.parse(e.KV.Key)
		builder := c.writing[name]
		switch {
		case bytes.Equal(e.KV.Key, c.keys.state()):
			next = new(value)
			if err := json.Unmarshal(e.KV.Value, next); err != nil || e.Deleted() {
				return errors.New("store: the state was deleted, or overwritten by another program")
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
	if next != nil && revision > c.revision {
		if err := c.named(*next, revision, events); err != nil {
			return err
		}
	}
	for _, e := range events {
		if name, id := c.keys.parse(e.KV.Key); name != "" && id == 0 && e.Deleted() {
			delete(c.writing, name)
			c.cleanSoon(c.options.times.leftovers + rand.N(c.options.times.leftovers))
		}
	}
	return nil
}

// named is told of another state: by this program, or by another.
func (c *Cluster) named(next value, revision int64, events []etcd.Event) error {
	if p := c.pending; p != nil && p.batch == next.Batch {
		c.succeed(next, revision) // before the answer came, or instead of it
		return nil
	}
	list := c.state.Items
	switch builder := c.writing[next.Generation]; {
	case next.Generation == c.stored.Generation:
		read := c.reader(list)
		for _, e := range events {
			name, id := c.keys.parse(e.KV.Key)
			if name != next.Generation || id == 0 {
				continue
			}
			if e.Deleted() {
				list = list.Delete(id)
				continue
			}
			item, err := read(e.KV)
			if err != nil {
				return err
			}
			list = list.Put(item)
		}
	case builder != nil:
		list = builder.List()
	default:
		return errors.New("store: a generation was not seen from its beginning")
	}
	c.step(next, revision, list)
	return nil
}

// step makes what others have committed the newest state, unless it is this program's own
// commit after all.
func (c *Cluster) step(next value, revision int64, list sorted.List) {
	if p := c.pending; p != nil && p.batch == next.Batch {
		c.succeed(next, revision)
		return
	}
	if next.Generation != c.stored.Generation {
		c.cleanSoon(c.options.times.leftovers + rand.N(c.options.times.leftovers))
	}
	c.beatenAt = time.Now()
	c.stored, c.revision = next, revision
	c.state = State{Items: list, NextID: next.NextID, Version: version(revision)}
	c.report(Event{Kind: Changed, State: c.state})
}

// clean deletes generations that nobody uses or writes: others have left them behind, or
// they were in use. Names are given once, and a marker that is gone does not come back, so
// that such a generation never comes into use.
func (c *Cluster) clean() error {
	within, cancel := context.WithTimeout(c.ctx, 4*c.options.times.patience)
	defer cancel()
	var found []string
	for from, end := []byte(c.keys+"/"), []byte(c.keys+"/g"); ; { // "g" comes behind all digits
		result, err := c.client.Range(within, etcd.Range{Key: from, End: end, Limit: 1, KeysOnly: true})
		if err != nil {
			return err
		}
		if len(result.KVs) == 0 {
			break
		}
		rest, _ := strings.CutPrefix(string(result.KVs[0].Key), string(c.keys)+"/")
		name, _, _ := strings.Cut(rest, "/")
		found = append(found, name)
		from = []byte(string(c.keys) + "/" + name + "0") // "0" comes behind "/"
	}
	// Only now, so that none of those found can have come into use since.
	result, err := c.client.Txn(within, etcd.Txn{Success: []etcd.Op{
		{Range: &etcd.Range{Key: c.keys.state()}},
		{Range: &etcd.Range{Key: c.keys.marker(""), End: []byte(c.keys + "/writing0"), KeysOnly: true}},
	}})
	if err != nil {
		return err
	}
	if len(result.Responses) < 2 || len(result.Responses[0].Range.KVs) == 0 {
		return errors.New("store: the state is gone")
	}
	var stored value
	if err := json.Unmarshal(result.Responses[0].Range.KVs[0].Value, &stored); err != nil {
		return err
	}
	used := map[string]bool{stored.Generation: true}
	for _, kv := range result.Responses[1].Range.KVs {
		name, _ := c.keys.parse(kv.Key)
		used[name] = true
	}
	for _, name := range found {
		if used[name] {
			continue
		}
		// By the thousand: a larger deletion holds up everything for as long as it takes.
		err := c.scan(c.ctx, name, sorted.MaxID+1, etcd.Range{Limit: 1000, KeysOnly: true}, func(kvs []etcd.KeyValue) error {
			within, cancel := context.WithTimeout(c.ctx, c.options.times.patience)
			defer cancel()
			last := append(kvs[len(kvs)-1].Key, 0)
			_, err := c.client.Txn(within, etcd.Txn{Success: []etcd.Op{{Delete: &etcd.Delete{Key: kvs[0].Key, End: last}}}})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
