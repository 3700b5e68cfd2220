package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cars/internal/journal"
	"cars/internal/ops"
	"cars/internal/rest"
	"cars/internal/sorted"
	"cars/internal/strict"
)

// A note is what the items of these tests are. A person may write any text but "wrong".
type note struct {
	ID   int    `json:"id"`
	Text string `json:"text"`
}

var noteFields = strict.Table{
	{Name: "id", Number: func(v any) *int { return &v.(*note).ID }, Least: 1, Most: sorted.MaxID},
	{Name: "text", Text: func(v any) *string { return &v.(*note).Text }, Most: 1 << 16, CheckText: func(text string) string {
		if text == "wrong" {
			return "is wrong"
		}
		return ""
	}},
}

func newNote(id int, text string) *sorted.Item {
	n := &note{id, text}
	line, err := rest.Encode(n)
	if err != nil {
		panic(err)
	}
	return &sorted.Item{ID: id, Line: line, Value: n}
}

func readNote(r *strict.Reader, wrong strict.Problems) *sorted.Item {
	var n note
	noteFields.Read(r, &n, wrong)
	return newNote(n.ID, n.Text)
}

func newState(notes ...*sorted.Item) State {
	list := sorted.NewList(notes)
	return State{Items: list, NextID: list.LastID() + 1}
}

// A notices gathers what a file reports.
type notices struct {
	mu    sync.Mutex
	lines []string
}

func (n *notices) notify(notice journal.Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprint(notice.Level, " ", notice.Message, " ", notice.Attrs))
}

func (n *notices) containing(text string) (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, line := range n.lines {
		count += strings.Count(line, text)
	}
	return count
}

// A keeper is an owner: it has a file open, and the newest state.
type keeper struct {
	*File
	state    State
	reported *notices
}

