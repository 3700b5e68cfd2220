// Package journal keeps data in one file, to which it only ever appends. It knows lines and
// faults. The caller knows what a line says.
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
// and the comma before it. Replaying all entries in order yields the state. A line
// without a checksum was written by a person; so were blank lines, and space at the
// end of a line. A copy of the file, made at any moment, has the state of that moment or
// of one just before.
//
// Beside the file lie up to three others, with these ends behind its name. The process that
// uses the journal holds the operating system's lock of .lock, an empty file. .tmp is a
// file that is being written, and will take the journal's place. .broken is described
// below. Except on Windows, the journal's file is locked, too, against processes that use
// it by another name.
//
// # Damage found by Open
//
// Each line was synced before the next was begun. So a crash can only have damaged
// the last one, and only in two ways: its end is missing, or blocks of it never reached
// the disk and read as zeros. All other lines were acknowledged.
//
//	what is found                                    what Open does
//	the last line has no newline, but is whole       adds the newline
//	the last line has no newline and its JSON        drops the line: a torn tail
//	ends too early, not counting zeros at the end
//	the last line is bad, and its part in some       drops the line: a torn tail
//	sector (512 bytes, aligned in the file) is
//	all zeros
//	zeros after the last line                        drops the zeros
//	any other bad line, the last one too             refuses
//	no good line before the torn tail                refuses: the first line was renamed into place
//	an empty file, or only blank lines               refuses: a person or program made it so
//	lines that end with CR alone, a byte order mark  refuses, and names it
//
// Before Open drops something, it appends that to the file .broken and syncs it. When
// Open refuses, the file stays as it is; the error names the line and the offset, and says
// what to do. A bad line is not JSON, does not match its checksum, or is refused by the
// caller.
//
// Some damage is not found: a changed byte in a line without a checksum, and whole lines
// that are missing. If a sector had the ends of several lines and reads as zeros, these
// lines look like one. If it is the last of the file, all of it is dropped as a torn tail.
//
// # Faults while in use
//
//	what fails                       what it leads to
//	a write, or it writes too little Append cuts the file back and fails. ErrFull if there was no room.
//	                                 The next Append may succeed.
//	a sync, or the cutting back      Append fails, and so does every one after it: ErrFailed. The kernel may have
//	                                 dropped what it could not write, and succeed the next time.
//	the file's size or identity is   Append fails, and so does every one after it: ErrFailed. It is looked at before
//	not what it should be            and after each write. A byte changed in place is not noticed until the next start.
//	a compaction, before the rename  The old file stays in force. The next attempt is some time later; where no
//	or in it                         file can be renamed to this path there is none.
//	the sync of the folder after     ErrFailed: a power cut may bring the old file back.
//	a compaction's rename
//	the process, at any point        Open removes what is left of a compaction.
package journal

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"time"

	"cars/internal/disk"
)

var (
	// ErrFull is wrapped by the error of an Append for which the disk had no room. A later
	// Append may succeed.
	ErrFull = errors.New("no room on the disk")
	// ErrFailed is wrapped by errors that are final: every further Append fails, until
	// the journal is opened anew.
	ErrFailed = errors.New("nothing more is written until the server is started anew")
)

// Options are the parameters of Open beside the path.
type Options struct {
	// ReadOnly opens the file without a lock and writes nothing at all: a torn tail stays
	// where it is and is not replayed, and a file that does not exist is an error.
	ReadOnly bool
	// Notify, if not nil, is called with events that no error reports, on the goroutine that
	// calls the Journal's methods.
	Notify func(Notice)
	// Synced, if not nil, is called with the time that each sync of an entry took.
	Synced func(time.Duration)
}

// A Notice is something for the log.
type Notice struct {
	Level   slog.Level
	Message string
	Attrs   []slog.Attr // "file" is the first
}

// A Journal is a file that is open for appending. It belongs to one goroutine: no two
// of its methods may be called at once. Its methods wait for the disk.
type Journal struct {
	options Options
	fs      disk.System
	name    string    // the path as it was given, for messages
	path    string    // the path that symbolic links lead to, for all else
	lock    io.Closer // nil if read-only, or closed

	file   disk.File // nil if read-only, closed, or lost in a compaction on Windows
	size   int64     // of file: where the next line goes
	failed error     // why nothing can be appended any more
	line   []byte

	compacting
}

