package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cars/internal/etcd"
	"cars/internal/sorted"
	"cars/internal/store"
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
	state    store.State
	stored   value
	revision int64     // that has put stored there; 0: there is no state
	seen     int64     // the revision of that instant
	asked    time.Time // the snapshot is no older
	restored bool      // from a backup: it is older than what was here before
}

// readState returns the state as it is, or as it was in a revision. If there is none, all
// is zero.
func (c *Store) readState(ctx context.Context, revision int64) (etcd.KeyValue, error) {
	result, err := c.client.Range(ctx, etcd.Range{Key: c.keys.state(), Revision: revision})
	if err != nil || len(result.KVs) == 0 {
		return etcd.KeyValue{}, err
	}
	return result.KVs[0], nil
}

// pageSize is the most items that are read or deleted in one request.
const pageSize = 5000

// load reads everything. What is known need not be made again.
func (c *Store) load(ctx context.Context, known sorted.List, patience time.Duration) (*snapshot, error) {
	s := &snapshot{asked: time.Now()}
	first, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	result, err := c.client.Range(first, etcd.Range{Key: c.keys.state()})
	if err != nil || len(result.KVs) == 0 {
		return s, err
	}
	s.revision, s.seen = result.KVs[0].ModRevision, result.Header.Revision
	if err := json.Unmarshal(result.KVs[0].Value, &s.stored); err != nil {
		return s, fmt.Errorf("cluster: what stands at %s is not a state: %w", c.keys.state(), err)
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
	s.state = store.State{Items: sorted.NewList(items), NextID: s.stored.NextID, Version: version(s.revision)}
	return s, nil
}

// reader returns a function that makes an item of what stands at its key.
func (c *Store) reader(known sorted.List) func(kv etcd.KeyValue) (*sorted.Item, error) {
	return func(kv etcd.KeyValue) (*sorted.Item, error) {
		_, id := c.keys.parse(kv.Key)
		if item := known.Get(id); item != nil && bytes.Equal(item.JSON(), kv.Value) {
			return item, nil
		}
		r := strict.NewReader(kv.Value)
		r.Subject = "It"
		item := c.options.Read(r, nil)
		if err := r.End(); err != nil {
			return nil, fmt.Errorf("cluster: what stands at %s cannot be read: %w", kv.Key, err)
		}
		if item.ID != id {
			return nil, fmt.Errorf("cluster: what stands at %s has ID %d", kv.Key, item.ID)
		}
		return item, nil
	}
}

// scan reads a generation's items below an ID, in pieces: etcd counts what lies between
// the limit and the end of a range, so that the end must be near. Where IDs are far
// between, the ranges grow.
func (c *Store) scan(ctx context.Context, generation string, end int, r etcd.Range, page func([]etcd.KeyValue) error) error {
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
