package items

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"cars/internal/ijson"
	"cars/internal/journal"
	"cars/internal/sorted"
)

// TestMain keeps the log out of the tests' output.
func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// captureLog returns where the log goes until the end of the test.
func captureLog(t *testing.T) *bytes.Buffer {
	var logged bytes.Buffer
	log.SetOutput(&logged)
	t.Cleanup(func() { log.SetOutput(io.Discard) })
	return &logged
}

// A note is an item. Its text may be anything that is checked, and a person's anything
// but "wrong".
type note struct {
	ID   int    `json:"id"`
	Text string `json:"text"`
}

var notes = Format[note]{
	ID: func(n *note) int { return n.ID },
	JSON: func(n *note) []byte {
		line, err := ijson.Encode(n)
		if err != nil {
			panic(err)
		}
		return bytes.TrimSpace(line)
	},
	Scan: func(in *ijson.Scanner, checked bool) (*note, bool) {
		var n note
		in.Expect(`{"id":`)
		n.ID = in.Int()
		in.Expect(`,"text":`)
		n.Text = in.Text()
		in.Expect("}")
		return &n, !in.Failed() && (checked || n.Text != "wrong")
	},
	Parse: func(elements iter.Seq2[any, error]) (list []*note, err error) {
		for element, err := range elements {
			if err != nil {
				return nil, err
			}
			object, _ := element.(map[string]any)
			id, _ := object["id"].(float64)
			text, _ := object["text"].(string)
			if text == "wrong" || id < 0 || id > MaxID || id != float64(int(id)) {
				return nil, errors.New("wrong")
			}
			list = append(list, &note{int(id), text})
		}
		return list, nil
	},
}

// A keeper is an open file, and what has been committed to it.
type keeper struct {
	*File[note]
	commits   chan Commit[note]
	committed chan error
	kept      chan struct{} // closed when Keep has returned

	list   sorted.List[*note]
	nextID int
}

func open(t *testing.T, path string, initial ...*note) *keeper {
	t.Helper()
	f, list, nextID, err := Open(path, notes, initial)
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{f, make(chan Commit[note], 1), make(chan error, 1), make(chan struct{}), sorted.New(notes.ID, list), nextID}
	go func() {
		f.Keep(k.commits, k.committed)
		close(k.kept)
	}()
	return k
}

func (k *keeper) close(t *testing.T) {
	t.Helper()
	close(k.commits)
	<-k.kept
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

// commit commits what list has become by writes to the items with these IDs.
func (k *keeper) commit(list sorted.List[*note], ids ...int) error {
	nextID := k.nextID
	for _, id := range ids {
		nextID = max(nextID, id+1)
	}
	for _, n := range all(list) {
		nextID = max(nextID, n.ID+1)
	}
	k.commits <- Commit[note]{list, nextID, ids}
	err := <-k.committed
	if err == nil {
		k.list, k.nextID = list, nextID
	}
	return err
}

// reopen closes the file, and wants to have the same after opening it.
func (k *keeper) reopen(t *testing.T, path string) *keeper {
	t.Helper()
	k.close(t)
	again := open(t, path)
	if !reflect.DeepEqual(all(again.list), all(k.list)) || again.nextID != k.nextID || again.size != k.size {
		t.Fatalf("got %d items and next ID %d, want %d and %d; in %d bytes, want %d", again.list.Len(), again.nextID, k.list.Len(), k.nextID, again.size, k.size)
	}
	return again
}

func all(list sorted.List[*note]) []*note { return slices.Concat(list.Blocks()...) }

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestWhatIsCommittedIsThereAgain commits at random, one item or more or all at once,
// some of which live for no longer than that, until the file has been compacted.
func TestWhatIsCommittedIsThereAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.jsonl")
	random := rand.New(rand.NewPCG(1, 2))
	k := open(t, path, &note{1, "a"}, &note{7, "\"\\\u2028é"})
	if k.list.Len() != 2 || k.nextID != 8 {
		t.Fatalf("got %v and next ID %d", all(k.list), k.nextID)
	}
	compacted := 0
	for range 300 {
		list, ids := k.list, []int(nil)
		for range 1 + random.IntN(4) {
			id := 1 + random.IntN(40)
			switch random.IntN(8) {
			case 0, 1:
				list = list.Delete(id)
			case 2:
				id = k.nextID + random.IntN(3)
				list = list.Put(&note{id, "short-lived"}).Delete(id)
			case 3:
				if random.IntN(10) == 0 {
					list, id = sorted.New(notes.ID, []*note{{3, "c"}, {50, "d"}}), All
				}
			default:
				list = list.Put(&note{id, strings.Repeat("é", random.IntN(8000))})
			}
			ids = append(ids, id)
		}
		before := sizeOf(t, path)
		if err := k.commit(list, ids...); err != nil {
			t.Fatal(err)
		}
		if random.IntN(20) == 0 {
			k = k.reopen(t, path)
		}
		if sizeOf(t, path) < before {
			compacted++
		}
	}
	if compacted == 0 {
		t.Error("the file has never been compacted")
	}
	k.reopen(t, path).close(t)
}

