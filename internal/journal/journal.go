// Package journal keeps what must not be lost in one file, to which it only ever
// appends. It knows lines and faults; what a line says is the caller's.
//
// # The file
//
// One line is one batch: a JSON object (an entry) with a checksum as its last
// member,
//
//	{"put":[…],"delete":[7],"crc":"9ae0daaf"}
//
// The checksum is CRC-32C (Castagnoli, RFC 3720, appendix B.4) in eight lower-case
// hexadecimal digits, over the line without its end and without the member crc
// and the comma before it. Who replays the entries from the first to the last has
// the state. A line without checksum was written by a person; blank lines, and
// space at the end of a line, are theirs, too. A copy of the file made at any
// moment is a file of the state at that moment, or of one just before.
//
// Beside the file lie: with .lock behind its name, an empty file that says by an
// operating system's lock that a process uses the journal, whichever file has its
// name just now; .tmp, while a file is being written that will take the journal's
// place; .broken, see below. Except on Windows the file is locked, too, for those who
// have it by another name.
//
// # What can happen, and what it leads to
//
//   - The last line is not JSON or not what its checksum says, as after a crash in
//     the middle of a write: a torn tail, which nobody was told is safe. Open moves
//     its bytes to the end of the file .broken and starts without them.
//   - The same in a line before the last, or a line that the caller refuses: Open
//     fails, names the line, and changes nothing.
//   - A write fails, or writes less than it should: Append cuts the file back to
//     where it was, and fails. If the disk was full that is [ErrFull]; the next
//     Append may succeed.
//   - A sync fails, or the cutting back does: what is on the disk is not certain any
//     more, and trying again would not make it so (the kernel may have dropped what
//     it could not write, and succeed the next time). Append fails, and so does
//     every one after it.
//   - The file is deleted, replaced or changed by others while it is in use: likewise.
//   - Compaction fails, or is cut short: the old file stays in force. Open removes
//     what is left of it.
package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// ErrFull is wrapped by the errors of an Append for which the disk had no room.
var ErrFull = errors.New("no room on the disk")

// A Journal is a file that is open for appending. Its methods may be called by
// any goroutine. They wait for the disk.
type Journal struct {
	// Synced, if not nil, is told how long each sync of an entry took. It is set before
	// the first.
	Synced func(time.Duration)

	fs   fileSystem
	name string // as it was given, for messages
	path string // where symbolic links lead, for all else
	lock io.Closer

	mu     sync.Mutex // guards what follows
	file   file       // nil after a compaction that has failed at its very end
	size   int64      // of file: where the next line goes
	failed error      // why nothing can be appended any more
	line   []byte

	// What Size and Failed return: they do not wait for a disk that hangs.
	sizeSeen   atomic.Int64
	failedSeen atomic.Bool

	compaction
}

// unlock unlocks mu, and lets others see what has become of the file.
func (j *Journal) unlock() {
	j.sizeSeen.Store(j.size)
	j.failedSeen.Store(j.failed != nil)
	j.mu.Unlock()
}

// Open opens the journal at path for this process alone, and creates it from the
// initial entries if it does not exist. Then it replays every entry: decode makes
// a value of one, on any goroutine, many at a time; apply receives the values in
// the order of the file. An entry is only valid during the call. checked tells
// that it has a correct checksum; without one it may be anything.
//
// Errors are sentences for the user that name the file.
func Open[T any](path string, initial iter.Seq[[]byte], decode func(entry []byte, checked bool) (T, error), apply func(T)) (*Journal, error) {
	return open(disk{}, path, initial, decode, apply)
}

func open[T any](fsys fileSystem, path string, initial iter.Seq[[]byte], decode func(entry []byte, checked bool) (T, error), apply func(T)) (*Journal, error) {
	path = filepath.Clean(path)
	j := &Journal{fs: fsys, name: path, path: fsys.resolve(path), compaction: compaction{quit: make(chan struct{})}}
	lock, err := fsys.lock(j.path + ".lock")
	if err != nil {
		return nil, j.explain("cannot be locked", err)
	}
	j.lock = lock
	if err := load(j, initial, decode, apply); err != nil {
		if j.file != nil {
			j.file.Close()
		}
		j.lock.Close()
		return nil, err
	}
	return j, nil
}

