package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func readme(t *testing.T) string {
	t.Helper()
	return read(t, "../../README.md")
}

// blocks returns what is indented in the README, a block each, without the indent.
func blocks(t *testing.T) (all [][]string) {
	t.Helper()
	var block []string
	for line := range strings.Lines(readme(t) + "\nend\n") {
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
	{regexp.MustCompile(`id: [0-9a-f]{16}-\d+`), "id: VERSION"},
	{regexp.MustCompile(`(\s)\d+m\d+\.\d+s`), "${1}TIME"},
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
// wants it to print what is shown.
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
	if commands < 15 {
		t.Errorf("got %d commands, want all of the README", commands)
	}
}

// TestREADMEReadingPath wants the functions and types that the README leads through to be
// where it says, and to be no more lines than it says, their comments included.
func TestREADMEReadingPath(t *testing.T) {
	const most = 235
	lines, stops := 0, 0
	for _, block := range blocks(t) {
		for _, line := range block {
			stop := regexp.MustCompile(`^(handlers|processor)\.go +(\w+(?:, \w+)*)  `).FindStringSubmatch(line)
			if stop == nil {
				continue
			}
			declared := declarations(t, "../../"+stop[1]+".go")
			for name := range strings.SplitSeq(stop[2], ", ") {
				stops++
				if lines += declared[name]; declared[name] == 0 {
					t.Errorf("the README leads to %s, which is not in %s.go", name, stop[1])
				}
			}
		}
	}
	if lines > most || stops < 10 {
		t.Errorf("got a reading path of %d lines and %d stops, want at most %d lines and 10 stops or more", lines, stops, most)
	}
}

// declarations returns how many lines each declaration at the top of a file has, with
// its comment.
func declarations(t *testing.T, path string) map[string]int {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	lines := make(map[string]int)
	for _, declaration := range file.Decls {
		var names []*ast.Ident
		var comment *ast.CommentGroup
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			names, comment = []*ast.Ident{d.Name}, d.Doc
		case *ast.GenDecl:
			comment = d.Doc
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, spec.Name)
				case *ast.ValueSpec:
					names = append(names, spec.Names...)
				}
			}
		}
		first := declaration.Pos()
		if comment != nil {
			first = comment.Pos()
		}
		for _, name := range names {
			lines[name.Name] = set.Position(declaration.End()).Line - set.Position(first).Line + 1
		}
	}
	return lines
}

// TestREADMEQuotesCode wants each line of code that the README names with its file to be
// there.
func TestREADMEQuotesCode(t *testing.T) {
	quotes := regexp.MustCompile("`([^`]+)` in (\\S+\\.go)").FindAllStringSubmatch(readme(t), -1)
	for _, quote := range quotes {
		if source := read(t, filepath.Join("../..", quote[2])); !strings.Contains(source, quote[1]) {
			t.Errorf("the README has the line %q, which is not there in %s", quote[1], quote[2])
		}
	}
	if len(quotes) < 8 {
		t.Errorf("got %d lines of code, want 8 or more", len(quotes))
	}
}

// TestREADMEDrawsTheRooms wants the README's picture to have each room on the floor above
// all that it imports, with these beside it.
func TestREADMEDrawsTheRooms(t *testing.T) {
	type room struct {
		floor   int
		imports string
	}
	drawn := make(map[string]room)
	for _, block := range blocks(t) {
		if !strings.HasPrefix(block[0], "  main.go ") {
			continue
		}
		floor := 0
		for _, line := range block[1:] {
			mark, rest, _ := strings.Cut(line, " ")
			if n, err := strconv.Atoi(mark); err == nil {
				floor = n
			}
			name, rest, _ := strings.Cut(rest, " ")
			_, imports, _ := strings.Cut(rest, " ► ")
			drawn[name] = room{floor, imports}
		}
	}
	cmd := exec.Command("go", "list", "-f", "{{.ImportPath}} {{.Imports}}", "./internal/...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	rooms := 0
	for line := range strings.Lines(string(out)) {
		path, imports, _ := strings.Cut(strings.TrimSpace(line), " ")
		name := strings.TrimPrefix(path, "cars/internal/")
		if name == "e2e" || strings.Contains(name, "/") {
			continue // for tests only, or a part of a room
		}
		rooms++
		want := room{floor: 1}
		for _, imported := range regexp.MustCompile(`cars/internal/(\w+)`).FindAllStringSubmatch(imports, -1) {
			if imported[1] == name {
				continue
			}
			want.floor = max(want.floor, drawn[imported[1]].floor+1)
			want.imports = strings.TrimSpace(want.imports + " " + imported[1])
		}
		if drawn[name] != want {
			t.Errorf("%s: got %+v, want %+v", name, drawn[name], want)
		}
	}
	if rooms < 5 || rooms != len(drawn) {
		t.Errorf("got a picture of %d rooms, want all %d", len(drawn), rooms)
	}
}

// TestREADMEFits wants the README to be read in one sitting, in a terminal.
func TestREADMEFits(t *testing.T) {
	const mostLines, mostColumns = 350, 160
	lines := 0
	for line := range strings.Lines(readme(t)) {
		lines++
		if width := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); width > mostColumns {
			t.Errorf("README.md:%d: got %d columns, want at most %d", lines, width, mostColumns)
		}
	}
	if lines > mostLines {
		t.Errorf("got %d lines, want at most %d", lines, mostLines)
	}
}

// TestREADMENamesFlags wants the README to name each flag that -h explains.
func TestREADMENamesFlags(t *testing.T) {
	usage, err := command(t, "-h").Output()
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`(?m)^  (-\S+)`).FindAllStringSubmatch(string(usage), -1)
	if len(flags) < 15 {
		t.Errorf("got %d flags of -h, want all:\n%s", len(flags), usage)
	}
	for _, flag := range flags {
		if !strings.Contains(readme(t), "`"+flag[1]+"`") {
			t.Errorf("the README does not name the flag %s", flag[1])
		}
	}
}
