package layout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"

	"cars/internal/etcd"
	"cars/internal/sorted"
	"cars/internal/store"
)

// A Follower makes states of what a watch brings. It belongs to one goroutine.
type Follower struct {
	*Layout
	program string
	writing map[string]*sorted.Builder // generations of other programs, if all their packs were seen
}

// NewFollower returns a follower that has seen nothing yet. program is the beginning of the
// names of this program's own generations. It knows their items, so their packs are not read.
func (l *Layout) NewFollower(program string) *Follower {
	return &Follower{l, program, make(map[string]*sorted.Builder)}
}

// Watch returns a watch of all keys, from the revision after seen on.
func (l *Layout) Watch(ctx context.Context, seen int64) (*etcd.Watch, error) {
	from, end := l.under("")
	return l.Client.Watch(ctx, from, end, seen+1)
}

// Diverged reports whether etcd was restored from a backup: newest is not the state that it
// had at revision seen, or it has not reached that revision. If etcd does not answer,
// Diverged returns false.
func (l *Layout) Diverged(ctx context.Context, newest Snapshot, seen int64) bool {
	ctx, cancel := context.WithTimeout(ctx, l.Patience)
	defer cancel()
	kv, _, err := l.readState(ctx, max(seen, newest.Revision))
	var e *etcd.Error
	if errors.As(err, &e) && e.Lost() {
		return strings.Contains(e.Message, "future")
	}
	var there Value
	return err == nil && (kv.ModRevision != newest.Revision || json.Unmarshal(kv.Value, &there) != nil || there.Batch != newest.Stored.Batch)
}

// Next returns the state that events make of the state from. events are all changes of one
// revision. If they make no newer state, next.Revision is 0. own is the name of this program's
// commit under way: its state is returned without items, which the program has. ended
// reports whether a generation is no longer being written. After an error, load the state.
func (f *Follower) Next(from Snapshot, events []etcd.Event, own string) (next Snapshot, ended bool, err error) {
	revision := events[0].KV.ModRevision
	for _, e := range events {
		what, name, _ := f.parse(e.KV.Key)
		switch builder := f.writing[name]; {
		case bytes.Equal(e.KV.Key, f.state()):
			next.Revision = revision
			if err := json.Unmarshal(e.KV.Value, &next.Stored); err != nil || e.Deleted() {
				return next, false, errors.New("layout: the state was deleted, or overwritten by another program")
			}
		case strings.HasPrefix(name, f.program):
		case what == aMarker && !e.Deleted() && e.KV.CreateRevision == revision:
			f.writing[name] = new(sorted.Builder)
		case what == aPack && builder != nil && !e.Deleted():
			items, err := f.items(e.KV, from.State.Items)
			if err != nil {
				return next, false, err
			}
			for _, item := range items {
				builder.Put(item)
			}
		}
	}
	switch {
	case next.Revision <= from.Revision:
		next = Snapshot{}
	case next.Stored.Batch != own:
		err = f.build(&next, from, events)
	}
	for _, e := range events {
		if what, name, _ := f.parse(e.KV.Key); what == aMarker && e.Deleted() {
			delete(f.writing, name)
			ended = true
		}
	}
	return next, ended, err
}

// build makes the items of the next state.
func (f *Follower) build(next *Snapshot, from Snapshot, events []etcd.Event) error {
	list := from.State.Items
	next.Packed = from.Packed
	if next.Stored.Generation != from.Stored.Generation {
		builder := f.writing[next.Stored.Generation]
		if builder == nil {
			return errors.New("layout: a generation was not seen from its beginning")
		}
		list = builder.List()
		next.Packed = list
	}
	for _, e := range events {
		what, name, id := f.parse(e.KV.Key)
		if what != anItem || name != next.Stored.Generation {
			continue
		}
		var items []*sorted.Item
		if !e.Deleted() {
			var err error
			if items, err = f.items(e.KV, list); err != nil {
				return err
			}
		}
		if len(items) == 0 {
			list = list.Delete(id)
		} else {
			list = list.Put(items[0])
		}
	}
	next.State = store.State{Items: list, NextID: next.Stored.NextID, Version: Version(next.Revision, next.Stored.Batch)}
	return nil
}