// TestLinesMakeTheItems is about what a compaction writes.
func TestLinesMakeTheItems(t *testing.T) {
	var many []*note
	for i := range 2000 {
		many = append(many, &note{2*i + 1, fmt.Sprint("text ", i)})
	}
	for _, test := range []struct {
		list   []*note
		nextID int
	}{
		{nil, 1},
		{nil, 8},
		{many, 4000},
		{many, MaxID},
		{[]*note{{7, "\u2028"}, {MaxID, "C"}}, MaxID + 1},
	} {
		path := filepath.Join(t.TempDir(), "notes.jsonl")
		j, err := journal.Open(path, notes.lines(sorted.New(notes.ID, test.list), test.nextID), notes.parse, func(change[note]) {})
		if err != nil {
			t.Fatal(err)
		}
		j.Close()
		f, list, nextID, err := Open(path, notes, []*note{{5, "unwanted"}})
		if err != nil || !reflect.DeepEqual(list, test.list) || nextID != test.nextID || f.size > f.Size() {
			t.Errorf("got %d items, next ID %d and %v, want %d and %d", len(list), nextID, err, len(test.list), test.nextID)
		}
		f.Close()
	}
}

// TestCompaction writes until the file has been compacted, by a process that goes on,
// and by one that starts.
func TestCompaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.jsonl")
	k := open(t, path, &note{1, "a"}, &note{2, "b"}, &note{3, "c"})
	if err := k.commit(k.list, 9); err != nil { // an ID of which no item tells
		t.Fatal(err)
	}
	commits := 0
	for largest := int64(0); sizeOf(t, path) >= largest && commits <= 100; commits++ {
		largest = sizeOf(t, path)
		list := k.list.Put(&note{1, strings.Repeat("a", 20_000)}).Put(&note{2, strings.Repeat("b", 20_000)})
		if err := k.commit(list, 1, 2); err != nil {
			t.Fatal(err)
		}
	}
	if commits < 20 || commits > 100 {
		t.Errorf("compacted after %d commits, want it beyond 1 MiB", commits)
	}
	k.reopen(t, path).close(t)

	if err := os.WriteFile(path, bytes.Repeat([]byte(`{"put":[{"id":1,"text":"a"}]}`+"\n"), 40_000), 0o644); err != nil {
		t.Fatal(err)
	}
	logged := captureLog(t)
	k = open(t, path)
	for start := time.Now(); sizeOf(t, path) > 1000 && time.Since(start) < 10*time.Second; {
		runtime.Gosched()
	}
	k.close(t)
	if k.list.Len() != 1 || !strings.Contains(logged.String(), "Compacted "+path) {
		t.Errorf("got %d items and log %q", k.list.Len(), logged)
	}
}

// TestCutLines has a file whose last line, with escapes in it, ends at every offset.
func TestCutLines(t *testing.T) {
	first := notes.encode(change[note]{put: []*note{{1, "a"}}})
	last := notes.encode(change[note]{put: []*note{{2, "\"\\\u2028é"}}, delete: []int{3}})
	for end := range len(last) {
		path := filepath.Join(t.TempDir(), "notes.jsonl")
		if err := os.WriteFile(path, slices.Concat(first, []byte{'\n'}, last[:end]), 0o644); err != nil {
			t.Fatal(err)
		}
		f, list, _, err := Open(path, notes, nil)
		if err != nil || len(list) != 1 {
			t.Fatalf("cut at %d: %v", end, err)
		}
		f.Close()
	}
}

// TestFileHasOnlyJSON: also when a commit has changed nothing after all.
func TestFileHasOnlyJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.jsonl")
	k := open(t, path, &note{1, "a"})
	none := sorted.New(notes.ID, nil)
	for _, err := range []error{k.commit(none, All), k.commit(none, All), k.commit(none.Put(&note{2, "b"}), 2)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	k.close(t)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(data, []byte{'\n'}); n != 3 {
		t.Errorf("got %d lines, want 3", n)
	}
	for line := range bytes.Lines(data) {
		if !json.Valid(line) {
			t.Errorf("got line %q", line)
		}
	}
}

// TestTroubleIsLoggedOnce, and not for every commit: the log may be on the disk that
// is full.
func TestTroubleIsLoggedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.jsonl")
	k := open(t, path)
	defer k.close(t)
	written := 0
	k.Written = func(writes int) { written += writes }
	if err := k.commit(k.list.Put(&note{1, "a"}), 1, 1); err != nil || k.Failed() {
		t.Fatal(err)
	}
	logged := captureLog(t)
	if err := os.Remove(path); err != nil {
		t.Skip("a file that is open cannot be removed here: ", err)
	}
	for range 5 {
		if err := k.commit(k.list.Put(&note{1, "b"}), 1); err == nil || !k.Failed() {
			t.Error("committed to a file that is no more")
		}
	}
	if n := strings.Count(logged.String(), "ERROR"); n != 1 || !strings.Contains(logged.String(), path) {
		t.Errorf("logged %d times: %q", n, logged)
	}
	if written != 2 {
		t.Errorf("got %d writes, want 2", written)
	}
}

