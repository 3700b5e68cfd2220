package guard

import (
	"context"
	"errors"
	"iter"
	"sync"
	"testing"
	"testing/synctest"

	"cars/internal/rest"
)

// wantUnavailable fails the test unless err is an answer 503 after which to ask again.
func wantUnavailable(t *testing.T, err error, message string) {
	t.Helper()
	var e *rest.Error
	if !errors.As(err, &e) || e.Status != 503 || e.Message != message || e.RetryAfter != 1 {
		t.Errorf("got %#v, want 503 %s", err, message)
	}
}

func TestListsWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(2)
		if err := p.Enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		var lists sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		lists.Go(func() {
			wantUnavailable(t, p.Enter(ctx), "The connection was closed before the request was processed")
		})
		entered := 0 // only who has the one turn counts
		for range maxWaiting - 1 {
			lists.Go(func() {
				if err := p.Enter(t.Context()); err != nil {
					t.Error(err)
				}
				entered++
				p.Leave()
			})
		}
		synctest.Wait() // until all wait
		wantUnavailable(t, p.Enter(t.Context()), "Too many lists are being made")
		if entered != 0 {
			t.Errorf("%d did not wait for their turn", entered)
		}
		cancel()
		synctest.Wait()
		p.Leave()
		lists.Wait()
		if entered != maxWaiting-1 || p.waiting.Load() != 0 || len(p.turns) != 0 {
			t.Errorf("in the end, %d had their turn, %d wait, %d have it", entered, p.waiting.Load(), len(p.turns))
		}
	})
}

func TestListsHoldOnlySoMuch(t *testing.T) {
	p := NewPool(1)
	if err := p.Hold(maxHeld); err != nil {
		t.Fatal(err)
	}
	const long = freeHeld + 1
	wantUnavailable(t, p.Hold(long), "Too many lists are being answered")
	if err := p.Hold(freeHeld); err != nil {
		t.Errorf("a page: %v", err)
	}
	p.Release(freeHeld)
	p.Release(long)
	if err := p.Hold(long); err != nil {
		t.Error(err)
	}
}

// TestHelpersGoWhenCoresAreWanted has a list that uses all cores until another comes.
func TestHelpersGoWhenCoresAreWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(4)
		if err := p.Enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		step := make(chan bool)
		var workers sync.WaitGroup
		workers.Go(func() {
			p.Share(t.Context(), 1000, func(indexes iter.Seq[int]) {
				for range indexes {
					<-step
				}
			})
			p.Leave()
		})
		synctest.Wait()
		if got := p.helpers.Load(); got != 3 {
			t.Errorf("alone: got %d helpers, want 3", got)
		}
		// With a second list there are as many goroutines as cores.
		p.Enter(t.Context())
		for range 40 {
			step <- true
		}
		synctest.Wait()
		if got := p.helpers.Load(); got != 2 {
			t.Errorf("beside another: got %d helpers, want 2", got)
		}
		// With one that waits, there are none.
		p.Enter(t.Context())
		workers.Go(func() { p.Enter(t.Context()) })
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
