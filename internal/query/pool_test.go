package query

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"cars/internal/guard"
	"cars/internal/rest"
	"cars/internal/sorted"
)

// wantUnavailable fails the test unless err is an answer 503 after which to ask again.
func wantUnavailable(t *testing.T, err error, message string) {
	t.Helper()
	var e *rest.Error
	if !errors.As(err, &e) || e.Status != 503 || e.Message != message || e.RetryAfter != 1 {
		t.Errorf("got %#v, want 503 %s", err, message)
	}
}

// longList returns 1,000 items in more blocks than a short list has.
func longList() [][]*sorted.Item {
	return slices.Collect(slices.Chunk(randomList(rand.New(rand.NewPCG(1, 1)), 1000), 1000/(2*guard.ShortList)))
}

// mustParse returns the query of a query string that makes sense.
func mustParse(t *testing.T, raw string) *Query {
	t.Helper()
	q, err := parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// TestClientsThatLeave has clients that leave while their list waits, and while it is made.
func TestClientsThatLeave(t *testing.T) {
	const message = "The connection was closed before the request was processed"
	p, blocks := guard.NewPool(1), longList()
	ctx, cancel := context.WithCancel(t.Context())
	for _, raw := range []string{"name_ne=x", "name_ne=x&_sort=-name"} {
		ctx, cancel := context.WithCancel(t.Context())
		calls, q := 0, mustParse(t, raw)
		q.add(func(*sorted.Item) bool {
			if calls++; calls == 500 {
				cancel()
			}
			return true
		})
		_, err := q.run(ctx, p, blocks)
		wantUnavailable(t, err, message)
		if calls == 1000 {
			t.Errorf("%s: the list was made to its end", raw)
		}
	}
	if err := p.Enter(t.Context()); err != nil { // and so nobody else has its turn
		t.Fatal(err)
	}
	cancel()
	_, err := mustParse(t, "name_ne=x").run(ctx, p, blocks)
	wantUnavailable(t, err, message)
	_, err = mustParse(t, "name_like=x*").run(ctx, p, blocks[:1])
	wantUnavailable(t, err, message)
	if _, total := runQuery(t, p, mustParse(t, "name_ne=x&_sort=name"), blocks[:guard.ShortList]); total == 0 {
		t.Error("a short list found nothing")
	}
	if _, total := runQuery(t, p, mustParse(t, "_start=3"), blocks); total != 1000 {
		t.Errorf("got %d, want all 1,000, without a turn", total)
	}
}

// TestListsHoldWhatTheyFound fills the budget with lists that are not released.
func TestListsHoldWhatTheyFound(t *testing.T) {
	p, blocks := guard.NewPool(2), longList()
	q := mustParse(t, "id_gt=0")
	if err := p.Hold(128<<20 - 8*1500); err != nil { // but for a list and a half
		t.Fatal(err)
	}
	first, err := q.run(t.Context(), p, blocks)
	if err != nil {
		t.Fatal(err)
	}
	_, err = q.run(t.Context(), p, blocks)
	wantUnavailable(t, err, "Too many lists are being answered")
	if _, err := mustParse(t, "").run(t.Context(), p, blocks); err != nil {
		t.Errorf("the whole list, which holds nothing: %v", err)
	}
	first.Release()
	if _, err = q.run(t.Context(), p, blocks); err != nil {
		t.Errorf("after the first was released: %v", err)
	}
	(*List)(nil).Release()
}
