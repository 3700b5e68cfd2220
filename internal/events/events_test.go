package events

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cars/internal/sorted"
)

func TestWanted(t *testing.T) {
	for _, test := range []struct {
		method, accept string
		want           bool
	}{
		{"GET", "text/event-stream", true},
		{"GET", "text/event-stream, application/json", true},
		{"GET", "application/json", false},
		{"GET", "", false},
		{"HEAD", "text/event-stream", false},
		{"POST", "text/event-stream", false},
	} {
		r := httptest.NewRequest(test.method, "/", nil)
		r.Header.Set("Accept", test.accept)
		if got := Wanted(r); got != test.want {
			t.Errorf("%s with Accept: %s: got %v, want %v", test.method, test.accept, got, test.want)
		}
	}
}

// A client is a ResponseWriter whose client reads at once, unless it is stuck.
type client struct {
	mu       sync.Mutex
	header   http.Header
	got      bytes.Buffer
	writes   []time.Time
	deadline time.Time
	stuck    bool          // from now on, writes wait for their deadline
	moved    chan struct{} // closed and made anew when the deadline is another
	enough   func(int)     // is told how much has been sent
}

func newClient() *client {
	return &client{header: http.Header{}, moved: make(chan struct{}), enough: func(int) {}}
}

func (c *client) Header() http.Header { return c.header }
func (c *client) WriteHeader(int)     {}
func (c *client) Flush()              {}

func (c *client) SetReadDeadline(time.Time) error { return nil }

func (c *client) SetWriteDeadline(deadline time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = deadline
	close(c.moved)
	c.moved = make(chan struct{})
	return nil
}

func (c *client) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.stuck {
		moved, left := c.moved, time.Until(c.deadline)
		if left <= 0 {
			return 0, os.ErrDeadlineExceeded
		}
		c.mu.Unlock()
		select {
		case <-moved:
		case <-time.After(left):
		}
		c.mu.Lock()
	}
	c.writes = append(c.writes, time.Now())
	defer func() { c.enough(c.got.Len()) }()
	return c.got.Write(b)
}

// take returns what has been sent since the last call, without the ends of events.
func (c *client) take() string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	text := strings.TrimSpace(strings.ReplaceAll(c.got.String(), "\n\n", " | "))
	c.got.Reset()
	return strings.TrimSuffix(strings.ReplaceAll(strings.ReplaceAll(text, "\n", " "), "event: ", ""), " |")
}

// A source has a list and its versions, as an owner does.
type source struct {
	mu      sync.Mutex
	state   State
	changed chan struct{}
	asked   int
	version int
	failed  error
}

func newSource(ids ...int) *source {
	s := &source{changed: make(chan struct{})}
	var items []*sorted.Item
	for _, id := range ids {
		items = append(items, item(id, "a"))
	}
	s.state = State{sorted.NewList(items), "v0", s.changed}
	return s
}

func item(id int, text string) *sorted.Item {
	return &sorted.Item{ID: id, Line: fmt.Appendf(nil, "{\"%d\":%q}\n", id, text), Hash: uint64(id)}
}

// publish puts another list in the place of the one before.
func (s *source) publish(list sorted.List) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.changed
	s.version++
	s.changed = make(chan struct{})
	s.state = State{list, "v" + strconv.Itoa(s.version), s.changed}
	close(before)
}

func (s *source) put(id int, text string) { s.publish(s.newest().Items.Put(item(id, text))) }

func (s *source) newest() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *source) ask(context.Context) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.state, s.failed
}

// follow has a client follow the source. end ends the stream, and returns when it has.
func (s *source) follow(feed *Feed, w http.ResponseWriter, f Follower) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	f.Newest = s.ask
	if f.Matches == nil {
		f.Matches = func(*sorted.Item) bool { return true }
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		feed.Follow(w, httptest.NewRequestWithContext(ctx, "GET", "/", nil), s.newest(), f)
	}()
	return func() { cancel(); <-ended }
}

func check(t *testing.T, c *client, want string) {
	t.Helper()
	if got := c.take(); got != want {
		t.Errorf("got  %.300s\nwant %.300s", got, want)
	}
}

func TestFollowing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newSource(1, 2), newClient()
		end := s.follow(NewFeed(), c, Follower{})
		check(t, c, `retry: 1000 | ready id: v0 data: {}`)
		for name, want := range map[string]string{"Content-Type": "text/event-stream", "X-Accel-Buffering": "no", "Cache-Control": "no-cache, no-transform"} {
			if got := c.header.Get(name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		s.put(2, "b")
		time.Sleep(2 * stepInterval)
		check(t, c, `change id: v1 data: {"put":[{"2":"b"}],"delete":[]}`)
		s.publish(s.newest().Items.Delete(1).Put(item(3, "c")).Put(item(4, "d")))
		time.Sleep(2 * stepInterval)
		check(t, c, `change id: v2 data: {"put":[{"3":"c"},{"4":"d"}],"delete":[1]}`)
		s.publish(s.newest().Items)
		time.Sleep(2 * stepInterval)
		check(t, c, ``)
		end()
		check(t, c, ``)
	})
}

