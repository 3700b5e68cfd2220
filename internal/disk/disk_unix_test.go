//go:build unix

package disk

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestLockFault: what a person can do something about is named.
func TestLockFault(t *testing.T) {
	for fault, want := range map[error]error{
		nil:                nil,
		syscall.EAGAIN:     ErrLocked,
		syscall.ENOLCK:     ErrNoLocks,
		syscall.EOPNOTSUPP: ErrNoLocks,
		syscall.ENOSYS:     ErrNoLocks,
		syscall.EIO:        syscall.EIO,
	} {
		if got := lockFault(fault); !errors.Is(got, want) || got != nil && !errors.Is(got, fault) && want != ErrLocked {
			t.Errorf("%v: got %v, want %v", fault, got, want)
		}
	}
}

// TestReplace: where it fails the old file is open and locked, and where not the new one.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	temp, err := OS{}.Create(path+".tmp", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer temp.Close()
	os.WriteFile(path, nil, 0o644)
	old, err := OS{}.Open(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	os.Rename(path+".tmp", path+".away")
	if now, err := (OS{}).Replace(path, temp, old); err == nil || now != old {
		t.Errorf("got %v, %v, want the old file and an error", now, err)
	}
	os.Rename(path+".away", path+".tmp")
	if now, err := (OS{}).Replace(path, temp, old); err != nil || now != temp {
		t.Errorf("got %v, %v, want the new file", now, err)
	}
	if _, err := (OS{}).Open(path, false); !errors.Is(err, ErrLocked) {
		t.Errorf("opened once more: got %v, want %v", err, ErrLocked)
	}
	if _, err := (OS{}).Size(path, old); err != ErrReplaced {
		t.Errorf("got %v, want %v", err, ErrReplaced)
	}
	if room := (OS{}).Room(path); room <= 0 {
		t.Errorf("got room for %d bytes", room)
	}
}
