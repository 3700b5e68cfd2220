package sorted

import (
	"math/rand/v2"
	"runtime"
	"slices"
)

// A Key is what items are sorted by: a number or a text of their value, or, if it has
// neither, their ID.
type Key struct {
	Number     func(v any) *int
	Text       func(v any) *string
	Descending bool
}

// A ranked is an item and what it is sorted by at present: a number that is less for
// items that come earlier. To compare two that way needs no look at the items, which are
// all over the memory.
type ranked struct {
	rank uint64
	item *Item
}

// rank returns the rank of item by the key. Of a text it takes only a few bytes, from
// offset on.
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

// textBytes is how many bytes of a text there are in its rank. Below them is how many
// of these the text has, or more if it is longer.
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
	full    bool     // there were n, so that an item beyond the bound is not among them
}

// NewSelection returns an empty selection for n items, 1 at least.
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
		// There is room for as many items as are kept, and for 1,000 at least, so that
		// each costs a few comparisons, whatever order they come in.
		if len(s.entries)-s.n >= max(s.n, 1000) {
			s.prune()
			if rank > s.bound {
				continue
			}
		}
		if len(s.entries) == cap(s.entries) {
			s.entries = slices.Grow(s.entries, max(64, len(s.entries))) // append would add a quarter
		}
		s.entries = append(s.entries, ranked{rank, item})
	}
}

// prune leaves no more than the first n.
func (s *Selection) prune() {
	s.arrange(s.entries, 0, 0, s.n-1, s.n)
	s.entries = s.entries[:s.n]
	s.setRanks(s.entries, 0, 0)
	s.bound, s.full = s.keys[0].rank(s.entries[s.n-1].item, 0), true
}

// Merge adds what other has selected. Other must not be used any more.
func (s *Selection) Merge(other *Selection) {
	if s.entries == nil {
		s.entries = other.entries
		return
	}
	s.entries = append(s.entries, other.entries...)
}

// Slice returns the items from start to end, half-open, up to n and to as many as were
// added. Nothing can be added after that.
func (s *Selection) Slice(start, end int) []*Item {
	s.arrange(s.entries, 0, 0, start, end)
	items := make([]*Item, 0, end-start)
	for _, entry := range s.entries[start:end] {
		items = append(items, entry.item)
	}
	return items
}

// setRanks ranks entries by a key, and texts from offset on.
func (s *Selection) setRanks(entries []ranked, level, offset int) {
	key := &s.keys[level]
	for i := range entries {
		entries[i].rank = key.rank(entries[i].item, offset)
	}
}

// arrange moves entries such that those from start to end, half-open, are where they
// would be if all were sorted, after all that come before them. The entries have their
// ranks by key level, and texts by those from offset on. arrange changes the ranks.
//
// It is multikey quicksort (Bentley and Sedgewick, 1997) that leaves out what is not
// asked for. Pivots are random, so that no order of the items makes it slow.
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

// split moves entries such that those with a rank less than pivot, one of their ranks,
// come first, and those from greater on have a greater one.
func split(entries []ranked) (less, greater int, pivot uint64) {
	if len(entries) > 10_000 {
		runtime.Gosched() // for this takes some 30 µs
	}
	pivot = entries[len(entries)/2].rank
	if len(entries) > 50 { // below, a bad pivot costs little
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
