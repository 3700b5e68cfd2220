package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"

	"cars/internal/disk"
)

// A decoder returns a function that does what the entry says. The entry is valid only
// during the call of decoder. checked says that the line had a correct checksum. If it had
// none, the entry may be anything.
type decoder = func(entry []byte, checked bool) (apply func(), err error)

// Open opens the journal at path for this process alone. If it does not exist, Open creates
// it from the initial entries, of which there must be at least one. Then it replays every
// entry. It calls decode on several goroutines at once. It calls the functions that decode
// returns on its own goroutine, in the order of the file.
//
// Errors are sentences for the user that name the file.
func Open(path string, options Options, initial iter.Seq[[]byte], decode func(entry []byte, checked bool) (apply func(), err error)) (*Journal, error) {
	return open(disk.OS{}, path, options, initial, decode)
}

func open(fsys disk.System, path string, options Options, initial iter.Seq[[]byte], decode decoder) (*Journal, error) {
	path = filepath.Clean(path)
	j := &Journal{options: options, fs: fsys, name: path, path: disk.Resolve(path)}
	load := func() error { return j.load(initial, decode) }
	if options.ReadOnly {
		load = func() error { return j.read(decode) }
	}
	if err := load(); err != nil {
		j.Close()
		return nil, err
	}
	return j, nil
}

// load opens the file to append to it.
func (j *Journal) load(initial iter.Seq[[]byte], decode decoder) (err error) {
	if j.lock, err = j.fs.Lock(j.path + ".lock"); err != nil {
		return j.explain("cannot be locked", err)
	}
	if err := j.fs.Remove(j.path + ".tmp"); err == nil {
		j.notify(slog.LevelWarn, "Removed a file that was left when writing it was cut short", ".tmp")
	}
	j.file, err = j.fs.Open(j.path, false)
	if errors.Is(err, fs.ErrNotExist) {
		if err := j.create(initial); err != nil {
			return j.explain("cannot be created", err)
		}
		err = nil
	}
	if err != nil {
		return j.explain("cannot be opened", err)
	}
	size, last, bad, err := j.replay(j.file, decode)
	if err != nil {
		return err
	}
	if err := j.repair(size, last, bad); err != nil {
		return j.explain("cannot be repaired", err)
	}
	return nil
}

// read replays the file, and leaves it as it is.
func (j *Journal) read(decode decoder) error {
	f, err := j.fs.Open(j.path, true)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("journal: %s does not exist, and is not created by a server that is read-only; start one that may write first", j.name)
	}
	if err != nil {
		return j.explain("cannot be opened", err)
	}
	defer f.Close()
	size, _, bad, err := j.replay(f, decode)
	if j.size = size; err == nil && bad != nil {
		j.size = bad.start
		j.notify(slog.LevelWarn, "Ignored the last line, which was cut off as by a crash, or is being written", "", bad.attrs(size)...)
	}
	return err
}

// replay replays f. It returns the size of f, the offset at which its last good line
// begins, and its torn tail or nil. Other damage is an error.
func (j *Journal) replay(f disk.File, decode decoder) (size, last int64, torn *badLine, err error) {
	size, err = j.fs.Size(j.path, f)
	if err != nil {
		return 0, 0, nil, j.explain("cannot be opened", err)
	}
	last, bad, err := replay(f, size, decode)
	switch {
	case err != nil:
		return 0, 0, nil, j.explain("cannot be read", err)
	case last < 0 && bad == nil:
		return 0, 0, nil, fmt.Errorf("journal: %s has nothing in it; nothing was changed: restore the file from a copy, or delete it to start anew", j.name)
	case bad == nil || bad.torn:
		return size, last, bad, nil
	}
	accept := "cut the file there: " + fmt.Sprintf(disk.CutCommand, bad.start, strings.ReplaceAll(j.name, "'", `'\''`))
	if last < 0 {
		accept = "delete the file"
	}
	return 0, 0, nil, fmt.Errorf("journal: %s, line %d (offset %d): %w; nothing was changed: correct the line, or restore the file from a copy; to lose this line and all after it, %s", j.name, bad.number, bad.start, bad.err, accept)
}

