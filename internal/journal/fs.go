package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// A fileSystem is what a journal needs of the operating system. Tests have one
// that fails.
type fileSystem interface {
	// resolve returns the path of the file that a symbolic link leads to, and others
	// as they are.
	resolve(path string) string
	// lock takes an exclusive lock that lasts until it is closed, or the process ends.
	// It fails with errLocked if another has it.
	lock(path string) (io.Closer, error)
	// open opens a file for reading and writing, and takes its own lock where that leaves
	// others free to read it. It fails with errLocked if another has it.
	open(path string) (file, error)
	// openToRead opens a file for reading, without a lock.
	openToRead(path string) (file, error)
	// create opens a file for reading and writing, without its lock, and makes it if it
	// does not exist: with the permissions of the file like, unless that is nil.
	create(path string, like file) (file, error)
	// replace renames the open file temp, which is at from, to the path of the open
	// file old. It returns the open file that has that path afterwards, with its lock:
	// temp, or old if it fails. It returns nil if neither is open any more.
	replace(from, path string, temp, old file) (file, error)
	rename(from, to string) error
	remove(path string) error
	// syncDir makes the names in a folder durable.
	syncDir(path string) error
	// size returns the size of f if that is the file at path, or errReplaced.
	size(path string, f file) (int64, error)
	// room returns how many bytes can still be written to the disk that path is on.
	room(path string) int64
}

// A file is an open file, in the manner of [os.File].
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
}

var (
	errLocked     = errors.New("locked")
	errNoLocks    = errors.New("its file system has no locks, which keep a second process away from it")
	errReplaced   = errors.New("the file was deleted, replaced or changed by another program while in use")
	errFolder     = errors.New("it is a folder; choose a file")
	errNotRegular = errors.New("it is not a regular file; choose another")
)

// disk is the operating system's fileSystem.
type disk struct{}

// resolve follows links to files that do not exist yet, too.
func (disk) resolve(path string) string {
	for range 40 { // more are a circle
		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Dir(path) + string(filepath.Separator) + target
		}
		path = target
	}
	return path
}

func (disk) rename(from, to string) error { return os.Rename(from, to) }
func (disk) remove(path string) error     { return os.Remove(path) }

func (disk) open(path string) (file, error) {
	f, err := openRegular(path, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	if err := lockOpen(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (disk) openToRead(path string) (file, error) {
	f, err := openRegular(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// openRegular opens a file that exists, and is one.
func openRegular(path string, flag int) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir():
		return nil, errFolder
	case !info.Mode().IsRegular(): // opening a pipe would wait
		return nil, errNotRegular
	}
	f, err := os.OpenFile(path, flag, 0)
	if errors.Is(err, fs.ErrPermission) {
		what := "write to it"
		if flag == os.O_RDONLY {
			what = "read it"
		}
		return nil, fmt.Errorf("its mode is %04o, and this user may not %s; change its mode or owner, or choose another file", info.Mode().Perm(), what)
	}
	return f, err
}

func (disk) create(path string, like file) (file, error) {
	mode := fs.FileMode(0o644)
	if f, ok := like.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			mode = info.Mode().Perm()
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, mode)
	if err != nil {
		return nil, err
	}
	if like != nil {
		f.Chmod(mode) // beyond what the umask lets through, if possible
	}
	return f, nil
}

func (disk) size(path string, f file) (int64, error) {
	there, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, errReplaced
	}
	if err != nil {
		return 0, err
	}
	ours, err := f.(*os.File).Stat()
	if err == nil && !os.SameFile(there, ours) {
		err = errReplaced
	}
	if err != nil {
		return 0, err
	}
	return ours.Size(), nil
}
