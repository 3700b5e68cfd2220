// Package disk has what a program needs of the operating system to keep a file safe: locks
// against other processes, renaming in one step, and writing to the disk for certain. It
// hides the differences between operating systems.
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
	// Lock takes the exclusive lock of the file at path, until it is closed or the process
	// ends. The error is ErrLocked if another process has the lock.
	Lock(path string) (io.Closer, error)
	// Open opens a file that exists. Unless readOnly, it takes the file's own lock, too, on
	// systems where others can still read a locked file. ErrLocked: another process has it.
	Open(path string, readOnly bool) (File, error)
	// Create opens a file without taking its lock. A file that does not exist is created,
	// with the permissions of the file like, unless like is nil.
	Create(path string, like File) (File, error)
	// Replace renames the file temp from path + ".tmp" to path, in the place of the file old,
	// which is nil if there is none. It returns the open file that is then at path, with its
	// lock: temp, or old if Replace fails, or nil if it fails and old could not be kept open.
	Replace(path string, temp, old File) (File, error)
	Remove(path string) error
	// SyncDir makes the names in a folder durable.
	SyncDir(path string) error
	// Size returns the size of f. The error is ErrReplaced if f is not the file at path.
	Size(path string, f File) (int64, error)
	// Room returns how many bytes can still be written to the disk of path, or the largest
	// int64 if that is unknown.
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

// Errors of a System that a program can tell apart.
var (
	ErrLocked   = errors.New("locked")
	ErrNoLocks  = errors.New("its file system has no locks, which keep a second process away from it")
	ErrReplaced = errors.New("the file was deleted, replaced or changed by another program while in use")
)

// OS is the System of the operating system.
type OS struct{}

// Resolve returns the path of the file that a symbolic link leads to, which may not
// exist yet. It returns other paths as they are.
func Resolve(path string) string {
	for range 40 { // more links lead in a circle
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
		f.Chmod(mode) // if possible, since the umask may have taken some permissions off
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
