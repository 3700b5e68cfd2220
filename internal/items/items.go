// Package items keeps items in a journal, and has them again at the next start. It
// knows that they have IDs, by which they are put in, replaced and deleted; what they
// are beside that is the caller's.
//
// A line of the journal says which items are put in, in the place of those with the
// same IDs if there are any, and then IDs of which there is to be no item:
//
//	{"put":[{"id":1,…},…],"delete":[7,…]}
package items

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"cars/internal/ijson"
	"cars/internal/journal"
	"cars/internal/sorted"
)

// MaxID is the largest ID that an item may have: JavaScript is not certain of
// larger integers (RFC 7493, section 2.2).
const MaxID = 1<<53 - 1

// A Format is how items are written and read.
type Format[T any] struct {
	ID   func(*T) int
	JSON func(*T) []byte // on one line, without its end

	// Scan reads an item that has the form that JSON gives it and nothing wrong with
	// it, as nearly all have. Of others it says that they are not ok. An item that
	// is not checked was written by a person.
	Scan func(in *ijson.Scanner, checked bool) (item *T, ok bool)

	// Parse makes items of the elements of an array, in whatever form a person gave
	// them. Those without an ID have 0.
	Parse func(elements iter.Seq2[any, error]) ([]*T, error)
}

// A File is a journal of items.
type File[T any] struct {
	*journal.Journal

	// Written, if not nil, is told of how many writes each commit was that became
	// durable. It is set before the first.
	Written func(writes int)

	format Format[T]

	// What the journal makes, for who opens it, and then for Keep.
	items  sorted.List[*T]
	nextID int
	size   int64 // of a file that has nothing else
}

// Open opens the file at path for this process alone, and creates it with the
// initial items, which are by ascending ID, if it does not exist. It returns those
// that are in it, by ascending ID, and the lowest ID that is above all that ever
// were in use.
func Open[T any](path string, format Format[T], initial []*T) (f *File[T], list []*T, nextID int, err error) {
	var items sorted.Builder[T]
	nextID = 1
	put := func(id int, item *T) {
		items.Put(id, item)
		nextID = max(nextID, id+1)
	}
	lines, report := 0, time.NewTicker(time.Second)
	defer report.Stop()
	apply := func(c change[T]) {
		for _, item := range c.put {
			put(format.ID(item), item)
		}
		for _, id := range c.delete {
			put(id, nil)
		}
		if lines++; lines%1024 == 0 { // looking at a clock takes longer than all this
			select {
			case <-report.C:
				slog.Info(fmt.Sprintf("Loading %s: %d lines so far", path, lines))
			default:
			}
		}
	}
	j, err := journal.Open(path, format.lines(sorted.New(format.ID, initial), 0), format.parse, apply)
	if err != nil {
		return nil, nil, 0, err
	}
	list = items.Items()
	f = &File[T]{Journal: j, format: format, items: sorted.New(format.ID, list), nextID: nextID}
	for _, item := range list {
		f.size += f.sizeOf(item)
	}
	return f, list, nextID, nil
}

// sizeOf returns the length of a line that puts in nothing but item.
func (f *File[T]) sizeOf(item *T) int64 {
	return int64(len(f.format.JSON(item)) + len(`{"put":[],"crc":"9ae0daaf"}`+"\n"))
}

// A Commit is a step to other items that has to be made durable.
type Commit[T any] struct {
	Items  sorted.List[*T] // all, as they are to be, by ID
	NextID int             // the lowest ID that is above all that ever were in use
	IDs    []int           // one for each write: of an item that may differ; All stands for all
}

// All stands for the IDs of all items.
const All = 0

// Keep makes commits durable, one after the other, and sends the outcome of each to
// committed, until commits is closed. All waiting for the disk is done here.
func (f *File[T]) Keep(commits <-chan Commit[T], committed chan<- error) {
	var trouble string // what was last logged, and lasts
	f.compactIfWorthwhile()
	for c := range commits {
		var err error
		change, size := f.change(c)
		if len(change.put)+len(change.delete) > 0 { // or none were replaced by none
			err = f.Append(f.format.encode(change))
		}
		committed <- err
		if err != nil {
			if err.Error() != trouble { // or a full disk would be filled with this line
				slog.Error(err.Error())
			}
			trouble = err.Error()
			continue
		}
		trouble = ""
		f.items, f.nextID, f.size = c.Items, c.NextID, size
		if f.Written != nil {
			f.Written(len(c.IDs))
		}
		f.compactIfWorthwhile()
	}
}

