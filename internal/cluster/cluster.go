// Package cluster keeps items in etcd, for several programs at once. It is a [store.Store].
//
// Each program has all items in memory, and follows what the others do. The keys are
//
//	PREFIX/state                              {"batch":"5f3a…-17","nextId":34,"generation":"5f3a…-2"}
//	PREFIX/GENERATION/base/0000000000000001   a pack: many items, each on a line, from this ID on
//	PREFIX/GENERATION/item/0000000000000007   one item, by its ID; null if it was deleted
//	PREFIX/writing/GENERATION                 a marker: this generation is being written
//
// The state names the generation that is in use. An item's own key counts, and not its line
// in a pack.
//
// A commit is one transaction. It changes the keys of single items, and puts the state anew.
// It compares the revision of etcd that has put the state last. So of two programs that
// commit at the same time, one succeeds, and the other learns of a conflict. The
// revision is the version of the whole.
//
// Changes that are too large for one transaction make a new generation. Its packs are
// written first, and nobody sees them. Then one transaction names it in the state.
// While a generation is written, it has a marker with a lease. Each transaction that writes
// a pack compares the marker, and the one that names the generation deletes it, so a request
// that comes late cannot change a generation in use. If the program dies, the lease ends,
// the marker goes with it, and another program deletes the packs.
//
// An answer of etcd may be lost. The client then asks again, and the comparison
// fails if the first request was carried out. The name of the batch in the state tells
// whose commit it was.
package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
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

// A Store keeps items in etcd.
//
// The goroutine in run has the newest state, and decides in which order things have
// happened. It never waits for etcd: other goroutines ask, and bring it the answers.
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

	// Only run's goroutine touches these.
	snapshot        // the newest state
	heard     int64 // the highest revision of a state that etcd has told of
	seen      int64 // up to which the watch has brought everything
	outbox    []store.Event
	pending   *pending // the commit under way; nil if there is none
	staged    *staged  // a generation that was written and is not named yet, because of a conflict
	batches   int      // how many there were
	took      time.Duration
	turn      *time.Timer // fires when the commit under way may be sent
	wonAt     time.Time   // when this program has committed last; took is how long that took
	beatenAt  time.Time   // when another has
	questions []question  // that are answered, and wait for the watch
	asking    int         // questions without an answer
	askedAt   time.Time
	writing   map[string]*sorted.Builder // generations of others, if all their packs were seen
	reloading bool                       // the state is being loaded, because what was watched does not suffice
	restored  bool                       // and it is older than the one here: from a backup
	unfollow  context.CancelFunc         // ends the goroutine that watches
	followed  time.Time                  // when that goroutine began
	unwatched bool                       // an operator was told that the watch has ended
	cleanAt   time.Time                  // when to look for leftovers; zero: no need
	cleaning  bool
	told      string // what an operator was told last
	closing   bool

	// Any goroutine may touch these.
	freshAt                                  atomic.Int64          // Unix time in ns at which the state was current
	failure                                  atomic.Pointer[error] // why nothing can be stored
	metrics                                  atomic.Pointer[metrics]
	conflicts, committed, confirmed, reloads atomic.Uint64
}

// Options say how etcd is used.
type Options struct {
	Etcd       etcd.Options
	Prefix     string                      // with which all keys begin
	Initial    store.State                 // is put in if there is no state
	Read       store.ReadItem              // reads an item
	Notify     func(notice journal.Notice) // is told what an operator should know
	LocalReads bool                        // reads need no confirmation
	times      *times                      // for tests
}

// times are how long things may take.
type times struct {
	retry     time.Duration // to reach etcd at the start
	patience  time.Duration // for an answer, while etcd answers
	impatient time.Duration // for an answer, once etcd has not answered
	beat      time.Duration // between two questions whether the state is current, if nobody asks
	tick      time.Duration // between two looks at what takes too long
	leftovers time.Duration // until what another program has left behind is deleted
}

var defaultTimes = times{retry: 30 * time.Second, patience: 5 * time.Second, impatient: 1500 * time.Millisecond,
	beat: time.Second, tick: 100 * time.Millisecond, leftovers: 10 * time.Second}

type metrics struct {
	writes, seconds *ops.Histogram
	requests        *ops.Counters
}

// Open connects to etcd, and returns the state that is there. If there is none, the initial
// state of one program is put in, whichever is first.
func Open(options Options) (*Store, store.State, error) {
	if options.times == nil {
		options.times = &defaultTimes
	}
	c := &Store{
		options:  options,
		keys:     keys(options.Prefix + "/"),
		name:     fmt.Sprintf("%016x", rand.Uint64()),
		commits:  make(chan store.Commit, 1),
		confirms: make(chan struct{}, 1),
		events:   make(chan store.Event, 8),
		found:    make(chan func()),
		done:     make(chan struct{}),
		writing:  make(map[string]*sorted.Builder),
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
	c.ctx, c.cancel = context.WithCancel(context.Background())
	s, err := c.open()
	if err != nil {
		c.cancel()
		return nil, store.State{}, err
	}
	c.snapshot, c.heard, c.seen = s.snapshot, s.revision, s.seen
	c.freshAt.Store(s.asked.UnixNano())
	c.follow(0)
	go c.run()
	return c, c.state, nil
}

// Commit makes a commit durable: a majority of etcd's members have it on disk. It is
// ErrConflict if another program was first. If the outcome stays unknown, the error
// says so, and does not tell the client to try again.
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

// AddMetrics adds what happens to commits and confirmations, and how etcd answers.
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
