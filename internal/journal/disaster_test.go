package journal

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cars/internal/disk"
)

// useAll uses all of a journal's functions, and returns which batches were
// acknowledged. It ends early when the journal cannot be opened.
func useAll(fsys *memFS) (acknowledged []int) {
	j, _, err := reopen(fsys)
	if err != nil {
		return nil
	}
	acknowledged = append(acknowledged, 0)
	add := func(n int) {
		if j.Append(adding(batch(n)...)) == nil {
			acknowledged = append(acknowledged, n)
		}
	}
	compact := func() {
		var all []int
		for _, n := range acknowledged {
			all = append(all, batch(n)...)
		}
		j.Compact(entries(adding(all...)))
	}
	add(1)
	add(2)
	compact()
	finish(j)
	add(3)
	compact()
	add(4) // while it compacts
	add(5)
	finish(j)
	add(6)
	j.Close()
	if j, _, err = reopen(fsys); err != nil {
		return acknowledged
	}
	add(7)
	j.Close()
	return acknowledged
}

// TestEveryCallFails lets the nth call to the file system fail, for every n, in
// every way, and looks at what is there when the process has ended, or the power
// was cut: every acknowledged batch, and no other in part.
func TestEveryCallFails(t *testing.T) {
	fsys := newMemFS()
	if got := len(useAll(fsys)); got != 8 {
		t.Fatalf("without faults, %d of 8 batches were acknowledged", got)
	}
	calls := fsys.calls
	t.Logf("%d calls", calls)
	for _, fault := range faults {
		for n := 1; n <= calls+5; n++ {
			fsys := newMemFS()
			fsys.failAt, fsys.fault = n, fault
			acknowledged := useAll(fsys)
			if !fault.power {
				checkSurvival(t, fmt.Sprintf("%s at call %d, kill", fault.name, n), fsys.afterKill(), acknowledged)
			}
			for kept := range powerCuts {
				for _, named := range []bool{false, true} {
					name := fmt.Sprintf("%s at call %d, power cut, kept %d, names %v", fault.name, n, kept, named)
					checkSurvival(t, name, fsys.afterPowerCut(kept, named), acknowledged)
				}
			}
		}
	}
}

// checkSurvival checks what a new process finds, and that this stays.
func checkSurvival(t *testing.T, name string, fsys *memFS, acknowledged []int) {
	t.Helper()
	j, state, err := reopen(fsys)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if len(state) < 3 || state[0] != 0 {
		t.Errorf("%s: got state %v, which was not even created wholly", name, state)
		return
	}
	var got []int
	for group := range slices.Chunk(state, 3) {
		if !slices.Equal(group, batch(group[0]/3)) {
			t.Errorf("%s: got state %v, in which a batch is in part", name, state)
			return
		}
		got = append(got, group[0]/3)
	}
	there := got
	if _, again, err := reopen(fsys.afterPowerCut(0, false)); err != nil || !slices.Equal(again, state) {
		t.Errorf("%s: what was read as %v is %v, %v, after another power cut", name, state, again, err)
	}
	if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) < len(got) {
		t.Errorf("%s: got batches %v", name, got)
	}
	got = slices.DeleteFunc(slices.Clone(got), func(n int) bool { return !slices.Contains(acknowledged, n) })
	if !slices.Equal(got, acknowledged) {
		t.Errorf("%s: got batches %v, want %v", name, got, acknowledged)
	}
	if err := j.Append(adding(batch(9)...)); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	j.Close()
	_, state, err = reopen(fsys.afterPowerCut(0, false))
	if want := 3 * (len(there) + 1); err != nil || len(state) != want {
		t.Errorf("%s: after another power cut: got %v, %v, want %d numbers", name, state, err, want)
	}
}

