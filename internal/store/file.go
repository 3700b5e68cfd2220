package store

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"cars/internal/journal"
	"cars/internal/ops"
	"cars/internal/rest"
)

// A File keeps items in a journal, in which each line says what a commit has changed. One
// goroutine owns the journal, and does all waiting for the disk.
type File struct {
	commits chan Commit // the owner sends, run receives, Close closes; has room for the one commit under way
	events  chan Event  // run sends, the owner receives; has room for the one outcome
	done    chan error  // run sends the result of closing the journal

	// The goroutine in run owns these.
	journal *journal.Journal
	state   State                // what replaying the journal yields
	live    int64                // size in bytes that the file would have after a compaction
	notify  func(journal.Notice) // tells an operator
	trouble string               // the last error that an operator was told of, while it lasts

	// Any goroutine may read these.
	size    atomic.Int64
	failure atomic.Pointer[error]
	batches *ops.Histogram // nil without metrics
	syncs   *ops.Histogram
}

// maxWrites is the most writes in a commit. From a few hundred on, a write's share of the
// sync is negligible. With more, the first write would wait for the last without gain.
const maxWrites = 1000

// FileOptions say how a file is opened.
type FileOptions struct {
	ReadOnly bool                        // neither lock the file nor write to it
	Initial  State                       // the state of a file that Open has to create
	Read     ReadItem                    // reads an item
	Notify   func(notice journal.Notice) // called by any goroutine with what an operator should know
	Progress func(lines int)             // called about once a second while loading, with the lines so far
}

// OpenFile opens the file at path and returns it with the state that it has. Errors are
// sentences for the user that name the file.
func OpenFile(path string, options FileOptions) (*File, State, error) {
	f := &File{
		commits: make(chan Commit, 1),
		events:  make(chan Event, 1),
		done:    make(chan error, 1),
		notify:  options.Notify,
	}
	var l loader
	l.read = options.Read
	l.progress = options.Progress
	j, err := journal.Open(path, journal.Options{ReadOnly: options.ReadOnly, Notify: options.Notify, Synced: f.synced}, lines(options.Initial), l.decode)
	if err != nil {
		return nil, State{}, err
	}
	f.journal, f.state = j, l.state()
	for item := range f.state.Items.All() {
		f.live += lineSize(item)
	}
	f.size.Store(j.Size())
	go f.run()
	return f, f.state, nil
}

func (f *File) Commit(c Commit)      { f.commits <- c }
func (f *File) Confirm()             {}
func (f *File) Confirms() bool       { return false }
func (f *File) Age() time.Duration   { return 0 }
func (f *File) MaxWrites() int       { return maxWrites }
func (f *File) Events() <-chan Event { return f.events }
func (f *File) Shared() bool         { return false }

func (f *File) Failed() error {
	if err := f.failure.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *File) AddMetrics(r *ops.Registry) {
	r.Gauge("cars_journal_bytes", "Size of the catalogue's file.", func() float64 { return float64(f.size.Load()) })
	f.batches = r.Histogram("cars_journal_batch_writes", "Writes in a batch that was made durable.", 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
	f.syncs = r.Histogram("cars_journal_sync_seconds", "Time that the disk took to make a batch durable.", 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
}

func (f *File) synced(d time.Duration) {
	if f.syncs != nil {
		f.syncs.Observe(d.Seconds())
	}
}

// Close lets other processes use the file.
func (f *File) Close() error {
	close(f.commits)
	return <-f.done
}

// run makes commits durable, one after the other.
func (f *File) run() {
	f.compactIfWorthwhile()
	for {
		select {
		case c, ok := <-f.commits:
			if !ok {
				f.done <- f.journal.Close()
				return
			}
			f.events <- Event{Kind: Committed, Err: f.commit(c)}
		case c := <-f.journal.Compacted():
			f.journal.Finish(c)
		}
		f.compactIfWorthwhile()
		f.size.Store(f.journal.Size())
		if err := f.journal.Failed(); err != nil && f.failure.Load() == nil {
			f.failure.Store(&err)
		}
	}
}

// commit appends the line of c, if it changes anything.
func (f *File) commit(c Commit) error {
	line, grown := encode(c.Before, c.After)
	if line != nil {
		err := f.append(line)
		if errors.Is(err, journal.ErrFull) && f.makeRoom() {
			err = f.append(line)
		}
		if err != nil {
			f.tell(err)
			return answer(err)
		}
		f.trouble = ""
	}
	f.state = c.After
	f.live += grown
	if f.batches != nil {
		f.batches.Observe(float64(c.Writes))
	}
	return nil
}

// append appends a line. The last room on a nearly full disk is kept for lines that only
// delete. Such a line is about a tenth as long as one that puts an item in, so there is
// room to delete most items, and then for a compaction.
func (f *File) append(line []byte) error {
	if bytes.HasPrefix(line, []byte(`{"put"`)) && f.journal.Room()-int64(len(line)) < f.live/4 {
		return fmt.Errorf("store: the room that is left is kept for deleting: %w", journal.ErrFull)
	}
	return f.journal.Append(line)
}

// tell tells an operator of err, unless it was the last error told: the log may be on the
// disk that is full.
func (f *File) tell(err error) {
	if err.Error() != f.trouble && f.notify != nil {
		f.notify(journal.Notice{Level: slog.LevelError, Message: "A change could not be stored", Attrs: []slog.Attr{slog.Any("error", err)}})
	}
	f.trouble = err.Error()
}

// answer returns the error for the client, with err as its cause.
func answer(err error) error {
	if errors.Is(err, journal.ErrFull) {
		return &rest.Error{Status: http.StatusInsufficientStorage, Message: "Nothing was changed: there is no room on the disk", Cause: err}
	}
	failed := &rest.Error{Status: http.StatusServiceUnavailable, Message: "Nothing was changed: the change could not be stored", Cause: err, RetryAfter: 1}
	if errors.Is(err, journal.ErrFailed) {
		failed.Message = "The change could not be stored, and nothing can be until the server is started anew; reading goes on"
		failed.RetryAfter = 0
	}
	return failed
}

// compactIfWorthwhile begins to compact a file that is more than twice as long as it would
// be afterwards, if it is longer than 1 MiB or longer than the room on the disk.
func (f *File) compactIfWorthwhile() {
	const long = 1 << 20
	if size := f.journal.Size(); size > 2*f.live {
		if room := f.journal.Room(); (size > long || size > room) && f.live < room {
			f.journal.Compact(lines(f.state))
		}
	}
}

// makeRoom waits for the compaction under way, or compacts a file that is more than twice as
// long as it would be afterwards. It reports whether that may have given back room.
func (f *File) makeRoom() bool {
	if f.journal.Compacted() == nil && (f.journal.Size() <= 2*f.live || f.live > f.journal.Room() || !f.journal.Compact(lines(f.state))) {
		return false
	}
	for f.journal.Compacted() != nil {
		f.journal.Finish(<-f.journal.Compacted())
	}
	return true
}
