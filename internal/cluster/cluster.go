// Package cluster keeps items in etcd, for several programs at once. It is a [store.Store].
//
// Each program has all items in memory, and follows what the others do through etcd's watch.
// Package layout says which keys there are, and what a commit does to them. This package
// decides which state is the newest, what has become of a commit, and when a reader may be
// told that the state here is current.
//
// The version of a state is the revision of etcd that has put it, and a hash of the name of its
// batch. Commits happen one after the other, and all programs learn of each in the same order.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"cars/internal/cluster/layout"
	"cars/internal/etcd"
	"cars/internal/journal"
	"cars/internal/ops"
	"cars/internal/sorted"
	"cars/internal/store"
)

// A Store keeps items in etcd.
//
// The goroutine in run has the newest state, and decides in which order things have
// happened. It never waits for etcd: other goroutines ask, and bring it the answers.
type Store struct {
	options Options
	client  *etcd.Client
	layout  *layout.Layout
	name    string             // of this program; the names of its batches and generations begin with it
	ctx     context.Context    // of all goroutines
	cancel  context.CancelFunc // called by run when it ends
	others  sync.WaitGroup     // goroutines beside run

	commits  chan store.Commit // the owner sends, run receives, Close closes; has room for the one commit under way
	confirms chan struct{}     // the owner sends, run receives; has room for the one confirmation under way
	events   chan store.Event  // run sends, the owner receives
	found    chan func()       // goroutines beside run send functions for run to call, with their results
	done     chan struct{}     // run closes

	// Only run's goroutine touches these.
	newest    layout.Snapshot
	heard     int64 // the highest revision of a state that etcd has named
	seen      int64 // the revision up to which the watch has brought everything
	outbox    []store.Event
	pending   *pending       // the commit under way; nil if there is none
	staged    *layout.Staged // a generation that was written and is not named yet, because of a conflict
	batches   int            // how many there were
	took      time.Duration  // how long this program's last commit took
	turn      *time.Timer    // fires when the commit under way may be sent
	wonAt     time.Time      // when this program has committed last
	beatenAt  time.Time      // when another program has
	question  *question      // the newest one, if it is not settled
	askedAt   time.Time
	follower  *layout.Follower   // makes states of what the watch brings
	reloading bool               // the state is being loaded, because the watch is not enough to know it
	restored  bool               // the state being loaded is older than the one here: from a backup
	unfollow  context.CancelFunc // ends the goroutine that watches
	followed  time.Time          // when that goroutine began
	unwatched bool               // an operator was told that the watch has ended
	cleanAt   time.Time          // when to look for leftovers; zero: no need
	cleaning  bool
	told      string // what an operator was told last
	closing   bool   // Close was called

	// Any goroutine may touch these.
	freshAt                                  atomic.Int64          // Unix time in ns at which the state was current
	failure                                  atomic.Pointer[error] // why nothing can be stored
	metrics                                  atomic.Pointer[metrics]
	conflicts, committed, confirmed, reloads atomic.Uint64
}

// Options say how etcd is used.
type Options struct {
	Etcd       etcd.Options
	Prefix     string                      // the beginning of all keys
	Initial    store.State                 // the state to put in if there is none
	Read       store.ReadItem              // reads an item
	Notify     func(notice journal.Notice) // called with what an operator should know
	LocalReads bool                        // reads need no confirmation
	times      *times                      // for tests
}

// times are how long things may take.
type times struct {
	retry     time.Duration // to reach etcd at the start
	patience  time.Duration // for an answer, while etcd answers
	impatient time.Duration // for an answer, after a request that etcd has not answered
	beat      time.Duration // between two questions whether the state is current, if no reader asks
	tick      time.Duration // between two looks whether something takes too long
	leftovers time.Duration // until generations that another program has left behind are deleted
}

var defaultTimes = times{retry: 30 * time.Second, patience: 5 * time.Second, impatient: 1500 * time.Millisecond,
	beat: time.Second, tick: 100 * time.Millisecond, leftovers: 10 * time.Second}

type metrics struct {
	writes, seconds *ops.Histogram
	requests        *ops.Counters
}

