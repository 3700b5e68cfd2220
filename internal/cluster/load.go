package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"cars/internal/etcd"
	"cars/internal/sorted"
	"cars/internal/store"
)

// A value is what stands in etcd at the state's key.
type value struct {
	Batch      string `json:"batch"` // the commit that has put it there
	NextID     int    `json:"nextId"`
	Generation string `json:"generation"`
}

// A snapshot is a state, and how it is kept in etcd.
type snapshot struct {
	state    store.State
	packed   sorted.List // the items in the packs of its generation
	stored   value
	revision int64 // that has put stored there; 0: there is no state
}

func version(revision int64) string { return strconv.FormatInt(revision, 10) }

// A loaded is a snapshot that was read from etcd.
type loaded struct {
	snapshot
	seen  int64     // the revision in which it was read, at least the snapshot's own
	asked time.Time // when the snapshot was current, or later
}

var errGone = errors.New("cluster: the state is gone")

// readState returns the state as it was in a revision, or with 0 as it is, and the revision
// of etcd. If there is no state, kv is zero.
func (c *Store) readState(ctx context.Context, revision int64) (kv etcd.KeyValue, now int64, err error) {
	result, err := c.client.Range(ctx, etcd.Range{Key: c.keys.state(), Revision: revision})
	if err == nil && len(result.KVs) > 0 {
		kv = result.KVs[0]
	}
	return kv, result.Header.Revision, err
}

// open loads the state, or makes one, and tries that for a while.
func (c *Store) open() (loaded, error) {
	deadline := time.Now().Add(c.options.times.retry)
	for first := true; ; first = false {
		s, err := c.load(c.ctx, sorted.List{}, c.options.times.impatient)
		if err == nil && s.revision == 0 {
			p := &pending{Commit: store.Commit{After: c.options.Initial}, batch: c.name + "-0"}
			from := snapshot{stored: value{Generation: p.batch}}
			if err = c.transact(p, from, c.options.times.patience).err; err == nil || err == store.ErrConflict {
				continue // this program has made it, or another has
			}
		}
		var e *etcd.Error
		switch {
		case err == nil:
			return s, nil
		case !errors.As(err, &e), e.Final() && !e.Lost(), time.Now().After(deadline):
			return s, err
		case first:
			c.tell(slog.LevelWarn, fmt.Sprintf("etcd does not answer; it is tried for %s", c.options.times.retry), err)
		}
		time.Sleep(min(c.options.times.beat, 200*time.Millisecond))
	}
}

// load reads the state and all items, as they were at one instant. Items that known has
// are not made anew. etcd has patience to answer the first question.
func (c *Store) load(ctx context.Context, known sorted.List, patience time.Duration) (s loaded, err error) {
	s.asked = time.Now()
	first, cancel := context.WithTimeout(ctx, patience)
	kv, now, err := c.readState(first, 0)
	cancel()
	if err != nil || kv.ModRevision == 0 {
		return s, err
	}
	if err := json.Unmarshal(kv.Value, &s.stored); err != nil {
		return s, fmt.Errorf("cluster: what stands at %s is not a state: %w", c.keys.state(), err)
	}
	s.revision, s.seen = kv.ModRevision, now
	ctx, cancel = context.WithCancel(ctx)
	defer cancel()
	pages := make(chan []etcd.KeyValue, 1) // so that one page is read while another is made into items
	var failed error                       // of reading; set before pages is closed
	go func() {
		defer close(pages)
		page := func(kvs []etcd.KeyValue) error {
			select {
			case pages <- kvs:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if failed = c.scan(ctx, s.stored.Generation+"/"+aPack, etcd.Range{Revision: s.seen, Limit: packsAtOnce}, page); failed == nil {
			page(nil) // the packs end
			failed = c.scan(ctx, s.stored.Generation+"/"+anItem, etcd.Range{Revision: s.seen, Limit: pageSize}, page)
		}
	}()
	var all sorted.Builder
	for kvs := range pages {
		if kvs == nil {
			s.packed = all.List()
		}
		for _, kv := range kvs {
			items, err := c.items(kv, known)
			if err != nil {
				return s, err
			}
			for _, item := range items {
				all.Put(item)
			}
			if _, _, id := c.keys.parse(kv.Key); items == nil {
				all.Delete(id)
			}
		}
	}
	s.state = store.State{Items: all.List(), NextID: s.stored.NextID, Version: version(s.revision)}
	return s, failed
}

// pageSize is the most keys that are read in one request, and packsAtOnce the most packs.
const (
	pageSize    = 10_000
	packsAtOnce = 8
)

// scan reads the keys under one of a generation, r.Limit at a time.
func (c *Store) scan(ctx context.Context, under string, r etcd.Range, page func([]etcd.KeyValue) error) error {
	r.Key, r.End = c.keys.under(under)
	for {
		within, cancel := context.WithTimeout(ctx, 4*c.options.times.patience)
		result, err := c.client.Range(within, r)
		cancel()
		if err == nil && len(result.KVs) > 0 {
			err = page(result.KVs)
		}
		if n := len(result.KVs); err != nil || n < r.Limit {
			return err
		}
		r.Key = append(result.KVs[r.Limit-1].Key, 0)
	}
}
