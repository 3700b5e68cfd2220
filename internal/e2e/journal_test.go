package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

var killRounds = flag.Int("kill-rounds", 100, "rounds of TestKill; 10 with -short")

// serve starts the server on a file, without processing time.
func serve(t *testing.T, file string, more ...string) *server {
	t.Helper()
	return start(t, append([]string{"-data", file, "-delay", "0"}, more...)...)
}

// crash ends the server without warning.
func (s *server) crash(t *testing.T) {
	t.Helper()
	s.cmd.Process.Kill()
	if state := s.wait(t); state.ExitCode() == 2 {
		t.Errorf("the server had ended by itself, as after a panic: %v", state)
	}
}

// seal returns a line of the file as the server writes it. change is its JSON
// without the crc.
func seal(change string) string {
	sum := crc32.Checksum([]byte(change), crc32.MakeTable(crc32.Castagnoli))
	return fmt.Sprintf("%s,\"crc\":\"%08x\"}\n", strings.TrimSuffix(change, "}"), sum)
}

// replay returns the cars that the lines of a file leave. Each line must be
// whole and sealed.
func replay(t *testing.T, file string) map[int]car {
	t.Helper()
	left := make(map[int]car)
	for line := range strings.Lines(read(t, file)) {
		var change struct {
			Put    []car
			Delete []int
		}
		end := max(0, strings.LastIndex(line, `,"crc":`))
		if err := json.Unmarshal([]byte(line), &change); err != nil || line != seal(line[:end]+"}") {
			t.Fatalf("got line %.200q, %v, want one that ends in its crc", line, err)
		}
		for _, c := range change.Put {
			left[c.ID] = c
		}
		for _, id := range change.Delete {
			delete(left, id)
		}
	}
	return left
}

func TestKill(t *testing.T) {
	t.Parallel()
	rounds := *killRounds
	if testing.Short() {
		rounds = 10
	}
	file := filepath.Join(t.TempDir(), "cars.jsonl")
	first := serve(t, file)
	w := newWriters(8, first.cars(t))
	first.crash(t)
	compacted, interrupted := 0, 0
	for round := range rounds {
		s := serve(t, file)
		if w.check(t, s.cars(t)); t.Failed() {
			t.Fatalf("seen after %d kills", round)
		}
		before := stat(t, file)
		working := w.work(t, s)
		for last := time.Now().Add(10*time.Millisecond + rand.N(70*time.Millisecond)); time.Now().Before(last); {
			time.Sleep(rand.N(time.Millisecond)) // it is the moment that is tested
			if _, err := os.Stat(file + ".tmp"); err == nil && round%2 > 0 {
				break // while a compaction is at work, every second time if there is one
			}
		}
		s.crash(t)
		working.Wait()
		if !os.SameFile(before, stat(t, file)) {
			compacted++
		}
		if _, err := os.Stat(file + ".tmp"); err == nil {
			interrupted++
		}
	}
	w.check(t, serve(t, file).cars(t))
	t.Logf("%d kills, %d writes acknowledged; compactions ended in %d rounds and were interrupted in %d", rounds, w.count, compacted, interrupted)
	if compacted+interrupted == 0 && rounds >= 100 {
		t.Error("no compaction has ever begun: its being killed was not tested")
	}
}

func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "cars.jsonl")
	s := serve(t, file)
	w := newWriters(16, s.cars(t))
	working := w.work(t, s)
	for range 500 {
		s.waitForLine(t, "Processing completed")
	}
	s.signal(t, syscall.SIGTERM)
	if state := s.wait(t); !state.Success() {
		t.Errorf("the server ended with %v, want exit status 0", state)
	}
	working.Wait()
	w.check(t, replay(t, file))
	w.check(t, serve(t, file).cars(t))
}

// TestIDsOutliveCompaction has the last car deleted, whose ID no car in the file
// tells of any more once it is compacted.
func TestIDsOutliveCompaction(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "cars.jsonl")
	s := serve(t, file)
	s.wantStatus(t, 201, "POST", "/api/cars", saab)
	s.wantStatus(t, 200, "DELETE", "/api/cars/33", "")
	before := stat(t, file)
	for n := 0; os.SameFile(before, stat(t, file)); n += 2 {
		if n == 2000 {
			t.Fatalf("after 1,000 changes of one car the file has %d bytes and was never compacted", stat(t, file).Size())
		}
		s.wantStatus(t, 200, "PUT", "/api/cars/1", encode(carOf(n)))
	}
	want := s.cars(t)
	wantSame(t, replay(t, file), want)
	s.crash(t)
	s = serve(t, file)
	wantSame(t, s.cars(t), want)
	if c := parse(t, s.wantStatus(t, 201, "POST", "/api/cars", saab)); c.ID != 34 {
		t.Errorf("got ID %d for a new car, want 34", c.ID)
	}
}

