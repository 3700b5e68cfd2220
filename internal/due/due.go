// Package due has a queue of what is to be done at some time.
package due

import (
	"container/heap"
	"slices"
	"time"
)

// A Queue holds items until they are due. The zero value is empty.
type Queue[T any] struct {
	entries entries[T]
	arrived int // items ever put in
}

// An entry is an item that waits.
type entry[T any] struct {
	item    T
	due     time.Time
	arrival int // breaks ties: of two that are due together, the first to come goes first
}

// Len returns how many items there are.
func (q *Queue[T]) Len() int { return len(q.entries) }

// Push puts in an item.
func (q *Queue[T]) Push(item T, due time.Time) {
	heap.Push(&q.entries, entry[T]{item, due, q.arrived})
	q.arrived++
}

// Next returns when the next item is due. There must be one.
func (q *Queue[T]) Next() time.Time { return q.entries[0].due }

// Pop takes out the item that is due next. There must be one.
func (q *Queue[T]) Pop() T { return heap.Pop(&q.entries).(entry[T]).item }

// DeleteFunc takes out the items for which del returns true.
func (q *Queue[T]) DeleteFunc(del func(T) bool) {
	q.entries = slices.DeleteFunc(q.entries, func(e entry[T]) bool { return del(e.item) })
	heap.Init(&q.entries)
}

// entries are a heap, the first to be due on top.
type entries[T any] []entry[T]

func (e entries[T]) Len() int      { return len(e) }
func (e entries[T]) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *entries[T]) Push(x any)   { *e = append(*e, x.(entry[T])) }

func (e entries[T]) Less(i, j int) bool {
	if e[i].due.Equal(e[j].due) {
		return e[i].arrival < e[j].arrival
	}
	return e[i].due.Before(e[j].due)
}

func (e *entries[T]) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = entry[T]{} // or the slice would keep it alive
	*e = (*e)[:last]
	return x
}