// change returns what to write down for c, and what size becomes. An ID that was in
// use for no longer than the commit is among those to delete, so that it is not given
// again after a restart.
func (f *File[T]) change(c Commit[T]) (ch change[T], size int64) {
	ids := slices.Clone(c.IDs)
	if slices.Contains(ids, All) {
		for _, block := range slices.Concat(f.items.Blocks(), c.Items.Blocks()) {
			for _, item := range block {
				ids = append(ids, f.format.ID(item))
			}
		}
	}
	size = f.size
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if old, found := f.items.Get(id); found {
			size -= f.sizeOf(old)
		}
		if item, found := c.Items.Get(id); found {
			size += f.sizeOf(item)
			ch.put = append(ch.put, item)
		} else if id != All {
			ch.delete = append(ch.delete, id)
		}
	}
	return ch, size
}

// compactIfWorthwhile compacts a file that is long, and more than twice as long as
// it needs to be.
func (f *File[T]) compactIfWorthwhile() {
	const long = 1 << 20
	if size := f.Size(); size > long && size > 2*f.size {
		f.Compact(f.format.lines(f.items, f.nextID))
	}
}

// A change is what one line says.
type change[T any] struct {
	put    []*T
	delete []int
}

// encode returns the line of a change that is not empty, as the journal wants it.
func (f Format[T]) encode(c change[T]) []byte {
	line := []byte("{")
	if len(c.put) > 0 {
		line = append(line, `"put":[`...)
		for _, item := range c.put {
			line = append(append(line, f.JSON(item)...), ',')
		}
		line = append(line[:len(line)-1], `],`...)
	}
	if len(c.delete) > 0 {
		ids, _ := json.Marshal(c.delete) // integers can always be encoded
		line = append(append(append(line, `"delete":`...), ids...), ',')
	}
	return append(line[:len(line)-1], '}')
}

// lines returns the lines of a file that makes nothing but these items: one for
// each, so that people can find them, and one for the last ID that was given if
// that item is no more.
func (f Format[T]) lines(list sorted.List[*T], nextID int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, block := range list.Blocks() {
			for i := range block {
				if !yield(f.encode(change[T]{put: block[i : i+1]})) {
					return
				}
			}
		}
		last := nextID - 1
		if _, found := list.Get(last); !found && last > 0 {
			yield(f.encode(change[T]{delete: []int{last}}))
		}
	}
}

// parse is the reverse of encode. What was not checked, because a person wrote it,
// must be as Parse wants it.
func (f Format[T]) parse(line []byte, checked bool) (change[T], error) {
	if c, ok := f.scan(line, checked); ok {
		return c, nil
	}
	c, err := f.read(line)
	if err != nil {
		err = errors.New(strings.Replace(err.Error(), "The body", "it", 1))
	}
	return c, err
}

// scan reads a line that has the form that encode gives it and nothing wrong with
// it. Of others it says that they are not ok.
func (f Format[T]) scan(line []byte, checked bool) (c change[T], ok bool) {
	in := ijson.NewScanner(line)
	in.Expect("{")
	put := in.Try(`"put"`)
	if put {
		in.Expect(":[")
		for last, more := 0, true; more; more = in.Try(",") {
			item, ok := f.Scan(in, checked)
			if !ok || f.ID(item) <= last || f.ID(item) > MaxID {
				return c, false
			}
			last = f.ID(item)
			c.put = append(c.put, item)
		}
		in.Expect("]")
	}
	if !put || in.Try(",") {
		in.Expect(`"delete":[`)
		for more := true; more; more = in.Try(",") {
			id := in.Int()
			if in.Failed() || id < 1 || id > MaxID {
				return c, false
			}
			c.delete = append(c.delete, id)
		}
		in.Expect("]")
	}
	in.Expect("}")
	return c, in.AtEnd()
}

// read reads a line in whatever form a person gave it.
func (f Format[T]) read(line []byte) (c change[T], err error) {
	members, err := ijson.Members(line)
	if err != nil {
		return c, err
	}
	for name, array := range members {
		switch name {
		case "put":
			if c.put, err = f.Parse(ijson.Array(array)); err != nil {
				return c, fmt.Errorf("put: %w", err)
			}
			for i, item := range c.put {
				if f.ID(item) == 0 {
					return c, fmt.Errorf("put: [%d].id is required", i)
				}
			}
		case "delete":
			for id, err := range ijson.Array(array) {
				if err != nil {
					return c, fmt.Errorf("delete: %w", err)
				}
				n, ok := id.(float64)
				if !ok || n != math.Trunc(n) || n < 1 || n > MaxID {
					return c, errors.New("delete: there must be nothing but IDs")
				}
				c.delete = append(c.delete, int(n))
			}
		default:
			return c, fmt.Errorf("%q is not a known key: a line has put, delete and, unless a person wrote it, crc at its end", name)
		}
	}
	return c, nil
}
