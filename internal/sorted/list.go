// Package sorted has the list of items that never changes, and the queue of what is
// due.
//
// Any goroutine may read a list, without a lock and for as long as it likes. Putting in
// an item makes another list, which shares all but a few hundred places with the first.
// [Changes] finds what differs between two lists, and passes over what they share.
package sorted

import (
	"bytes"
	"cmp"
	"iter"
	"maps"
	"slices"
	"sort"
)

// A List holds items by ascending ID. No two have the same ID. The zero value is empty.
type List struct {
	blocks [][]*Item // no block is empty, and none changes once it is here
	length int
	hash   uint64
}

// blockSize is the most items in a block. A change copies one block and the list
// of blocks: at 512, up to 4 KiB of pointers and, for a million items, 46 KiB.
const blockSize = 512

// NewList returns a list of items, which must be in ascending order of ID. Do not change the
// slice or the items afterwards.
func NewList(items []*Item) List {
	l := List{blocks: slices.Collect(slices.Chunk(items, blockSize)), length: len(items)}
	for _, item := range items {
		l.hash += item.Hash
	}
	return l
}

// Len returns the number of items.
func (l List) Len() int { return l.length }

// Hash returns the sum of the items' hashes. Two lists that differ have the same hash with
// a probability of 2^-64.
func (l List) Hash() uint64 { return l.hash }

// Blocks returns the items in pieces. Do not change them.
func (l List) Blocks() [][]*Item { return l.blocks }

// All yields the items by ascending ID.
func (l List) All() iter.Seq[*Item] {
	return func(yield func(*Item) bool) {
		for _, block := range l.blocks {
			for _, item := range block {
				if !yield(item) {
					return
				}
			}
		}
	}
}

// LastID returns the highest ID of an item, or 0 if there is none.
func (l List) LastID() int {
	if l.length == 0 {
		return 0
	}
	last := l.blocks[len(l.blocks)-1]
	return last[len(last)-1].ID
}

// Get returns the item with that ID, or nil.
func (l List) Get(id int) *Item {
	if b, i, found := l.find(id); found {
		return l.blocks[b][i]
	}
	return nil
}

// Put returns a list with item in it, in the place of one with the same ID if there is
// one.
func (l List) Put(item *Item) List {
	l.hash += item.Hash
	b, i, found := l.find(item.ID)
	if found {
		block := slices.Clone(l.blocks[b])
		l.hash -= block[i].Hash
		block[i] = item
		return l.splice(b, 1, block)
	}
	l.length++
	last := len(l.blocks) - 1
	switch {
	case last < 0, b == last && i == blockSize: // so IDs that only ascend fill their blocks
		return l.splice(last+1, 0, []*Item{item})
	case len(l.blocks[b]) < blockSize:
		return l.splice(b, 1, slices.Concat(l.blocks[b][:i], []*Item{item}, l.blocks[b][i:]))
	default:
		block := slices.Insert(slices.Clone(l.blocks[b]), i, item)
		return l.splice(b, 1, block[:blockSize/2], block[blockSize/2:])
	}
}

// Delete returns a list without the item of that ID.
func (l List) Delete(id int) List {
	b, i, found := l.find(id)
	if !found {
		return l
	}
	l.hash -= l.blocks[b][i].Hash
	l.length--
	if len(l.blocks[b]) == 1 {
		return l.splice(b, 1)
	}
	return l.splice(b, 1, slices.Concat(l.blocks[b][:i], l.blocks[b][i+1:]))
}

// find returns the place of the item with that ID, or the place where it would be: the
// block, and the index in the block.
func (l List) find(id int) (block, index int, found bool) {
	if len(l.blocks) == 0 {
		return 0, 0, false
	}
	next := sort.Search(len(l.blocks), func(i int) bool { return l.blocks[i][0].ID > id })
	block = max(next-1, 0)
	index, found = slices.BinarySearchFunc(l.blocks[block], id, func(item *Item, id int) int {
		return cmp.Compare(item.ID, id)
	})
	return block, index, found
}

