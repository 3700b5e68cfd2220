package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"slices"
	"strings"
	"syscall"
	"testing"
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
	j.background.Wait()
	add(3)
	compact()
	add(4) // while it compacts
	add(5)
	j.background.Wait()
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
			for kept := range 3 {
				for _, named := range []bool{false, true} {
					name := fmt.Sprintf("%s at call %d, power cut, kept %d/2, names %v", fault.name, n, kept, named)
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

// TestTruncatedAnywhere has a file that ends at every offset.
func TestTruncatedAnywhere(t *testing.T) {
	lines := bytes.SplitAfter(file3, []byte("\n"))
	states := [][]int{nil, {1, 2}, {1, 2, 3}, {1, 2, 3, 4, 5}}
	for end := range len(file3) + 1 {
		whole, length := 0, 0 // lines that must be there
		for length+len(lines[whole]) <= end+1 && whole < 3 {
			length += len(lines[whole])
			whole++
		}
		fsys := newMemFS()
		fsys.put("j", file3[:end])
		j, state := mustOpen(t, fsys)
		checkState(t, state, states[whole]...)
		var torn []byte
		if length < end {
			torn = file3[length:end]
		}
		if got := fsys.content("j.broken"); !bytes.Equal(got, torn) {
			t.Errorf("cut at %d: got .broken %q, want %q", end, got, torn)
		}
		if got := fsys.content("j"); !bytes.Equal(got, file3[:length]) {
			t.Errorf("cut at %d: got file %q, want %q", end, got, file3[:length])
		}
		if err := j.Append(adding(6)); err != nil {
			t.Fatal(err)
		}
		_, state = mustOpen(t, fsys.afterPowerCut(0, false))
		checkState(t, state, append(slices.Clip(states[whole]), 6)...)
	}
}

// TestEveryBitFlipped: it is found, or it is in what was dropped as the torn tail
// with its bytes kept.
func TestEveryBitFlipped(t *testing.T) {
	refused, dropped := 0, 0
	for bit := range 8 * len(file3) {
		flipped := slices.Clone(file3)
		flipped[bit/8] ^= 1 << (bit % 8)
		fsys := newMemFS()
		fsys.put("j", flipped)
		_, state, err := reopen(fsys)
		got, broken := fsys.content("j"), fsys.content("j.broken")
		if err != nil {
			if refused++; !bytes.Equal(got, flipped) || broken != nil {
				t.Errorf("bit %d: refused (%v), but the file was changed", bit, err)
			}
			continue
		}
		if want := []int{1, 2, 3, 4, 5}; !slices.Equal(state, want[:len(state)]) {
			t.Errorf("bit %d: got state %v", bit, state)
		}
		if dropped++; !bytes.HasPrefix(append(got, broken...), flipped) {
			t.Errorf("bit %d: got %q and in .broken %q, want %q", bit, got, broken, flipped)
		}
		if bit/8 < len(file3)/2 {
			t.Errorf("bit %d: in the first half of three lines, and not refused: %v", bit, state)
		}
	}
	t.Logf("%d refused, %d dropped", refused, dropped)
}

// TestFilesThatNeverWereJournals are refused, and left alone.
func TestFilesThatNeverWereJournals(t *testing.T) {
	line := string(appendLine(nil, adding(1, 2)))
	for _, file := range []string{"a note", "a note\n", "{a note}\n", "\n\x00\x01", strings.Replace(line, "1", "3", 1)} {
		fsys := newMemFS()
		fsys.put("j", []byte(file))
		if _, _, err := reopen(fsys); err == nil {
			t.Errorf("%q: was accepted", file)
		}
		if got := string(fsys.content("j")); got != file || fsys.content("j.broken") != nil {
			t.Errorf("%q: is now %q", file, got)
		}
	}
}

// TestFailedEndOfCompaction: what is logged is that nothing more is written, and not
// that the old file stays.
func TestFailedEndOfCompaction(t *testing.T) {
	for n := range 30 {
		fsys := newMemFS()
		j, _ := mustOpen(t, fsys)
		var logged bytes.Buffer
		log.SetOutput(&logged)
		fsys.fault, fsys.failAt = faults[0], fsys.calls+1+n
		j.Compact(entries(adding(batch(0)...)))
		j.background.Wait()
		log.SetOutput(io.Discard)
		old := strings.Contains(logged.String(), "the old file stays in force")
		if final := strings.Contains(logged.String(), "nothing more is written"); final != j.Failed() || final && old {
			t.Errorf("call %d: failed is %v, and logged %q", n, j.Failed(), &logged)
		}
	}
}

// TestTornTailIsKept cuts the power while a torn tail is dropped: its bytes are in
// the file or beside it.
func TestTornTailIsKept(t *testing.T) {
	torn := appendLine(nil, adding(6))
	torn[8]++ // it has the right form, but not the right checksum
	file := append(slices.Clone(file3), torn...)
	for failAt := range 40 {
		for _, fault := range faults {
			fsys := newMemFS()
			fsys.put("j", file)
			fsys.failAt, fsys.fault = failAt, fault
			if _, state, err := reopen(fsys); err == nil {
				checkState(t, state, 1, 2, 3, 4, 5)
			}
			for kept := range 3 {
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
	for _, fault := range []fault{faults[1], faults[2]} {
		fsys := newMemFS()
		j, _ := mustOpen(t, fsys)
		before := fsys.content("j")
		fsys.fault, fsys.failAt = fault, fsys.calls+2 // after the check
		if err := j.Append(adding(7)); !errors.Is(err, ErrFull) {
			t.Errorf("%s: got %v, want %v", fault.name, err, ErrFull)
		}
		if got := fsys.content("j"); !bytes.Equal(got, before) {
			t.Errorf("%s: got %q, want %q", fault.name, got, before)
		}
		if n := len(fsys.names["j"].pending); n > 0 {
			t.Errorf("%s: %d changes are not synced, and could be mixed with later ones", fault.name, n)
		}
		if err := j.Append(adding(8)); err != nil || j.Failed() {
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
	if err := j.Append(adding(7)); !errors.Is(err, syscall.EIO) || errors.Is(err, ErrFull) {
		t.Errorf("got %v, want %v", err, syscall.EIO)
	}
	calls := fsys.calls
	if err := j.Append(adding(8)); err == nil || !j.Failed() {
		t.Error("appended after a sync that failed")
	}
	j.Compact(entries(adding(0, 1, 2)))
	j.background.Wait()
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
				if err := j.Append(adding(7)); !errors.Is(err, errReplaced) {
					t.Errorf("%s: Append: got %v, want %v", name, err, errReplaced)
				}
			} else {
				j.Compact(entries(adding(0, 1, 2)))
				j.background.Wait()
				if err := j.Append(adding(7)); !errors.Is(err, errReplaced) {
					t.Errorf("%s: Append after Compact: got %v, want %v", name, err, errReplaced)
				}
			}
			if got := fsys.content("j"); !bytes.Equal(got, want) || fsys.content("j.tmp") != nil {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
	}
	// A replacement after the check before the write is noticed by the one after the sync.
	fsys := newMemFS()
	j, _ := mustOpen(t, fsys)
	j.fs = replacing{fsys}
	if err := j.Append(adding(7)); !errors.Is(err, errReplaced) {
		t.Errorf("got %v, want %v", err, errReplaced)
	}
}

// replacing is a file system on which others replace a file just after the journal
// has looked at it.
type replacing struct{ *memFS }

func (r replacing) size(path string, f file) (int64, error) {
	defer r.put("j", file3)
	return r.memFS.size(path, f)
}
