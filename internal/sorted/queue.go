package sorted

import (
	"container/heap"
	"slices"
	"time"
)

// A Queue holds values until they are due, and has a timer that fires when the first is.
// One goroutine uses it.
type Queue struct {
	entries entries
	arrived int // values ever put in
	timer   *time.Timer
}

// An entry is a value that waits.
type entry struct {
	value   any
	due     time.Time
	arrival int // of two entries that are due together, the lower arrival goes first
}

// NewQueue returns an empty queue.
func NewQueue() *Queue {
	q := &Queue{timer: time.NewTimer(0)}
	q.timer.Stop()
	return q
}

// Len returns the number of values.
func (q *Queue) Len() int { return len(q.entries) }

// C returns the channel on which the timer sends when the first value is due. It is nil
// while the queue is empty, so that a select passes over it.
func (q *Queue) C() <-chan time.Time {
	if len(q.entries) == 0 {
		return nil
	}
	return q.timer.C
}

// Push puts in a value that is due when wait has passed since now.
func (q *Queue) Push(value any, now time.Time, wait time.Duration) {
	due := now.Add(wait)
	if len(q.entries) == 0 || due.Before(q.entries[0].due) {
		q.timer.Reset(wait)
	}
	heap.Push(&q.entries, entry{value, due, q.arrived})
	q.arrived++
}

// PopDue takes out the value that is due next, if it is due at the time now. If it is not,
// PopDue sets the timer.
func (q *Queue) PopDue(now time.Time) (value any, ok bool) {
	if len(q.entries) == 0 {
		return nil, false
	}
	if next := q.entries[0].due; next.After(now) {
		q.timer.Reset(next.Sub(now))
		return nil, false
	}
	return q.Pop(), true
}

// Pop takes out the value that is due next. There must be one.
func (q *Queue) Pop() any { return heap.Pop(&q.entries).(entry).value }

// DeleteFunc takes out the values for which del returns true.
func (q *Queue) DeleteFunc(del func(value any) bool) {
	q.entries = slices.DeleteFunc(q.entries, func(e entry) bool { return del(e.value) })
	heap.Init(&q.entries)
}

// entries are a heap, the first to be due on top.
type entries []entry

func (e entries) Len() int      { return len(e) }
func (e entries) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *entries) Push(x any)   { *e = append(*e, x.(entry)) }

func (e entries) Less(i, j int) bool {
	if e[i].due.Equal(e[j].due) {
		return e[i].arrival < e[j].arrival
	}
	return e[i].due.Before(e[j].due)
}

func (e *entries) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = entry{} // otherwise the slice would keep it alive
	*e = (*e)[:last]
	return x
}
