//go:build unix

package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// CutCommand is the format of a command, for a person to type, that cuts off a file at an
// offset: the offset is its first argument and the file its second.
const CutCommand = "truncate -s %d '%s'"

// Lock creates the file only if it is not there: in a sticky folder even opening
// another user's file fails if it might be created (fs.protected_regular of Linux).
func (OS) Lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	}
	if err != nil {
		return nil, err
	}
	if err := lockOpen(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lockOpen takes the lock of an open file.
func lockOpen(f *os.File) error {
	return lockFault(syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
}

// lockFault names the faults of flock that a person can do something about.
func lockFault(err error) error {
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return ErrLocked
	case errors.Is(err, syscall.ENOLCK), errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.ENOSYS):
		return fmt.Errorf("%w (%w)", ErrNoLocks, err)
	}
	return err
}

// Replace keeps both files open all the time. If it fails, nothing has to be opened
// again.
func (OS) Replace(path string, temp, old File) (File, error) {
	err := lockOpen(temp.(*os.File))
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		return old, err
	}
	return temp, nil
}

func (OS) SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) { // EINVAL says that there is nothing to sync
		return err
	}
	return nil
}

// IsFull reports whether err says that there is no room, on the disk or for this user.
func IsFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
