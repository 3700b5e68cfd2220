package ops

import (
	"bytes"
	"io"
	"os/signal"
	"syscall"
)

// A LogWriter takes one line at a time, from any goroutine, as the log packages write
// them.
//
// One goroutine owns the output, and lines reach it through a channel. While it writes,
// further lines gather. They then go out in one write. Without that, 10,000 requests a
// second would make 20,000 writes, each under the log package's lock. A crash may lose the
// lines of its last moment. Lines whose write fails are dropped: the server goes on when
// the reader of its log has gone.
type LogWriter struct {
	lines  chan []byte   // writers send, the goroutine in run receives, nobody closes it
	closed chan struct{} // closed by Close
	done   chan struct{} // closed by run when all lines are written
}

// NewLogWriter returns a LogWriter to out.
func NewLogWriter(out io.Writer) *LogWriter {
	w := &LogWriter{
		lines:  make(chan []byte, 1000), // lines that may wait; then Write waits
		closed: make(chan struct{}),
		done:   make(chan struct{}),
	}
	go w.run(out)
	return w
}

func (w *LogWriter) run(out io.Writer) {
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
		out.Write(batch) // there is nowhere to report an error to
	}
}

// Write takes a line. It waits only if a thousand lines wait already. Lines that come
// after Close are dropped. It never returns an error.
func (w *LogWriter) Write(line []byte) (int, error) {
	select {
	case w.lines <- bytes.Clone(line):
	case <-w.closed:
	}
	return len(line), nil
}

// Close returns when all lines that were taken are written. It must be called once.
func (w *LogWriter) Close() {
	close(w.closed)
	<-w.done
}

// SurviveBrokenPipe makes a write to standard output or standard error return an error when
// its reader has gone. Without it, such a write ends the process (package os/signal,
// "SIGPIPE").
func SurviveBrokenPipe() { signal.Ignore(syscall.SIGPIPE) }