// TestBackup copies the file while it is written, as a person would.
func TestBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "cars.jsonl")
	s := serve(t, file)
	w := newWriters(8, s.cars(t))
	working := w.work(t, s)
	first := stat(t, file)
	for i := range 20 {
		for range 200 {
			s.waitForLine(t, "Processing completed")
		}
		backup := filepath.Join(dir, fmt.Sprintf("backup%d.jsonl", i))
		acked := w.snapshot()
		copyFile(t, file, backup)
		restored := serve(t, backup)
		got := restored.cars(t)
		for id, want := range acked {
			later := want != car{} && (got[id].Price > want.Price || got[id] == car{} && w.deletes(id))
			if got[id] != want && !later {
				t.Errorf("copy %d, car %d: got %v, want %v or later", i, id, got[id], want)
			}
		}
		restored.crash(t)
	}
	if os.SameFile(first, stat(t, file)) {
		t.Error("the file has never been compacted meanwhile")
	}
	s.crash(t)
	working.Wait()
}

func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "cars.jsonl")
	first := serve(t, file)
	wantRefusal(t, file)
	link := file + ".link"
	if err := os.Symlink(file, link); err == nil { // Windows asks for a privilege
		wantRefusal(t, link)
	}
	want := first.cars(t)
	first.wantStatus(t, 201, "POST", "/api/cars", saab)
	first.crash(t)
	if got := serve(t, file).cars(t); len(got) != len(want)+1 { // a killed server holds no lock
		t.Errorf("got %d cars, want %d", len(got), len(want)+1)
	}
}

func TestFileDeletedOrReplacedWhileRunning(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows does not let others delete an open file; run this test on Linux or macOS")
	}
	t.Parallel()
	for name, harm := range map[string]func(file string) error{
		"deleted":   os.Remove,
		"moved":     func(file string) error { return os.Rename(file, file+".old") },
		"truncated": func(file string) error { return os.Truncate(file, 100) },
		"replaced": func(file string) error {
			copyFile(t, file, file+".new")
			return os.Rename(file+".new", file)
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "cars.jsonl")
			s := serve(t, file)
			s.wantStatus(t, 201, "POST", "/api/cars", saab)
			if err := harm(file); err != nil {
				t.Fatal(err)
			}
			s.wantEveryWriteRefused(t)
		})
	}
}