// load does what Open does once the journal is locked.
func load[T any](j *Journal, initial iter.Seq[[]byte], decode func(entry []byte, checked bool) (T, error), apply func(T)) error {
	if err := j.fs.remove(j.path + ".tmp"); err == nil {
		slog.Warn(fmt.Sprintf("Removed %s.tmp, which was left when writing it was cut short", j.name))
	}
	file, err := j.fs.open(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := j.create(initial); err != nil {
			return j.explain("cannot be created", err)
		}
		file, err = j.fs.open(j.path)
	}
	if err != nil {
		return j.explain("cannot be opened", err)
	}
	j.file = file
	size, err := j.fs.size(j.path, j.file)
	if err != nil {
		return j.explain("cannot be opened", err)
	}
	last, bad, err := replay(j.file, size, decode, apply)
	if err != nil {
		return j.explain("cannot be read", err)
	}
	if bad != nil && !bad.torn {
		return fmt.Errorf("journal: %s, line %d (offset %d): %w; nothing was changed: correct the line, or restore the file from a copy", j.name, bad.number, bad.start, bad.err)
	}
	j.mu.Lock()
	defer j.unlock()
	if err := j.repair(size, last, bad); err != nil {
		return j.explain("cannot be repaired", err)
	}
	return nil
}

// explain makes an error of the user's file of one of the operating system's.
func (j *Journal) explain(what string, err error) error {
	// Of the path in the error only the name matters: it may not be the one that was given.
	var inPath *fs.PathError
	var inLink *os.LinkError
	switch {
	case errors.As(err, &inLink):
		err = fmt.Errorf("%s: %w", filepath.Base(inLink.New), inLink.Err)
	case errors.As(err, &inPath) && filepath.Base(inPath.Path) != filepath.Base(j.path):
		err = fmt.Errorf("%s: %w", filepath.Base(inPath.Path), inPath.Err)
	case errors.As(err, &inPath):
		err = inPath.Err
	}
	advice := ""
	switch {
	case errors.Is(err, errLocked):
		return fmt.Errorf("journal: %s is in use by another process; stop that, or choose another file", j.name)
	case errors.Is(err, fs.ErrPermission), isReadOnly(err):
		advice = "; choose a folder that can be written to"
	case errors.Is(err, fs.ErrNotExist):
		advice = "; create its folder first"
	case isFull(err):
		advice = "; make room"
	}
	return fmt.Errorf("journal: %s %s: %w%s", j.name, what, err, advice)
}

// create writes a file with the entries, in such a way that it is there wholly or
// not at all. For its name to be durable the folder must still be synced.
func (j *Journal) create(entries iter.Seq[[]byte]) error {
	temp, err := j.writeTemp(entries)
	if err != nil {
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	return j.fs.rename(j.path+".tmp", j.path)
}

// repair brings the file of that size into the form in which lines can be
// appended to it: without the torn tail bad, if there is one, and with a newline
// at its end. What was replayed is on the disk then, too, and so is the file's name:
// a process that was killed may have left both in the operating system's memory.
func (j *Journal) repair(size, last int64, bad *badLine) error {
	j.size = size
	if bad != nil {
		if err := j.keepBroken(bad.start, size); err != nil {
			return fmt.Errorf("torn tail at offset %d cannot be kept in .broken: %w", bad.start, err)
		}
		slog.Warn(fmt.Sprintf("%s: dropped the last line, %d, which begins at offset %d and was cut off as by a crash: %v; its %d bytes are kept in %s.broken", j.name, bad.number, bad.start, bad.err, size-bad.start, j.name))
		if err := j.file.Truncate(bad.start); err != nil {
			return err
		}
		j.size = bad.start
	}
	// If a sync has failed in the process before this one, the last line may be in
	// memory as if it were on the disk, and is not. Written once more, it gets there.
	line := make([]byte, j.size-last, j.size-last+1)
	if n, err := j.file.ReadAt(line, last); n < len(line) {
		return err
	}
	if !bytes.HasSuffix(line, []byte{'\n'}) && j.size > 0 {
		line = append(line, '\n')
	}
	if _, err := j.file.WriteAt(line, last); err != nil {
		return err
	}
	j.size = last + int64(len(line))
	if err := j.file.Sync(); err != nil {
		return err
	}
	return j.fs.syncDir(filepath.Dir(j.path))
}

// keepBroken appends the bytes from start to end to the file .broken.
func (j *Journal) keepBroken(start, end int64) (err error) {
	broken, err := j.fs.create(j.path+".broken", j.file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broken.Close()) }()
	size, err := j.fs.size(j.path+".broken", broken)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.NewOffsetWriter(broken, size), io.NewSectionReader(j.file, start, end-start)); err != nil {
		return err
	}
	if err := broken.Sync(); err != nil {
		return err
	}
	return j.fs.syncDir(filepath.Dir(j.path))
}

