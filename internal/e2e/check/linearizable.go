package check

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// A Catalogue is the state of the object that events are about: all cars at one instant,
// the price of each by ID. Every write that makes a car gives it a price of its own, so
// that a price tells who has written it. A Catalogue is not changed once it is made.
type Catalogue map[int]int

// key is the same for the same catalogues, and for no others.
func (c Catalogue) key() string {
	text := make([]byte, 0, 12*len(c))
	for _, id := range slices.Sorted(maps.Keys(c)) {
		text = fmt.Append(text, id, "=", c[id], " ")
	}
	return string(text)
}

func (c Catalogue) equal(other Catalogue) bool { return maps.Equal(c, other) }

// with returns c with another price, or without the car if price is absent.
func (c Catalogue) with(id, price int) Catalogue {
	next := maps.Clone(c)
	if next[id] = price; price == absent {
		delete(next, id)
	}
	return next
}

// absent is the price of a car that is not there. No car has it.
const absent = 0

// An Event is one request, with what its client saw: when it was sent and answered, on a
// clock that all clients share, and what the answer says about the catalogue.
type Event struct {
	Sent, Answered int64
	What           string

	// explains reports whether a catalogue gives this answer, and what becomes of it.
	explains func(now Catalogue) (next Catalogue, possible bool)

	makes, sees []int // prices that the request gives cars, and those that tell what was there
}

// never is when an event is answered whose outcome its client does not know. It may come at
// any time after it was sent, or not at all.
const never = int64(math.MaxInt64)

func (e Event) String() string {
	if e.Answered == never {
		return fmt.Sprintf("%d to ?: %s", e.Sent, e.What)
	}
	return fmt.Sprintf("%d to %d: %s", e.Sent, e.Answered, e.What)
}

// ErrUndecided says that there were too many orders to try.
var ErrUndecided = errors.New("there are too many possible orders")

// maxNodes is how many beginnings of orders are tried. It takes some seconds and a gigabyte.
const maxNodes = 4_000_000

// Linearizable returns nil if there is an order of all events that explains every answer.
// The first event finds the catalogue first, and no event comes before another that was
// answered before it was sent. It tries all orders, after Wing and Gong's "Testing and
// Verifying Concurrent Objects" (1993), and remembers where it has been, after Lowe's
// "Testing for Linearizability" (2017).
//
// Events without an answer are put in where they are needed, and nowhere else: directly
// before an event that would be another without them.
//
// Of those that have given a car a price that nobody saw, it is assumed at first that they
// did not happen. That nearly always leads to an order, and much sooner.
func Linearizable(first Catalogue, events []Event) error {
	seen := make(map[int]bool)
	for _, e := range events {
		for _, price := range e.sees {
			seen[price] = true
		}
	}
	unseen := func(e Event) bool {
		return e.Answered == never && len(e.makes) > 0 && !slices.ContainsFunc(e.makes, func(price int) bool { return seen[price] })
	}
	err := linearizable(first, slices.DeleteFunc(slices.Clone(events), unseen))
	if err != nil && slices.ContainsFunc(events, unseen) {
		err = linearizable(first, events)
	}
	return err
}

func linearizable(first Catalogue, events []Event) error {
	s := &search{seen: make(map[string]bool)}
	for _, e := range events {
		if e.Answered == never {
			s.maybe = append(s.maybe, e)
		} else {
			s.known = append(s.known, e)
		}
	}
	slices.SortFunc(s.known, func(a, b Event) int { return cmp.Compare(a.Sent, b.Sent) })
	s.done, s.used = make([]byte, len(s.known)), make([]byte, len(s.maybe))
	s.left = len(s.known)
	s.least = s.left + 1
	switch {
	case s.try(first, nil):
		return nil
	case len(s.seen) >= maxNodes:
		return ErrUndecided
	}
	return fmt.Errorf("no order explains %d answers and %d requests without one; it goes well until %s", len(s.known), len(s.maybe), s.stuck)
}

// A search is for an order.
type search struct {
	known, maybe []Event // with and without an answer; known by when they were sent
	done, used   []byte  // 1 for those of known and of maybe that have their place in the order
	left         int     // how many of known have none
	seen         map[string]bool
	least        int    // the least that were left
	stuck        string // where that was
}

// A chain is of those of maybe that came after the last of known.
type chain []link

type link struct {
	maybe  int
	before Catalogue // what it found
}

// try continues an order that has led to the catalogue now, by a chain at last.
func (s *search) try(now Catalogue, last chain) bool {
	if s.left == 0 {
		return true
	}
	from := slices.Index(s.done, 0)
	to := len(s.done) // behind the last that is done
	for to > from && s.done[to-1] == 0 {
		to--
	}
	key := fmt.Sprint(from, " ", string(s.done[from:to]), string(s.used), now.key())
	for _, l := range last {
		key += fmt.Sprint(l.maybe, " ")
	}
	if s.seen[key] || len(s.seen) >= maxNodes {
		return false
	}
	s.seen[key] = true
	if s.left < s.least {
		s.least = s.left
		s.stuck = s.describe(now, from)
	}
	firstAnswer := never
	for i := from; i < len(s.known); i++ {
		e := s.known[i]
		if s.done[i] == 1 {
			continue
		}
		if e.Sent > firstAnswer {
			break // another was answered before this and all later events were sent, and must come first
		}
		firstAnswer = min(firstAnswer, e.Answered)
		next, possible := e.explains(now)
		if !possible || s.useless(last, e, next, len(s.maybe)) {
			continue
		}
		s.done[i] = 1
		s.left--
		if s.try(next, nil) {
			return true
		}
		s.done[i] = 0
		s.left++
	}
	for i, e := range s.maybe {
		if s.used[i] == 1 || e.Sent > firstAnswer {
			continue
		}
		next, possible := e.explains(now)
		if !possible || next.equal(now) || s.useless(last, e, next, i) {
			continue
		}
		s.used[i] = 1
		if s.try(next, append(last[:len(last):len(last)], link{i, now})) {
			return true
		}
		s.used[i] = 0
	}
	return false
}

// useless reports whether e, after a chain, leads to next without one of the chain, too: if
// that is left out or comes after e. Of two orders of maybe that lead to the same, the one
// by number is kept: n is that of e, or more than any.
func (s *search) useless(last chain, e Event, next Catalogue, n int) bool {
	for i, l := range last {
		now, possible := l.before, true
		for _, other := range last[i+1:] {
			if now, possible = s.maybe[other.maybe].explains(now); !possible {
				break
			}
		}
		if !possible {
			continue
		}
		alone, possible := e.explains(now)
		if !possible {
			continue
		}
		if alone.equal(next) {
			return true
		}
		if swapped, possible := s.maybe[l.maybe].explains(alone); possible && swapped.equal(next) && (n == len(s.maybe) || i == len(last)-1 && n < l.maybe) {
			return true
		}
	}
	return false
}

// describe says where the search is.
func (s *search) describe(now Catalogue, from int) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%v, and then:", now)
	for i, shown := from, 0; i < len(s.known) && shown < 12; i++ {
		if s.done[i] == 0 {
			fmt.Fprintf(&text, "\n%v", s.known[i])
			shown++
		}
	}
	return text.String()
}
