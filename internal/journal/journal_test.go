package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// TestMain keeps the log out of the tests' output.
func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// In these tests a state is a list of numbers, and an entry adds some at its end:
// {"add":[1,2,3]}.

// adding is the entry that adds these numbers.
func adding(numbers ...int) []byte {
	entry, err := json.Marshal(map[string][]int{"add": numbers})
	if err != nil {
		panic(err)
	}
	return entry
}

// batch is the nth of the batches that tests append: a few numbers that no other has.
func batch(n int) []int { return []int{3 * n, 3*n + 1, 3*n + 2} }

func decode(entry []byte, checked bool) ([]int, error) {
	var line map[string][]int
	if err := json.Unmarshal(entry, &line); err != nil {
		return nil, err
	}
	if numbers, ok := line["add"]; ok && len(line) == 1 {
		return numbers, nil
	}
	return nil, errors.New("it must have add, and nothing else")
}

// entries are those of a list.
func entries(list ...[]byte) iter.Seq[[]byte] { return slices.Values(list) }

// reopen opens the journal, which is called j, and returns it with its state.
func reopen(fsys fileSystem) (j *Journal, state []int, err error) {
	j, err = open(fsys, "j", entries(adding(batch(0)...)), decode, func(numbers []int) { state = append(state, numbers...) })
	return j, state, err
}

// mustOpen is reopen where nothing can fail.
func mustOpen(t testing.TB, fsys fileSystem) (*Journal, []int) {
	t.Helper()
	j, state, err := reopen(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return j, state
}

// file3 is a file of three lines.
var file3 = appendLine(appendLine(appendLine(nil, adding(1, 2)), adding(3)), adding(4, 5))

func checkState(t testing.TB, got []int, want ...int) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got state %v, want %v", got, want)
	}
}

func TestLineFormat(t *testing.T) {
	// The checksum was computed by another program.
	const line = `{"add":[1,2,3],"crc":"1db7f478"}` + "\n"
	if got := string(appendLine(nil, []byte(`{"add":[1,2,3]}`))); got != line {
		t.Errorf("got %s, want %s", got, line)
	}
}

func TestOpenAppendClose(t *testing.T) {
	fsys := newMemFS()
	j, state := mustOpen(t, fsys)
	checkState(t, state, batch(0)...)
	if _, _, err := reopen(fsys); err == nil || !strings.Contains(err.Error(), "j is in use by another process") {
		t.Errorf("a second process: got %v", err)
	}
	if err := j.Append(adding(7)); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(adding(8)); err == nil {
		t.Error("appended to a journal that is closed")
	}
	_, state = mustOpen(t, fsys)
	checkState(t, state, 0, 1, 2, 7)
}

func TestDamageBeforeTheTail(t *testing.T) {
	for _, test := range []struct{ file, want string }{
		{strings.Replace(string(file3), "3", "4", 1), "j, line 2 (offset 31): it is not what its checksum says"},
		{"\n\n{\"add\":[1]}\n{\"add\"\n" + string(file3), "j, line 4 (offset 14): it is not JSON; nothing was changed: correct the line, or restore the file from a copy"},
		{"{\"sub\":[1]}\n" + string(file3), "j, line 1 (offset 0): it must have add, and nothing else"},
		{string(file3) + "{\"sub\":[1]}\n", "j, line 4 (offset 91): it must have add, and nothing else"},
		{string(file3) + "{\"sub\":[1]}", "j, line 4 (offset 91): it must have add, and nothing else"},
		{string(appendLine(nil, []byte(`{"sub":[1]}`))), "j, line 1 (offset 0): it must have add, and nothing else"},
	} {
		fsys := newMemFS()
		fsys.put("j", []byte(test.file))
		_, _, err := reopen(fsys)
		if err == nil || !strings.HasPrefix(err.Error(), "journal: "+test.want) {
			t.Errorf("%q: got %v, want %s", test.file, err, test.want)
		}
		if got := string(fsys.content("j")); got != test.file || fsys.content("j.broken") != nil || len(fsys.locks) > 0 {
			t.Errorf("%q: something was changed: %q", test.file, got)
		}
	}
}

