// Package cluster keeps items in etcd, for as many programs as there are. It is a store.Store.
package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"cars/internal/etcd"
	"cars/internal/journal"
	"cars/internal/ops"
	"cars/internal/sorted"
	"cars/internal/store"
)

// A Cluster keeps items in etcd, for as many programs as there are. Each has all of them
// in memory, and follows what the others do.
//
// One key, the state, stands for all: every commit compares the revision that has changed
// the state last, and puts the state anew, in the same transaction as the items. That
// revision is the version of the whole, and commits happen one after the other. The keys
// are
//
//	PREFIX/state                     {"batch":"5f3a…-17","nextId":34,"generation":"5f3a…-2"}
//	PREFIX/GENERATION/0000000000000007   an item, by its ID, in JSON
//	PREFIX/writing/GENERATION        with a lease: a generation that is being written
//
// What is too large for one transaction is written as another generation, which nobody sees
// until the state names it.
//
// One goroutine, in run, has the newest state and decides the order of events. It waits for
// nothing: other goroutines ask etcd and bring it the answers.
type Store struct {
	options Options
	client  *etcd.Client
	keys    keys
	name    string             // of this program; its batches and generations begin with it
	ctx     context.Context    // of all goroutines
	cancel  context.CancelFunc // called by run when it ends
	others  sync.WaitGroup     // goroutines beside run

	commits  chan store.Commit // the owner sends, run receives, Close closes; has room for the one commit under way
	confirms chan struct{}     // the owner sends, run receives; has room for the one confirmation under way
	events   chan store.Event  // run sends, the owner receives
	found    chan func()       // goroutines beside run send what run is to do with what they have found
	done     chan struct{}     // run closes

	// Of the goroutine in run.
	state     store.State
	stored    value                      // what stands in etcd at the state's key
	revision  int64                      // that put it there
	heard     int64                      // the highest revision of a state that etcd has told of
	seen      int64                      // up to which the watch has brought everything
	writing   map[string]*sorted.Builder // generations that others write, if all of them was seen
	reloading bool                       // the state is to be loaded: what the watch brought did not suffice
	follower  *follower                  // the goroutine that watches
	outbox    []store.Event              // for the owner, who may be busy
	pending   *pending                   // the commit under way; nil if there is none
	staged    *staged                    // a generation that waits for its commit
	batches   int                        // how many there were
	took      time.Duration              // by the last transaction
	turn      *time.Timer                // fires when the commit under way may be sent
	wonAt     time.Time                  // when this program has committed last
	beatenAt  time.Time                  // when another has
	questions []question                 // that are answered, and wait for the watch
	asking    int                        // questions without an answer
	askedAt   time.Time
	cleanAt   time.Time // when to look for leftovers; zero: no need
	cleaning  bool
	told      string // what an operator was told last
	closing   bool

	// For other goroutines.
	freshAt   atomic.Int64          // Unix time in ns at which the state was current
	failure   atomic.Pointer[error] // why nothing can be stored
	metrics   atomic.Pointer[metrics]
	conflicts atomic.Uint64
	committed atomic.Uint64
	confirmed atomic.Uint64
	reloads   atomic.Uint64
}

// Options say how etcd is used.
type Options struct {
	Etcd       etcd.Options
	Prefix     string                      // with which all keys begin
	Initial    store.State                 // what a prefix without a state gets
	Read       store.ReadItem              // reads an item
	Notify     func(notice journal.Notice) // is told what an operator should know
	LocalReads bool                        // reads need no confirmation
	Retry      time.Duration               // how long to try at the start; 0: 30 s
	times      *times                      // for tests
}

// times are how long things may take.
type times struct {
	patience  time.Duration // for etcd to answer, while it does
	impatient time.Duration // for etcd to answer, once it has not
	beat      time.Duration // between two questions whether the state is current, if nobody asks
	tick      time.Duration // between two looks at what takes too long
	leftovers time.Duration // until what another has left behind is deleted
}

var defaultTimes = times{patience: 5 * time.Second, impatient: 1500 * time.Millisecond, beat: time.Second, tick: 100 * time.Millisecond, leftovers: 10 * time.Second}

type metrics struct {
	writes, seconds *ops.Histogram
	requests        *ops.Counters
}

// Open connects to etcd and returns what is there. If there is nothing, one
// of all programs that try puts in the initial state.
func Open(options Options) (*Store, store.State, error) {
	if options.times == nil {
		options.times = &defaultTimes
	}
	if options.Retry == 0 {
		options.Retry = 30 * time.Second
	}
	random := make([]byte, 8)
	rand.Read(random)
	c := &Store{
		options:  options,
		keys:     keys(options.Prefix),
		name:     hex.EncodeToString(random),
		commits:  make(chan store.Commit, 1),
		confirms: make(chan struct{}, 1),
		events:   make(chan store.Event, 8),
		found:    make(chan func()),
		done:     make(chan struct{}),
		writing:  make(map[string]*sorted.Builder),
		turn:     time.NewTimer(0),
	}
	c.options.Etcd.Observe = c.observe
	c.client = etcd.New(c.options.Etcd)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	s, err := c.open()
	if err != nil {
		c.cancel()
		return nil, store.State{}, err
	}
	c.state, c.stored, c.revision, c.heard, c.seen = s.state, s.stored, s.revision, s.revision, s.seen
	c.freshAt.Store(s.asked.UnixNano())
	c.cleanAt = time.Now().Add(c.options.times.leftovers / 2)
	c.follow(false)
	go c.run()
	return c, c.state, nil
}

