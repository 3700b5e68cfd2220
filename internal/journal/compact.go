package journal

import (
	"errors"
	"io"
	"iter"
	"log/slog"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"cars/internal/disk"
)

// compacting is the part of a Journal that is about the compaction under way, and about the
// last one that failed.
//
// A compaction writes the temporary file on a goroutine of its own, which reports on
// compacted and ends. Until then the goroutine owns the temporary file; of the journal's
// file it only reads a part that does not change. From the report on, the Journal owns
// both. It may start another such goroutine, to copy the lines that were appended
// meanwhile.
type compacting struct {
	compacted chan Compaction // sent to by that goroutine, never closed; nil while there is none
	quit      chan struct{}   // closed by Close, so that the goroutine ends early

	retryAt   time.Time     // when the next attempt may begin
	retryWait time.Duration // from the last failure to retryAt
	trouble   string        // the last failure that Notify was told of
}

// The time from one failed compaction to the next attempt begins with minRetryWait and
// doubles up to maxRetryWait, since each attempt writes the whole state.
const (
	minRetryWait = 10 * time.Second
	maxRetryWait = time.Hour
	never        = 100 * 365 * 24 * time.Hour
)

// A Compaction is a report of a compaction that is under way, for Finish.
type Compaction struct {
	temp *tempFile
	end  int64 // the offset in the journal's file up to which temp has everything
	err  error
}

// Compact begins to replace the file by one with other entries. They must yield the same
// state as all entries so far, and there must be at least one. They are read on another
// goroutine. What is appended from now on is copied to the new file. The caller must receive
// from Compacted and call Finish. begun is false if a compaction is under way, the last one
// failed a short while ago, or nothing can be written.
func (j *Journal) Compact(entries iter.Seq[[]byte]) (begun bool) {
	if j.options.ReadOnly || j.failed != nil || j.compacted != nil || time.Now().Before(j.retryAt) {
		return false
	}
	j.compacted = make(chan Compaction, 1)
	j.quit = make(chan struct{})
	c := Compaction{temp: &tempFile{fs: j.fs, path: j.path + ".tmp", quit: j.quit}, end: j.size}
	go func(compacted chan<- Compaction, like disk.File) {
		c.err = c.temp.write(entries, like)
		compacted <- c
	}(j.compacted, j.file)
	return true
}

// Compacted returns the channel on which the compaction under way reports, or nil if there
// is none. Call Finish with what it sends.
func (j *Journal) Compacted() <-chan Compaction { return j.compacted }

// Finish puts the new file in the place of the old one. If much was appended meanwhile, the
// compaction goes on first, and reports once more. Notify is called with the outcome, but
// only once with the same failure. After a failure the old file stays in force, unless
// Failed returns an error.
func (j *Journal) Finish(c Compaction) {
	if c.err == nil && j.failed == nil && j.size-c.end > sectionSize {
		go func(compacted chan<- Compaction, f disk.File, end int64) {
			c.err = c.temp.copy(f, c.end, end)
			c.end = end
			compacted <- c
		}(j.compacted, j.file, j.size) // copying here would make an Append wait
		return
	}
	j.compacted = nil
	if j.failed != nil { // Append has returned that failure
		c.temp.discard()
		return
	}
	from := j.size
	err := c.err
	if err == nil {
		err = c.temp.copy(j.file, c.end, j.size)
	}
	if err == nil {
		err = j.check()
	}
	if err == nil {
		err = j.takeOver(c.temp)
	}
	if err == nil {
		j.retryWait, j.trouble = 0, ""
		j.notify(slog.LevelInfo, "Compacted the file", "", slog.Int64("from", from), slog.Int64("to", j.size))
		return
	}
	c.temp.discard()
	j.explainCompaction(err)
}