func TestHandWrittenLines(t *testing.T) {
	for _, test := range []struct {
		file string
		want []int
	}{
		{"", nil},
		{"\n \r\n", nil},
		{"{\"add\":[1]}\n{\"add\":[2]}\n", []int{1, 2}},
		{"\r\n {\"add\": [1]} \r\n\n{\"add\":[2]}", []int{1, 2}}, // no newline at the end
		{string(file3[:len(file3)-1]) + " \t\n{\"add\":[6]}\n\n\n", []int{1, 2, 3, 4, 5, 6}},
		{"{\"add\":[1]}\n" + string(file3), []int{1, 1, 2, 3, 4, 5}},
		{"{\"add\":[1]}\n{\"add\":[2]\n \n", []int{1}}, // the last line is not blank, but torn
		{"{\"add\":[1]", nil}, // even the first line may be cut off
	} {
		fsys := newMemFS()
		fsys.put("j", []byte(test.file))
		j, state := mustOpen(t, fsys)
		checkState(t, state, test.want...)
		if err := j.Append(adding(9)); err != nil {
			t.Fatal(err)
		}
		_, state = mustOpen(t, fsys.afterKill())
		checkState(t, state, append(test.want, 9)...)
	}
}

// TestBrokenIsNeverLost: the bytes of several torn tails gather.
func TestBrokenIsNeverLost(t *testing.T) {
	fsys := newMemFS()
	fsys.put("j", append(slices.Clone(file3), "{torn"...))
	fsys.put("j.broken", []byte("older"))
	mustOpen(t, fsys)
	if got := string(fsys.afterPowerCut(0, false).content("j.broken")); got != "older{torn" {
		t.Errorf("got %q", got)
	}
}

// TestLongLines have a line that is longer than a section, between short ones.
func TestLongLines(t *testing.T) {
	long := make([]int, 100_000)
	for i := range long {
		long[i] = 1e15 + i
	}
	file := appendLine(appendLine(slices.Clone(file3), adding(long...)), adding(6))
	fsys := newMemFS()
	fsys.put("j", file)
	_, state := mustOpen(t, fsys)
	checkState(t, state, slices.Concat([]int{1, 2, 3, 4, 5}, long, []int{6})...)
	fsys.put("j", append(file[:len(file)-2], "\n{}"...))
	if _, _, err := reopen(fsys.afterKill()); err == nil || !strings.Contains(err.Error(), "line 5 ") {
		t.Errorf("got %v, want an error in line 5", err)
	}
}

// TestCompactionCarriesOver appends while a compaction reads its entries, more than
// it copies at once at its end.
func TestCompactionCarriesOver(t *testing.T) {
	fsys := newMemFS()
	j, _ := mustOpen(t, fsys)
	padding := slices.Repeat([]int{1e18}, 10_000) // 200 KB
	var want []int
	add := func(n int) {
		numbers := append([]int{n}, padding...)
		if err := j.Append(adding(numbers...)); err != nil {
			t.Error(err)
		}
		want = append(want, numbers...)
	}
	want = batch(0)
	for n := range 5 {
		add(n)
	}
	before := slices.Clone(want)
	j.Compact(func(yield func([]byte) bool) {
		for n := range 30 { // 6 MB
			add(n)
		}
		yield(adding(before...))
		add(30)
	})
	j.Compact(func(func([]byte) bool) { t.Error("two compactions at once") })
	j.background.Wait()
	add(31)
	_, state := mustOpen(t, fsys.afterPowerCut(0, false))
	if !slices.Equal(state, want) {
		t.Errorf("got %d numbers, want %d", len(state), len(want))
	}
	if size := int64(len(fsys.content("j"))); j.Size() != size {
		t.Errorf("got size %d, want %d", j.Size(), size)
	}
	if fsys.content("j.tmp") != nil {
		t.Error("the temporary file is still there")
	}
}

