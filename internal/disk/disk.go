// Package disk has what a program needs of the operating system that keeps a file safe:
// locks against other processes, names that change in one step, and what is on the disk
// for certain. It hides how systems differ in that.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// A System is what is needed of the operating system. It is an interface so that tests
// can have one that fails.
type System interface {
	// Lock takes an exclusive lock that lasts until it is closed, or the process ends.
	// It fails with ErrLocked if another has it.
	Lock(path string) (io.Closer, error)
	// Open opens a file that exists. Unless it is to be read only, it takes the file's own
	// lock, too, where that leaves others free to read; ErrLocked says that another has it.
	Open(path string, readOnly bool) (File, error)
	// Create opens a file without its lock, and makes it if it does not exist: with the
	// permissions of the file like, unless that is nil.
	Create(path string, like File) (File, error)
	// Replace renames temp, which is at path + ".tmp", to path, where old is unless that is
	// nil. It returns the open file that is at path then, with its lock: temp, or old if
	// it fails, or nil if old is not open any more.
	Replace(path string, temp, old File) (File, error)
	Remove(path string) error
	// SyncDir makes the names in a folder durable.
	SyncDir(path string) error
	// Size returns the size of f if that is the file at path, or ErrReplaced.
	Size(path string, f File) (int64, error)
	// Room returns how many bytes can still be written to the disk that path is on.
	Room(path string) int64
}

// A File is an open file, in the manner of [os.File].
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
}

// The faults that a System names.
var (
	ErrLocked   = errors.New("locked")
	ErrNoLocks  = errors.New("its file system has no locks, which keep a second process away from it")
	ErrReplaced = errors.New("the file was deleted, replaced or changed by another program while in use")
)

// OS is the operating system's System.
type OS struct{}

// Resolve returns the path of the file that a symbolic link leads to, which may not
// exist yet. It returns other paths as they are.
func Resolve(path string) string {
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

func (OS) Remove(path string) error { return os.Remove(path) }

func (OS) Open(path string, readOnly bool) (File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir():
		return nil, errors.New("it is a folder; choose a file")
	case !info.Mode().IsRegular(): // opening a pipe would wait
		return nil, errors.New("it is not a regular file; choose another")
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

func (OS) Create(path string, like File) (File, error) {
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

func (OS) Size(path string, f File) (int64, error) {
	ours, err := f.(*os.File).Stat()
	if err != nil {
		return 0, err
	}
	there, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(there, ours) {
		err = ErrReplaced
	}
	return ours.Size(), err
}
