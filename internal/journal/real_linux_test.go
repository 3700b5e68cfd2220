package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"cars/internal/disk"
)

// asRoot skips a test that cannot mount file systems or be another user.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount file systems and be another user")
	}
}

// mount mounts a file system until the end of the test.
func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := syscall.Mount(source, target, kind, flags, data); err != nil {
		t.Skipf("%s cannot be mounted here: %v", target, err)
	}
	t.Cleanup(func() { syscall.Unmount(target, syscall.MNT_DETACH) })
}

// asNobody makes the process another user's until it calls the function that it gets.
func asNobody(t *testing.T) (back func()) {
	t.Helper()
	if err := syscall.Setresuid(-1, 65534, -1); err != nil {
		t.Skip("the user cannot be changed here: ", err)
	}
	back = func() {
		if err := syscall.Setresuid(-1, 0, -1); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(back)
	return back
}

// openDisk opens a file on the disk.
func openDisk(path string, options Options) (j *Journal, state []int, err error) {
	j, err = Open(path, options, entries(adding(batch(0)...)), decodeTo(&state))
	return j, state, err
}

// neverCompacted checks that the file at path stays in force when it cannot be
// replaced because of fault, which is told once, and that it can be opened again.
func neverCompacted(t *testing.T, path string, fault error) {
	t.Helper()
	var told strings.Builder
	for n := range 2 {
		told.Reset()
		j, state, err := openDisk(path, noted(&told))
		if err != nil {
			t.Fatal(err)
		}
		checkState(t, state, slices.Repeat([]int{7}, 6*n+1)...)
		for range 3 {
			begun := j.Compact(entries(adding(1, 2, 3)))
			if first := told.Len() == 0; begun != first {
				t.Errorf("a compaction was begun: %v, want %v", begun, first)
			}
			finish(j)
			for range 2 {
				if err := j.Append(adding(7)); err != nil {
					t.Error(err)
				}
			}
		}
		want := fault.Error() + " next=never]\n"
		if got := told.String(); strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, want) {
			t.Errorf("got notices %q, want one that ends with %q", got, want)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path + ".tmp"); err == nil {
			t.Error("the temporary file is still there")
		}
	}
}

// TestFileMountedByItself is a file as containers are given one: its folder is theirs,
// and it is not.
func TestFileMountedByItself(t *testing.T) {
	asRoot(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "j")
	other := filepath.Join(t.TempDir(), "x")
	os.WriteFile(path, nil, 0o644)
	os.WriteFile(other, appendLine(nil, adding(7)), 0o644)
	mount(t, other, path, "", syscall.MS_BIND, "")
	neverCompacted(t, path, syscall.EBUSY)
}

// TestStickyFolder has another user's file in a folder like /tmp.
func TestStickyFolder(t *testing.T) {
	asRoot(t)
	dir := t.TempDir()
	os.Chmod(filepath.Dir(dir), 0o755)
	os.Chmod(dir, 0o777|os.ModeSticky)
	path := filepath.Join(dir, "j")
	os.WriteFile(path, appendLine(nil, adding(7)), 0o644)
	os.Chmod(path, 0o666)
	defer asNobody(t)()
	neverCompacted(t, path, syscall.EPERM)
}

// TestFileOfAnotherMode is not in a folder that cannot be written to.
func TestFileOfAnotherMode(t *testing.T) {
	asRoot(t)
	dir := t.TempDir()
	os.Chmod(filepath.Dir(dir), 0o755)
	os.Chmod(dir, 0o777)
	for mode, readOnly := range map[os.FileMode]bool{0o444: false, 0o200: true} {
		path := filepath.Join(dir, fmt.Sprintf("j%o", mode))
		os.WriteFile(path, appendLine(nil, adding(7)), 0o644)
		os.Chmod(path, mode)
		back := asNobody(t)
		_, _, err := openDisk(path, Options{ReadOnly: readOnly})
		if want := fmt.Sprintf("journal: %s cannot be opened: its mode is %04o, and this user may not ", path, mode); err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "folder") {
			t.Errorf("got %v, want %s", err, want)
		}
		back()
	}
}

func TestReadOnlyMount(t *testing.T) {
	asRoot(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "j")
	file := append(slices.Clone(file3), "{\"add\""...)
	os.WriteFile(path, file, 0o644)
	mount(t, dir, dir, "", syscall.MS_BIND, "")
	mount(t, dir, dir, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, "")
	_, _, err := openDisk(path, Options{})
	if want := "only read the file: -read-only"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	j, state, err := openDisk(path, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	checkState(t, state, 1, 2, 3, 4, 5)
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("got files %v, want one", names)
	}
}

// TestSmallDisk appends what is soon dead, ten times as much as a disk has room for. The
// file is compacted while there is room for that, as the store does it.
func TestSmallDisk(t *testing.T) {
	asRoot(t)
	dir := t.TempDir()
	mount(t, "none", dir, "tmpfs", 0, "size=200k")
	var told strings.Builder
	j, _, err := openDisk(filepath.Join(dir, "j"), noted(&told))
	if err != nil {
		t.Fatal(err)
	}
	live := adding(slices.Repeat([]int{7}, 10_000)...) // 20 KB
	for range 100 {
		if err := j.Append(live); err != nil {
			t.Fatal(err)
		}
		if j.Size() > 2*int64(len(live)) && j.Room() < j.Size() && j.Compact(entries(live)) {
			finish(j)
		}
	}
	// One large entry does not fit before the file is compacted, and does after.
	for j.Size() < 4*int64(len(live)) {
		if err := j.Append(live); err != nil {
			t.Fatal(err)
		}
	}
	large := adding(slices.Repeat([]int{7}, 65_000)...) // 130 KB
	if err := j.Append(large); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v, want %v", err, ErrFull)
	}
	before := told.Len()
	j.Compact(entries(live))
	finish(j)
	if err := j.Append(large); err != nil {
		t.Error(err)
	}
	if all := told.String(); strings.Contains(all, "WARN") || !strings.Contains(all[before:], "INFO Compacted the file") {
		t.Errorf("got notices %s", all)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

// TestFileSystemWithoutLocks has the sentence for one.
func TestFileSystemWithoutLocks(t *testing.T) {
	for _, fault := range []error{syscall.ENOLCK, syscall.EOPNOTSUPP, syscall.ENOTSUP} {
		j := &Journal{name: "j", path: "j"}
		err := j.explain("cannot be locked", fmt.Errorf("%w (%w)", disk.ErrNoLocks, fault))
		want := fmt.Sprintf("journal: j cannot be locked: its file system has no locks, which keep a second process away from it (%v); choose a folder on a local disk", fault)
		if err.Error() != want || !errors.Is(err, fault) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}