// TestFailedCompactionIsTriedAgainLater: not at once, which would be for every batch
// while the disk is full.
func TestFailedCompactionIsTriedAgainLater(t *testing.T) {
	fsys := newMemFS()
	j, _ := mustOpen(t, fsys)
	fsys.fault, fsys.failAt = faults[1], fsys.calls+2
	j.Compact(entries(adding(batch(0)...)))
	j.background.Wait()
	if fsys.calls != fsys.failAt+2 || fsys.content("j.tmp") != nil { // close and remove
		t.Errorf("got %d calls, want %d", fsys.calls, fsys.failAt+2)
	}
	started := 0
	attempt := func(yield func([]byte) bool) { started++; yield(adding(batch(0)...)) }
	j.Compact(attempt)
	j.background.Wait()
	for range 20 {
		if err := j.Append(adding()); err != nil {
			t.Fatal(err)
		}
	}
	before := started
	j.Compact(attempt)
	j.background.Wait()
	if before != 0 || started != 1 {
		t.Errorf("tried %d times at once and %d times later, want 0 and 1", before, started-before)
	}
}

// TestCloseEndsACompaction that would go on forever, and waits for its end: another
// process may use the file as soon as Close returns.
func TestCloseEndsACompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := newMemFS()
		j, _ := mustOpen(t, fsys)
		began, end, closed := make(chan bool), make(chan bool), make(chan bool)
		j.Compact(func(yield func([]byte) bool) {
			close(began)
			for yield(adding(7)) {
			}
			<-end
		})
		<-began
		go func() {
			if err := j.Close(); err != nil {
				t.Error(err)
			}
			close(closed)
		}()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("closed while a compaction is under way")
		default:
		}
		close(end)
		<-closed
		if fsys.content("j.tmp") != nil {
			t.Error("the temporary file is still there")
		}
		_, state := mustOpen(t, fsys)
		checkState(t, state, batch(0)...)
	})
}

// TestStrayTemporaryFile that cannot even be removed: nothing of it gets into the
// file.
func TestStrayTemporaryFile(t *testing.T) {
	for _, failAt := range []int{0, 2} {
		fsys := newMemFS()
		fsys.put("j", file3)
		fsys.put("j.tmp", bytes.Repeat(file3, 10))
		fsys.fault, fsys.failAt = faults[0], failAt
		j, _ := mustOpen(t, fsys)
		if left := fsys.content("j.tmp") != nil; left != (failAt > 0) {
			t.Errorf("the stray file is there: %v", left)
		}
		j.Compact(entries(adding(1, 2, 3, 4, 5)))
		j.background.Wait()
		_, state := mustOpen(t, fsys.afterKill())
		checkState(t, state, 1, 2, 3, 4, 5)
	}
}

