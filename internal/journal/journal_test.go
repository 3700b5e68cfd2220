package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cars/internal/disk"
)

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

// decodeTo returns a decoder whose functions append to state.
func decodeTo(state *[]int) decoder {
	return func(entry []byte, checked bool) (func(), error) {
		var line map[string][]int
		if err := json.Unmarshal(entry, &line); err != nil {
			return nil, err
		}
		if numbers, ok := line["add"]; ok && len(line) == 1 {
			return func() { *state = append(*state, numbers...) }, nil
		}
		return nil, errors.New("it must have add, and nothing else")
	}
}

// entries are those of a list.
func entries(list ...[]byte) iter.Seq[[]byte] { return slices.Values(list) }

// reopen opens the journal, which is called j, and returns it with its state.
func reopen(fsys disk.System) (j *Journal, state []int, err error) {
	return reopenWith(fsys, Options{})
}

func reopenWith(fsys disk.System, options Options) (j *Journal, state []int, err error) {
	j, err = open(fsys, "j", options, entries(adding(batch(0)...)), decodeTo(&state))
	return j, state, err
}

// mustOpen is reopen where nothing can fail.
func mustOpen(t testing.TB, fsys disk.System) (*Journal, []int) {
	t.Helper()
	j, state, err := reopen(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return j, state
}

// finish waits for the compaction that is under way, if there is one.
func finish(j *Journal) {
	for j.Compacted() != nil {
		j.Finish(<-j.Compacted())
	}
}

// noted returns options that write notices down, one a line: level, message, attributes.
func noted(to *strings.Builder) Options {
	return Options{Notify: func(n Notice) { fmt.Fprintln(to, n.Level, n.Message, n.Attrs) }}
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

func TestHandWrittenLines(t *testing.T) {
	for _, test := range []struct {
		file string
		want []int
	}{
		{"{\"add\":[1]}\n{\"add\":[2]}\n", []int{1, 2}},
		{"\r\n {\"add\": [1]} \r\n\n{\"add\":[2]}", []int{1, 2}}, // no newline at the end
		{string(file3[:len(file3)-1]) + " \t\n{\"add\":[6]}\n\n\n", []int{1, 2, 3, 4, 5, 6}},
		{"{\"add\":[1]}\n" + string(file3), []int{1, 1, 2, 3, 4, 5}},
		{"{\"add\":[1]}\r", []int{1}},
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
	fsys.put("j", append(slices.Clone(file3), "{\"torn"...))
	fsys.put("j.broken", []byte("older"))
	mustOpen(t, fsys)
	if got := string(fsys.afterPowerCut(0, false).content("j.broken")); got != "older{\"torn" {
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
// Finish copies while appending has to wait.
func TestCompactionCarriesOver(t *testing.T) {
	fsys := newMemFS()
	var told strings.Builder
	j, want, err := reopenWith(fsys, noted(&told))
	if err != nil {
		t.Fatal(err)
	}
	padding := slices.Repeat([]int{1e18}, 10_000) // 200 KB
	add := func(n int) {
		t.Helper()
		numbers := append([]int{n}, padding...)
		if err := j.Append(adding(numbers...)); err != nil {
			t.Error(err)
		}
		want = append(want, numbers...)
	}
	for n := range 5 {
		add(n)
	}
	before := slices.Clone(want)
	began, goOn := make(chan bool), make(chan bool)
	if j.Compacted() != nil {
		t.Error("a compaction is under way before any was begun")
	}
	if !j.Compact(func(yield func([]byte) bool) {
		close(began)
		<-goOn
		yield(adding(before...))
	}) {
		t.Fatal("no compaction was begun")
	}
	<-began
	for n := range 30 { // 6 MB
		add(n)
	}
	if j.Compact(func(func([]byte) bool) { t.Error("two compactions at once") }) {
		t.Error("a second one was begun")
	}
	close(goOn)
	rounds := 0
	for n := 30; j.Compacted() != nil; n++ {
		c := <-j.Compacted()
		add(n)
		j.Finish(c)
		rounds++
	}
	if rounds != 2 {
		t.Errorf("got %d reports, want 2: one of the entries, one of what was appended in the meantime", rounds)
	}
	add(99)
	if _, state := mustOpen(t, fsys.afterPowerCut(0, false)); !slices.Equal(state, want) {
		t.Errorf("got %d numbers, want %d", len(state), len(want))
	}
	if size := int64(len(fsys.content("j"))); j.Size() != size {
		t.Errorf("got size %d, want %d", j.Size(), size)
	}
	if fsys.content("j.tmp") != nil {
		t.Error("the temporary file is still there")
	}
	if want := "INFO Compacted the file [file=j from="; strings.Count(told.String(), "\n") != 1 || !strings.HasPrefix(told.String(), want) {
		t.Errorf("got notices %q, want one: %q", &told, want)
	}
}

// TestFailedCompactionIsTriedAgainLater: not at once, which would be for every batch
// while the disk is full.
func TestFailedCompactionIsTriedAgainLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := newMemFS()
		var told strings.Builder
		j, _, err := reopenWith(fsys, noted(&told))
		if err != nil {
			t.Fatal(err)
		}
		attempt := func() bool {
			begun := j.Compact(entries(adding(batch(0)...)))
			finish(j)
			return begun
		}
		for _, wait := range []time.Duration{0, 10 * time.Second, 20 * time.Second, 40 * time.Second} {
			time.Sleep(wait - 1)
			if wait > 0 && attempt() {
				t.Errorf("tried again before %v", wait)
			}
			time.Sleep(1)
			fsys.fault, fsys.failAt = faults[0], fsys.calls+2
			if !attempt() {
				t.Errorf("not tried again after %v", wait)
			}
			if fsys.calls != fsys.failAt+2 || fsys.content("j.tmp") != nil { // close and remove
				t.Errorf("got %d calls, want %d", fsys.calls, fsys.failAt+2)
			}
			if err := j.Append(adding(7)); err != nil {
				t.Error(err)
			}
		}
		const want = "WARN The compaction failed; the old file stays in force [file=j error=input/output error next=in 10s]\n"
		if told.String() != want {
			t.Errorf("got notices %q, want only %q", &told, want)
		}
		time.Sleep(time.Hour)
		if !attempt() || !attempt() {
			t.Error("not tried again after an hour, and at once after that has worked")
		}
		fsys.failAt = fsys.calls + 2
		attempt()
		if time.Sleep(minRetryWait); !attempt() || strings.Count(told.String(), want) != 2 {
			t.Errorf("failed again after it has worked: it takes longer than at first, or is not told: %q", &told)
		}
	})
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
		if fsys.content("j.tmp") != nil || len(fsys.locked()) > 0 {
			t.Error("the temporary file is still there, or locked: ", fsys.locked())
		}
		if err := j.Append(adding(7)); !errors.Is(err, ErrFailed) || j.Compact(entries(adding(7))) {
			t.Errorf("after Close: got %v", err)
		}
		_, state := mustOpen(t, fsys)
		checkState(t, state, batch(0)...)
	})
}

