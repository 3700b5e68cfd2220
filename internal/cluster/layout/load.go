package layout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"cars/internal/etcd"
	"cars/internal/sorted"
	"cars/internal/store"
)

// A Value is what stands in etcd at the state's key.
type Value struct {
	Batch      string `json:"batch"` // the commit that has put it there
	NextID     int    `json:"nextId"`
	Generation string `json:"generation"`
}

// A Snapshot is a state, and how it is kept in etcd.
type Snapshot struct {
	State    store.State
	Packed   sorted.List // the items in the packs of its generation
	Stored   Value
	Revision int64 // the revision that has put Stored there; 0: there is no state
}

// Version returns the version of the state that batch has put in a revision. After a backup was
// restored, etcd gives the same revisions to other states: the hash of batch tells them apart.
func Version(revision int64, batch string) string {
	return fmt.Sprintf("%d-%08x", revision, crc32.ChecksumIEEE([]byte(batch)))
}

// A Loaded is a snapshot that was read from etcd.
type Loaded struct {
	Snapshot
	Seen  int64     // the revision of etcd in which it was read
	Asked time.Time // the snapshot was current at this time, or later
}

// ErrGone says that there is no state where there was one.
var ErrGone = errors.New("layout: the state is gone")

// readState returns the state as it was in revision or, if that is 0, as it is now. now is
// the revision of etcd. If there is no state, kv is zero.
func (l *Layout) readState(ctx context.Context, revision int64) (kv etcd.KeyValue, now int64, err error) {
	result, err := l.Client.Range(ctx, etcd.Range{Key: l.state(), Revision: revision})
	if err == nil && len(result.KVs) > 0 {
		kv = result.KVs[0]
	}
	return kv, result.Header.Revision, err
}

// Newest asks etcd for the revision of the newest state. It is 0 if there is none.
func (l *Layout) Newest(ctx context.Context) (int64, error) {
	kv, _, err := l.readState(ctx, 0)
	return kv.ModRevision, err
}

// Load reads the state and all items, as they were at one instant. If there is no state,
// s.Revision is 0. Load does not make items anew that known has. etcd has patience to
// answer the first request.
func (l *Layout) Load(ctx context.Context, known sorted.List, patience time.Duration) (s Loaded, err error) {
	s.Asked = time.Now()
	first, cancel := context.WithTimeout(ctx, patience)
	kv, now, err := l.readState(first, 0)
	cancel()
	if err != nil || kv.ModRevision == 0 {
		return s, err
	}
	if err := json.Unmarshal(kv.Value, &s.Stored); err != nil {
		return s, fmt.Errorf("layout: what stands at %s is not a state: %w", l.state(), err)
	}
	s.Revision, s.Seen = kv.ModRevision, now
	ctx, cancel = context.WithCancel(ctx)
	defer cancel()
	name := s.Stored.Generation
	packs := etcd.Range{Limit: packsAtOnce, Revision: now}
	packs.Key, packs.End = l.under(name + "/pack")
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
		if failed = l.scan(ctx, packs, page); failed == nil {
			page(nil) // the packs end
			failed = l.scanItems(ctx, name, s.Stored.NextID, now, page)
		}
	}()
	var all sorted.Builder
	for kvs := range pages {
		if kvs == nil {
			s.Packed = all.List()
		}
		for _, kv := range kvs {
			items, err := l.items(kv, known)
			if err != nil {
				return s, err
			}
			for _, item := range items {
				all.Put(item)
			}
			if _, _, id := l.parse(kv.Key); items == nil {
				all.Delete(id)
			}
		}
	}
	s.State = store.State{Items: all.List(), NextID: s.Stored.NextID, Version: Version(s.Revision, s.Stored.Batch)}
	return s, failed
}

// pageSize is the most keys that are read in one request, and packsAtOnce the most packs.
const (
	pageSize    = 10_000
	packsAtOnce = 8
)

// scanItems reads the keys of a generation's items below an ID, as they were in a revision.
// etcd counts all keys up to the end of a range, so the ends are near: a million items
// take 20 s, and 27 s with one end for all. Where IDs are far apart, the ranges grow.
func (l *Layout) scanItems(ctx context.Context, name string, end int, revision int64, page func([]etcd.KeyValue) error) error {
	const least = pageSize - 1 // so that a page that is not full ends the range, without another question
	width := least
	for from := 1; from < end; {
		to := min(from+width, end)
		read := 0
		err := l.scan(ctx, etcd.Range{Key: l.item(name, from), End: l.item(name, to), Limit: pageSize, Revision: revision}, func(kvs []etcd.KeyValue) error {
			read += len(kvs)
			return page(kvs)
		})
		if err != nil {
			return err
		}
		switch from = to; {
		case read < pageSize/2:
			width *= 2
		case read > pageSize:
			width = max(width/2, least)
		}
	}
	return nil
}

// scan reads a range, and calls page with r.Limit keys at a time. etcd counts all keys up to
// the end of the range each time, which takes it 0.2 µs a key: so pages are large.
func (l *Layout) scan(ctx context.Context, r etcd.Range, page func([]etcd.KeyValue) error) error {
	for {
		within, cancel := context.WithTimeout(ctx, 4*l.Patience)
		result, err := l.Client.Range(within, r)
		cancel()
		if err == nil && len(result.KVs) > 0 {
			err = page(result.KVs)
		}
		if err != nil || len(result.KVs) < r.Limit {
			return err
		}
		r.Key = append(result.KVs[r.Limit-1].Key, 0)
	}
}
