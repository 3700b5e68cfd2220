package ops

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
)

// Version returns the program's name and build, the Go release it was built with and
// its platform.
func Version(name string) string {
	return fmt.Sprintf("%s %s (%s %s/%s)", name, build(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// AddBuild adds a metric with the parts of Version as labels, under the names that
// Prometheus' own programs use.
func AddBuild(r *Registry, metric string) {
	r.Info(metric, "What is running.", "version", build(), "goversion", runtime.Version(), "goos", runtime.GOOS, "goarch", runtime.GOARCH)
}

// build returns the version that the go command has recorded, from the repository's tags
// and commits.
func build() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// StartLog sends log lines of level and above to out, as text or in JSON, until the
// function it returns is called. A reader of out that goes away does not end the program.
func StartLog(out io.Writer, level slog.Level, json bool) (flush func()) {
	SurviveBrokenPipe()
	w := NewLogWriter(out)
	handler := NewTextHandler(w, level)
	if json {
		handler = NewJSONHandler(w, level)
	}
	slog.SetDefault(slog.New(handler))
	return w.Close
}

// NewBallast returns size bytes of memory, to keep and never use. A garbage collection
// starts when the heap has doubled. The small heap of this server would double twice a
// second at 10,000 requests a second, and each collection delays the slowest answers by
// some 5 ms. Ballast makes the heap count as larger. The operating system gives it no
// memory, since nothing touches it, but up to size bytes more of garbage gather. If
// the user has set GOGC or GOMEMLIMIT, NewBallast returns nil.
func NewBallast(size int) []byte {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return make([]byte, size)
}
