// Package lines writes log lines in groups.
package lines

import (
	"bytes"
	"io"
)

// A Writer takes one line at a time, from any goroutine, as the log packages write
// them.
//
// One goroutine owns the output, and lines reach it through a channel. While it
// writes some, more gather, and go out in one write: at 10,000 requests a second, each
// of 20,000 lines would otherwise be a write of its own, made under the log
// package's lock. A crash may lose the lines of its last moment.
type Writer struct {
	lines  chan []byte   // writers send, the goroutine in run receives, nobody closes it
	closed chan struct{} // closed by Close
	done   chan struct{} // closed when all is written
}

// NewWriter returns a Writer to out.
func NewWriter(out io.Writer) *Writer {
	w := &Writer{
		lines:  make(chan []byte, 1000), // beyond what one write takes, waiting is the only way left
		closed: make(chan struct{}),
		done:   make(chan struct{}),
	}
	go w.run(out)
	return w
}

func (w *Writer) run(out io.Writer) {
	defer close(w.done)
	for {
		var batch []byte
		select {
		case batch = <-w.lines:
		case <-w.closed:
			if len(w.lines) == 0 {
				return
			}
		}
		for len(w.lines) > 0 && len(batch) < 64<<10 {
			batch = append(batch, <-w.lines...)
		}
		out.Write(batch)
	}
}

// Write takes a line. It waits only if very many wait already, and drops those that
// come after Close.
func (w *Writer) Write(line []byte) (int, error) {
	select {
	case w.lines <- bytes.Clone(line):
	case <-w.closed:
	}
	return len(line), nil
}

// Close returns when what has been taken is written.
func (w *Writer) Close() {
	close(w.closed)
	<-w.done
}