// TestFastChangesAreOneStep: two lists within the interval, and one that is gone again.
func TestFastChangesAreOneStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newSource(1), newClient()
		end := s.follow(NewFeed(), c, Follower{})
		c.take()
		s.put(1, "b")
		time.Sleep(stepInterval)
		check(t, c, `change id: v1 data: {"put":[{"1":"b"}],"delete":[]}`)
		s.put(2, "c")
		s.put(1, "d")
		s.publish(s.newest().Items.Put(item(3, "e")).Delete(2))
		time.Sleep(stepInterval - time.Millisecond)
		check(t, c, ``)
		time.Sleep(time.Millisecond)
		check(t, c, `change id: v4 data: {"put":[{"1":"d"},{"3":"e"}],"delete":[]}`)
		end()
		for i, at := range c.writes[1:] {
			if got := at.Sub(c.writes[i]); got < stepInterval && i > 0 {
				t.Errorf("told a step %v after the one before, want %v at least", got, stepInterval)
			}
		}
	})
}

// TestSince: from the current version, an older one, and one that nobody knows. Whoever
// is cut off anywhere before reset goes on from the version that it has had.
func newOf(list sorted.List) *sorted.List { return &list }

func TestSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource(1)
		before := s.newest()
		s.put(2, "b")
		for _, test := range []struct {
			follower Follower
			want     string
		}{
			{Follower{Since: "v1", Before: newOf(s.newest().Items)}, `retry: 1000 | ready id: v1 data: {}`},
			{Follower{Since: "v0", Before: newOf(before.Items)}, `retry: 1000 | ready id: v0 data: {} | change id: v1 data: {"put":[{"2":"b"}],"delete":[]}`},
			{Follower{Since: "v\n\nevent: x"}, `retry: 1000 | ready data: {} | reset id: v1 data: {}`},
		} {
			c := newClient()
			end := s.follow(NewFeed(), c, test.follower)
			check(t, c, test.want)
			time.Sleep(stepInterval)
			s.publish(s.newest().Items.Put(item(1, test.want)))
			time.Sleep(stepInterval)
			if got, want := c.take(), fmt.Sprintf(`change id: %s data: {"put":[%s],"delete":[]}`, s.newest().Version, s.newest().Items.Get(1).JSON()); got != want {
				t.Errorf("after %s\ngot  %s\nwant %s", test.want, got, want)
			}
			s.publish(s.newest().Items.Put(item(1, "a")))
			s.state.Version = "v1"
			end()
		}
	})
}

// TestLargeStepIsReset: nobody holds one for each stream.
func TestLargeStepIsReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, odd := newSource(1), newClient(), newClient()
		feed := NewFeed()
		ends := []func(){s.follow(feed, c, Follower{}), s.follow(feed, odd, Follower{Matches: func(i *sorted.Item) bool { return i.ID == 1 }})}
		c.take()
		odd.take()
		var items []*sorted.Item
		for id := range 11_000 { // 140 kB of JSON
			items = append(items, item(id+1, "b"))
		}
		s.publish(sorted.NewList(items))
		time.Sleep(2 * stepInterval)
		check(t, c, `reset id: v1 data: {}`)
		check(t, odd, `change id: v1 data: {"put":[{"1":"b"}],"delete":[]}`)
		s.put(1, "c")
		time.Sleep(2 * stepInterval)
		check(t, c, `change id: v2 data: {"put":[{"1":"c"}],"delete":[]}`)
		check(t, odd, `change id: v2 data: {"put":[{"1":"c"}],"delete":[]}`)
		for _, end := range ends {
			end()
		}
	})
}

func TestCommentsKeepAStreamAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newSource(1), newClient()
		end := s.follow(NewFeed(), c, Follower{})
		c.take()
		time.Sleep(stepInterval) // after the first event, as after each
		time.Sleep(15*time.Second - 1)
		check(t, c, ``)
		time.Sleep(1)
		check(t, c, `: id: v0`)
		time.Sleep(30 * time.Second)
		check(t, c, `: id: v0 | : id: v0`)
		s.put(1, "b")
		time.Sleep(15 * time.Second)
		check(t, c, `change id: v1 data: {"put":[{"1":"b"}],"delete":[]}`)
		time.Sleep(2 * stepInterval)
		check(t, c, `: id: v1`)
		end()
	})
}