func TestDamage(t *testing.T) {
	t.Parallel()
	one, two, three := carOf(1), carOf(2), carOf(3)
	one.ID, two.ID, three.ID = 1, 2, 3
	first := seal(`{"put":` + encode([]car{one, two}) + `,"delete":[]}`)
	three.ImageURL = "/images/" + strings.Repeat("x", 1500) // there is a whole sector in its line
	second := seal(`{"put":` + encode([]car{three}) + `,"delete":[1]}`)
	third := seal(`{"put":[],"delete":[2]}`)
	hand := func(put ...string) string { return `{"put":[` + strings.Join(put, ",") + "]}\n" }
	const volvo = `{"id":7,"name":"Volvo 240","manufacturer":"Volvo"}`
	both := first + second
	sector := (len(first)/512 + 1) * 512 // where the first begins that is only the second line's
	many := make([]string, 256)
	for i := range many { // 2 MiB
		c := carOf(2 * i)
		c.ID = 10 + i
		many[i] = encode(c)
	}

	type row struct {
		name, content string
		cars          int      // how many are left; -1 if the server must refuse to start
		torn          int      // offset of the torn tail, 0 if there is none
		texts         []string // that the refusal must have
	}
	rows := []row{
		{"nothing", first + second + third, 1, 0, nil},
		{"hand-written", first + hand(volvo) + second, 3, 0, nil},
		{"hand-written delete", first + `{"delete":[1]}` + "\n" + second, 2, 0, nil},
		{"hand-written last", first + second + hand(volvo), 3, 0, nil},
		{"put and deleted", first + strings.Replace(hand(volvo), "]}", `],"delete":[7,1]}`, 1), 1, 0, nil},
		{"2 MiB in a line", first + hand(many...), 2 + len(many), 0, nil},

		{"unknown key", first + `{"puts":[]}` + "\n" + second, -1, 0, []string{"line 2", "puts"}},
		{"unknown key last", first + second + `{"puts":[]}` + "\n", -1, 0, []string{"line 3", "puts"}},
		{"unknown field", first + hand(strings.Replace(volvo, "name", "nome", 1)) + second, -1, 0, []string{"line 2", "nome"}},
		{"invalid car", first + hand(strings.Replace(volvo, "}", `,"year":1850}`, 1)) + second, -1, 0, []string{"line 2", "year"}},
		{"invalid car last", first + second + hand(strings.Replace(volvo, "}", `,"year":1850}`, 1)), -1, 0, []string{"line 3", "year"}},
		{"car without ID", first + hand(saab) + second, -1, 0, []string{"line 2", "id"}},
		{"not JSON", first + "a Volvo\n" + second, -1, 0, []string{"line 2"}},

		{"first line damaged", strings.Replace(first, "Maker 1", "Maker 7", 1) + second, -1, 0, []string{"line 1"}},
		{"second line damaged", first + strings.Replace(second, "Maker 3", "Maker 7", 1) + third, -1, 0, []string{"line 2", fmt.Sprint(len(first))}},
		{"second line cut", first + second[:50] + "\n" + third, -1, 0, []string{"line 2", fmt.Sprint(len(first))}},
		{"newline lost", first + strings.TrimSpace(second) + third + third, -1, 0, []string{"line 2", fmt.Sprint(len(first))}},
		{"zeros in the middle", first + strings.Repeat("\x00", 512) + "\n" + third, -1, 0, []string{"line 2", fmt.Sprint(len(first))}},

		{"last line damaged", first + strings.Replace(second, "Maker 3", "Maker 7", 1), -1, 0, []string{"line 2", fmt.Sprintf("truncate -s %d ", len(first))}},
		{"zeros at the end", first + strings.Repeat("\x00", 512), 2, len(first), nil},
		{"zeros in the last line", both[:sector] + strings.Repeat("\x00", 512) + both[sector+512:], 2, len(first), nil},
		{"zeros in the last line that are no sector's", first + second[:20] + strings.Repeat("\x00", 8) + second[28:], -1, 0, []string{"line 2", fmt.Sprintf("truncate -s %d ", len(first))}},
		{"last newline missing", first + strings.TrimSpace(second), 2, 0, nil},

		{"empty", "", -1, 0, []string{"has nothing in it", "restore"}},
		{"blank lines", "\n\n \n", -1, 0, []string{"has nothing in it", "restore"}},
		{"only zeros", strings.Repeat("\x00", 4096), -1, 0, []string{"line 1", "delete the file"}},
		{"cut in the first line", first[:100], -1, 0, []string{"line 1", "delete the file"}},
		{"line ends of CR", strings.ReplaceAll(first+second, "\n", "\r"), -1, 0, []string{"CR alone"}},
		{"line ends of CR by hand", strings.ReplaceAll(hand(volvo)+hand(volvo), "\n", "\r"), -1, 0, []string{"CR alone"}},
		{"line ends of CR LF", strings.ReplaceAll(first+second, "\n", "\r\n"), 2, 0, nil},
		{"byte order mark", "\xef\xbb\xbf" + first + second, -1, 0, []string{"line 1", "byte order mark"}},
		{"UTF-16", "\xff\xfe{\x00", -1, 0, []string{"line 1", "byte order mark"}},
		{"not JSON last", first + second + "a Volvo\n", -1, 0, []string{"line 3", "not JSON", fmt.Sprintf("truncate -s %d ", len(first+second))}},
		{"not JSON last, without its end", first + second + "a Volvo", -1, 0, []string{"line 3", fmt.Sprintf("truncate -s %d ", len(first+second))}},
	}
	for _, cut := range []int{1, 2, len(second) / 2, len(second) - 5} {
		rows = append(rows, row{fmt.Sprintf("cut after %d bytes", cut), first + second[:cut], 2, len(first), nil})
	}
	for _, test := range rows {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "cars.jsonl")
			if err := os.WriteFile(file, []byte(test.content), 0o644); err != nil {
				t.Fatal(err)
			}
			if test.cars < 0 {
				wantRefusal(t, file, test.texts...)
				if read(t, file) != test.content {
					t.Error("the file has changed")
				}
				return
			}
			s := serve(t, file)
			if got := s.cars(t); len(got) != test.cars {
				t.Errorf("got %d cars, want %d", len(got), test.cars)
			}
			if warned := strings.Contains(s.before, " WARN "); warned != (test.torn > 0) {
				t.Errorf("got %q before it listens, want a warning: %t", s.before, test.torn > 0)
			}
			if test.torn > 0 {
				if !strings.Contains(s.before, fmt.Sprint(test.torn)) {
					t.Errorf("got %q, want a warning that names offset %d", s.before, test.torn)
				}
				if got, want := read(t, file+".broken"), test.content[test.torn:]; got != want {
					t.Errorf("got %q in .broken, want %q", got, want)
				}
			}
			s.wantStatus(t, 201, "POST", "/api/cars", saab)
			want := s.cars(t)
			s.crash(t)
			wantSame(t, serve(t, file).cars(t), want)
		})
	}
	t.Run("folder", func(t *testing.T) {
		wantRefusal(t, t.TempDir())
	})
	t.Run("unwritable folder", func(t *testing.T) {
		dir := t.TempDir()
		if os.Chmod(dir, 0o500); os.WriteFile(filepath.Join(dir, "test"), nil, 0o644) == nil {
			t.Skip("root may write everywhere; run this test as another user")
		}
		wantRefusal(t, filepath.Join(dir, "cars.jsonl"))
	})
}

