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

// compacting is what a Journal knows of the compaction that is under way, and of the
// last that failed.
//
// A compaction writes the temporary file on a goroutine of its own, which reports on
// compacted and ends. Until then the temporary file is that goroutine's; of the
// journal's file it only reads a part that does not change. From the report on all is
// the Journal's, which may start another such goroutine to carry over what was appended
// in the meantime.
type compacting struct {
	compacted chan Compaction // sent to by that goroutine, never closed; nil while there is none
	quit      chan struct{}   // closed by Close, so that the goroutine ends early

	retryAt   time.Time     // no attempt before
	retryWait time.Duration // from the last failure to retryAt
	trouble   string        // what was last told to have failed
}

// The time from one failed compaction to the next attempt begins with minRetryWait
// and doubles up to maxRetryWait: each attempt writes the whole catalogue.
const (
	minRetryWait = 10 * time.Second
	maxRetryWait = time.Hour
	never        = 100 * 365 * 24 * time.Hour
)

// A Compaction is a report of a compaction that is under way, for Finish.
type Compaction struct {
	temp *tempFile
	end  int64 // temp has all that is before it in the journal's file
	err  error
}

// Compact begins to replace the file by one with other entries, at least one, which
// make what all those that were appended so far have made. The entries are read on
// another goroutine. What is appended from now on is carried over. The caller must
// receive from Compacted and call Finish. begun is false if nothing was begun: one
// compaction is under way, the last has failed a short while ago, or it makes no sense.
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

// Compacted returns the channel on which the compaction that is under way reports. It
// is nil if there is none. Whatever was received is for Finish.
func (j *Journal) Compacted() <-chan Compaction { return j.compacted }

// Finish puts the new file in the place of the old one. If much was appended since,
// the compaction first goes on, and reports once more. Notify is told of the outcome,
// of the same failure only once. If it fails, the old file stays in force, unless
// Failed says otherwise.
func (j *Journal) Finish(c Compaction) {
	if c.err == nil && j.failed == nil && j.size-c.end > sectionSize {
		go func(compacted chan<- Compaction, f disk.File, end int64) {
			c.err = c.temp.copy(f, c.end, end)
			c.end = end
			compacted <- c
		}(j.compacted, j.file, j.size) // or an Append would have to wait for all that
		return
	}
	j.compacted = nil
	if j.failed != nil { // for another reason, which is known
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
	temp.File = nil // it is the journal's now
	if err := j.fs.SyncDir(filepath.Dir(j.path)); err != nil {
		return j.fail(err)
	}
	return nil
}

// explainCompaction decides what a compaction that has failed with err leads to, and
// tells it.
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

// isForGood reports whether a compaction that failed with err would always do so: the
// file is a mount point, as in a container, or another user's in a sticky folder, or
// this user may not write to the folder.
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

// A tempFile is a file that is being written, and will take another's place.
type tempFile struct {
	disk.File    // nil before it is created, and when it is another's
	fs           disk.System
	path         string
	size, synced int64
	quit         <-chan struct{} // closed when it is not wanted any more
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
	// A file system may make one sync wait for what others have left to write. So
	// that an Append never waits for a whole catalogue, it goes out piece by piece.
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

// copy appends what is in f from one offset to another, and syncs it.
func (t *tempFile) copy(f disk.File, from, to int64) error {
	if _, err := io.Copy(t, io.NewSectionReader(f, from, to-from)); err != nil {
		return err
	}
	return t.sync()
}

// discard closes and removes the file, if it is not another's by now.
func (t *tempFile) discard() {
	if t.File != nil {
		t.Close()
		t.fs.Remove(t.path)
	}
}
