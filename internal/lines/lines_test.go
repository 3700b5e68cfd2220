package lines

import (
	"fmt"
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
	w := NewWriter(out)
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
