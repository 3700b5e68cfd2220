package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// In these tests a line puts values under keys, so that replaying a line a second time
// changes nothing: {"put":{"a":1}}. The state is in its JSON form.

// decodePut returns a decoder whose functions change state.
func decodePut(state map[string]string) decoder {
	return func(entry []byte, checked bool) (func(), error) {
		var line struct{ Put map[string]string }
		in := json.NewDecoder(bytes.NewReader(entry))
		in.DisallowUnknownFields()
		if err := in.Decode(&line); err != nil {
			return nil, err
		}
		if line.Put == nil {
			return nil, errors.New("it has no put")
		}
		return func() {
			for key, value := range line.Put {
				state[key] = value
			}
		}, nil
	}
}

// A damage is a journal's file, and what became of it.
type damage struct {
	t     *testing.T
	whole []byte // the file without damage
	lines [][]byte
	start []int // where each line begins, and the last ends
}

// newDamage makes a file with a line of about each of the lengths.
func newDamage(t *testing.T, lengths ...int) *damage {
	d := &damage{t: t}
	for i, length := range lengths {
		entry, err := json.Marshal(map[string]any{"put": map[string]string{"a": fmt.Sprint(i), fmt.Sprint("b", i): strings.Repeat("x", length)}})
		if err != nil {
			t.Fatal(err)
		}
		d.start = append(d.start, len(d.whole))
		d.lines = append(d.lines, appendLine(nil, entry))
		d.whole = append(d.whole, d.lines[i]...)
	}
	d.start = append(d.start, len(d.whole))
	return d
}

// Outcomes of opening a file.
const (
	refused  = "refused"
	complete = "complete" // all lines were replayed
	shorter  = "shorter"  // all but the last
	merged   = "merged"   // all but the last two
)

// open opens a file, and returns the outcome. It checks that a refused file is left
// as it was, and no byte of any other is lost.
func (d *damage) open(name string, file []byte) string {
	d.t.Helper()
	fsys := newMemFS()
	fsys.put("j", file)
	state := map[string]string{}
	j, err := open(fsys, "j", Options{}, nil, decodePut(state))
	after, broken := fsys.content("j"), fsys.content("j.broken")
	if err != nil {
		if !bytes.Equal(after, file) || broken != nil {
			d.t.Errorf("%s: refused, but changed: %v", name, err)
		}
		if !strings.HasPrefix(err.Error(), "journal: j") || !strings.Contains(err.Error(), "nothing was changed: ") {
			d.t.Errorf("%s: got error %v", name, err)
		}
		return refused
	}
	if kept := bytes.TrimSuffix(after, []byte("\n")); !bytes.HasPrefix(file, kept) || len(kept)+len(broken) < len(file)-1 || !bytes.HasSuffix(file, broken) {
		d.t.Errorf("%s: of %d bytes %d were kept, and %d in .broken", name, len(file), len(after), len(broken))
	}
	j.Close()
	want := map[string]string{}
	count := len(d.lines)
	outcomes := map[string]string{fmt.Sprint(count - 1): complete, fmt.Sprint(count - 2): shorter, fmt.Sprint(count - 3): merged}
	outcome := outcomes[state["a"]]
	count -= slices.Index([]string{complete, shorter, merged}, outcome)
	for _, line := range d.lines[:count] {
		entry, _, _ := parseLine(bytes.TrimSpace(slices.Clone(line)))
		apply, err := decodePut(want)(entry, true)
		if err != nil {
			d.t.Fatal(err)
		}
		apply()
	}
	if fmt.Sprint(state) != fmt.Sprint(want) {
		d.t.Errorf("%s: started with what is neither whole nor without the last line", name)
	}
	return outcome
}

// want checks the outcome of opening a file.
func (d *damage) want(outcome, name string, file []byte) {
	d.t.Helper()
	if got := d.open(name, file); got != outcome {
		d.t.Errorf("%s: got %s, want %s", name, got, outcome)
	}
}

// last is where the last line begins.
func (d *damage) last() int { return d.start[len(d.start)-2] }

// TestEveryBitFlipped: whatever the line, the server does not start without an
// acknowledged batch.
func TestEveryBitFlipped(t *testing.T) {
	d := newDamage(t, 10, 30, 600)
	for bit := range 8 * len(d.whole) {
		file := slices.Clone(d.whole)
		file[bit/8] ^= 1 << (bit % 8)
		outcome := refused
		if bit/8 == len(file)-1 && file[bit/8] == '\v' {
			outcome = complete // a line may have space at its end
		}
		d.want(outcome, fmt.Sprintf("bit %d of byte %d of %d", bit%8, bit/8, len(d.whole)), file)
	}
}