// Append makes one entry durable, which is a JSON object with at least one
// member. When it returns nil, the entry is in the file even if the power fails;
// else, it is not, as far as can be known (see the package comment).
func (j *Journal) Append(entry []byte) error {
	j.mu.Lock()
	defer j.unlock()
	if j.failed != nil {
		return j.failed
	}
	if err := j.check(); err != nil {
		return j.fail(err)
	}
	j.line = appendLine(j.line[:0], entry)
	if _, err := j.file.WriteAt(j.line, j.size); err != nil {
		if cut := j.cut(); cut != nil {
			return j.fail(fmt.Errorf("after a failed write (%v), it cannot be cut back: %w", err, cut))
		}
		if isFull(err) {
			err = ErrFull
		}
		return fmt.Errorf("journal: %s: %w", j.name, err)
	}
	start := time.Now()
	err := j.file.Sync()
	if j.Synced != nil {
		j.Synced(time.Since(start))
	}
	if err != nil {
		j.cut() // so that a restart does not find what was refused, if it can be helped
		return j.fail(fmt.Errorf("sync: %w", err))
	}
	j.size += int64(len(j.line))
	if err := j.check(); err != nil {
		return j.fail(err)
	}
	const roomy = 1 << 20
	if cap(j.line) > roomy {
		j.line = nil // one large batch should not take memory forever
	}
	return nil
}

// cut takes off the file what a failed write has left at its end.
func (j *Journal) cut() error {
	if err := j.file.Truncate(j.size); err != nil {
		return err
	}
	return j.file.Sync() // or a power cut could leave a mix of it and of later lines
}

var errClosed = errors.New("journal: closed")

var errReplaced = errors.New("the file was deleted, replaced or changed by another program while in use")

// check makes certain that what is appended to file is what the next start will
// find.
func (j *Journal) check() error {
	size, err := j.fs.size(j.name, j.file) // through links, which may lead elsewhere by now
	if err == nil && size != j.size {
		err = errReplaced
	}
	return err
}

// fail refuses all further entries because of err.
func (j *Journal) fail(err error) error {
	j.failed = fmt.Errorf("journal: %s: %w; nothing more is written until the server is started anew", j.name, err)
	return j.failed
}

// Failed reports whether nothing can be appended any more.
func (j *Journal) Failed() bool { return j.failedSeen.Load() }

// Size returns the length of the file in bytes.
func (j *Journal) Size() int64 { return j.sizeSeen.Load() }

// Close ends a compaction if one is under way, and lets other processes use the
// file. Entries that come later are refused.
func (j *Journal) Close() error {
	j.mu.Lock()
	j.failed = errClosed // so no compaction can begin
	j.unlock()
	close(j.quit)
	j.background.Wait()
	j.mu.Lock()
	defer j.unlock()
	if j.file == nil {
		return j.lock.Close()
	}
	return errors.Join(j.file.Close(), j.lock.Close())
}

// castagnoli is the polynomial of CRC-32C, which CPUs have instructions for.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendLine appends the line of an entry to line.
func appendLine(line, entry []byte) []byte {
	line = append(line, entry[:len(entry)-len("}")]...)
	line = appendSum(append(line, `,"crc":"`...), entry)
	return append(line, "\"}\n"...)
}

// appendSum appends the checksum of an entry.
func appendSum(b, entry []byte) []byte {
	var sum [4]byte
	binary.BigEndian.PutUint32(sum[:], crc32.Checksum(entry, castagnoli))
	return hex.AppendEncode(b, sum[:])
}
