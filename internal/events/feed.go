package events

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"cars/internal/sorted"
)

// A State is a list at one instant.
type State struct {
	Items   sorted.List
	Version string          // names the state for good
	Changed <-chan struct{} // closed when another state has taken its place
}

// A Follower is the client of a stream.
type Follower struct {
	Since  string      // the version that it has; "" if it has none
	Before sorted.List // the list of that version
	Known  bool        // Before is known

	Matches func(*sorted.Item) bool              // whether it follows an item
	Newest  func(context.Context) (State, error) // returns the newest state
}

const (
	// stepInterval is the least time between two steps of a stream. What changes faster is
	// told as one.
	stepInterval = 20 * time.Millisecond

	// streamShare lengthens the interval by so much for each stream that is open, and
	// spreads the streams over it. A step costs some 10 µs, so that all streams take a
	// third of a core at most, however many they are, and nobody waits until all have been
	// told.
	streamShare = 30 * time.Microsecond

	// maxStep is the most bytes of a step, since each stream may hold one that its client
	// does not read. After a larger change, a client had better read the list again.
	maxStep = 128 << 10
)

// A Feed is what the streams of one list share.
type Feed struct {
	open   atomic.Int64
	turn   chan struct{} // has a value while a stream uses newest
	newest State         // that a stream has asked for
}

// NewFeed returns a feed that no stream has used.
func NewFeed() *Feed { return &Feed{turn: make(chan struct{}, 1)} }

// Follow answers r with a stream of what changes in a list, and returns when it has ended.
//
// The first event is ready. Its ID is the version from which the stream goes on. Each
// change has the ID of the version to which it leads. reset has that of a version to which
// no change leads: the client has to read the list again. Its data, and that of ready, is
// an empty object.
func (f *Feed) Follow(w http.ResponseWriter, r *http.Request, now State, client Follower) {
	f.open.Add(1)
	defer f.leave()
	s := Start(w, r)
	defer s.End()
	told, version := now.Items, now.Version
	switch {
	case client.Known:
		told, version = client.Before, client.Since
	case client.Since != "":
		version = "" // a client that is cut off before reset must not go on from here
	}
	if s.Send("ready", version, nothing) != nil {
		return
	}
	for reset := version == ""; ; reset = false {
		spread := time.Duration(f.open.Load()) * streamShare
		next := time.Now().Add(max(stepInterval, spread))
		if s.tell(told, now, client.Matches, reset) != nil || s.Wait(now.Changed, now.Version) != nil {
			return
		}
		told = now.Items
		if s.Pause(max(time.Until(next), rand.N(spread))) != nil {
			return
		}
		var err error
		if now, err = f.next(r.Context(), client.Newest); err != nil {
			return
		}
	}
}

// leave is for a stream that has ended. The last one leaves nothing behind.
func (f *Feed) leave() {
	f.turn <- struct{}{}
	if f.open.Add(-1) == 0 {
		f.newest = State{} // which would keep a list alive that may be replaced meanwhile
	}
	<-f.turn
}

func nothing(b []byte) []byte { return append(b, "{}"...) }

// tell sends the step from one list to a state, or reset if that is asked for or the step
// is too large.
func (s *Stream) tell(told sorted.List, now State, matches func(*sorted.Item) bool, reset bool) error {
	if !reset {
		err := s.Send("change", now.Version, func(b []byte) []byte {
			step, fits := sorted.AppendStep(b, told, now.Items, matches, maxStep)
			reset = !fits
			return step
		})
		if err != nil || !reset {
			return err
		}
	}
	return s.Send("reset", now.Version, nothing)
}

// next returns a state that is the newest, or was a moment ago. The first of the streams
// that wants it asks; the others take what it got. So whoever answers is asked once for
// each state, and not once for each stream.
func (f *Feed) next(ctx context.Context, ask func(context.Context) (State, error)) (State, error) {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return State{}, ctx.Err()
	}
	if f.newest.Changed != nil {
		select {
		case <-f.newest.Changed:
		default:
			return f.newest, nil
		}
	}
	now, err := ask(ctx)
	if err == nil {
		f.newest = now
	}
	return now, err
}
