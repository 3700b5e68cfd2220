package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"cars/internal/etcd"
	"cars/internal/sorted"
)

// A staged is a generation that has been written, and that no state names yet.
type staged struct {
	name    string
	created int64 // revision of its marker, which goes when the state names it
	items   sorted.List
}

// maxBytes is the most that the items of a transaction take. etcd takes 1.5 MiB
// (--max-request-bytes).
const maxBytes = 1 << 20

// changes returns the operations that make the items after of those before, whether there
// is any difference, and whether the operations fit into a transaction that has room for
// so many.
func (c *Store) changes(generation string, before, after sorted.List, room int) (ops []etcd.Op, changed, fits bool) {
	size := 0
	for old, now := range sorted.Changes(before, after) {
		changed = true
		switch {
		case now == nil:
			ops = append(ops, etcd.Op{Delete: &etcd.Delete{Key: c.keys.item(generation, old.ID)}})
		case old == nil || !bytes.Equal(old.Line, now.Line):
			ops = append(ops, c.put(generation, now))
			size += len(now.Line)
		}
		if len(ops) > room || size > maxBytes {
			return nil, true, false
		}
	}
	return ops, changed, true
}

func (c *Store) put(generation string, item *sorted.Item) etcd.Op {
	return etcd.Op{Put: &etcd.Put{Key: c.keys.item(generation, item.ID), Value: item.JSON()}}
}

// writers is how many transactions write a generation at once. With one, each would wait for
// the disks alone.
const writers = 4

var errTooSlow = errors.New("cluster: writing a generation took longer than its lease")

// stage writes items as another generation. A marker with a lease says that it is being
// written: if this program dies, others delete the rest when the lease is over. Whatever is
// written compares the marker, so that nothing comes late into a generation in use.
func (c *Store) stage(name string, items sorted.List, patience time.Duration) (*staged, error) {
	s := &staged{name: name, items: items}
	marker := c.keys.marker(name)
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	within := func(f func(ctx context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return f(ctx)
	}
	err := within(func(ctx context.Context) error {
		lease, err := c.client.Grant(ctx, 30+items.Len()/1000)
		if err != nil {
			return err
		}
		result, err := c.client.Txn(ctx, etcd.Txn{Success: []etcd.Op{
			{Put: &etcd.Put{Key: marker, Value: []byte(strconv.Itoa(items.Len())), Lease: lease}},
			{Range: &etcd.Range{Key: marker}},
		}})
		if err != nil {
			return err
		}
		if len(result.Responses) < 2 || len(result.Responses[1].Range.KVs) == 0 {
			return errors.New("cluster: etcd did not store a marker")
		}
		s.created = result.Responses[1].Range.KVs[0].CreateRevision
		return nil
	})
	if err != nil {
		return nil, nothingMade(err)
	}
	pieces := make(chan []etcd.Op)
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for ops := range pieces {
				err := within(func(ctx context.Context) error {
					result, err := c.client.Txn(ctx, etcd.Txn{Compare: []etcd.Compare{etcd.Created(marker, s.created)}, Success: ops})
					if err == nil && !result.Succeeded {
						return errTooSlow
					}
					return err
				})
				if err != nil {
					cancel(err) // and the first error counts
				}
			}
		})
	}
	var ops []etcd.Op
	size := 0
	write := func() {
		select {
		case pieces <- ops:
		case <-ctx.Done():
		}
		ops, size = nil, 0
	}
	for item := range items.All() {
		ops = append(ops, c.put(name, item))
		if size += len(item.Line); len(ops) == etcd.MaxOps || size > maxBytes {
			write()
		}
	}
	write()
	close(pieces)
	group.Wait()
	return s, nothingMade(context.Cause(ctx))
}

// nothingMade returns err for a caller to whom it is all the same whether what was asked
// for was done: nobody sees it.
func nothingMade(err error) error {
	var e *etcd.Error
	if errors.As(err, &e) {
		known := *e
		known.Unknown = false
		return &known
	}
	return err
}

// clean deletes generations that nobody uses or writes: others have left them behind, or
// they were in use. Names are given once, and a marker that is gone does not come back, so
// that such a generation never comes into use.
func (c *Store) clean() error {
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
		return errors.New("cluster: the state is gone")
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