// open loads the state, or makes one, and tries for a while to do that.
func (c *Store) open() (*snapshot, error) {
	deadline := time.Now().Add(c.options.Retry)
	for first := true; ; first = false {
		s, err := c.load(c.ctx, sorted.List{}, c.options.times.impatient)
		if err == nil && s.revision == 0 {
			name := c.name + "-0"
			o := c.transact(store.Commit{After: c.options.Initial}, name, value{Generation: name}, 0, nil, c.options.times.patience)
			if err = o.err; err == nil {
				continue // this program has made it, or another
			}
		}
		var e *etcd.Error
		switch {
		case err == nil:
			return s, nil
		case errors.As(err, &e) && e.Final() && !e.Lost(), time.Now().After(deadline), !errors.As(err, &e):
			return nil, err
		case first:
			c.tell(slog.LevelWarn, fmt.Sprintf("etcd does not answer; it is tried for %s", c.options.Retry), err)
		}
		time.Sleep(min(c.options.times.beat, 200*time.Millisecond))
	}
}

func (c *Store) Commit(commit store.Commit) { c.commits <- commit }
func (c *Store) Confirm()                   { c.confirms <- struct{}{} }
func (c *Store) Confirms() bool             { return !c.options.LocalReads }
func (c *Store) Events() <-chan store.Event { return c.events }
func (c *Store) Shared() bool               { return true }
func (c *Store) MaxWrites() int             { return etcd.MaxOps - 1 } // and the state

// Age returns how long ago the newest state is known to have been current.
func (c *Store) Age() time.Duration { return time.Since(time.Unix(0, c.freshAt.Load())) }

// Failed returns why nothing can be stored at present. Local reads go on meanwhile, so that
// they are no reason to send clients to another server.
func (c *Store) Failed() error {
	if err := c.failure.Load(); err != nil && !c.options.LocalReads {
		return *err
	}
	return nil
}

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

func (c *Store) observe(member string, ok bool) {
	if m := c.metrics.Load(); m != nil {
		m.requests.Add(ops.Values{member, strconv.FormatBool(ok)})
	}
}

// Close ends the store when the last commit has ended.
func (c *Store) Close() error {
	close(c.commits)
	<-c.done
	c.others.Wait()
	c.client.Close()
	return nil
}

// run has the newest state.
func (c *Store) run() {
	defer close(c.done)
	defer c.cancel()
	tick := time.NewTicker(c.options.times.tick)
	defer tick.Stop()
	for !c.closing || c.pending != nil {
		events, next := c.next()
		select {
		case events <- next:
			c.outbox = c.outbox[1:]
		case commit, ok := <-c.commits:
			c.begin(commit, ok)
		case <-c.turn.C: // settle sends
		case <-c.confirms:
			c.ask(true)
		case f := <-c.found:
			f()
		case <-tick.C:
			c.tick()
		}
		c.settle()
	}
	for _, e := range c.outbox { // the owner may have ended
		select {
		case c.events <- e:
		default:
		}
	}
}

// next is the owner's channel and the event to send, if there is one.
func (c *Store) next() (chan<- store.Event, store.Event) {
	if len(c.outbox) == 0 {
		return nil, store.Event{}
	}
	return c.events, c.outbox[0]
}

func (c *Store) report(e store.Event) { c.outbox = append(c.outbox, e) }

// find has run do what f returns. f itself is called beside run, and may wait.
func (c *Store) find(f func() func()) {
	c.others.Go(func() { c.tellRun(c.ctx, f()) })
}

// tellRun has run do f, unless ctx is done first.
func (c *Store) tellRun(ctx context.Context, f func()) {
	select {
	case c.found <- f:
	case <-ctx.Done():
	}
}

// patience is how long etcd may take to answer. While it is known not to answer, nobody
// waits for long.
func (c *Store) patience() time.Duration {
	if c.failure.Load() != nil {
		return c.options.times.impatient
	}
	return c.options.times.patience
}

// tick looks for what takes too long, and asks whether the state is current if nobody has
// for a while: that finds out that there is no quorum any more, or again.
func (c *Store) tick() {
	now := time.Now()
	if c.asking == 0 && len(c.questions) == 0 && now.Sub(c.askedAt) >= c.options.times.beat {
		c.ask(false)
	}
	if !c.cleaning && !c.cleanAt.IsZero() && now.After(c.cleanAt) {
		c.cleaning, c.cleanAt = true, time.Time{}
		c.find(func() func() {
			err := c.clean()
			return func() {
				if c.cleaning = false; err != nil {
					c.cleanSoon(c.options.times.leftovers)
				}
			}
		})
	}
}

// cleanSoon has somebody's leftovers deleted in a while, if nobody else does that.
func (c *Store) cleanSoon(after time.Duration) {
	if at := time.Now().Add(after); c.cleanAt.IsZero() || at.Before(c.cleanAt) {
		c.cleanAt = at
	}
}

// fine notes that etcd answers, and that the state was current at an instant.
func (c *Store) fine(at time.Time) {
	c.freshAt.Store(max(c.freshAt.Load(), at.UnixNano()))
	if c.failure.Swap(nil) != nil {
		c.tell(slog.LevelInfo, "etcd answers again", nil)
	}
	c.told = ""
}

// fail notes that nothing can be stored at present.
func (c *Store) fail(err error) {
	if c.ctx.Err() != nil {
		return
	}
	if c.failure.Swap(&err) == nil {
		c.tell(slog.LevelError, "etcd does not answer; it is tried again", err)
	}
}

// tell tells an operator something, unless it was the last thing told.
func (c *Store) tell(level slog.Level, message string, err error) {
	text := message
	attrs := []slog.Attr{slog.String("prefix", c.options.Prefix)}
	if err != nil {
		text += err.Error()
		attrs = append(attrs, slog.Any("error", err))
	}
	if text != c.told && c.options.Notify != nil {
		c.options.Notify(journal.Notice{Level: level, Message: message, Attrs: attrs})
	}
	c.told = text
}