// explain turns an error of the operating system into a sentence for the user about the file.
func (j *Journal) explain(what string, err error) error {
	// The path in the error may be another than the user's, so only its last name is kept.
	var inPath *fs.PathError
	if errors.As(err, &inPath) {
		err = inPath.Err
		if name := filepath.Base(inPath.Path); name != filepath.Base(j.path) {
			err = fmt.Errorf("%s: %w", name, err)
		}
	}
	advice := ""
	switch {
	case errors.Is(err, disk.ErrLocked):
		return fmt.Errorf("journal: %s is in use by another process; stop that, or choose another file", j.name)
	case errors.Is(err, disk.ErrNoLocks):
		advice = "; choose a folder on a local disk"
	case errors.Is(err, fs.ErrPermission):
		advice = "; choose a folder that can be written to"
	case errors.Is(err, syscall.EROFS):
		advice = "; choose a folder that can be written to, or only read the file: -read-only"
	case errors.Is(err, fs.ErrNotExist):
		advice = "; create its folder first"
	case disk.IsFull(err):
		advice = "; make room"
	}
	return fmt.Errorf("journal: %s %s: %w%s", j.name, what, err, advice)
}

// create writes a file with the entries. After a crash the file is there wholly or not at
// all. To make its name durable, the caller must sync the folder.
func (j *Journal) create(entries iter.Seq[[]byte]) error {
	temp := &tempFile{fs: j.fs, path: j.path + ".tmp"}
	err := temp.write(entries, nil)
	if err == nil {
		j.file, err = j.fs.Replace(j.path, temp.File, nil)
	}
	if err != nil {
		temp.discard()
	}
	return err
}

// repair prepares the file, of that size, for appending lines: it takes off the torn tail
// bad, if there is one, and adds a newline if the last line has none. It syncs the file and
// its folder: a process that was killed may have left what was replayed, and the file's
// name, only in the operating system's memory. last is the offset at which the last good
// line begins.
func (j *Journal) repair(size, last int64, bad *badLine) error {
	j.size = size
	if bad != nil {
		if err := j.keepBroken(bad.start, size); err != nil {
			return fmt.Errorf("torn tail at offset %d cannot be kept in .broken: %w", bad.start, err)
		}
		if err := j.file.Truncate(bad.start); err != nil {
			return err
		}
		j.size = bad.start
		j.notify(slog.LevelWarn, "Dropped the last line, which was cut off as by a crash", "", append(bad.attrs(size), slog.String("kept", j.name+".broken"))...)
	}
	// If a sync failed in an earlier process, the operating system may take the last line
	// for written although it is only in memory. Written once more, it gets to the disk.
	line := make([]byte, j.size-last, j.size-last+1)
	if n, err := j.file.ReadAt(line, last); n < len(line) {
		return err
	}
	if !bytes.HasSuffix(line, []byte{'\n'}) {
		line = append(line, '\n')
	}
	if _, err := j.file.WriteAt(line, last); err != nil {
		return err
	}
	j.size = last + int64(len(line))
	if err := j.file.Sync(); err != nil {
		return err
	}
	return j.fs.SyncDir(filepath.Dir(j.path))
}

// keepBroken appends the bytes from start to end to the file .broken.
func (j *Journal) keepBroken(start, end int64) (err error) {
	broken, err := j.fs.Create(j.path+".broken", j.file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broken.Close()) }()
	size, err := j.fs.Size(j.path+".broken", broken)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.NewOffsetWriter(broken, size), io.NewSectionReader(j.file, start, end-start)); err != nil {
		return err
	}
	if err := broken.Sync(); err != nil {
		return err
	}
	return j.fs.SyncDir(filepath.Dir(j.path))
}
