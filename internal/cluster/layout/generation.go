package layout

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"sync"
	"time"

	"cars/internal/etcd"
	"cars/internal/sorted"
)

// A Staged is a generation that was written wholly, and that no state names yet.
type Staged struct {
	Name   string
	Items  sorted.List
	marker etcd.Compare // holds until a state names the generation, or its lease ends
}

// maxBytes is the most that the items of a transaction take. etcd takes 1.5 MiB
// (--max-request-bytes).
const maxBytes = 1 << 20

// changes returns the operations that change the items of a generation from before to after.
// packed has the items in its packs. fits is false if there are more than most operations,
// or too many bytes for a transaction.
func (l *Layout) changes(generation string, packed, before, after sorted.List, most int) (ops []etcd.Op, fits bool) {
	size := 0
	for old, now := range sorted.Changes(before, after) {
		switch {
		case now != nil:
			ops = append(ops, etcd.Op{Put: &etcd.Put{Key: l.item(generation, now.ID), Value: now.JSON()}})
			size += len(now.Line)
		case packed.Get(old.ID) != nil:
			ops = append(ops, etcd.Op{Put: &etcd.Put{Key: l.item(generation, old.ID), Value: deleted}})
		default:
			ops = append(ops, etcd.Op{Delete: &etcd.Delete{Key: l.item(generation, old.ID)}})
		}
		if len(ops) > most || size > maxBytes {
			return nil, false
		}
	}
	return ops, true
}

const (
	// A pack is full when it has packSize bytes. etcd's gateway spends some 30 µs of CPU time
	// on each key that it receives, and on each that it sends to a watch, however short the
	// value is. So few keys are fast. But a larger pack holds up other requests for longer.
	packSize = 64 << 10

	// writers is how many packs are written at once: one is read by etcd while another waits
	// for the disks. With four, a PUT of 100,000 cars takes as long, and the slowest reads of
	// other clients take twice as long.
	writers = 2
)

var errTooSlow = errors.New("layout: writing a generation took longer than its lease")

// stage writes items as a new generation, called name. etcd has patience to answer each
// request. After an error, packs may be left, which Clean deletes when the lease is over.
func (l *Layout) stage(ctx context.Context, name string, items sorted.List, patience time.Duration) (*Staged, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	marker, err := l.mark(ctx, name, 30+items.Len()/1000, patience)
	if err != nil {
		return nil, nothingMade(err)
	}
	packs := make(chan *etcd.Put)
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for put := range packs {
				within, stop := context.WithTimeout(ctx, patience)
				result, err := l.Client.Txn(within, etcd.Txn{Compare: []etcd.Compare{marker}, Success: []etcd.Op{{Put: put}}})
				stop()
				if err == nil && !result.Succeeded {
					err = errTooSlow
				}
				if err != nil {
					cancel(err) // the first error counts
				}
			}
		})
	}
	var pack *etcd.Put // is being filled
	for item := range items.All() {
		if pack == nil {
			pack = &etcd.Put{Key: l.item(name+"/pack", item.ID)}
		}
		pack.Value = append(pack.Value, item.Line...)
		if len(pack.Value) < packSize && item.ID < items.LastID() {
			continue
		}
		select {
		case packs <- pack:
		case <-ctx.Done():
		}
		pack = nil
	}
	close(packs)
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, nothingMade(err)
	}
	return &Staged{name, items, marker}, nil
}

// mark puts the marker of the generation name, with a lease of that many seconds. It returns
// a comparison that holds as long as the marker is there.
func (l *Layout) mark(ctx context.Context, name string, seconds int, patience time.Duration) (marker etcd.Compare, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	lease, err := l.Client.Grant(ctx, seconds)
	if err != nil {
		return marker, err
	}
	key := l.marker(name)
	result, err := l.Client.Txn(ctx, etcd.Txn{Success: []etcd.Op{{Put: &etcd.Put{Key: key, Lease: lease}}, {Range: &etcd.Range{Key: key}}}})
	if err != nil {
		return marker, err
	}
	kvs := result.Found(1)
	if len(kvs) == 0 {
		return marker, errTooSlow
	}
	return etcd.Created(key, kvs[0].CreateRevision), nil
}

// nothingMade returns err as an error whose outcome is known: nothing was committed. What was
// written belongs to a generation that no state names.
func nothingMade(err error) error {
	var e *etcd.Error
	if errors.As(err, &e) {
		known := *e
		known.Unknown = false
		return &known
	}
	return err
}

var isGeneration = regexp.MustCompile(`^[0-9a-f]{16}-[0-9]+$`).MatchString

// Clean deletes the generations that are neither in use nor being written: a program has
// left them behind, or they were in use before. Such a generation never comes into use,
// since a name is given once, and a marker that is gone does not come back. A folder with
// another name is not a generation: a catalogue with a longer prefix may be there.
func (l *Layout) Clean(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, 4*l.Patience)
	defer cancel()
	var found []string
	for from := []byte(l.Prefix + "/"); ; { // up to "g", which comes behind all digits
		result, err := l.Client.Range(within, etcd.Range{Key: from, End: []byte(l.Prefix + "/g"), Limit: 1, KeysOnly: true})
		if err != nil {
			return err
		}
		if len(result.KVs) == 0 {
			break
		}
		name, _, _ := strings.Cut(string(result.KVs[0].Key[len(l.Prefix)+1:]), "/")
		if isGeneration(name) {
			found = append(found, name)
		}
		_, from = l.under(name)
	}
	markers, end := l.under("writing")
	// This is read last. A generation that was found above and is not in use or marked now
	// never will be.
	result, err := l.Client.Txn(within, etcd.Txn{Success: []etcd.Op{
		{Range: &etcd.Range{Key: l.state()}},
		{Range: &etcd.Range{Key: markers, End: end, KeysOnly: true}},
	}})
	if err != nil {
		return err
	}
	var stored Value
	kvs := result.Found(0)
	if len(kvs) == 0 {
		return ErrGone
	}
	if err := json.Unmarshal(kvs[0].Value, &stored); err != nil {
		return err
	}
	used := map[string]bool{stored.Generation: true}
	for _, kv := range result.Found(1) {
		_, name, _ := l.parse(kv.Key)
		used[name] = true
	}
	for _, name := range found {
		if used[name] {
			continue
		}
		// In pieces: a large deletion holds up everything for as long as it takes.
		from, end := l.under(name)
		err := l.scan(ctx, etcd.Range{Key: from, End: end, Limit: 2000, KeysOnly: true}, func(kvs []etcd.KeyValue) error {
			within, cancel := context.WithTimeout(ctx, l.Patience)
			defer cancel()
			last := append(kvs[len(kvs)-1].Key, 0)
			_, err := l.Client.Txn(within, etcd.Txn{Success: []etcd.Op{{Delete: &etcd.Delete{Key: kvs[0].Key, End: last}}}})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