// splice returns l with blocks in the place of the n blocks from index b on.
func (l List) splice(b, n int, blocks ...[]*Item) List {
	l.blocks = slices.Concat(l.blocks[:b], blocks, l.blocks[b+n:])
	return l
}

// Changes yields what differs between two lists, by ascending ID: the item in before and the
// item in after, nil for the one that is missing. It passes over the blocks that both
// lists share, so for lists of a million items it takes hardly longer than a look at two
// thousand blocks.
func Changes(before, after List) iter.Seq2[*Item, *Item] {
	return func(yield func(before, after *Item) bool) {
		a, b := cursor{blocks: before.blocks}, cursor{blocks: after.blocks}
		for {
			skipShared(&a, &b)
			old, now := a.item(), b.item()
			switch {
			case old == nil && now == nil:
				return
			case now == nil || old != nil && old.ID < now.ID:
				now = nil
				a.next()
			case old == nil || now.ID < old.ID:
				old = nil
				b.next()
			default:
				a.next()
				b.next()
			}
			if !same(old, now) && !yield(old, now) {
				return
			}
		}
	}
}

// skipShared moves the cursors of two lists over what the lists share there: first blocks, and
// then items at the beginning of a block that one of them has copied and changed.
func skipShared(a, b *cursor) {
	for a.atBlock() && b.atBlock() && sameBlock(a.blocks[0], b.blocks[0]) {
		a.blocks, b.blocks = a.blocks[1:], b.blocks[1:]
	}
	if len(a.blocks) == 0 || len(b.blocks) == 0 {
		return
	}
	x, y := a.blocks[0][a.index:], b.blocks[0][b.index:]
	n := 0
	for last := min(len(x), len(y)) - 1; n < last && x[n] == y[n]; n++ {
	}
	a.index, b.index = a.index+n, b.index+n
}

// same reports whether two items, each of which may be nil, have the same content.
func same(a, b *Item) bool {
	return a == b || a != nil && b != nil && a.Hash == b.Hash && bytes.Equal(a.Line, b.Line)
}

// A cursor is a place in a list: an index into the first of the blocks that are left.
type cursor struct {
	blocks [][]*Item
	index  int
}

// atBlock reports whether the cursor stands at the beginning of a block.
func (c *cursor) atBlock() bool { return c.index == 0 && len(c.blocks) > 0 }

// item returns the item at the cursor, or nil at the end.
func (c *cursor) item() *Item {
	if len(c.blocks) == 0 {
		return nil
	}
	return c.blocks[0][c.index]
}

func (c *cursor) next() {
	if c.index++; c.index == len(c.blocks[0]) {
		c.blocks, c.index = c.blocks[1:], 0
	}
}

func sameBlock(a, b []*Item) bool { return len(a) == len(b) && &a[0] == &b[0] }

// A Builder gathers items for a List, in any order of IDs. The zero value is empty.
// It is fast for IDs that lie close together, and takes at most a page for each other ID.
type Builder struct {
	pages map[int]*page
}

// A page has the items of a range of IDs: the item of an ID is in page ID/len, at ID%len.
type page [16]*Item

// Put puts in an item, in the place of one with the same ID if there is one.
func (b *Builder) Put(item *Item) { b.set(item.ID, item) }

// Delete takes out the item of that ID, if there is one.
func (b *Builder) Delete(id int) { b.set(id, nil) }

func (b *Builder) set(id int, item *Item) {
	const length = len(page{})
	p := b.pages[id/length]
	if p == nil {
		if b.pages == nil {
			b.pages = make(map[int]*page)
		}
		p = new(page)
		b.pages[id/length] = p
	}
	p[id%length] = item
}

// List returns a list of the items.
func (b *Builder) List() List {
	var items []*Item
	for _, i := range slices.Sorted(maps.Keys(b.pages)) {
		for _, item := range b.pages[i] {
			if item != nil {
				items = append(items, item)
			}
		}
	}
	return NewList(items)
}