// TestFailedCompaction lets each call of a compaction fail, in ways that last and in
// ways that pass, also when it is the last one that is missing. The old file stays in
// force, its failure is told once, and neither appending nor the next start is hindered.
func TestFailedCompaction(t *testing.T) {
	const calls = 10 // create, truncate, write, sync, sync, size, lock, rename, close, syncDir
	for _, fault := range faults {
		if fault.power {
			continue
		}
		for n := 1; n <= calls; n++ {
			name := fmt.Sprintf("%s at call %d", fault.name, n)
			fsys := newMemFS()
			var told strings.Builder
			j, _, err := reopenWith(fsys, noted(&told))
			if err != nil {
				t.Fatal(err)
			}
			if err := j.Append(adding(7)); err != nil {
				t.Fatal(err)
			}
			fsys.fault, fsys.failAt = fault, fsys.calls+n
			j.Compact(entries(adding(0, 1, 2, 7)))
			finish(j)
			fsys.failAt = 0
			// Only the last call, the sync of the folder, may end everything, and the one
			// before, which closes the old file, does not matter.
			final := n == calls || n == calls-1 && fault.times > 1
			outcome := "WARN The compaction failed; the old file stays in force"
			switch {
			case final:
				outcome = "ERROR The compaction failed, and with it the file"
			case n == calls-1:
				outcome = "INFO Compacted the file"
			}
			if got := told.String(); !strings.HasPrefix(got, outcome) || strings.Count(got, "\n") != 1 || final != (j.Failed() != nil) {
				t.Errorf("%s: failed is %v, and notices were %q, want %s", name, j.Failed(), got, outcome)
			}
			if got, want := j.retryWait == never, isForGood(fault.err) && n < calls-1; got != want {
				t.Errorf("%s: never tried again is %v, want %v", name, got, want)
			}
			want := []int{0, 1, 2, 7}
			if !final {
				if err := j.Append(adding(8)); err != nil {
					t.Errorf("%s: Append: %v", name, err)
				}
				want = append(want, 8)
				for range 3 {
					if j.retryWait != never {
						j.retryAt = time.Time{}
					}
					j.Compact(entries(adding(want...)))
					finish(j)
				}
			}
			if got := strings.Count(told.String(), "the old file stays in force"); got > 1 {
				t.Errorf("%s: told %d times: %q", name, got, &told)
			}
			if err := j.Close(); err != nil {
				t.Errorf("%s: Close: %v", name, err)
			}
			if locked := fsys.locked(); len(locked) > 0 {
				t.Errorf("%s: %v are still locked after Close", name, locked)
			}
			if _, state, err := reopen(fsys); err != nil || !slices.Equal(state, want) {
				t.Errorf("%s: the next start: got %v, %v, want %v", name, state, err, want)
			}
		}
	}
}

// TestFailureDuringACompaction: it is not told a second time, and the file stays.
func TestFailureDuringACompaction(t *testing.T) {
	fsys := newMemFS()
	var told strings.Builder
	j, _, err := reopenWith(fsys, noted(&told))
	if err != nil {
		t.Fatal(err)
	}
	began, goOn := make(chan bool), make(chan bool)
	j.Compact(func(yield func([]byte) bool) {
		close(began)
		<-goOn
		yield(adding(batch(0)...))
	})
	<-began
	fsys.fault, fsys.failAt = faults[0], fsys.calls+3
	if err := j.Append(adding(7)); !errors.Is(err, ErrFailed) {
		t.Errorf("got %v, want %v", err, ErrFailed)
	}
	close(goOn)
	before := fsys.names["j"]
	finish(j)
	if told.Len() > 0 || fsys.names["j"] != before || fsys.content("j.tmp") != nil {
		t.Errorf("got notices %q and file %q", &told, fsys.content("j"))
	}
}

// TestTornTailIsKept cuts the power while a torn tail is dropped: its bytes are in
// the file or beside it.
func TestTornTailIsKept(t *testing.T) {
	torn := appendLine(nil, adding(6))[:20]
	file := append(slices.Clone(file3), torn...)
	for failAt := range 40 {
		for _, fault := range faults {
			fsys := newMemFS()
			fsys.put("j", file)
			fsys.failAt, fsys.fault = failAt, fault
			if _, state, err := reopen(fsys); err == nil {
				checkState(t, state, 1, 2, 3, 4, 5)
			}
			for kept := range powerCuts {
				for _, named := range []bool{false, true} {
					after := fsys.afterPowerCut(kept, named)
					if !bytes.Equal(after.content("j"), file) && !bytes.Contains(after.content("j.broken"), torn) {
						t.Errorf("%s at call %d: got file %q and .broken %q", fault.name, failAt, after.content("j"), after.content("j.broken"))
					}
					_, state := mustOpen(t, after)
					checkState(t, state, 1, 2, 3, 4, 5)
				}
			}
		}
	}
}

func TestFullDisk(t *testing.T) {
	for _, fault := range faults {
		if fault.err != syscall.ENOSPC {
			continue
		}
		fsys := newMemFS()
		j, _ := mustOpen(t, fsys)
		before := fsys.content("j")
		fsys.fault, fsys.failAt = fault, fsys.calls+2 // after the check
		if err := j.Append(adding(7)); !errors.Is(err, ErrFull) || errors.Is(err, ErrFailed) {
			t.Errorf("%s: got %v, want %v", fault.name, err, ErrFull)
		}
		if got := fsys.content("j"); !bytes.Equal(got, before) {
			t.Errorf("%s: got %q, want %q", fault.name, got, before)
		}
		if n := len(fsys.names["j"].pending); n > 0 {
			t.Errorf("%s: %d changes are not synced, and could be mixed with later ones", fault.name, n)
		}
		if err := j.Append(adding(8)); err != nil || j.Failed() != nil {
			t.Errorf("%s: when there is room again: %v", fault.name, err)
		}
		_, state := mustOpen(t, fsys.afterPowerCut(0, false))
		checkState(t, state, 0, 1, 2, 8)
	}
}

