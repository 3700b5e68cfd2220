package query

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"cars/internal/rest"
	"cars/internal/sorted"
)

// wantUnavailable fails the test unless err is an answer 503.
func wantUnavailable(t *testing.T, err error, message string, retryAfter int) {
	t.Helper()
	var e *rest.Error
	if !errors.As(err, &e) || e.Status != 503 || e.Message != message || e.RetryAfter != retryAfter {
		t.Errorf("got %#v, want 503 %s", err, message)
	}
}

// longList has more blocks than a caller works on without a turn.
func longList() [][]*sorted.Item {
	return slices.Collect(slices.Chunk(randomList(rand.New(rand.NewPCG(1, 1)), 1000), 1000/(2*fewBlocks)))
}

func TestListsWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, blocks := newPool(2), longList()
		q, err := parse("name_ne=x")
		if err != nil {
			t.Fatal(err)
		}
		if err := p.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		var lists sync.WaitGroup
		found := make([]int, maxWaiting)
		for i := range found {
			lists.Go(func() {
				_, found[i] = runQuery(t, p, q, blocks)
			})
		}
		synctest.Wait() // until all wait
		if found[0] != 0 {
			t.Error("a list did not wait for its turn")
		}
		_, err = q.run(t.Context(), p, blocks)
		wantUnavailable(t, err, "Too many lists are being made", 1)
		if _, total := runQuery(t, p, q, blocks[:fewBlocks]); total == 0 {
			t.Error("a short list found nothing")
		}
		slow, err := parse("name_like=x*")
		if err != nil {
			t.Fatal(err)
		}
		_, err = slow.run(t.Context(), p, blocks[:1])
		wantUnavailable(t, err, "Too many lists are being made", 1)
		p.leave()
		lists.Wait()
		if slices.Contains(found, 0) {
			t.Errorf("got %v, want what matches for all", found)
		}
		if p.waiting.Load() != 0 || len(p.turns) != 0 || p.helpers.Load() != 0 || p.held.Load() != 0 {
			t.Errorf("in the end, %d wait, %d have their turn, %d help, %d bytes are held", p.waiting.Load(), len(p.turns), p.helpers.Load(), p.held.Load())
		}
	})
}

func TestClientsThatLeave(t *testing.T) {
	const message = "The connection was closed before the request was processed"
	p, blocks := newPool(2), longList()
	ctx, cancel := context.WithCancel(t.Context())
	q, err := parse("name_ne=x&_sort=-name")
	if err != nil {
		t.Fatal(err)
	}
	// While the list is made.
	calls := 0
	q.add(func(*sorted.Item) bool {
		if calls++; calls == 500 {
			cancel()
		}
		return true
	})
	_, err = q.run(ctx, newPool(1), blocks)
	wantUnavailable(t, err, message, 1)
	if calls == 1000 {
		t.Error("the list was made to its end")
	}
	// While it waits.
	if err := p.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = q.run(ctx, p, blocks)
	wantUnavailable(t, err, message, 1)
	if p.waiting.Load() != 0 || len(p.turns) != 1 {
		t.Errorf("%d wait and %d have their turn, want 0 and 1", p.waiting.Load(), len(p.turns))
	}
}

func TestListsHoldOnlySoMuch(t *testing.T) {
	p, blocks := newPool(2), longList()
	p.held.Store(maxHeld - 8*1500) // a list and a half
	q, err := parse("id_gt=0")
	if err != nil {
		t.Fatal(err)
	}
	first, err := q.run(t.Context(), p, blocks)
	if err != nil {
		t.Fatal(err)
	}
	_, err = q.run(t.Context(), p, blocks)
	wantUnavailable(t, err, "Too many lists are being answered", 1)
	page, err := parse("id_gt=0&_limit=500")
	if err != nil {
		t.Fatal(err)
	}
	p.held.Add(8 * 500) // to the last byte
	if short, err := page.run(t.Context(), p, blocks); err != nil || short.held != 0 {
		t.Errorf("a page: got %v, %v, want it although nothing is left", short, err)
	}
	p.held.Add(-8 * 500)
	all, err := new(Query).all().run(t.Context(), p, blocks)
	if err != nil || all.held != 0 {
		t.Errorf("the whole list: got %v, %d bytes held, want none", err, all.held)
	}
	first.Release()
	again, err := q.run(t.Context(), p, blocks)
	if err != nil {
		t.Errorf("after the first was released: %v", err)
	}
	again.Release()
	(*List)(nil).Release()
	if got := p.held.Load(); got != maxHeld-8*1500 {
		t.Errorf("got %d bytes held, want %d", got, maxHeld-8*1500)
	}
}

// all returns q such that it wants all items.
func (q *Query) all() *Query {
	q.end = 1 << 40
	return q
}

// TestHelpersGoWhenCoresAreWanted has a list that uses all cores until another comes.
func TestHelpersGoWhenCoresAreWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(4)
		if err := p.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		step := make(chan bool)
		var workers sync.WaitGroup
		workers.Go(func() {
			p.share(t.Context(), 1000, func(indexes iter.Seq[int]) {
				for range indexes {
					<-step
				}
			})
			p.leave()
		})
		synctest.Wait()
		if got := p.helpers.Load(); got != 3 {
			t.Errorf("alone: got %d helpers, want 3", got)
		}
		// With a second list there are as many goroutines as cores.
		p.enter(t.Context())
		for range 40 {
			step <- true
		}
		synctest.Wait()
		if got := p.helpers.Load(); got != 2 {
			t.Errorf("beside another: got %d helpers, want 2", got)
		}
		// With one that waits, there are none.
		p.enter(t.Context())
		workers.Go(func() { p.enter(t.Context()) })
		for range 40 {
			step <- true
		}
		synctest.Wait()
		if got := p.helpers.Load(); got != 0 {
			t.Errorf("while one waits: got %d helpers, want 0", got)
		}
		close(step)
		workers.Wait()
	})
}