func open(t *testing.T, path string, initial ...*sorted.Item) *keeper {
	t.Helper()
	k := &keeper{reported: new(notices)}
	var err error
	k.File, k.state, err = OpenFile(path, FileOptions{Initial: newState(initial...), Read: readNote, Notify: k.reported.notify, Progress: func(int) {}})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *keeper) close(t *testing.T) {
	t.Helper()
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

// commit has the file keep another list, and the IDs below nextID as used.
func (k *keeper) commit(list sorted.List, nextID int) error {
	after := State{Items: list, NextID: max(k.state.NextID, nextID, list.LastID()+1)}
	k.Commit(Commit{Before: k.state, After: after, Writes: 1})
	e := <-k.Events()
	if e.Err == nil {
		k.state = after
	}
	return e.Err
}

// reopen closes the file, and wants to have the same after opening it.
func (k *keeper) reopen(t *testing.T, path string) *keeper {
	t.Helper()
	k.close(t)
	again := open(t, path)
	got, want := again.state, k.state
	if !slices.EqualFunc(items(got.Items), items(want.Items), sameItem) || got.NextID != want.NextID || again.live != k.live {
		t.Fatalf("got %d items and next ID %d, want %d and %d; in %d bytes, want %d", got.Items.Len(), got.NextID, want.Items.Len(), want.NextID, again.live, k.live)
	}
	return again
}

func sameItem(a, b *sorted.Item) bool { return reflect.DeepEqual(a, b) }

func items(list sorted.List) []*sorted.Item { return slices.Collect(list.All()) }

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
	k := open(t, path, newNote(1, "a"), newNote(7, "\"\\\u2028é"))
	if k.state.Items.Len() != 2 || k.state.NextID != 8 {
		t.Fatalf("got %d items and next ID %d", k.state.Items.Len(), k.state.NextID)
	}
	compacted := 0
	for range 300 {
		list, nextID := k.state.Items, k.state.NextID
		for range 1 + random.IntN(4) {
			id := 1 + random.IntN(40)
			switch random.IntN(8) {
			case 0, 1:
				list = list.Delete(id)
			case 2: // comes and goes
				nextID += random.IntN(3)
			case 3:
				if random.IntN(10) == 0 {
					list = sorted.NewList([]*sorted.Item{newNote(3, "c"), newNote(50, "d")})
				}
			default:
				list = list.Put(newNote(id, strings.Repeat("é", random.IntN(8000))))
			}
		}
		before := sizeOf(t, path)
		if err := k.commit(list, nextID); err != nil {
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

// TestLinesMakeTheState is about what a compaction writes.
func TestLinesMakeTheState(t *testing.T) {
	var many []*sorted.Item
	for i := range 2000 {
		many = append(many, newNote(2*i+1, fmt.Sprint("text ", i)))
	}
	for _, want := range []State{
		{Items: sorted.List{}, NextID: 1},
		{Items: sorted.List{}, NextID: 8},
		{Items: sorted.NewList(many), NextID: 4000},
		{Items: sorted.NewList(many), NextID: sorted.MaxID},
		{Items: sorted.NewList([]*sorted.Item{newNote(7, "\u2028"), newNote(sorted.MaxID, "C")}), NextID: sorted.MaxID + 1},
	} {
		path := filepath.Join(t.TempDir(), "notes.jsonl")
		f, _, err := OpenFile(path, FileOptions{Initial: want, Read: readNote})
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		f, got, err := OpenFile(path, FileOptions{Initial: newState(newNote(5, "unwanted")), Read: readNote})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(items(got.Items), items(want.Items), sameItem) || got.NextID != want.NextID {
			t.Errorf("got %d items and next ID %d, want %d and %d", got.Items.Len(), got.NextID, want.Items.Len(), want.NextID)
		}
		f.Close()
	}
}

// TestCompaction writes until the file has been compacted, by a process that goes on,
// and by one that starts.
func TestCompaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.jsonl")
	k := open(t, path, newNote(1, "a"), newNote(2, "b"), newNote(3, "c"))
	if err := k.commit(k.state.Items, 10); err != nil { // an ID of which no item tells
		t.Fatal(err)
	}
	commits := 0
	for largest := int64(0); sizeOf(t, path) >= largest && commits <= 100; commits++ {
		largest = sizeOf(t, path)
		list := k.state.Items.Put(newNote(1, strings.Repeat("a", 20_000)+fmt.Sprint(commits))).Put(newNote(2, strings.Repeat("b", 20_000)+fmt.Sprint(commits)))
		if err := k.commit(list, 0); err != nil {
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
	k = open(t, path)
	for start := time.Now(); sizeOf(t, path) > 1000 && time.Since(start) < 10*time.Second; {
		time.Sleep(time.Millisecond)
	}
	k.close(t)
	if k.state.Items.Len() != 1 || sizeOf(t, path) > 1000 || k.reported.containing("ompacted") == 0 {
		t.Errorf("got %d items, %d bytes and notices %q", k.state.Items.Len(), sizeOf(t, path), k.reported.lines)
	}
}

// TestFileHasOnlyJSON: also when a commit has changed nothing after all.
func TestFileHasOnlyJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.jsonl")
	k := open(t, path, newNote(1, "a"))
	none := sorted.List{}
	for _, list := range []sorted.List{none, none, none.Put(newNote(2, "b"))} {
		if err := k.commit(list, 0); err != nil {
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

// TestFinalFailure: a file that is no more takes no commit ever again, and the client
// reads that.
func TestFinalFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.jsonl")
	k := open(t, path, newNote(1, "a"))
	defer k.close(t)
	if k.Failed() != nil {
		t.Fatal(k.Failed())
	}
	if err := os.Remove(path); err != nil {
		t.Skip("a file that is open cannot be removed here: ", err)
	}
	for range 3 { // told once, and not for every commit: the log may be on a disk that is full
		err := k.commit(k.state.Items.Put(newNote(1, fmt.Sprint(rand.Int()))), 0)
		var answer *rest.Error
		if !errors.As(err, &answer) || answer.Status != http.StatusServiceUnavailable || answer.RetryAfter != 0 || strings.Contains(answer.Message, path) {
			t.Errorf("got %+v", err)
		}
	}
	for start := time.Now(); k.Failed() == nil && time.Since(start) < 10*time.Second; {
		time.Sleep(time.Millisecond)
	}
	if k.Failed() == nil {
		t.Error("the file does not say that it has failed")
	}
	if n := k.reported.containing("could not be stored"); n != 1 {
		t.Errorf("told %d times: %q", n, k.reported.lines)
	}
}

func TestMetricsOfAFile(t *testing.T) {
	k := open(t, filepath.Join(t.TempDir(), "notes.jsonl"), newNote(1, "a"))
	defer k.close(t)
	registry := new(ops.Registry)
	k.AddMetrics(registry)
	if err := k.commit(k.state.Items.Put(newNote(2, "b")), 0); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	registry.Write(&text)
	for _, want := range []string{"cars_journal_batch_writes_count 1\n", "cars_journal_sync_seconds_count 1\n", "cars_journal_bytes "} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &text)
		}
	}
}

func TestOpenFails(t *testing.T) {
	if _, _, err := OpenFile(t.TempDir(), FileOptions{Read: readNote}); err == nil {
		t.Error("opened a folder")
	}
}

func TestHandWrittenLines(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{`{"put":[{"id":1,"text":"a"}]}`, "[1], next 2"},
		{`{"put":[{"id":1,"text":"a"},{"id":2,"text":"b"}],"delete":[7]}`, "[1 2], next 8"},
		{`{"delete":[9007199254740991,1]}`, "[], next 9007199254740992"},
		{` { "put" : [ { "id" : 1 , "text" : "a" } ] , "delete" : [ 7 , 8 ] } `, "[1], next 9"},
		{`{"delete":[7],"put":[{"text":"a","id":1}]}`, "[1], next 8"},
		{`{"put":[{"id":5,"text":"a"},{"id":4,"text":"b"}]}`, "[4 5], next 6"},
		{`{}`, "[], next 1"},
		{`{"put":[],"delete":[]}`, "[], next 1"},
		{`{"put":[{"id":1,"text":"wrong"}]}`, "put[0].text is wrong"},
		{`{"put":[{"id":1},{"text":"a"}]}`, "put[1].id is required"},
		{`{"put":[{"id":1},{"id":1}]}`, "put[1].id is also that of [0]"},
		{`{"put":[{"id":9007199254740992,"text":"a"}]}`, "put[0].id must be at most 9007199254740991"},
		{`{"put":[{"id":1,"text":"\ud800"}]}`, "It has half of a surrogate pair at offset 24"},
		{`{"put":[{"id":1,"id":2}]}`, `The key "id" occurs twice`},
		{"{\"put\":[{\"text\":\"\xff\"}]}", "It is not valid UTF-8"},
		{`{"put":{}}`, "It must have an array at offset 7"},
		{`{"put":null}`, "It must have an array at offset 7"},
		{`{"delete":[0]}`, "delete[0] must be an ID"},
		{`{"delete":[1.5]}`, "It must have a whole number at offset 11"},
		{`{"delete":["1"]}`, "It must have a number at offset 11"},
		{`{"delete":[9007199254740992]}`, "delete[0] must be an ID"},
		{`{"delete":7}`, "It must have an array at offset 10"},
		{`{"delete":[1],"delete":[2]}`, `The key "delete" occurs twice`},
		{`{"set":[]}`, `set is not a known key`},
		{`{"crc":"00000000","delete":[1]}`, `crc is not a known key: a line has put, delete and, unless a person wrote it, crc at its end`},
		{`[]`, "It must have an object at offset 0"},
		{`null`, "It must have an object at offset 0"},
	} {
		l := loader{read: readNote}
		apply, err := l.decode([]byte(test.line), false)
		got := fmt.Sprint(err)
		if err == nil {
			apply()
			ids := []int{}
			for _, item := range items(l.state().Items) {
				ids = append(ids, item.ID)
			}
			got = fmt.Sprintf("%v, next %d", ids, l.state().NextID)
		}
		if !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: got %s, want %s", test.line, got, test.want)
		}
	}
}