func TestFailedSyncIsFinal(t *testing.T) {
	fsys := newMemFS()
	j, _ := mustOpen(t, fsys)
	fsys.fault, fsys.failAt = faults[0], fsys.calls+3 // after check and write
	if err := j.Append(adding(7)); !errors.Is(err, syscall.EIO) || errors.Is(err, ErrFull) || !errors.Is(err, ErrFailed) {
		t.Errorf("got %v, want %v", err, syscall.EIO)
	}
	calls := fsys.calls
	if err := j.Append(adding(8)); err == nil || !errors.Is(j.Failed(), ErrFailed) || err != j.Failed() {
		t.Error("appended after a sync that failed")
	}
	j.Compact(entries(adding(0, 1, 2)))
	finish(j)
	if fsys.calls != calls {
		t.Error("it still uses the file")
	}
	_, state := mustOpen(t, fsys.afterKill())
	checkState(t, state, 0, 1, 2)
}

// TestFileOfOthers has others delete, replace or change the file.
func TestFileOfOthers(t *testing.T) {
	for name, meddle := range map[string]func(*memFS){
		"deleted":   func(fsys *memFS) { delete(fsys.names, "j") },
		"replaced":  func(fsys *memFS) { fsys.put("j", file3) },
		"same":      func(fsys *memFS) { fsys.put("j", fsys.content("j")) },
		"shortened": func(fsys *memFS) { fsys.names["j"].data = fsys.names["j"].data[:10] },
		"extended":  func(fsys *memFS) { fsys.names["j"].data = append(fsys.names["j"].data, "{}\n"...) },
	} {
		for _, append := range []bool{true, false} {
			fsys := newMemFS()
			j, _ := mustOpen(t, fsys)
			meddle(fsys)
			want := fsys.content("j")
			if append {
				if err := j.Append(adding(7)); !errors.Is(err, disk.ErrReplaced) {
					t.Errorf("%s: Append: got %v, want %v", name, err, disk.ErrReplaced)
				}
			} else {
				j.Compact(entries(adding(0, 1, 2)))
				finish(j)
				if err := j.Append(adding(7)); !errors.Is(err, disk.ErrReplaced) {
					t.Errorf("%s: Append after Compact: got %v, want %v", name, err, disk.ErrReplaced)
				}
			}
			if got := fsys.content("j"); !bytes.Equal(got, want) || fsys.content("j.tmp") != nil {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
			if !errors.Is(j.Failed(), ErrFailed) {
				t.Errorf("%s: failed is %v", name, j.Failed())
			}
		}
	}
	// A replacement after the check before the write is noticed by the one after the sync.
	fsys := newMemFS()
	j, _ := mustOpen(t, fsys)
	j.fs = replacing{fsys}
	if err := j.Append(adding(7)); !errors.Is(err, disk.ErrReplaced) {
		t.Errorf("got %v, want %v", err, disk.ErrReplaced)
	}
}

// TestFullDiskMakesRoom: a file that is mostly dead is compacted where the disk is too
// full for the next entry.
func TestFullDiskMakesRoom(t *testing.T) {
	fsys := newMemFS()
	fsys.limit = 2000
	j, _ := mustOpen(t, fsys)
	var err error
	for err == nil {
		err = j.Append(adding(7))
	}
	for attempt := range 2 { // when the temporary file has no room, and when it has
		if got := fsys.limit - int64(len(fsys.content("j"))); !errors.Is(err, ErrFull) || j.Room() != got {
			t.Fatalf("got %v and room for %d, want %v and %d", err, j.Room(), ErrFull, got)
		}
		j.retryAt = time.Time{}
		if !j.Compact(entries(adding(batch(0)...))) {
			t.Fatal("no compaction was begun")
		}
		finish(j)
		if made := j.Size() < 200; made != (attempt == 1) {
			t.Errorf("attempt %d: got size %d", attempt, j.Size())
		}
		fsys.limit += 40
		if err = j.Append(adding(slices.Repeat([]int{8}, 30)...)); err == nil {
			break
		}
	}
	if err != nil {
		t.Error(err)
	}
	_, state := mustOpen(t, fsys.afterPowerCut(0, false))
	checkState(t, state, append(batch(0), slices.Repeat([]int{8}, 30)...)...)
}

// replacing is a file system on which others replace a file just after the journal
// has looked at it.
type replacing struct{ *memFS }

func (r replacing) Size(path string, f disk.File) (int64, error) {
	defer r.put("j", file3)
	return r.memFS.Size(path, f)
}
