package query

import (
	"context"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"cars/internal/sorted"
)

// A sortKey is a field to sort by.
type sortKey struct {
	field
	descending bool
}

// A ranked is an item and what it is sorted by at present: a number that is less for
// items that come earlier. To compare two that way needs no look at the items, which are
// all over the memory.
type ranked struct {
	rank uint64
	item *sorted.Item
}

// rank returns the rank of item by the key. Of a text it takes only a few bytes, from
// offset on.
func (k *sortKey) rank(item *sorted.Item, offset int) uint64 {
	var rank uint64
	switch {
	case k.index == 0: // without a look at the value, which is elsewhere in memory
		rank = uint64(item.ID)
	case k.Number != nil:
		rank = uint64(*k.Number(item.Value)) ^ 1<<63 // negative numbers come first
	default:
		text := *k.Text(item.Value)
		rank = textRank(text[min(offset, len(text)):])
	}
	if k.descending {
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
func (k *sortKey) undecided(rank uint64) bool {
	if k.descending {
		rank = ^rank
	}
	return k.Text != nil && rank&0xff == more
}

// setRanks ranks entries by key level of q, and texts from offset on.
func (q *Query) setRanks(entries []ranked, level, offset int) {
	key := &q.sortBy[level]
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
func (q *Query) arrange(p *pool, entries []ranked, level, offset, start, end int) {
	for len(entries) > 1 && start < len(entries) && end > 0 {
		less, greater, pivot := split(entries)
		var done <-chan struct{}
		if less > long && start < less && p.borrow() {
			done = q.arrangeElsewhere(p, entries[:less], level, offset, start, end)
		} else {
			q.arrange(p, entries[:less], level, offset, start, end)
		}
		q.arrange(p, entries[greater:], level, offset, start-greater, end-greater)
		if done != nil {
			<-done
		}
		entries, start, end = entries[less:greater], start-less, end-less
		if q.sortBy[level].undecided(pivot) {
			offset += textBytes
		} else if level, offset = level+1, 0; level == len(q.sortBy) {
			return
		}
		if len(entries) > 1 && start < len(entries) && end > 0 {
			q.setRanks(entries, level, offset)
		}
	}
}

// arrangeElsewhere arranges entries on a core that was borrowed from p, and closes done.
func (q *Query) arrangeElsewhere(p *pool, entries []ranked, level, offset, start, end int) (done <-chan struct{}) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		defer p.helpers.Add(-1)
		q.arrange(p, entries, level, offset, start, end)
	}()
	return closed
}

// long is from how many entries on another goroutine pays, and a look whether others
// have something to do: to go through them once takes some 30 µs.
const long = 10_000

// split moves entries such that those with a rank less than pivot, one of their ranks,
// come first, and those from greater on have a greater one.
func split(entries []ranked) (less, greater int, pivot uint64) {
	if len(entries) > long {
		runtime.Gosched()
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

// A selection is the first n items of those that were added to it.
type selection struct {
	q       *Query
	pool    *pool
	n       int
	entries []ranked // with ranks by the first key
	bound   uint64   // the greatest rank of the first n; meaningful if full
	full    bool     // there were n, so that an item beyond the bound is not among them
}

// add adds items.
func (s *selection) add(items []*sorted.Item) {
	key := &s.q.sortBy[0]
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
func (s *selection) prune() {
	s.q.arrange(s.pool, s.entries, 0, 0, s.n-1, s.n)
	s.entries = s.entries[:s.n]
	s.q.setRanks(s.entries, 0, 0)
	s.bound, s.full = s.q.sortBy[0].rank(s.entries[s.n-1].item, 0), true
}

// sorted returns the matching items in the order that q asks for.
func (q *Query) sorted(ctx context.Context, p *pool, blocks [][]*sorted.Item) (*List, error) {
	var mu sync.Mutex // guards entries and total
	var entries []ranked
	total := 0
	err := p.share(ctx, len(blocks), func(indexes iter.Seq[int]) {
		var scratch []*sorted.Item
		selected := selection{q: q, pool: p, n: q.end}
		found := 0
		for i := range indexes {
			items := blocks[i]
			if len(q.conditions) > 0 {
				scratch = q.matching(scratch, items)
				items = scratch
			}
			selected.add(items)
			found += len(items)
		}
		mu.Lock()
		defer mu.Unlock()
		total += found
		if entries == nil {
			entries = selected.entries
		} else {
			entries = append(entries, selected.entries...)
		}
	})
	if err != nil {
		return nil, err
	}
	start, end := q.window(total)
	q.arrange(p, entries, 0, 0, start, end)
	items := make([]*sorted.Item, 0, end-start)
	for _, entry := range entries[start:end] {
		items = append(items, entry.item)
	}
	list := &List{Total: total}
	if len(items) > 0 {
		list.Pieces = [][]*sorted.Item{items}
	}
	return list, nil
}