// TestEverySectorZeroed: only zeros in the last line can be those of a crash.
func TestEverySectorZeroed(t *testing.T) {
	d := newDamage(t, 10, 100, 600, 20, 5000, 5000)
	for length := 512; length <= 4096; length *= 2 {
		for start := 0; start < len(d.whole); start += length {
			file := slices.Clone(d.whole)
			clear(file[start:min(start+length, len(file))])
			outcome := refused
			switch {
			case start >= d.last():
				outcome = shorter
			case start+length > d.last(): // as if the last two were one that a crash has left so
				outcome = merged
			}
			d.want(outcome, fmt.Sprintf("%d zeros at %d", length, start), file)
		}
	}
	// The block in which the last line begins was written anew for it, but only what was
	// in it before got there.
	file := slices.Clone(d.whole)
	clear(file[d.last() : (d.last()+511)/512*512])
	d.want(shorter, "zeros from the last line to the end of its first sector", file)
	// The same, and the end of the line is missing, too.
	for _, end := range []int{d.last() + 3000, len(d.whole) - 1} {
		file := slices.Clone(d.whole[:end])
		clear(file[d.last()+1000 : d.last()+2000])
		d.want(shorter, fmt.Sprintf("zeros in the last line, which is cut at %d", end), file)
	}
	// Fewer zeros are not those of a sector.
	for length := 1; length <= 512; length++ {
		file := slices.Clone(d.whole)
		at := (d.last()+511)/512*512 + 1
		clear(file[at : at+length])
		d.want(refused, fmt.Sprintf("%d zeros within two sectors", length), file)
	}
}

// TestEveryTruncation: a file that ends within its last line, or just before, was cut
// by a crash, and so was one that ends within another that was the last then.
func TestEveryTruncation(t *testing.T) {
	whole := newDamage(t, 10, 100, 600, 20, 1200, 900)
	for end := range len(whole.whole) {
		d := *whole
		count := 1 // lines that the file has, the last one perhaps in part
		for d.start[count] < end {
			count++
		}
		d.lines, d.start = d.lines[:count], d.start[:count+1]
		outcome := shorter
		switch {
		case end >= d.start[count]-1: // only the newline is missing
			outcome = complete
		case count == 1: // cut in the first line
			outcome = refused
		}
		d.want(outcome, fmt.Sprintf("cut at %d", end), d.whole[:end])

		// The same, with zeros to the end of the sector and the page.
		if end > 0 && end%7 == 0 {
			for _, unit := range []int{512, 4096} {
				padding := make([]byte, unit-end%unit)
				d.want(outcome, fmt.Sprintf("cut at %d, then %d zeros", end, len(padding)), append(slices.Clip(d.whole[:end]), padding...))
			}
		}
	}
}

func TestZerosAfterTheLastLine(t *testing.T) {
	d := newDamage(t, 10, 100, 600, 20, 5000, 5000)
	size := len(d.whole)
	for _, length := range []int{1, 2, 511, 512, 4096 - size%4096, 100_000} {
		zeros := make([]byte, length)
		d.want(complete, fmt.Sprintf("%d zeros", length), append(slices.Clip(d.whole), zeros...))
		d.want(complete, fmt.Sprintf("%d zeros in place of the newline", length), append(slices.Clip(d.whole[:size-1]), zeros...))
		d.want(refused, fmt.Sprintf("%d zeros and more lines", length), slices.Concat(d.whole, zeros, d.lines[0], d.lines[0]))
		// A line that is not what its checksum says is none that a crash has left, whatever follows.
		rotten := slices.Clone(d.whole)
		rotten[size-100] ^= 1
		d.want(refused, fmt.Sprintf("rot before %d zeros", length), append(slices.Clip(rotten), zeros...))
		d.want(refused, fmt.Sprintf("rot before %d zeros in place of the newline", length), append(slices.Clip(rotten[:size-1]), zeros...))
	}
}

// TestDuplicatedTail: lines that are there twice change nothing; a line that is
// there in part, with its end, was not left by a crash.
func TestDuplicatedTail(t *testing.T) {
	d := newDamage(t, 10, 100, 600, 20, 800)
	for from := range len(d.whole) {
		outcome := refused
		if slices.Contains(d.start, from) || slices.Contains(d.start, from+1) {
			outcome = complete
		}
		d.want(outcome, fmt.Sprintf("tail from %d again", from), append(slices.Clip(d.whole), d.whole[from:]...))
	}
}

// TestMissingNewline between two lines, or in place of it another character.
func TestMissingNewline(t *testing.T) {
	d := newDamage(t, 10, 100, 600, 20, 5000, 5000)
	for i, end := range d.start[1:] {
		outcome := refused
		if i == len(d.lines)-1 {
			outcome = complete
		}
		d.want(outcome, fmt.Sprintf("line %d without newline", i+1), slices.Delete(slices.Clone(d.whole), end-1, end))
	}
}