// Open connects to etcd, and returns the state that is there. If there is none, the first of
// the programs that open it puts in its initial state.
func Open(options Options) (*Store, store.State, error) {
	if options.times == nil {
		options.times = &defaultTimes
	}
	c := &Store{
		options:  options,
		name:     fmt.Sprintf("%016x", rand.Uint64()),
		commits:  make(chan store.Commit, 1),
		confirms: make(chan struct{}, 1),
		events:   make(chan store.Event, 8),
		found:    make(chan func()),
		done:     make(chan struct{}),
		unfollow: func() {},
		turn:     time.NewTimer(0),
		cleanAt:  time.Now().Add(options.times.leftovers / 2),
	}
	c.options.Etcd.Observe = func(member string, ok bool) {
		if m := c.metrics.Load(); m != nil {
			m.requests.Add(ops.Values{member, strconv.FormatBool(ok)})
		}
	}
	c.client = etcd.New(c.options.Etcd)
	c.layout = &layout.Layout{Client: c.client, Prefix: options.Prefix, Read: options.Read, Patience: options.times.patience}
	c.follower = c.layout.NewFollower(c.name)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	s, err := c.open()
	if err != nil {
		c.cancel()
		return nil, store.State{}, err
	}
	c.newest, c.heard, c.seen = s.Snapshot, s.Revision, s.Seen
	c.freshAt.Store(s.Asked.UnixNano())
	c.follow(0)
	go c.run()
	return c, c.newest.State, nil
}

// open loads the state, or makes one. If etcd does not answer, it tries again until times.retry
// is over.
func (c *Store) open() (layout.Loaded, error) {
	t := c.options.times
	deadline := time.Now().Add(t.retry)
	for first := true; ; first = false {
		s, err := c.layout.Load(c.ctx, sorted.List{}, t.impatient)
		if err == nil && s.Revision == 0 {
			batch := c.name + "-0"
			from := layout.Snapshot{Stored: layout.Value{Generation: batch}}
			err = c.layout.Commit(c.ctx, store.Commit{After: c.options.Initial}, batch, from, nil, t.patience).Err
			if err == nil || err == store.ErrConflict {
				continue // this program has made it, or another has
			}
		}
		var e *etcd.Error
		switch {
		case err == nil:
			return s, nil
		case !errors.As(err, &e), e.Final() && !e.Lost(), time.Now().After(deadline):
			return s, err
		case first:
			c.tell(slog.LevelWarn, fmt.Sprintf("etcd does not answer; it is tried for %s", t.retry), err)
		}
		time.Sleep(min(t.beat, 200*time.Millisecond))
	}
}

// Commit makes a commit durable: a majority of etcd's members have it on disk. The outcome is
// ErrConflict if another program was first. If the outcome stays unknown, the error says so,
// and does not tell the client to try again.
func (c *Store) Commit(commit store.Commit) { c.commits <- commit }

// Confirm asks etcd for the newest revision of the state. The event Confirmed follows when
// the watch has brought that state.
func (c *Store) Confirm() { c.confirms <- struct{}{} }

func (c *Store) Confirms() bool             { return !c.options.LocalReads }
func (c *Store) Events() <-chan store.Event { return c.events }
func (c *Store) Shared() bool               { return true }
func (c *Store) MaxWrites() int             { return etcd.MaxOps - 1 } // and the state

// Age returns how long ago the newest state is known to have been current.
func (c *Store) Age() time.Duration { return time.Since(time.Unix(0, c.freshAt.Load())) }

// Failed returns why nothing can be stored at present. With local reads it returns nil:
// they go on, so clients need not be sent to another server.
func (c *Store) Failed() error {
	if err := c.failure.Load(); err != nil && !c.options.LocalReads {
		return *err
	}
	return nil
}

// AddMetrics adds metrics of commits, of confirmations and of etcd's answers.
func (c *Store) AddMetrics(r *ops.Registry) {
	counter := func(name, help string, n *atomic.Uint64) {
		r.Counter(name, help, func() float64 { return float64(n.Load()) })
	}
	counter("cars_etcd_commits_total", "Batches that were committed.", &c.committed)
	counter("cars_etcd_conflicts_total", "Batches that were judged again because another server was first.", &c.conflicts)
	counter("cars_etcd_confirmations_total", "Times that the catalogue here was found to be current.", &c.confirmed)
	counter("cars_etcd_reloads_total", "Times that the whole catalogue was loaded anew.", &c.reloads)
	r.Gauge("cars_etcd_age_seconds", "Time since the catalogue here was known to be current.", func() float64 { return c.Age().Seconds() })
	c.metrics.Store(&metrics{
		requests: r.Counters("cars_etcd_requests_total", "Requests to etcd, and whether they were answered.", "member", "answered"),
		writes:   r.Histogram("cars_etcd_commit_writes", "Writes in a batch that was committed.", 1, 2, 4, 8, 16, 32, 64, 128),
		seconds:  r.Histogram("cars_etcd_commit_seconds", "Time that etcd took to commit a batch.", 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
	})
}

// Close ends the store when the last commit has ended.
func (c *Store) Close() error {
	close(c.commits)
	<-c.done
	c.others.Wait()
	c.client.Close()
	return nil
}
