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
	// lock takes an exclusive lock that lasts until it is closed, or the process ends.
	// It fails with errLocked if another has it.
	lock(path string) (io.Closer, error)
	// open opens a file that exists. Unless it is to be read only, it takes the file's own
	// lock, too, where that leaves others free to read; errLocked says that another has it.
	open(path string, readOnly bool) (file, error)
	// create opens a file without its lock, and makes it if it does not exist: with the
	// permissions of the file like, unless that is nil.
	create(path string, like file) (file, error)
	// replace renames temp, which is at path + ".tmp", to path, where old is unless that is
	// nil. It returns the open file that is at path then, with its lock: temp, or old if
	// it fails, or nil if old is not open any more.
	replace(path string, temp, old file) (file, error)
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

// resolve returns the path of the file that a symbolic link leads to, which may not
// exist yet. It returns other paths as they are.
func resolve(path string) string {
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

func (disk) remove(path string) error { return os.Remove(path) }

func (disk) open(path string, readOnly bool) (file, error) {
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
	flag, what := os.O_RDWR, "write to it"
	if readOnly {
		flag, what = os.O_RDONLY, "read it"
	}
	f, err := os.OpenFile(path, flag, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("its mode is %04o, and this user may not %s; change its mode or owner, or choose another file", info.Mode().Perm(), what)
	}
	if err == nil && !readOnly {
		err = lockOpen(f)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
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
	ours, err := f.(*os.File).Stat()
	if err != nil {
		return 0, err
	}
	there, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(there, ours) {
		err = errReplaced
	}
	return ours.Size(), err
}