// TestOnTheDisk does on the operating system's file system what the other tests do
// in memory.
func TestOnTheDisk(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "j")
	open := func(path string) (j *Journal, state []int, err error) {
		j, err = Open(path, entries(adding(batch(0)...)), decode, func(numbers []int) { state = append(state, numbers...) })
		return j, state, err
	}
	j, _, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := open(path); err == nil || !strings.Contains(err.Error(), path+" is in use by another process") {
		t.Errorf("a second process: got %v", err)
	}
	if runtime.GOOS != "windows" {
		os.Chmod(path, 0o606)
		os.Remove(path + ".lock")
		if err := os.Link(path, path+"2"); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{path, path + "2"} {
			if _, _, err := open(path); err == nil || !strings.Contains(err.Error(), path+" is in use by another process") {
				t.Errorf("a second process, that knows nothing of the first one's lock: got %v", err)
			}
		}
		os.Remove(path + "2")
		os.Remove(path + "2.lock")
	}
	for n := range 3 {
		if err := j.Append(adding(n + 3)); err != nil {
			t.Fatal(err)
		}
	}
	j.Compact(entries(adding(0, 1, 2, 3, 4, 5)))
	j.background.Wait()
	if err := j.Append(adding(6)); err != nil {
		t.Fatal(err)
	}
	j.Close()
	data, err := os.ReadFile(path)
	if want := string(appendLine(appendLine(nil, adding(0, 1, 2, 3, 4, 5)), adding(6))); err != nil || string(data) != want {
		t.Errorf("got %q, %v, want %q", data, err, want)
	}
	if info, err := os.Stat(path); runtime.GOOS != "windows" && (err != nil || info.Mode().Perm() != 0o606) {
		t.Errorf("compaction made the permissions %v, want those from before", info.Mode())
	}

	// The link is made to lead elsewhere.
	link := filepath.Join(dir, "link")
	if err := os.Symlink("j", link); err != nil {
		t.Skip("symbolic links cannot be made here: ", err)
	}
	if j, _, err = open(link); err != nil {
		t.Fatal(err)
	}
	os.Remove(link)
	os.Symlink("other", link)
	if err := j.Append(adding(7)); !errors.Is(err, errReplaced) {
		t.Errorf("the link leads elsewhere: got %v, want %v", err, errReplaced)
	}
	j.Close()
	os.Remove(link)
	os.Symlink("j", link)

	// A torn tail, through a symbolic link, which stays one.
	os.WriteFile(path, append(data, "{torn"...), 0o600)
	j, state, err := open(link)
	if err != nil {
		t.Fatal(err)
	}
	checkState(t, state, 0, 1, 2, 3, 4, 5, 6)
	if _, _, err := open(path); err == nil {
		t.Error("the file can be opened under its other name, too")
	}
	j.Compact(entries(adding(0)))
	j.background.Wait()
	j.Close()
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is now %v, %v", info, err)
	}
	os.Symlink("later", filepath.Join(dir, "early"))
	if j, _, err = open(filepath.Join(dir, "early")); err != nil {
		t.Fatal(err)
	}
	j.Close()
	if _, err := os.Lstat(filepath.Join(dir, "later")); err != nil {
		t.Errorf("a link to a file that did not exist: %v", err)
	}
	if broken, err := os.ReadFile(path + ".broken"); string(broken) != "{torn" {
		t.Errorf("got .broken %q, %v", broken, err)
	}
}

// TestCloseWhileOthersWork: whoever still appends and compacts is refused.
func TestCloseWhileOthersWork(t *testing.T) {
	for range 50 {
		j, _ := mustOpen(t, newMemFS())
		var other sync.WaitGroup
		began := make(chan bool)
		other.Go(func() {
			for i := 0; j.Append(adding(7)) == nil; i++ {
				j.Compact(entries(adding(0, 1, 2)))
				if i == 0 {
					close(began)
				}
			}
		})
		<-began
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		other.Wait()
	}
}

func TestPlacesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	os.Mkdir(filepath.Join(dir, "folder"), 0o777)
	os.Mkdir(filepath.Join(dir, "mine"), 0o555)
	tests := map[string]string{
		"folder":    "it is a folder; choose a file",
		"folder/":   "it is a folder; choose a file",
		"missing/j": "create its folder first",
	}
	if os.Getuid() > 0 {
		tests["mine/j"] = "choose a folder that can be written to"
	}
	for name, want := range tests {
		path := filepath.Join(dir, name)
		_, err := Open(path, entries(), decode, func([]int) {})
		if err == nil || !strings.HasPrefix(err.Error(), "journal: "+path+" ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
}

// FuzzOpen opens files of any content: it never panics, a refused file is left as
// it was, and what was opened can be opened again, with the same state.
func FuzzOpen(f *testing.F) {
	f.Add(file3)
	f.Add(file3[:len(file3)-5])
	f.Add([]byte("{\"add\":[1]}\n\n{\"add\":[2],\"crc\":\"00000000\"}\n"))
	f.Add([]byte("{\"add\":[1]}\r\n{\"sub\":1}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		fsys := newMemFS()
		fsys.put("j", data)
		j, state, err := reopen(fsys)
		if err != nil {
			if !bytes.Equal(fsys.content("j"), data) {
				t.Fatalf("%q was refused (%v), and changed", data, err)
			}
			return
		}
		if kept := append(fsys.content("j"), fsys.content("j.broken")...); len(kept) < len(data) {
			t.Fatalf("of %q only %q is left", data, kept)
		}
		if err := j.Append(adding(9)); err != nil {
			t.Fatal(err)
		}
		_, again := mustOpen(t, fsys.afterPowerCut(0, false))
		checkState(t, again, append(state, 9)...)
	})
}
