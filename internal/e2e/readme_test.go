package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// blocks returns what is indented in the README, a block each, without the indent.
func blocks(t *testing.T) (all [][]string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var block []string
	for line := range strings.Lines(string(text) + "\nend\n") {
		line = strings.TrimRight(line, "\n")
		code, indented := strings.CutPrefix(line, "    ")
		switch {
		case indented:
			block = append(block, code)
		case line != "" && block != nil:
			for block[len(block)-1] == "" {
				block = block[:len(block)-1]
			}
			all = append(all, block)
			block = nil
		case block != nil:
			block = append(block, "")
		}
	}
	return all
}

// sameButTimes are what differs from one run to the next, and what stands for it.
var sameButTimes = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d`), "DATE"},
	{regexp.MustCompile(`Date: .* GMT`), "Date: DATE"},
	{regexp.MustCompile(`Catalogue-Version: \S+`), "Catalogue-Version: ANY"},
	{regexp.MustCompile(`dur=\d+\.\d+`), "dur=TIME"},
	{regexp.MustCompile(`(\s)\d+m\d+\.\d+s`), "${1}TIME"},
	{regexp.MustCompile(`\b\d+\.\d{6} s`), "TIME s"},
	{regexp.MustCompile(`(localhost|127\.0\.0\.1):\d+`), "localhost:8080"},
	{regexp.MustCompile(`[ \t]+`), " "},
	{regexp.MustCompile(`\r`), ""},
	{regexp.MustCompile(`between 1886 and \d{4}`), "between 1886 and YEAR"},
}

func withoutTimes(text string) string {
	for _, s := range sameButTimes {
		text = s.pattern.ReplaceAllString(text, s.instead)
	}
	return strings.TrimSpace(text)
}

// TestREADME runs every command of the README in their order, beside one server, and
// wants it to print what is shown. Benchmarks, whose times these are, need only be
// there.
func TestREADME(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs bash, curl and jq, and there is no %s: apt-get install bash curl jq", tool)
		}
	}
	addr, dir := freeAddr(t), t.TempDir()
	addr = strings.Replace(addr, "127.0.0.1", "localhost", 1) // as the README has it
	if err := os.WriteFile(filepath.Join(dir, ".curlrc"), []byte("silent\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	launchIn(t, dir, "", "-addr", addr, "-data", "cars.jsonl").waitForLine(t, "Try: ")
	commands := 0
	for _, block := range blocks(t) {
		for i, line := range block {
			command, is := strings.CutPrefix(line, "$ ")
			if !is {
				continue
			}
			commands++
			command, _, _ = strings.Cut(command, "    #")
			end := slices.IndexFunc(block[i+1:], func(line string) bool { return strings.HasPrefix(line, "$ ") })
			if end < 0 {
				end = len(block) - i - 1
			}
			want := strings.Join(block[i+1:i+1+end], "\n")
			if rest, is := strings.CutPrefix(command, "go test -run '^$' -bench "); is {
				wantBenchmarks(t, rest, want)
				continue
			}
			if strings.HasPrefix(command, "make bench") {
				continue // which the check runs
			}
			cmd := exec.Command("bash", "-c", strings.ReplaceAll(command, "localhost:8080", addr))
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "HOME="+dir) // whose .curlrc is the one above: curl draws no progress on a terminal, either
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("$ %s\n%v\n%s", command, err, out)
			}
			if got := withoutTimes(string(out)); want != "" && got != withoutTimes(want) && !strings.HasPrefix(got, withoutTimes(want)+"\n") {
				t.Errorf("$ %s\ngot  %s\nwant %s", command, got, withoutTimes(want))
			}
		}
	}
	if commands < 20 {
		t.Errorf("got %d commands, want all of the README", commands)
	}
}

// wantBenchmarks wants the benchmarks that are shown to be there: arguments are a
// pattern and a package.
func wantBenchmarks(t *testing.T, arguments, shown string) {
	t.Helper()
	words := strings.Fields(arguments)
	cmd := exec.Command("go", "test", "-list", words[0], words[len(words)-1])
	cmd.Dir = "../.."
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("Benchmark")) {
		t.Errorf("%s: got %s, %v", cmd, out, err)
	}
	for line := range strings.Lines(shown) {
		name, _, _ := strings.Cut(line, "/")
		if strings.HasPrefix(line, "Benchmark") && !bytes.Contains(out, []byte(name)) {
			t.Errorf("%s: got %s, want %s", cmd, out, line)
		}
	}
}

// TestREADMEShowsCodeAndLog wants the code that the README shows to be the code, but
// for what it leaves out, and the lines of the log to be logged.
func TestREADMEShowsCodeAndLog(t *testing.T) {
	source, err := os.ReadFile(filepath.Join("..", "..", "processor.go"))
	if err != nil {
		t.Fatal(err)
	}
	s := launchIn(t, t.TempDir(), "", "-addr", "localhost:0", "-data", "cars.jsonl")
	var log strings.Builder
	for line := range s.lines {
		fmt.Fprintln(&log, withoutTimes(line))
		if _, url, listens := strings.Cut(line, "Listening on "); listens {
			s.url = url
		}
		if strings.Contains(line, "Try: ") {
			s.wantCar(t, "/api/cars/1")
		}
		if strings.Contains(line, "Processing completed") {
			break
		}
	}
	code, lines := 0, 0
	for _, block := range blocks(t) {
		switch {
		case strings.HasPrefix(block[0], "for {"):
			code++
			at := 0
			for _, line := range block {
				line = strings.TrimSpace(line)
				next := bytes.Index(source[at:], []byte(line))
				if line != "…" && next < 0 {
					t.Errorf("the README has the line %q, which is not there in processor.go", line)
				}
				at += max(0, next)
			}
		case strings.Contains(block[0], " INFO "):
			lines++
			if got, want := strings.TrimSpace(log.String()), withoutTimes(strings.Join(block, "\n")); got != want {
				t.Errorf("got the log\n%s\nwant\n%s", got, want)
			}
		}
	}
	if code != 1 || lines != 1 {
		t.Errorf("got %d blocks of code and %d of log, want one each", code, lines)
	}
}

// TestREADMEIsNotTooWide wants each line of the README to fit into a terminal.
func TestREADMEIsNotTooWide(t *testing.T) {
	const most = 160
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		if width := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); width > most {
			t.Errorf("README.md:%d: got %d columns, want at most %d", number, width, most)
		}
	}
}

// TestREADMEListsFlagsAndRooms wants the README's tables to have each flag that -h
// explains, and each room of the house.
func TestREADMEListsFlagsAndRooms(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	inTable := make(map[string]bool) // what stands in code quotes in a table's first column
	for _, row := range regexp.MustCompile(`(?m)^\| (`+"`"+`.*?) \|`).FindAllStringSubmatch(string(text), -1) {
		for name := range strings.FieldsSeq(row[1]) {
			inTable[strings.Trim(name, "`")] = true
		}
	}
	usage, err := command(t, "-h").Output()
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`(?m)^  (-\S+)`).FindAllStringSubmatch(string(usage), -1)
	if len(flags) < 15 {
		t.Errorf("got %d flags of -h, want all:\n%s", len(flags), usage)
	}
	for _, flag := range flags {
		if !inTable[flag[1]] {
			t.Errorf("the README has no row for the flag %s", flag[1])
		}
	}
	rooms, err := filepath.Glob("../*")
	if err != nil {
		t.Fatal(err)
	}
	for _, room := range rooms {
		if name := filepath.Base(room); name != "e2e" && !inTable[name] {
			t.Errorf("the README has no row for the room %s", name)
		}
	}
}