func TestEncode(t *testing.T) {
	one := newState(newNote(1, "<"), newNote(2, "b"), newNote(3, "c"))
	for _, test := range []struct {
		after State
		want  string
	}{
		{one, ""},
		{State{Items: one.Items, NextID: 9}, `{"delete":[8]}`},
		{State{Items: one.Items.Put(newNote(4, "d")), NextID: 5}, `{"put":[{"id":4,"text":"d"}]}`},
		{State{Items: one.Items.Put(newNote(4, "d")), NextID: 9}, `{"put":[{"id":4,"text":"d"}],"delete":[8]}`},
		{State{Items: one.Items.Delete(2).Put(newNote(1, "a")).Put(newNote(3, ">")), NextID: 4}, `{"put":[{"id":1,"text":"a"},{"id":3,"text":">"}],"delete":[2]}`},
		{State{Items: sorted.List{}, NextID: 4}, `{"delete":[1,2,3]}`},
	} {
		if got, _ := encode(one, test.after); string(got) != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}

// FuzzLine reads lines as a person could have written them: what is accepted is
// written and read again unchanged.
func FuzzLine(f *testing.F) {
	f.Add([]byte(`{"put":[{"id":1,"text":"a"},{"id":2,"text":"<\u2028\"\\é"}],"delete":[7,8]}`))
	f.Add([]byte(`{"put":[{"id":5}],"delete":[1]}`))
	f.Add([]byte(` { "delete" : [ 7 , 8 ] } `))
	f.Add([]byte(`{"put":[{"id":1,"text":"a\`))
	f.Fuzz(func(t *testing.T, line []byte) {
		first := loader{read: readNote}
		apply, err := first.decode(line, false)
		if err != nil {
			return
		}
		apply()
		want := first.state()
		entry, _ := encode(State{NextID: 1}, want)
		if entry == nil {
			return
		}
		again := loader{read: readNote}
		apply, err = again.decode(entry, true)
		if err != nil {
			t.Fatalf("%s: written as %s: %v", line, entry, err)
		}
		apply()
		if got := again.state(); !slices.EqualFunc(items(got.Items), items(want.Items), sameItem) || got.NextID != want.NextID {
			t.Fatalf("%s: read as %d items, written as %s and read as %d", line, want.Items.Len(), entry, got.Items.Len())
		}
	})
}
