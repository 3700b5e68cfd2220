// Package sorted has a list that never changes: whoever holds one may read it,
// without a lock, for as long as it likes. Putting in an item makes another
// list, which shares all but a few hundred items' place with the first.
package sorted

import (
	"cmp"
	"maps"
	"slices"
	"sort"
)

// A List holds items by ascending key. No two have the same.
type List[T any] struct {
	key    func(T) int
	blocks [][]T // none is empty, and no item of one is written to once it is here
	length int

	// used is how many items there are in the array of the last block, those included
	// that other lists have behind the end of this one's. Nil if it has no room.
	used *int
}

// blockSize is the most items in a block. A change copies one block and the list
// of blocks: at 1,024, up to 8 KiB of pointers and, for a million items, 23 KiB.
const blockSize = 1024

// New returns a list of items, which are by ascending key and from now on must
// only be read.
func New[T any](key func(T) int, items []T) List[T] {
	return List[T]{key: key, blocks: slices.Collect(slices.Chunk(items, blockSize)), length: len(items)}
}

// Len returns how many items there are.
func (l List[T]) Len() int { return l.length }

// Blocks returns the items in pieces, which must only be read.
func (l List[T]) Blocks() [][]T { return l.blocks }

// Get returns the item with that key, if there is one.
func (l List[T]) Get(key int) (item T, found bool) {
	b, i, found := l.find(key)
	if found {
		item = l.blocks[b][i]
	}
	return item, found
}

// Put returns a list with item in it, in the place of one with the same key if
// there is one.
func (l List[T]) Put(item T) List[T] {
	b, i, found := l.find(l.key(item))
	if found {
		block := slices.Clone(l.blocks[b])
		block[i] = item
		return l.splice(b, 1, block)
	}
	l.length++
	last := len(l.blocks) - 1
	switch {
	case last < 0, b == last && i == blockSize:
		return l.splice(last+1, 0, []T{item})
	case b == last && i == len(l.blocks[b]):
		return l.append(item)
	case len(l.blocks[b]) < blockSize:
		return l.splice(b, 1, slices.Concat(l.blocks[b][:i], []T{item}, l.blocks[b][i:]))
	default:
		block := slices.Insert(slices.Clone(l.blocks[b]), i, item)
		return l.splice(b, 1, block[:blockSize/2], block[blockSize/2:])
	}
}

// append puts item behind all others, as happens with keys that only ascend. The last
// block, which is not full, need not be copied for that if no other list has put an
// item there: who has l does not look beyond its end.
func (l List[T]) append(item T) List[T] {
	last := len(l.blocks) - 1
	block, used := l.blocks[last], l.used
	if used == nil || *used != len(block) {
		block, used = append(make([]T, 0, blockSize), block...), new(int)
	}
	*used = len(block) + 1
	l = l.splice(last, 1, append(block, item))
	l.used = used
	return l
}

// Delete returns a list without the item of that key.
func (l List[T]) Delete(key int) List[T] {
	b, i, found := l.find(key)
	if !found {
		return l
	}
	l.length--
	if len(l.blocks[b]) == 1 {
		return l.splice(b, 1)
	}
	return l.splice(b, 1, slices.Concat(l.blocks[b][:i], l.blocks[b][i+1:]))
}

// find returns where the item with that key is, or else where it would be: in
// which block, at which index.
func (l List[T]) find(key int) (block, index int, found bool) {
	if len(l.blocks) == 0 {
		return 0, 0, false
	}
	next := sort.Search(len(l.blocks), func(i int) bool { return l.key(l.blocks[i][0]) > key })
	block = max(next-1, 0)
	index, found = slices.BinarySearchFunc(l.blocks[block], key, func(item T, key int) int {
		return cmp.Compare(l.key(item), key)
	})
	return block, index, found
}

// splice returns l with other blocks in the place of n from index b on.
func (l List[T]) splice(b, n int, blocks ...[]T) List[T] {
	if b+n == len(l.blocks) {
		l.used = nil // of another block
	}
	l.blocks = slices.Concat(l.blocks[:b], blocks, l.blocks[b+n:])
	return l
}

// A Builder gathers items for a List, in any order of keys; the zero value is empty.
// It is fast for keys that lie close together, and small for those that do not.
type Builder[T any] struct {
	pages map[int]*page[T]
}

// A page has the items of a range of keys: key k is in page k/len, at k%len.
type page[T any] [16]*T

// Put puts in an item, in the place of one with the same key if there is one. Nil
// takes that out. Keys are not negative.
func (b *Builder[T]) Put(key int, item *T) {
	const length = len(page[T]{})
	p := b.pages[key/length]
	if p == nil {
		if b.pages == nil {
			b.pages = make(map[int]*page[T])
		}
		p = new(page[T])
		b.pages[key/length] = p
	}
	p[key%length] = item
}

// Items returns the items by ascending key.
func (b *Builder[T]) Items() []*T {
	var items []*T
	for _, i := range slices.Sorted(maps.Keys(b.pages)) {
		for _, item := range b.pages[i] {
			if item != nil {
				items = append(items, item)
			}
		}
	}
	return items
}