// TestRot flips bits of the last line, and of the end of the line before. None of them
// looks like a crash: the server refuses to start, and touches nothing. What it then says
// would accept the loss does so.
func TestRot(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("the command to cut a file is another one on Windows; run this test on Linux or macOS")
	}
	file := filepath.Join(t.TempDir(), "cars.jsonl")
	s := serve(t, file)
	before := s.cars(t)
	first := len(read(t, file))
	s.wantStatus(t, 201, "POST", "/api/cars", saab)
	s.crash(t)
	content := read(t, file)
	flip := func(at, bit int) string {
		flipped := []byte(content)
		flipped[at] ^= 1 << bit
		return string(flipped)
	}
	for at := first - 1; at < len(content); at += 7 {
		damaged, line, offset := flip(at, at%8), "line 33", first
		if at < first {
			damaged, line, offset = flip(at, 1), "line 32", strings.LastIndex(content[:at], "\n")+1
		}
		if err := os.WriteFile(file, []byte(damaged), 0o644); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, file, line, fmt.Sprintf("offset %d", offset), "nothing was changed")
		if _, err := os.Stat(file + ".broken"); err == nil || read(t, file) != damaged {
			t.Errorf("bit %d of byte %d: the file has changed", at%8, at)
		}
	}
	os.WriteFile(file, []byte(flip(first+20, 3)), 0o644)
	said := launch(t, "", "-addr", "localhost:0", "-data", file)
	_, cut, _ := strings.Cut(<-said.lines, "to lose this line and all after it, cut the file there: ")
	if out, err := exec.Command("sh", "-c", cut).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", cut, err, out)
	}
	wantSame(t, serve(t, file).cars(t), before)
}

func TestCatalogueFull(t *testing.T) {
	t.Parallel()
	s := serve(t, filepath.Join(t.TempDir(), "cars.jsonl"), "-max-cars", "33")
	s.wantStatus(t, 201, "POST", "/api/cars", saab)
	want := s.cars(t)
	s.wantStatus(t, 507, "POST", "/api/cars", saab)
	s.wantStatus(t, 507, "PUT", "/api/cars", "["+strings.Repeat(saab+",", 33)+saab+"]")
	wantSame(t, s.cars(t), want)
	s.wantStatus(t, 200, "PATCH", "/api/cars/33", `{"year":1995}`)
	s.wantStatus(t, 200, "DELETE", "/api/cars/33", "")
	s.wantStatus(t, 201, "POST", "/api/cars", saab)
	s.wantStatus(t, 200, "PUT", "/api/cars", "["+strings.Repeat(saab+",", 32)+saab+"]")
}

// wantRefusal checks that the server does not start with that file: it says why
// on one line, with the file's name and all of texts in it.
func wantRefusal(t *testing.T, file string, texts ...string) {
	t.Helper()
	s := launch(t, "", "-addr", "localhost:0", "-data", file)
	var said []string
	for line := range s.lines {
		said = append(said, line)
		if strings.Contains(line, "Listening on ") {
			s.cmd.Process.Kill()
		}
	}
	state := s.wait(t)
	if state.ExitCode() != 1 || len(said) != 1 || !strings.HasPrefix(said[0], "cars: ") {
		t.Fatalf("got %v, %q, want exit status 1 and one line", state, said)
	}
	for _, text := range append(texts, file) {
		if !strings.Contains(said[0], text) {
			t.Errorf("got %q, want a line with %q", said[0], text)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func stat(t *testing.T, file string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
}
