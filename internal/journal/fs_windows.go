package journal

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

// cutCommand is what a person types, in PowerShell, to cut a file at an offset.
const cutCommand = "$f = [IO.File]::OpenWrite('%[2]s'); $f.SetLength(%[1]d); $f.Close()"

// lock opens the file in such a way that nobody else can.
func (disk) lock(path string) (io.Closer, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	handle, err := syscall.CreateFile(name, syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, errorSharingViolation) {
		return nil, errLocked
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(handle), path), nil
}

// lockOpen does nothing: on Windows a lock keeps others from reading, too.
func lockOpen(*os.File) error { return nil }

// replace closes both files, which could not be renamed while they are open, and
// opens the one that has the path then. Both have been synced.
func (d disk) replace(path string, temp, old file) (file, error) {
	temp.Close()
	if old != nil {
		old.Close()
	}
	renamed := os.Rename(path+".tmp", path)
	f, err := d.open(path, false)
	if err != nil {
		return nil, errors.Join(renamed, err)
	}
	return f, renamed
}

// syncDir does nothing: Windows writes the names in a folder by itself.
func (disk) syncDir(string) error { return nil }

func isFull(err error) bool {
	return errors.Is(err, errorDiskFull) || errors.Is(err, errorHandleDiskFull)
}
