package sorted

import (
	"math/rand/v2"
	"runtime"
	"slices"
)

// A Key is a number or a text of the items' values by which items are sorted. If Number and
// Text are nil, items are sorted by ID.
type Key struct {
	Number     func(v any) *int
	Text       func(v any) *string
	Descending bool
}

// A ranked is an item and its rank by the key of the moment: a number that is less for
// items that come earlier. Comparing ranks needs no look at the items, which are spread
// all over the memory.
type ranked struct {
	rank uint64
	item *Item
}

// rank returns the rank of item by the key. The rank of a text depends on a few of its
// bytes only, from offset on.
func (k *Key) rank(item *Item, offset int) uint64 {
	var rank uint64
	switch {
	case k.Number != nil:
		rank = uint64(*k.Number(item.Value)) ^ 1<<63 // negative numbers come first
	case k.Text != nil:
		text := *k.Text(item.Value)
		rank = textRank(text[min(offset, len(text)):])
	default:
		rank = uint64(item.ID)
	}
	if k.Descending {
		return ^rank
	}
	return rank
}

// textBytes is the number of bytes of a text in its rank. The lowest byte of the rank is
// the number of these bytes that the text has, or more if it is longer.
const (
	textBytes = 7
	more      = textBytes + 1
)

// textRank returns the rank of text by its first bytes.
func textRank(text string) uint64 {
	if len(text) > textBytes {
		_ = text[6]
		return uint64(text[0])<<56 | uint64(text[1])<<48 | uint64(text[2])<<40 | uint64(text[3])<<32 |
			uint64(text[4])<<24 | uint64(text[5])<<16 | uint64(text[6])<<8 | more
	}
	rank := uint64(len(text))
	for i := range len(text) {
		rank |= uint64(text[i]) << (56 - 8*i)
	}
	return rank
}

// undecided reports whether texts with the same rank may differ in later bytes.
func (k *Key) undecided(rank uint64) bool {
	if k.Descending {
		rank = ^rank
	}
	return k.Text != nil && rank&0xff == more
}

// A Selection is the first n of the items that were added to it, in the order of its
// keys: the first decides, the next among equals, and the ID is the last.
type Selection struct {
	keys    []Key
	n       int
	entries []ranked // with ranks by the first key
	bound   uint64   // the greatest rank of the first n; meaningful if full
	full    bool     // there are n already, so an item beyond bound is not among the first n
}

// NewSelection returns an empty selection of the first n items; n is at least 1.
func NewSelection(keys []Key, n int) *Selection {
	return &Selection{keys: append(slices.Clip(keys), Key{}), n: n}
}

// Add adds items.
func (s *Selection) Add(items []*Item) {
	key := &s.keys[0]
	for _, item := range items {
		rank := key.rank(item, 0)
		if s.full && rank > s.bound {
			continue
		}
		// Beyond the n that are kept, there is room for as many more, and for at least
		// 1,000: so each item costs a few comparisons, whatever order they come in.
		if len(s.entries)-s.n >= max(s.n, 1000) {
			s.prune()
			if rank > s.bound {
				continue
			}
		}
		if len(s.entries) == cap(s.entries) {
			s.entries = slices.Grow(s.entries, max(64, len(s.entries))) // append would make room for only a quarter more
		}
		s.entries = append(s.entries, ranked{rank, item})
	}
}

// prune drops all entries but the first n.
func (s *Selection) prune() {
	s.arrange(s.entries, 0, 0, s.n-1, s.n)
	s.entries = s.entries[:s.n]
	s.setRanks(s.entries, 0, 0)
	s.bound, s.full = s.keys[0].rank(s.entries[s.n-1].item, 0), true
}

// Merge adds what other has selected. Do not use other afterwards.
func (s *Selection) Merge(other *Selection) {
	if s.entries == nil {
		s.entries = other.entries
		return
	}
	s.entries = append(s.entries, other.entries...)
}

// Slice returns the items from start to end, end not included. end is at most n, and at
// most the number of items that were added. Call no other method afterwards.
func (s *Selection) Slice(start, end int) []*Item {
	s.arrange(s.entries, 0, 0, start, end)
	items := make([]*Item, 0, end-start)
	for _, entry := range s.entries[start:end] {
		items = append(items, entry.item)
	}
	return items
}

// setRanks gives entries their ranks by keys[level], of texts from offset on.
func (s *Selection) setRanks(entries []ranked, level, offset int) {
	key := &s.keys[level]
	for i := range entries {
		entries[i].rank = key.rank(entries[i].item, offset)
	}
}

// arrange moves the entries from start to end of the sorted order, end not included, to their
// places. Entries that come earlier in that order stand before start, unsorted. The entries
// must have their ranks by keys[level], of texts from offset on. arrange changes the ranks.
//
// It is multikey quicksort (Bentley and Sedgewick, 1997), but sorts only what is asked
// for. Pivots are random, so that no order of the items makes it slow.
func (s *Selection) arrange(entries []ranked, level, offset, start, end int) {
	for len(entries) > 1 && start < len(entries) && end > 0 {
		less, greater, pivot := split(entries)
		s.arrange(entries[:less], level, offset, start, end)
		s.arrange(entries[greater:], level, offset, start-greater, end-greater)
		entries, start, end = entries[less:greater], start-less, end-less
		if s.keys[level].undecided(pivot) {
			offset += textBytes
		} else if level, offset = level+1, 0; level == len(s.keys) {
			return
		}
		if len(entries) > 1 && start < len(entries) && end > 0 {
			s.setRanks(entries, level, offset)
		}
	}
}

// split chooses one of the ranks as pivot, and moves the entries. Entries of a lower rank come
// first; entries of the same rank begin at less, and entries of a higher rank at greater.
func split(entries []ranked) (less, greater int, pivot uint64) {
	if len(entries) > 10_000 {
		runtime.Gosched() // what follows takes some 30 µs
	}
	pivot = entries[len(entries)/2].rank
	if len(entries) > 50 { // with fewer, a bad pivot costs little
		a, b, c := pick(entries), pick(entries), pick(entries)
		pivot = max(min(a, b), min(max(a, b), c)) // the median of three
	}
	greater = len(entries)
	for i := 0; i < greater; {
		switch rank := entries[i].rank; {
		case rank < pivot:
			entries[i], entries[less] = entries[less], entries[i]
			less++
			i++
		case rank > pivot:
			greater--
			entries[i], entries[greater] = entries[greater], entries[i]
		default:
			i++
		}
	}
	return less, greater, pivot
}

func pick(entries []ranked) uint64 { return entries[rand.IntN(len(entries))].rank }
