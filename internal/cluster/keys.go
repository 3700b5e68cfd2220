package cluster

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"cars/internal/etcd"
	"cars/internal/sorted"
	"cars/internal/strict"
)

// A keys is what all keys begin with: the prefix, and a slash. A generation's name begins
// with a hexadecimal digit, so generations come before "state" and "writing".
type keys string

// What stands at a key.
const (
	aMarker = "writing"
	aPack   = "base"
	anItem  = "item"
)

func (k keys) state() []byte             { return []byte(k + "state") }
func (k keys) marker(name string) []byte { return []byte(string(k) + aMarker + "/" + name) }

// of returns the key of an item, or of a pack that begins with an item.
func (k keys) of(generation, what string, id int) []byte {
	return fmt.Appendf(nil, "%s%s/%s/%016d", k, generation, what, id)
}

// under returns the range of all keys below one: "0" comes behind "/".
func (k keys) under(key string) (from, end []byte) {
	return []byte(string(k) + key + "/"), []byte(string(k) + key + "0")
}

// parse returns what stands at a key, of which generation it is, and the ID of an item. For
// a key that is none of these, generation is empty.
func (k keys) parse(key []byte) (what, generation string, id int) {
	text, _ := strings.CutPrefix(string(key), string(k))
	switch parts := strings.Split(text, "/"); {
	case len(parts) == 2 && parts[0] == aMarker:
		return aMarker, parts[1], 0
	case len(parts) == 3:
		id, _ = strconv.Atoi(parts[2])
		return parts[1], parts[0], id
	}
	return "", "", 0
}

// deleted is the value of the key of an item that a pack still has.
var deleted = []byte("null")

// items returns the items that stand at a key: none if it says that an item was deleted.
// Items that known has are not made anew.
func (c *Store) items(kv etcd.KeyValue, known sorted.List) (items []*sorted.Item, err error) {
	what, _, id := c.keys.parse(kv.Key)
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
		item := c.options.Read(r, nil)
		if err := r.End(); err != nil {
			return nil, fmt.Errorf("cluster: what stands at %s cannot be read: %w", kv.Key, err)
		}
		if what == anItem && item.ID != id {
			return nil, fmt.Errorf("cluster: what stands at %s has ID %d", kv.Key, item.ID)
		}
		if old := known.Get(item.ID); old != nil && bytes.Equal(old.Line, item.Line) {
			item = old
		}
		items = append(items, item)
	}
	return items, nil
}
