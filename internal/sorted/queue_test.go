package sorted

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestValuesComeInTheOrderInWhichTheyAreDue(t *testing.T) {
	type value struct{ due, arrival int }
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		start := time.Now()
		q := NewQueue()
		if q.C() != nil {
			t.Error("the timer of an empty queue can fire")
		}
		var want []value
		for i := range 1000 {
			v := value{1 + random.IntN(50), i}
			q.Push(v, start, time.Duration(v.due))
			want = append(want, v)
			if i%100 == 99 {
				odd := func(v value) bool { return v.arrival%7 == 0 }
				q.DeleteFunc(func(v any) bool { return odd(v.(value)) })
				want = slices.DeleteFunc(want, odd)
			}
		}
		slices.SortStableFunc(want, func(a, b value) int { return a.due - b.due })
		for len(want) > 0 {
			now := <-q.C()
			for {
				got, ok := q.PopDue(now)
				if !ok {
					break
				}
				if got != want[0] || now.Sub(start) < time.Duration(want[0].due) {
					t.Fatalf("got %+v after %v, want %+v", got, now.Sub(start), want[0])
				}
				want = want[1:]
			}
			if len(want) > 0 && time.Duration(want[0].due) <= now.Sub(start) {
				t.Fatalf("%+v was still there at %v", want[0], now.Sub(start))
			}
		}
		if q.Len() != 0 || q.C() != nil {
			t.Errorf("%d values are left", q.Len())
		}
	})
}

// TestTheFirstToBeDueSetsTheTimer: also if it comes last.
func TestTheFirstToBeDueSetsTheTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, start := NewQueue(), time.Now()
		q.Push("late", start, time.Hour)
		q.Push("early", start, time.Second)
		now := <-q.C()
		if got, ok := q.PopDue(now); got != "early" || !ok || now.Sub(start) != time.Second {
			t.Errorf("got %v, %v after %v", got, ok, now.Sub(start))
		}
		if got, ok := q.PopDue(now); ok {
			t.Errorf("got %v too early", got)
		}
		now = <-q.C()
		if got, _ := q.PopDue(now); got != "late" || now.Sub(start) != time.Hour {
			t.Errorf("got %v after %v", got, now.Sub(start))
		}
	})
}
