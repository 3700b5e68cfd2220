package disk

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// Error codes of the Windows API that package syscall does not name.
const (
	errorSharingViolation = syscall.Errno(32)
	errorHandleDiskFull   = syscall.Errno(39)
	errorDiskFull         = syscall.Errno(112)
)

// CutCommand is the format of a command, for a person to type in PowerShell, that cuts off
// a file at an offset: the offset is its first argument and the file its second.
const CutCommand = "$f = [IO.File]::OpenWrite('%[2]s'); $f.SetLength(%[1]d); $f.Close()"

// Lock opens the file, and keeps others from opening it meanwhile.
func (OS) Lock(path string) (io.Closer, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	handle, err := syscall.CreateFile(name, syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, errorSharingViolation) {
		return nil, ErrLocked
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(handle), path), nil
}

// lockOpen does nothing: on Windows a lock keeps others from reading, too.
func lockOpen(*os.File) error { return nil }

// Replace closes both files, since Windows renames no open file, and opens the file that is
// at path then. Both have been synced.
func (d OS) Replace(path string, temp, old File) (File, error) {
	temp.Close()
	if old != nil {
		old.Close()
	}
	renamed := os.Rename(path+".tmp", path)
	f, err := d.Open(path, false)
	if err != nil {
		return nil, errors.Join(renamed, err)
	}
	return f, renamed
}

// SyncDir does nothing: Windows writes the names in a folder by itself.
func (OS) SyncDir(string) error { return nil }

// IsFull reports whether err says that there is no room, on the disk or for this user.
func IsFull(err error) bool {
	return errors.Is(err, errorDiskFull) || errors.Is(err, errorHandleDiskFull)
}
