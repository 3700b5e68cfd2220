package due

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestItemsComeInTheOrderInWhichTheyAreDue(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	epoch := time.Unix(0, 0)
	type item struct{ due, arrival int }
	var q Queue[item]
	var want []item
	for i := range 1000 {
		it := item{random.IntN(50), i}
		q.Push(it, epoch.Add(time.Duration(it.due)))
		want = append(want, it)
		if i%100 == 99 {
			odd := func(it item) bool { return it.arrival%7 == 0 }
			q.DeleteFunc(odd)
			want = slices.DeleteFunc(want, odd)
		}
	}
	slices.SortStableFunc(want, func(a, b item) int { return a.due - b.due })
	for i, want := range want {
		if next := q.Next(); !next.Equal(epoch.Add(time.Duration(want.due))) {
			t.Fatalf("%d: next is due at %v, want %d", i, next, want.due)
		}
		if got := q.Pop(); got != want {
			t.Fatalf("%d: got %+v, want %+v", i, got, want)
		}
	}
	if q.Len() != 0 {
		t.Errorf("%d items are left", q.Len())
	}
}
