// Package layout says where a state and its items stand in etcd. It reads and writes them,
// and waits for etcd meanwhile.
//
//	PREFIX/state                              {"batch":"5f3a…-17","nextId":34,"generation":"5f3a…-2"}
//	PREFIX/GENERATION/pack/0000000000000001   a pack: many items, each on a line, from this ID on
//	PREFIX/GENERATION/0000000000000007        one item, by its ID; null if it was deleted
//	PREFIX/writing/GENERATION                 a marker: this generation is being written
//
// The state names the generation that is in use. If an item has a key of its own, that key
// counts, and not the item's line in a pack.
//
// A commit is one transaction. It changes the keys of single items, and puts the state anew.
// It compares the revision in which the state was put last. So of two programs that commit
// at the same time, one succeeds, and the other learns of a conflict.
//
// Changes that are too large for one transaction make a new generation. Its packs are
// written first, and nobody sees them. Then one transaction names it in the state.
// While a generation is written, it has a marker with a lease. Each transaction that writes
// a pack compares the marker, and the one that names the generation deletes it, so a request
// that comes late cannot change a generation in use. If the program dies, the lease ends,
// the marker goes with it, and another program deletes the packs.
//
// An answer of etcd may be lost. The client then asks again, and the comparison
// fails if the first request was carried out. The name of the batch in the state tells
// whose commit it was.
package layout

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cars/internal/etcd"
	"cars/internal/sorted"
	"cars/internal/store"
	"cars/internal/strict"
)

// A Layout has the keys under one prefix. Any goroutine may use it.
type Layout struct {
	Client   *etcd.Client
	Prefix   string
	Read     store.ReadItem // reads an item
	Patience time.Duration  // how long etcd may take to answer; for a page, four times as long
}

// A kind says what stands at a key.
type kind int

const (
	other kind = iota
	aMarker
	aPack
	anItem
)

// A generation's name begins with a hexadecimal digit, so generations come before "state"
// and "writing".
func (l *Layout) state() []byte             { return []byte(l.Prefix + "/state") }
func (l *Layout) marker(name string) []byte { return []byte(l.Prefix + "/writing/" + name) }
func (l *Layout) item(generation string, id int) []byte {
	return fmt.Appendf(nil, "%s/%s/%016d", l.Prefix, generation, id)
}

// under returns the range of all keys in a folder. "0" comes behind "/".
func (l *Layout) under(folder string) (from, end []byte) {
	folder = strings.TrimSuffix(l.Prefix+"/"+folder, "/")
	return []byte(folder + "/"), []byte(folder + "0")
}

// parse returns what stands at a key, its generation and, for an item, its ID.
func (l *Layout) parse(key []byte) (what kind, generation string, id int) {
	text, _ := strings.CutPrefix(string(key), l.Prefix+"/")
	generation, rest, _ := strings.Cut(text, "/")
	id, err := strconv.Atoi(rest)
	switch {
	case generation == "writing":
		return aMarker, rest, 0
	case strings.HasPrefix(rest, "pack/"):
		return aPack, generation, 0
	case err == nil:
		return anItem, generation, id
	}
	return other, "", 0
}

// deleted is the value at the key of an item that was deleted, but is still in a pack.
var deleted = []byte("null")

// items returns the items that stand at a key: none if the key says that an item was deleted.
// It does not make items anew that known has.
func (l *Layout) items(kv etcd.KeyValue, known sorted.List) (items []*sorted.Item, err error) {
	what, _, id := l.parse(kv.Key)
	if what == anItem {
		if item := known.Get(id); item != nil && bytes.Equal(item.JSON(), kv.Value) {
			return []*sorted.Item{item}, nil
		}
		if bytes.Equal(kv.Value, deleted) {
			return nil, nil
		}
	}
	for line := range bytes.Lines(kv.Value) {
		r := strict.NewReader(line)
		r.Subject = "It"
		item := l.Read(r, nil)
		if err := r.End(); err != nil {
			return nil, fmt.Errorf("layout: what stands at %s cannot be read: %w", kv.Key, err)
		}
		if what == anItem && item.ID != id {
			return nil, fmt.Errorf("layout: what stands at %s has ID %d", kv.Key, item.ID)
		}
		if old := known.Get(item.ID); old != nil && bytes.Equal(old.Line, item.Line) {
			item = old
		}
		items = append(items, item)
	}
	return items, nil
}