// TestNoEntries: a file without any would be refused at the next start.
func TestNoEntries(t *testing.T) {
	fsys := newMemFS()
	if _, err := open(fsys, "j", Options{}, entries(), decodeTo(new([]int))); err == nil || fsys.content("j") != nil || fsys.content("j.tmp") != nil {
		t.Errorf("created from nothing: %v", err)
	}
	j, _ := mustOpen(t, fsys)
	j.Compact(entries())
	finish(j)
	j.Close()
	_, state := mustOpen(t, fsys)
	checkState(t, state, batch(0)...)
}

// TestReadOnly: nothing is written, created or locked, and what another process is
// writing just then is left alone.
func TestReadOnly(t *testing.T) {
	fsys := newMemFS()
	if _, _, err := reopenWith(fsys, Options{ReadOnly: true}); err == nil || !strings.HasPrefix(err.Error(), "journal: j does not exist, and is not created") {
		t.Errorf("a file that is missing: got %v", err)
	}
	if len(fsys.names) > 0 {
		t.Errorf("created %v", fsys.names)
	}
	torn := append(slices.Clone(file3), "{\"add\":"...)
	for _, file := range [][]byte{file3, torn, file3[:len(file3)-1]} {
		fsys := newMemFS()
		fsys.put("j", file3)
		writer, _ := mustOpen(t, fsys) // has the locks
		fsys.names["j"].data = slices.Clone(file)
		fsys.names["j.tmp"] = &inode{data: []byte("x")} // a compaction is under way
		var told strings.Builder
		options := noted(&told)
		options.ReadOnly = true
		j, state, err := reopenWith(fsys, options)
		if err != nil {
			t.Fatal(err)
		}
		checkState(t, state, 1, 2, 3, 4, 5)
		want := ""
		if len(file) > len(file3) {
			want = "WARN Ignored the last line, which was cut off as by a crash, or is being written [file=j line=4 offset=91 bytes=7 error=it is not JSON]\n"
		}
		if told.String() != want {
			t.Errorf("got notices %q, want %q", &told, want)
		}
		if err := j.Append(adding(9)); err == nil || j.Compact(entries(adding(9))) || j.Failed() != nil {
			t.Errorf("could be written to: %v, %v", err, j.Failed())
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		if got := fsys.content("j"); !bytes.Equal(got, file) || len(fsys.names) != 3 || len(fsys.locked()) != 2 {
			t.Errorf("got %q, want %q; files %v, locked %v", got, file, fsys.names, fsys.locked())
		}
		writer.Close()
	}
	fsys.put("j", bytes.Replace(file3, []byte("3"), []byte("4"), 1))
	if _, _, err := reopenWith(fsys, Options{ReadOnly: true}); err == nil || !strings.Contains(err.Error(), "line 2 (offset 31)") {
		t.Errorf("a damaged file: got %v", err)
	}
}

// TestStrayTemporaryFile that cannot even be removed: nothing of it gets into the
// file.
func TestStrayTemporaryFile(t *testing.T) {
	for _, failAt := range []int{0, 2} { // after the lock
		fsys := newMemFS()
		fsys.put("j", file3)
		fsys.put("j.tmp", bytes.Repeat(file3, 10))
		fsys.fault, fsys.failAt = faults[0], failAt
		j, _ := mustOpen(t, fsys)
		if left := fsys.content("j.tmp") != nil; left != (failAt > 0) {
			t.Errorf("the stray file is there: %v", left)
		}
		j.Compact(entries(adding(1, 2, 3, 4, 5)))
		finish(j)
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
		j, err = Open(path, Options{}, entries(adding(batch(0)...)), decodeTo(&state))
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
	finish(j)
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
	if err := j.Append(adding(7)); !errors.Is(err, disk.ErrReplaced) {
		t.Errorf("the link leads elsewhere: got %v, want %v", err, disk.ErrReplaced)
	}
	j.Close()
	os.Remove(link)
	os.Symlink("j", link)

	// A torn tail, through a symbolic link, which stays one.
	os.WriteFile(path, append(data, "{\"torn"...), 0o600)
	j, state, err := open(link)
	if err != nil {
		t.Fatal(err)
	}
	checkState(t, state, 0, 1, 2, 3, 4, 5, 6)
	if _, _, err := open(path); err == nil {
		t.Error("the file can be opened under its other name, too")
	}
	j.Compact(entries(adding(0)))
	finish(j)
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
	if broken, err := os.ReadFile(path + ".broken"); string(broken) != "{\"torn" {
		t.Errorf("got .broken %q, %v", broken, err)
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
		_, err := Open(path, Options{}, entries(), decodeTo(new([]int)))
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
