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
	Version string          // the name of this state, and of no other
	Changed <-chan struct{} // closed when another state has taken its place
}

// A Follower is the client of a stream.
type Follower struct {
	Since  string       // the version that the client has; "" if it has none
	Before *sorted.List // the list of that version; nil if the server no longer has it

	Matches func(*sorted.Item) bool              // whether the client follows an item
	Newest  func(context.Context) (State, error) // returns the newest state
}

const (
	// stepInterval is the least time between two steps of a stream. All changes within it
	// are sent as one step.
	stepInterval = 20 * time.Millisecond

	// streamShare is the least interval for each open stream: with 1,000 streams, a stream
	// pauses for 30 ms between two steps. The streams are spread over the interval. A step
	// costs some 10 µs, so all streams together take at most a third of a core, and other
	// requests need not wait until all streams have been told.
	streamShare = 30 * time.Microsecond

	// maxStep is the most bytes of a step, since each stream may hold one that its client
	// does not read. After a larger change, the client is told to read the list again.
	maxStep = 128 << 10
)

// A Feed is what the streams of one list share.
type Feed struct {
	open   atomic.Int64
	turn   chan struct{} // has a value while a stream uses newest
	newest State         // the last one that a stream has asked for
}

// NewFeed returns a feed that no stream has used.
func NewFeed() *Feed { return &Feed{turn: make(chan struct{}, 1)} }

// Follow answers r with a stream of the changes in a list, and returns when the stream has
// ended. now is the list's newest state.
//
// The first event is ready. Its ID is the version from which the stream goes on. An event
// change has the ID of the version to which it leads. An event reset tells the client to
// read the list again, and has the ID of a version. The data of ready and reset is {}.
func (f *Feed) Follow(w http.ResponseWriter, r *http.Request, now State, client Follower) {
	f.open.Add(1)
	defer f.leave()
	s := Start(w, r)
	defer s.End()
	told, version := now.Items, now.Version
	switch {
	case client.Before != nil:
		told, version = *client.Before, client.Since
	case client.Since != "":
		version = "" // a client that is cut off before reset must not go on from here
	}
	if s.Send("ready", version, nothing) != nil {
		return
	}
	for reset := version == ""; ; reset = false {
		spread := time.Duration(f.open.Load()) * streamShare
		next := time.Now().Add(max(stepInterval, spread))
		if s.tell(told, now, client.Matches, reset) != nil || s.Pause(time.Until(next)) != nil {
			return
		}
		told = now.Items
		// If changes are frequent, there has been one during the pause. A stream that waited
		// before its pause would be woken by each change, and waking all streams would cost
		// the writer more than the change.
		select {
		case <-now.Changed:
		default:
			if s.Wait(now.Changed, now.Version) != nil || s.Pause(rand.N(spread)) != nil {
				return
			}
		}
		var err error
		if now, err = f.next(r.Context(), client.Newest); err != nil {
			return
		}
	}
}

// leave ends the use of the feed by a stream. The last stream to leave clears newest.
func (f *Feed) leave() {
	f.turn <- struct{}{}
	if f.open.Add(-1) == 0 {
		f.newest = State{} // otherwise it keeps a list alive that was replaced
	}
	<-f.turn
}

func nothing(b []byte) []byte { return append(b, "{}"...) }

// tell sends the step from the list told to the state now. If reset is true, or the step is
// too large, it sends reset.
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

// next returns the newest state, or one that was the newest a moment ago. The first stream
// that needs a state calls ask, and the others take the result. So ask is called once for
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