func TestOpenFails(t *testing.T) {
	if _, _, _, err := Open(t.TempDir(), notes, nil); err == nil {
		t.Error("opened a folder")
	}
}

func TestHandWrittenLines(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{`{"put":[{"id":1,"text":"a"}]}`, "puts [1], deletes []"},
		{`{"put":[{"id":1,"text":"a"},{"id":2,"text":"b"}],"delete":[7]}`, "puts [1 2], deletes [7]"},
		{`{"delete":[9007199254740991,1]}`, "puts [], deletes [9007199254740991 1]"},
		{` { "put" : [ { "id" : 1 , "text" : "a" } ] , "delete" : [ 7 , 8 ] } `, "puts [1], deletes [7 8]"},
		{`{"delete":[7],"put":[{"text":"a","id":1}]}`, "puts [1], deletes [7]"},
		{`{"put":[{"id":5,"text":"a"},{"id":4,"text":"b"}]}`, "puts [5 4], deletes []"},
		{`{}`, "puts [], deletes []"},
		{`{"put":[],"delete":[]}`, "puts [], deletes []"},
		{`{"put":[{"id":1,"text":"wrong"}]}`, "put: wrong"},
		{`{"put":[{"id":1},{"text":"a"}]}`, "put: [1].id is required"},
		{`{"put":[{"id":9007199254740992,"text":"a"}]}`, "put: wrong"},
		{`{"put":[{"id":1,"text":"\ud800"}]}`, "it has half of a surrogate pair at offset 24"},
		{`{"put":[{"id":1,"id":2}]}`, `put: The key "id" occurs twice`},
		{"{\"put\":[\"\xff\"]}", "it is not valid UTF-8"},
		{`{"put":{}}`, "put: it must be a JSON array"},
		{`{"put":null}`, "put: it must be a JSON array"},
		{`{"delete":[0]}`, "delete: there must be nothing but IDs"},
		{`{"delete":[1.5]}`, "delete: there must be nothing but IDs"},
		{`{"delete":["1"]}`, "delete: there must be nothing but IDs"},
		{`{"delete":[9007199254740992]}`, "delete: there must be nothing but IDs"},
		{`{"delete":7}`, "delete: it must be a JSON array"},
		{`{"delete":[1],"delete":[2]}`, `The key "delete" occurs twice`},
		{`{"set":[]}`, `"set" is not a known key`},
		{`{"crc":"00000000","delete":[1]}`, `"crc" is not a known key: a line has put, delete and, unless a person wrote it, crc at its end`},
		{`[]`, "it must be a JSON object"},
		{`null`, "it must be a JSON object"},
		{`7`, "it must be a JSON object"},
	} {
		c, err := notes.parse([]byte(test.line), false)
		ids := []int{}
		for _, n := range c.put {
			ids = append(ids, n.ID)
		}
		got := fmt.Sprintf("puts %v, deletes %v", ids, c.delete)
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: got %s, want %s", test.line, got, test.want)
		}
	}
}

func TestEncode(t *testing.T) {
	for _, test := range []struct {
		put    []*note
		delete []int
		want   string
	}{
		{[]*note{{1, "a"}}, nil, `{"put":[{"id":1,"text":"a"}]}`},
		{nil, []int{7}, `{"delete":[7]}`},
		{[]*note{{1, "<"}, {2, "b"}}, []int{7, MaxID}, `{"put":[{"id":1,"text":"<"},{"id":2,"text":"b"}],"delete":[7,9007199254740991]}`},
	} {
		if got := string(notes.encode(change[note]{test.put, test.delete})); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}

// FuzzLine reads lines as a person could have written them: what is accepted is
// written and read again unchanged, and the fast reader says nothing that the other
// does not say.
func FuzzLine(f *testing.F) {
	f.Add(notes.encode(change[note]{put: []*note{{1, "a"}, {2, "<\u2028\"\\é"}}, delete: []int{7, 8}}))
	f.Add([]byte(`{"put":[{"id":5}],"delete":[1]}`))
	f.Add([]byte(` { "delete" : [ 7 , 8 ] } `))
	f.Add([]byte(`{"put":[{"id":1,"text":"a\`))
	f.Fuzz(func(t *testing.T, line []byte) {
		exact := slices.Clip(bytes.Clone(line)) // with nothing behind it, as at the end of a file
		fast, ok := notes.scan(exact, false)
		slow, err := notes.read(line)
		if ok && (err != nil || !reflect.DeepEqual(fast, slow)) {
			t.Fatalf("%s: read as %+v, and as %+v, %v", line, fast, slow, err)
		}
		if err != nil || len(slow.put)+len(slow.delete) == 0 {
			return
		}
		again, err := notes.parse(notes.encode(slow), true)
		if err != nil || !reflect.DeepEqual(again, slow) {
			t.Fatalf("%s: read as %+v, and written and read again as %+v, %v", line, slow, again, err)
		}
	})
}
