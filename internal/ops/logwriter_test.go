package ops

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// A slowWriter takes one write at a time, when it is let.
type slowWriter struct {
	begun, proceed chan struct{}
	written        []string
}

func (w *slowWriter) Write(b []byte) (int, error) {
	w.begun <- struct{}{}
	<-w.proceed
	w.written = append(w.written, string(b))
	return len(b), nil
}

func TestLinesGatherWhileOthersAreWritten(t *testing.T) {
	out := &slowWriter{begun: make(chan struct{}, 3), proceed: make(chan struct{})}
	w := NewLogWriter(out)
	want := ""
	line := make([]byte, 0, 100)
	for i := range 100 {
		line = fmt.Appendf(line[:0], "line %d\n", i) // the log packages, too, use their buffer again
		want += string(line)
		if n, err := w.Write(line); n != len(line) || err != nil {
			t.Fatalf("got %d, %v", n, err)
		}
		if i == 0 {
			<-out.begun
		}
	}
	close(out.proceed)
	w.Close()
	if got := strings.Join(out.written, ""); got != want || len(out.written) > 3 {
		t.Errorf("got %d writes, want 2: %q", len(out.written), got)
	}
	for range 2000 { // more than wait
		w.Write([]byte("late\n"))
	}
	if strings.Contains(strings.Join(out.written, ""), "late") {
		t.Error("a line was written after Close")
	}
}

type brokenWriter struct{ writes int }

func (w *brokenWriter) Write([]byte) (int, error) {
	w.writes++
	return 0, errors.New("broken")
}

// TestFailingOutputHoldsNobodyUp: the lines are dropped, each after a try.
func TestFailingOutputHoldsNobodyUp(t *testing.T) {
	out := new(brokenWriter)
	w := NewLogWriter(out)
	for range 10_000 { // ten times as many as wait
		if _, err := w.Write([]byte("line\n")); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	if out.writes < 2 {
		t.Errorf("got %d writes, want one for each batch", out.writes)
	}
}

// TestMain lets the test binary play a server whose log goes to standard error.
func TestMain(m *testing.M) {
	if os.Getenv("OPS_TEST_CHILD") == "" {
		os.Exit(m.Run())
	}
	if os.Getenv("OPS_TEST_CHILD") == "survive" {
		SurviveBrokenPipe()
	}
	w := NewLogWriter(os.Stderr)
	fmt.Fprintln(w, "Listening")
	input := bufio.NewReader(os.Stdin)
	for range 3 {
		input.ReadString('\n') // the reader of standard error has gone away
		fmt.Fprintln(w, "nobody reads this")
	}
	w.Close()
	fmt.Println("still here")
}

// TestReaderOfTheLogGoesAway, as with cars 2>&1 | grep -m1 Listening. Without
// SurviveBrokenPipe the process dies, or the test would prove nothing.
func TestReaderOfTheLogGoesAway(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("has no SIGPIPE")
	}
	for _, test := range []struct{ mode, want string }{{"survive", "still here\n"}, {"die", ""}} {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		child := exec.Command(self)
		child.Env = append(os.Environ(), "OPS_TEST_CHILD="+test.mode)
		in, err := child.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		child.Stdout, child.Stderr = &out, writer
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		writer.Close()
		if line, err := bufio.NewReader(reader).ReadString('\n'); line != "Listening\n" {
			t.Errorf("%s: read %q, %v", test.mode, line, err)
		}
		reader.Close()
		io.WriteString(in, "1\n2\n3\n")
		err = child.Wait()
		if out.String() != test.want || (err == nil) != (test.mode == "survive") {
			t.Errorf("%s: got %q, %v, want %q", test.mode, out.String(), err, test.want)
		}
	}
}
