package journal

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"path/filepath"
	"sync"
)

// A compaction is what a Journal knows of the one that is under way, or failed.
type compaction struct {
	compacting bool           // guarded by mu, like the next
	retryAt    int64          // size below which another attempt would fail like the last
	quit       chan struct{}  // closed when the journal is
	background sync.WaitGroup // the goroutine that compacts
}

// Compact replaces the file by one with other entries, which make what all those
// that were appended so far have made. It returns at once. The entries are read by
// another goroutine; what is appended before that has ended is carried over. While
// one compaction is under way, or soon after one has failed, Compact does nothing.
func (j *Journal) Compact(entries iter.Seq[[]byte]) {
	j.mu.Lock()
	defer j.unlock()
	if j.failed != nil || j.compacting || j.size < j.retryAt {
		return
	}
	j.compacting = true
	from := j.size
	j.background.Go(func() {
		err := j.rewrite(entries, from)
		j.mu.Lock()
		defer j.unlock()
		j.compacting = false
		switch {
		case err == nil:
			slog.Info(fmt.Sprintf("Compacted %s to %d bytes", j.name, j.size))
		case errors.Is(err, errClosed):
		case j.failed != nil:
			slog.Error(j.failed.Error())
		default:
			j.retryAt = j.size + j.size/4
			slog.Warn(fmt.Sprintf("%v; the old file stays in force", j.explain("cannot be compacted", err)))
		}
	})
}

// rewrite writes the entries, and all that was appended after offset from, into a
// file that takes the place of the journal's.
func (j *Journal) rewrite(entries iter.Seq[[]byte], from int64) error {
	temp, err := j.writeTemp(entries)
	if err != nil {
		return err
	}
	var replaced file
	defer func() { // when appending goes on: giving back the space of a long file takes time
		if replaced != nil {
			replaced.Close()
		}
	}()
	// Appending must wait only for the very end, so most is copied before.
	for j.Size()-from > sectionSize && err == nil {
		to := j.Size()
		err = temp.copy(j.file, from, to)
		from = to
	}
	if err == nil {
		j.mu.Lock()
		defer j.unlock()
		err = temp.copy(j.file, from, j.size)
	}
	if closed := temp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = j.check()
	}
	if err != nil {
		j.fs.remove(j.path + ".tmp")
		return err
	}
	replaced, err = j.takeOver(temp.size)
	return err
}

// takeOver puts the temporary file, which has that size, into the place of the
// journal's, and returns that if it is still open. It is called with mu locked.
func (j *Journal) takeOver(size int64) (replaced file, err error) {
	if replacesOpenFiles {
		replaced = j.file
	} else {
		j.file.Close() // it has been synced
	}
	j.file = nil
	renamed := j.fs.rename(j.path+".tmp", j.path)
	if renamed == nil {
		j.size = size
		if err := j.fs.syncDir(filepath.Dir(j.path)); err != nil {
			// A power cut may bring the old file back, and nobody could tell.
			return replaced, j.fail(err)
		}
	} else {
		j.fs.remove(j.path + ".tmp")
	}
	file, err := j.fs.open(j.path)
	if err != nil {
		return replaced, j.fail(errors.Join(renamed, err))
	}
	j.file = file
	return replaced, renamed
}

// A tempFile is a file that is being written, and will take another's place.
type tempFile struct {
	file
	size, synced int64
	quit         <-chan struct{}
}

// writeTemp writes the entries to a new file, and syncs it.
func (j *Journal) writeTemp(entries iter.Seq[[]byte]) (temp *tempFile, err error) {
	f, err := j.fs.create(j.path+".tmp", j.file)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
			j.fs.remove(j.path + ".tmp")
		}
	}()
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	temp = &tempFile{file: f, quit: j.quit}
	var line []byte
	for entry := range entries {
		line = appendLine(line[:0], entry)
		if _, err := temp.Write(line); err != nil {
			return nil, err
		}
	}
	return temp, temp.sync()
}

// Write appends to the file.
func (t *tempFile) Write(b []byte) (int, error) {
	select {
	case <-t.quit:
		return 0, errClosed
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
func (t *tempFile) copy(f file, from, to int64) error {
	if _, err := io.Copy(t, io.NewSectionReader(f, from, to-from)); err != nil {
		return err
	}
	return t.sync()
}