// Append makes one entry durable, a JSON object with at least one member. If it returns
// nil, the entry stays in the file even if the power fails. If it returns an error, the
// entry is not in the file, as far as that is known (see the package comment).
func (j *Journal) Append(entry []byte) error {
	if j.options.ReadOnly {
		return fmt.Errorf("journal: %s is open for reading only", j.name)
	}
	if j.failed != nil {
		return j.failed
	}
	if err := j.check(); err != nil {
		return j.refuse(err)
	}
	j.line = appendLine(j.line[:0], entry)
	if _, err := j.file.WriteAt(j.line, j.size); err != nil {
		if cut := j.cut(); cut != nil {
			return j.fail(fmt.Errorf("after a failed write (%v), it cannot be cut back: %w", err, cut))
		}
		return j.refuse(err)
	}
	start := time.Now()
	err := j.file.Sync()
	if j.options.Synced != nil {
		j.options.Synced(time.Since(start))
	}
	if err != nil {
		j.cut() // if possible, so that a restart does not find the entry that is refused here
		return j.fail(fmt.Errorf("sync: %w", err))
	}
	j.size += int64(len(j.line))
	if err := j.check(); err != nil {
		return j.fail(err)
	}
	const roomy = 1 << 20
	if cap(j.line) > roomy {
		j.line = nil // so that one large entry does not take memory forever
	}
	return nil
}

// cut removes the rest of a failed write from the end of the file.
func (j *Journal) cut() error {
	if err := j.file.Truncate(j.size); err != nil {
		return err
	}
	return j.file.Sync() // otherwise a power cut could leave a mix of that and of later lines
}

// check returns disk.ErrReplaced if the file at the journal's path is another or has another
// size: the next start would not find what is appended to j.file. Other errors are the
// operating system's.
func (j *Journal) check() error {
	size, err := j.fs.Size(j.name, j.file) // through links, which may lead elsewhere by now
	if err == nil && size != j.size {
		err = disk.ErrReplaced
	}
	return err
}

// refuse returns the error for an entry that was not written because of err.
func (j *Journal) refuse(err error) error {
	if errors.Is(err, disk.ErrReplaced) {
		return j.fail(err)
	}
	if disk.IsFull(err) {
		err = ErrFull
	}
	return fmt.Errorf("journal: %s: %w", j.name, err)
}

// fail refuses all further entries because of err.
func (j *Journal) fail(err error) error {
	j.failed = fmt.Errorf("journal: %s: %w; %w", j.name, err, ErrFailed)
	return j.failed
}

// Failed returns why nothing can be appended any more, or nil. The error wraps
// ErrFailed.
func (j *Journal) Failed() error { return j.failed }

// Size returns the length of the file in bytes.
func (j *Journal) Size() int64 { return j.size }

// Room returns how many bytes the file's disk has room for, or the largest int64 where
// that is unknown.
func (j *Journal) Room() int64 { return j.fs.Room(j.path) }

// Close ends the compaction that is under way, if there is one, and waits for its end.
// Then other processes may use the file. Later calls of Append return an error.
func (j *Journal) Close() error {
	j.endCompaction()
	if j.failed == nil {
		j.failed = fmt.Errorf("journal: %s: closed; %w", j.name, ErrFailed)
	}
	var errs []error
	if j.file != nil {
		errs = append(errs, j.file.Close())
		j.file = nil
	}
	if j.lock != nil {
		errs = append(errs, j.lock.Close())
		j.lock = nil
	}
	return errors.Join(errs...)
}

// notify calls Options.Notify about the file whose name is the journal's with suffix.
func (j *Journal) notify(level slog.Level, message, suffix string, attrs ...slog.Attr) {
	if j.options.Notify != nil {
		attrs = append([]slog.Attr{slog.String("file", j.name+suffix)}, attrs...)
		j.options.Notify(Notice{level, message, attrs})
	}
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
