package store

import (
	"cmp"
	"fmt"
	"iter"
	"strconv"
	"time"

	"cars/internal/sorted"
	"cars/internal/strict"
)

// A line of the file has the items that are put in, in the place of items with the same
// IDs, and then the IDs of items that are deleted:
//
//	{"put":[{"id":1,…},…],"delete":[7,…]}

// ReadItem reads the next value of r, which must be an item. Problems are added to wrong,
// which is nil if this program has written the item.
type ReadItem func(r *strict.Reader, wrong strict.Problems) *sorted.Item

// lineSize returns the length of a line that puts in nothing but item.
func lineSize(item *sorted.Item) int64 {
	return int64(len(item.JSON()) + len(`{"put":[],"crc":"9ae0daaf"}`+"\n"))
}

// encode returns the entry that leads from before to after, or nil if they are the same.
// grown is by how many bytes a compacted file of after is longer than one of before. If IDs
// were given, the entry has the highest one, even if its item is gone again: so that ID is
// not given again after a restart.
func encode(before, after State) (entry []byte, grown int64) {
	entry = append(entry, `{"put":[`...)
	var deleted []int
	last := 0
	for old, now := range sorted.Changes(before.Items, after.Items) {
		if old != nil {
			grown -= lineSize(old)
			last = old.ID
		}
		if now == nil {
			deleted = append(deleted, old.ID)
			continue
		}
		grown += lineSize(now)
		last = now.ID
		entry = append(append(entry, now.JSON()...), ',')
	}
	if highest := after.NextID - 1; after.NextID > before.NextID && highest > last {
		deleted = append(deleted, highest)
	}
	puts := entry[len(entry)-1] == ','
	switch {
	case !puts && deleted == nil:
		return nil, 0
	case !puts:
		entry = entry[:1]
	default:
		entry[len(entry)-1] = ']'
	}
	if deleted != nil {
		if puts {
			entry = append(entry, ',')
		}
		entry = append(entry, `"delete":[`...)
		for _, id := range deleted {
			entry = append(strconv.AppendInt(entry, int64(id), 10), ',')
		}
		entry[len(entry)-1] = ']'
	}
	return append(entry, '}'), grown
}

// lines yields the entries of a compacted file of s: one for each item, so that people can
// find an item, and one for the highest ID that was ever in use if that item is gone. Open
// takes a file without entries for damage, so an empty state has an entry that puts in
// nothing.
func lines(s State) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		var entry []byte
		for item := range s.Items.All() {
			entry = append(append(append(entry[:0], `{"put":[`...), item.JSON()...), `]}`...)
			if !yield(entry) {
				return
			}
		}
		switch highest := s.NextID - 1; {
		case highest > s.Items.LastID():
			yield(append(strconv.AppendInt([]byte(`{"delete":[`), int64(highest), 10), `]}`...))
		case s.Items.Len() == 0:
			yield([]byte(`{"put":[]}`))
		}
	}
}

// A loader builds a state from the entries of a file.
type loader struct {
	read     ReadItem
	progress func(lines int)

	items  sorted.Builder
	nextID int
	lines  int
	told   time.Time
}

func (l *loader) state() State { return State{Items: l.items.List(), NextID: max(l.nextID, 1)} }

// apply does what an entry says.
func (l *loader) apply(put []*sorted.Item, deleted []int) {
	for _, item := range put {
		l.items.Put(item)
		l.nextID = max(l.nextID, item.ID+1)
	}
	for _, id := range deleted {
		l.items.Delete(id)
		l.nextID = max(l.nextID, id+1)
	}
	if l.lines++; l.lines%1024 == 0 { // reading the clock takes longer than all this
		if now := time.Now(); l.told.IsZero() || now.Sub(l.told) >= time.Second {
			if !l.told.IsZero() {
				l.progress(l.lines)
			}
			l.told = now
		}
	}
}

// decode reads an entry, and returns a function that does what it says. An entry that is
// not checked was written by a person, and may be anything.
func (l *loader) decode(entry []byte, checked bool) (apply func(), err error) {
	var put []*sorted.Item
	var deleted []int
	wrong := strict.Problems{}
	r := strict.NewReader(entry)
	r.Subject = "It"
	r.Object(func(name string) {
		switch {
		case name == "put" && checked:
			r.Array(func(int) { put = append(put, l.read(r, nil)) })
		case name == "put":
			r.Objects("put", wrong, func(inItem strict.Problems) (id int) {
				item := l.read(r, inItem)
				if item.ID == 0 {
					inItem.Note("id", "is required")
				}
				put = append(put, item)
				return item.ID
			})
		case name == "delete":
			r.Array(func(i int) {
				id := r.Int()
				if id < 1 || id > sorted.MaxID {
					wrong.Note(fmt.Sprintf("delete[%d]", i), "must be an ID")
				}
				deleted = append(deleted, id)
			})
		default:
			r.Skip()
			wrong.Note(name, "is not a known key: a line has put, delete and, unless a person wrote it, crc at its end")
		}
	})
	if err := cmp.Or(r.End(), wrong.Err()); err != nil {
		return nil, err
	}
	return func() { l.apply(put, deleted) }, nil
}
