// Package query filters, searches, sorts and slices lists of items, as the parameters of
// a URL ask. A table of fields says what can be asked. The package does not know what the
// items are.
//
// It understands the dialects of json-server 0.17 and of its 1.x, side by side:
//
//	field=value                   equal; repeated: any of the values
//	field_ne, _gt, _gte, _lt, _lte=value
//	                              compared as the field's type; repeated: all must hold
//	field_like=expression         matches, whatever the case (RE2 syntax); repeated: any of them
//	field:eq, :ne, :gt, …=value   the same comparisons in 1.x
//	field:in=a,b                  equal to one of them
//	field:contains, :startsWith, :endsWith=text
//	                              whatever the case; repeated: any of them
//	_where={"field":{"op":value}} a condition in JSON, in place of all others
//	q=text                        some field contains the text, whatever the case
//	_sort=a,b  _order=asc,desc    the order, or _sort=-a,b; equals stay in the order of the ID
//	_start, _end, _limit          a slice
//	_page, _limit                 a page, of 10 items if nothing else is said
//	_page, _per_page              a page in an object that says how many there are
//
// name[]=value and name[0]=value are the same as name=value. Unknown parameters are
// ignored, and so are known ones without a value. An invalid value leads to a [rest.Error]
// with status 400 that names the parameter.
package query

import (
	"context"
	"iter"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"cars/internal/guard"
	"cars/internal/sorted"
)

// A Query says which items a list contains, in which order, and which slice of it is
// wanted. It is immutable once Parse has returned it.
type Query struct {
	conditions  []condition // all must hold
	expressions int         // the size of the expressions in conditions
	slow        bool        // conditions has expressions that are more than a word
	sortBy      []sorted.Key
	start, end  int    // the slice, half-open, of a list that may be shorter
	page, size  int    // the slice as a page; page is 0 if no page was asked for
	envelope    bool   // the answer is an object with the page in it
	arrangedBy  string // name of a parameter that sorts or slices, or ""
}

// Matches reports whether item fulfils the query's conditions.
func (q *Query) Matches(item *sorted.Item) bool {
	for _, holds := range q.conditions {
		if !holds(item) {
			return false
		}
	}
	return true
}

// ArrangedBy returns the name of a parameter that sorts or slices the list, or "" if the
// query only filters.
func (q *Query) ArrangedBy() string { return q.arrangedBy }

// A List is the result of a query.
type List struct {
	Pieces [][]*sorted.Item // the slice that was asked for; do not change it
	Total  int              // how many items there are before slicing

	pool *guard.Pool // the budget that held bytes were taken from
	held int
}

// Release gives back the memory that the list takes in the budget of all lists. Call it
// once, when the answer has been written. A nil list holds none.
func (l *List) Release() {
	if l != nil {
		l.pool.Release(l.held)
	}
}

// Run returns the slice of a list that the query asks for. blocks are the list, by
// ascending ID. Run does not change them; what it returns may share their memory. The work is
// shared by the cores that no other list needs. The errors have status 503: ctx is done,
// too many lists are waiting for their turn, or too many are being answered.
func (q *Query) Run(ctx context.Context, blocks [][]*sorted.Item) (*List, error) {
	return q.run(ctx, guard.Lists, blocks)
}

func (q *Query) run(ctx context.Context, p *guard.Pool, blocks [][]*sorted.Item) (*List, error) {
	if len(q.conditions) == 0 && len(q.sortBy) == 0 {
		list := &List{pool: p}
		for _, block := range blocks {
			list.Total += len(block)
		}
		start, end := q.window(list.Total)
		if list.Pieces = blocks; start > 0 || end < list.Total {
			list.Pieces = slice(blocks, start, end)
		}
		return list, nil
	}
	if len(blocks) > guard.ShortList || q.slow {
		if err := p.Enter(ctx); err != nil {
			return nil, err
		}
		defer p.Leave()
	}
	find := q.filtered
	if len(q.sortBy) > 0 && q.start < q.end {
		find = q.sorted
	}
	list, err := find(ctx, p, blocks)
	if err != nil {
		return nil, err
	}
	start, end := q.window(list.Total)
	list.pool, list.held = p, 8*max(0, end-start) // a pointer to an item takes 8 bytes
	if err := p.Hold(list.held); err != nil {
		return nil, err
	}
	return list, nil
}

// filtered returns the matching items, in order of the ID.
func (q *Query) filtered(ctx context.Context, p *guard.Pool, blocks [][]*sorted.Item) (*List, error) {
	matching := make([][]*sorted.Item, len(blocks))
	var total atomic.Int64
	err := p.Share(ctx, len(blocks), func(indexes iter.Seq[int]) {
		var scratch []*sorted.Item
		found := 0
		for i := range indexes {
			scratch = q.matching(scratch, blocks[i])
			switch {
			case found >= q.end: // earlier blocks have all that is wanted
			case len(scratch) == len(blocks[i]):
				matching[i] = blocks[i]
			default:
				matching[i] = slices.Clone(scratch)
			}
			found += len(scratch)
		}
		total.Add(int64(found))
	})
	if err != nil {
		return nil, err
	}
	list := &List{Total: int(total.Load())}
	start, end := q.window(list.Total)
	list.Pieces = slice(matching, start, end)
	return list, nil
}

// sorted returns the matching items in the order that q asks for.
func (q *Query) sorted(ctx context.Context, p *guard.Pool, blocks [][]*sorted.Item) (*List, error) {
	var mu sync.Mutex // guards selected and list
	selected, list := sorted.NewSelection(q.sortBy, q.end), new(List)
	err := p.Share(ctx, len(blocks), func(indexes iter.Seq[int]) {
		var scratch []*sorted.Item
		mine, found := sorted.NewSelection(q.sortBy, q.end), 0
		for i := range indexes {
			items := blocks[i]
			if len(q.conditions) > 0 {
				scratch = q.matching(scratch, items)
				items = scratch
			}
			mine.Add(items)
			found += len(items)
		}
		mu.Lock()
		defer mu.Unlock()
		selected.Merge(mine)
		list.Total += found
	})
	if err != nil {
		return nil, err
	}
	if start, end := q.window(list.Total); start < end {
		list.Pieces = [][]*sorted.Item{selected.Slice(start, end)}
	}
	return list, nil
}

// matching returns the items of block that match, in scratch if it has room for them.
func (q *Query) matching(scratch, block []*sorted.Item) []*sorted.Item {
	kept := slices.Grow(scratch[:0], len(block))
	for i, item := range block {
		if q.Matches(item) {
			kept = append(kept, item)
		}
		if q.slow && i%64 == 0 {
			runtime.Gosched()
		}
	}
	return kept
}
