package layout

import (
	"context"
	"encoding/json"
	"time"

	"cars/internal/etcd"
	"cars/internal/store"
)

// An Outcome is the outcome of a commit, as far as etcd has answered.
type Outcome struct {
	Stored   Value   // what stands at the state's key now, if Err is nil
	Revision int64   // the revision that has put it there
	Staged   *Staged // a generation that was written and not named; nil: none
	Err      error   // store.ErrConflict if another state was in force

	// With ErrConflict, the revision of that state, and whether an earlier request may have
	// made the commit.
	Others   int64
	Repeated bool
}

// Commit asks etcd to put commit.After in the place of the snapshot from. batch is the name
// of the commit. staged is a generation that was written for an earlier try, or nil. etcd
// has patience to answer each request. If it carries out a request twice, the second one
// changes nothing, because its comparison fails. A commit without changes only compares.
func (l *Layout) Commit(ctx context.Context, commit store.Commit, batch string, from Snapshot, staged *Staged, patience time.Duration) Outcome {
	before, after := commit.Before, commit.After
	o := Outcome{Stored: Value{batch, after.NextID, from.Stored.Generation}, Staged: staged}
	t := etcd.Txn{
		Compare: []etcd.Compare{etcd.Modified(l.state(), from.Revision)},
		// Without a range, a member that has lost its cluster would answer by itself.
		Failure: []etcd.Op{{Range: &etcd.Range{Key: l.state()}}},
	}
	ops, fits := l.changes(from.Stored.Generation, from.Packed, before.Items, after.Items, etcd.MaxOps-1) // and the state
	changed := len(ops) > 0 || !fits || after.NextID != before.NextID || from.Revision == 0
	if !fits {
		if staged != nil {
			ops, fits = l.changes(staged.Name, staged.Items, staged.Items, after.Items, etcd.MaxOps-2) // and the state and the marker
		}
		if !fits {
			ops = nil
			if o.Staged, o.Err = l.stage(ctx, batch, after.Items, patience); o.Err != nil {
				return o
			}
		}
		o.Stored.Generation = o.Staged.Name
		t.Compare = append(t.Compare, o.Staged.marker)
		ops = append(ops, etcd.Op{Delete: &etcd.Delete{Key: o.Staged.marker.Key}})
	}
	if changed {
		data, _ := json.Marshal(o.Stored)
		t.Success = append(ops, etcd.Op{Put: &etcd.Put{Key: l.state(), Value: data}})
	} else {
		o.Stored = from.Stored
	}
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	result, err := l.Client.Txn(within, t)
	switch {
	case err != nil:
		o.Err = err
		return o
	case result.Succeeded && changed:
		o.Staged, o.Revision = nil, result.Header.Revision
		return o
	case result.Succeeded:
		o.Revision = from.Revision
		return o
	}
	o.Err, o.Repeated = store.ErrConflict, result.Repeated
	if kvs := result.Found(0); len(kvs) > 0 {
		o.Others = kvs[0].ModRevision
	}
	switch {
	case o.Others != from.Revision:
	case staged != nil && o.Staged == staged: // its marker is gone: its lease is over, or it was named
		return l.Commit(ctx, commit, batch, from, nil, patience)
	default:
		o.Staged, o.Err = nil, errTooSlow
	}
	return o
}