// TestDamageIsNamed: the error names the line, the offset, and what to do.
func TestDamageIsNamed(t *testing.T) {
	const ask = "; nothing was changed: correct the line, or restore the file from a copy; to lose this line and all after it, "
	returns := strings.ReplaceAll(string(file3), "\n", "\r")
	first := string(file3[:bytes.IndexByte(file3, '\n')+1])
	for _, test := range []struct{ file, want string }{
		{strings.Replace(string(file3), "3", "4", 1), "j, line 2 (offset 31): it does not match its checksum (if you have edited the line, remove its crc)" + ask + "cut the file there: truncate -s 31 'j'"},
		{strings.Replace(string(file3), "4", "5", 1), "j, line 3 (offset 60): it does not match its checksum (if you have edited the line, remove its crc)" + ask + "cut the file there: truncate -s 60 'j'"},
		{"\n\n{\"add\":[1]}\n{\"add\"\n" + string(file3), "j, line 4 (offset 14): it is not JSON; nothing was changed"},
		{string(file3) + "{\"add\":[6\n", "j, line 4 (offset 91): it is not JSON; nothing was changed"},
		{string(file3) + "{\"add\":[6}", "j, line 4 (offset 91): it is not JSON; nothing was changed"},
		{string(file3) + "[1", "j, line 4 (offset 91): it is not JSON; nothing was changed"},
		{"{\"sub\":[1]}\n" + string(file3), "j, line 1 (offset 0): it must have add, and nothing else" + ask + "delete the file"},
		{string(file3) + "{\"sub\":[1]}\n", "j, line 4 (offset 91): it must have add, and nothing else"},
		{string(file3) + "{\"sub\":[1]}", "j, line 4 (offset 91): it must have add, and nothing else"},
		{string(appendLine(nil, []byte(`{"sub":[1]}`))), "j, line 1 (offset 0): it must have add, and nothing else"},
		{"", "j has nothing in it; nothing was changed: restore the file from a copy, or delete it to start anew"},
		{"\n \r\n", "j has nothing in it; nothing was changed"},
		{first[:20], "j, line 1 (offset 0): it is not JSON" + ask + "delete the file"},
		{"\xef\xbb\xbf" + string(file3), "j, line 1 (offset 0): it begins with a byte order mark; save the file as UTF-8 without one; nothing"},
		{"\xff\xfe{\x00\"\x00", "j, line 1 (offset 0): it begins with a byte order mark"},
		{returns, "j, line 1 (offset 0): lines end with CR alone; save the file with LF or CR LF at the end of lines; nothing"},
		{returns[:80], "j, line 1 (offset 0): lines end with CR alone"},
		{"{\"add\":[1]}\r{\"add\":[2]}\r", "j, line 1 (offset 0): lines end with CR alone"},
		{first + returns[31:80], "j, line 2 (offset 31): lines end with CR alone"},
		{"a note", "j, line 1 (offset 0): it is not JSON"},
		{"a note\n", "j, line 1 (offset 0): it is not JSON"},
		{"{a note}\n", "j, line 1 (offset 0): it is not JSON"},
		{"\n\x00\x01", "j, line 2 (offset 1): it is not JSON"},
		{strings.Repeat("\x00", 5000), "j, line 1 (offset 0): it is not JSON"},
	} {
		fsys := newMemFS()
		fsys.put("j", []byte(test.file))
		_, _, err := reopen(fsys)
		if err == nil || !strings.HasPrefix(err.Error(), "journal: "+test.want) {
			t.Errorf("%q: got %v, want %s", test.file, err, test.want)
		}
		if got := string(fsys.content("j")); got != test.file || fsys.content("j.broken") != nil || len(fsys.locked()) > 0 {
			t.Errorf("%q: something was changed: %q", test.file, got)
		}
	}
}

// TestDroppedLineIsTold, with where its bytes are.
func TestDroppedLineIsTold(t *testing.T) {
	fsys := newMemFS()
	fsys.put("j", append(slices.Clone(file3), "{\"add\":[6"...))
	fsys.put("j.tmp", []byte("x"))
	var told strings.Builder
	if _, _, err := reopenWith(fsys, noted(&told)); err != nil {
		t.Fatal(err)
	}
	want := "WARN Removed a file that was left when writing it was cut short [file=j.tmp]\n" +
		"WARN Dropped the last line, which was cut off as by a crash [file=j line=4 offset=91 bytes=9 error=it is not JSON kept=j.broken]\n"
	if told.String() != want {
		t.Errorf("got %q, want %q", &told, want)
	}
}