// TestClientThatDoesNotRead has 30 s for an event, and half a second once the stream is to
// end. Others are told meanwhile.
func TestClientThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, feed, fast := newSource(1), NewFeed(), newClient()
		endFast := s.follow(feed, fast, Follower{})
		stuck := func() (c *client, wait func()) {
			c = newClient()
			end := s.follow(feed, c, Follower{})
			c.take()
			c.mu.Lock()
			c.stuck = true
			c.mu.Unlock()
			return c, end
		}
		streams := func() int64 { synctest.Wait(); return feed.open.Load() }
		_, forget := stuck()
		fast.take()
		s.put(1, "b")
		start := time.Now()
		time.Sleep(2 * stepInterval)
		check(t, fast, `change id: v1 data: {"put":[{"1":"b"}],"delete":[]}`)
		time.Sleep(29*time.Second - 3*stepInterval)
		if got := streams(); got != 2 {
			t.Errorf("%d streams are open, want the stuck one still", got)
		}
		time.Sleep(time.Second + 3*stepInterval)
		if got := streams(); got != 1 {
			t.Errorf("%d streams are open after %v, want the one that reads", got, time.Since(start))
		}
		forget()

		_, end := stuck()
		s.put(1, "c")
		time.Sleep(2 * stepInterval)
		start = time.Now()
		end()
		if got := time.Since(start); got != lastWords {
			t.Errorf("a stuck stream ended after %v, want %v", got, lastWords)
		}
		start = time.Now()
		endFast()
		if got := time.Since(start); got != 0 {
			t.Errorf("a stream ended after %v, want at once", got)
		}
	})
}

// TestManyStreamsAskOnce, are told at different moments, and leave nothing behind.
func TestManyStreamsAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many, steps = 1000, 10
		s, feed := newSource(1), NewFeed()
		var clients []*client
		var ends []func()
		for range many {
			c := newClient()
			clients, ends = append(clients, c), append(ends, s.follow(feed, c, Follower{}))
		}
		time.Sleep(time.Second)
		at := map[time.Time]int{}
		for i := range steps {
			start := time.Now()
			s.put(1, fmt.Sprint("text ", i))
			time.Sleep(many * streamShare)
			synctest.Wait()
			for _, c := range clients {
				if told := c.writes[len(c.writes)-1]; len(c.writes) != i+3 || told.Before(start) {
					t.Fatalf("step %d: a stream has been told %d times", i, len(c.writes))
				}
				at[c.writes[len(c.writes)-1]]++
			}
			time.Sleep(time.Second)
		}
		for moment, n := range at {
			if n > many/10 {
				t.Errorf("%d streams were told at one moment, %v", n, moment)
			}
		}
		if s.asked != steps {
			t.Errorf("asked %d times for %d states", s.asked, steps)
		}
		for _, end := range ends {
			end()
		}
		if feed.newest.Changed != nil {
			t.Error("a list is kept though nobody follows")
		}
	})
}

// TestSourceFails: the streams end, and their clients come again.
func TestSourceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, feed := newSource(1), NewFeed()
		s.follow(feed, newClient(), Follower{})
		synctest.Wait()
		s.failed = errors.New("source: failed")
		s.put(1, "b")
		time.Sleep(2 * stepInterval)
		synctest.Wait()
		if got := feed.open.Load(); got != 0 {
			t.Errorf("%d streams are open", got)
		}
	})
}

// FuzzSince has clients come with every version: they go on from there if it is known, or
// else read the list again, and nothing that they send is among the events.
func FuzzSince(f *testing.F) {
	for _, since := range []string{"", "v0", "v1", "v9", "\n\nevent: change", "v1\r", strings.Repeat("v1", 5000)} {
		f.Add(since)
	}
	s := newSource(1)
	old := s.newest().Items
	s.put(2, "b")
	var history sorted.History
	history.Add("v0", old, s.newest().Items)
	history.Add("v1", s.newest().Items, s.newest().Items)
	const start, change = "retry: 1000\n\nevent: ready\n", "event: change\nid: v1\ndata: {\"put\":[{\"2\":\"b\"}],\"delete\":[]}\n\n"
	want := map[string]string{"": start + "id: v1\ndata: {}\n\n", "v1": start + "id: v1\ndata: {}\n\n", "v0": start + "id: v0\ndata: {}\n\n" + change}
	f.Fuzz(func(t *testing.T, since string) {
		before := history.Find(since)
		want, ok := want[since]
		if !ok {
			want = start + "data: {}\n\nevent: reset\nid: v1\ndata: {}\n\n"
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		c := newClient()
		c.enough = func(n int) {
			if n >= len(want) {
				cancel()
			}
		}
		all := func(*sorted.Item) bool { return true }
		NewFeed().Follow(c, httptest.NewRequestWithContext(ctx, "GET", "/", nil), s.newest(), Follower{Since: since, Before: before, Matches: all, Newest: s.ask})
		if got := c.got.String(); got != want {
			t.Errorf("%q: got %q, want %q", since, got, want)
		}
	})
}