// takeOver puts temp into the place of the journal's file.
func (j *Journal) takeOver(temp *tempFile) error {
	old := j.file
	now, err := j.fs.Replace(j.path, temp.File, old)
	j.file = now
	switch {
	case now == nil:
		return j.fail(err)
	case err != nil:
		return err
	}
	old.Close()
	j.size = temp.size
	temp.File = nil // the journal owns it
	if err := j.fs.SyncDir(filepath.Dir(j.path)); err != nil {
		return j.fail(err)
	}
	return nil
}

// explainCompaction decides when the next compaction may begin after one has failed with
// err, and calls Notify.
func (j *Journal) explainCompaction(err error) {
	if errors.Is(err, disk.ErrReplaced) {
		err = j.fail(err)
	}
	level, message, next := slog.LevelWarn, "The compaction failed; the old file stays in force", "never"
	if j.failed != nil {
		level, message = slog.LevelError, "The compaction failed, and with it the file"
	} else if j.retryWait = min(max(2*j.retryWait, minRetryWait), maxRetryWait); isForGood(err) {
		j.retryWait = never
	} else {
		next = "in " + j.retryWait.String()
	}
	j.retryAt = time.Now().Add(j.retryWait)
	if err.Error() != j.trouble {
		j.notify(level, message, "", slog.Any("error", err), slog.String("next", next))
	}
	j.trouble = err.Error()
}

// isForGood reports whether a compaction that failed with err would fail every time: the
// file is a mount point, as in a container, or belongs to another user in a sticky folder,
// or this user may not write to the folder.
func isForGood(err error) bool {
	return slices.ContainsFunc([]error{syscall.EBUSY, syscall.EXDEV, syscall.EPERM, syscall.EACCES, syscall.EROFS}, func(e error) bool { return errors.Is(err, e) })
}

// endCompaction ends the compaction that is under way, if there is one.
func (j *Journal) endCompaction() {
	if j.compacted == nil {
		return
	}
	close(j.quit)
	c := <-j.compacted
	j.compacted = nil
	c.temp.discard()
}

var (
	errQuit  = errors.New("journal: closed during a compaction")
	errEmpty = errors.New("there are no entries to write")
)

// A tempFile is a file that is being written, and will take the journal's place.
type tempFile struct {
	disk.File    // nil before it is created, and once the journal owns it
	fs           disk.System
	path         string
	size, synced int64
	quit         <-chan struct{} // closed when the file is no longer needed
}

// write creates the file, with the permissions of like, writes the entries to it and
// syncs it.
func (t *tempFile) write(entries iter.Seq[[]byte], like disk.File) (err error) {
	if t.File, err = t.fs.Create(t.path, like); err != nil {
		return err
	}
	if err := t.Truncate(0); err != nil {
		return err
	}
	var line []byte
	for entry := range entries {
		line = appendLine(line[:0], entry)
		if _, err := t.Write(line); err != nil {
			return err
		}
	}
	if t.size == 0 {
		return errEmpty
	}
	return t.sync()
}

// Write appends to the file.
func (t *tempFile) Write(b []byte) (int, error) {
	select {
	case <-t.quit:
		return 0, errQuit
	default:
	}
	n, err := t.WriteAt(b, t.size)
	t.size += int64(n)
	// A file system may make the sync of one file wait for what was written to another. With
	// a sync after every piece, an Append waits for one piece at most.
	const piece = 8 << 20
	if err == nil && t.size-t.synced >= piece {
		err = t.sync()
	}
	return n, err
}

func (t *tempFile) sync() error {
	t.synced = t.size
	return t.Sync()
}

// copy appends the bytes of f from offset from to offset to, and syncs the file.
func (t *tempFile) copy(f disk.File, from, to int64) error {
	if _, err := io.Copy(t, io.NewSectionReader(f, from, to-from)); err != nil {
		return err
	}
	return t.sync()
}

// discard closes and removes the file, unless the journal owns it.
func (t *tempFile) discard() {
	if t.File != nil {
		t.Close()
		t.fs.Remove(t.path)
	}
}
