package ops

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log"
	"log/slog"
	"strings"
	"testing"
	"testing/slogtest"
	"time"
)

// deceptive has one of each kind of character that is escaped, and those that look like
// them and are not.
const deceptive = "a\nb\x1b[2Jc\x7fd\u0085e\u202ef\u2066g\u200bh\ufeffi\u2028j\u061ck"

const harmless = "Škoda \u0928\u094d\u200d\u092f \U0001f468\u200d\U0001f469 50\u00a0% \"quoted\" back\\slash"

func TestTextLines(t *testing.T) {
	for _, test := range []struct {
		message string
		args    []any
		want    string
	}{
		{"Stopped", nil, "INFO Stopped"},
		{"Car detail processor started and waiting for requests...", nil, "INFO Car detail processor started and waiting for requests..."},
		{"GET /api/cars/1 - Requesting car details asynchronously", []any{"method", "GET", "path", "/api/cars/1", "id", 1},
			"INFO GET /api/cars/1 - Requesting car details asynchronously id=1"},
		{"Processing completed for car ID 1: Audi A4", []any{"id", 1, "name", "Audi A4", "op", "get"},
			"INFO Processing completed for car ID 1: Audi A4 op=get"},
		{"Processing completed for car ID 55", []any{"id", 5, "cars", 55}, "INFO Processing completed for car ID 55 id=5 cars=55"},
		{"at /api/cars/1", []any{"path", "/api/cars", "p", "api"}, "INFO at /api/cars/1 path=/api/cars p=api"},
		{"aa a", []any{"x", "a"}, "INFO aa a"},
		{"a aa", []any{"x", "aa"}, "INFO a aa"},
		{"", []any{"x", ""}, `INFO  x=""`},
		{"m", []any{"took", 1500 * time.Microsecond, "error", errors.New("two words"), "ok", true}, `INFO m took=1.5ms error="two words" ok=true`},
		{"m", []any{slog.Group("g", "level", slog.LevelWarn, "msg", "")}, `INFO m g.level=WARN g.msg=""`},
		{"m", []any{"level", "high", "msg", "x", "time", "noon"}, `INFO m level=high msg=x time=noon`},
		{"Panic", []any{"error", "boom", "stack", "goroutine 1:\n\tmain.go:5\n"}, "INFO Panic error=boom\ngoroutine 1:\n\tmain.go:5"},
		{deceptive, nil, `INFO a\u000ab\u001b[2Jc\u007fd\u0085e\u202ef\u2066g\u200bh\ufeffi\u2028j\u061ck`},
		{"m", []any{"x", deceptive}, `INFO m x="a\nb\x1b[2Jc\x7fd\u0085e\u202ef\u2066g\u200bh\ufeffi\u2028j\u061ck"`},
		{harmless, nil, "INFO " + harmless},
	} {
		var out bytes.Buffer
		slog.New(NewTextHandler(&out, slog.LevelInfo)).Info(test.message, test.args...)
		stamp, line, _ := strings.Cut(out.String(), "INFO")
		if _, err := time.Parse("2006/01/02 15:04:05 ", stamp); err != nil || "INFO"+line != test.want+"\n" {
			t.Errorf("got %q, want a time and %q", out.String(), test.want)
		}
	}
}

func TestJSONLines(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(NewJSONHandler(&out, slog.LevelInfo))
	logger.Info(deceptive, "x", deceptive+harmless, "took", 1500*time.Microsecond, "id", 1)
	logger.Debug("unseen")
	line := out.String()
	if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), isDeceptive) || strings.Count(line, "\n") != 1 {
		t.Errorf("a character went through: %q", line)
	}
	if !strings.Contains(line, "\U0001f468\u200d\U0001f469") || !strings.Contains(line, `e\u202ef\u2066g\u200bh\ufeffi`) {
		t.Errorf("got %s", line)
	}
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	for key, want := range map[string]any{"msg": deceptive, "x": deceptive + harmless, "took": 1.5, "id": 1.0, "level": "INFO"} {
		if got[key] != want {
			t.Errorf("%s: got %v, want %v", key, got[key], want)
		}
	}
}

func TestInvalidUTF8IsEscaped(t *testing.T) {
	for name, newHandler := range map[string]func(io.Writer, slog.Leveler) slog.Handler{"text": NewTextHandler, "json": NewJSONHandler} {
		var out bytes.Buffer
		slog.New(newHandler(&out, slog.LevelInfo)).Info("a\xffb", "x", "c\xffd")
		if got := out.String(); strings.ContainsRune(strings.ToValidUTF8(got, "\ufffd"), '\ufffd') || !strings.Contains(got, `a\ufffdb`) {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// TestHandlersKeepTheRules of package slog, about times, levels, attributes and groups.
func TestHandlersKeepTheRules(t *testing.T) {
	var out bytes.Buffer
	err := slogtest.TestHandler(NewJSONHandler(&out, slog.LevelInfo), func() []map[string]any {
		var lines []map[string]any
		for line := range strings.Lines(out.String()) {
			var fields map[string]any
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, fields)
		}
		return lines
	})
	if err != nil {
		t.Error(err)
	}

	out.Reset()
	logger := slog.New(NewTextHandler(&out, slog.LevelWarn))
	logger.With("a", 1).WithGroup("g").With("b", 2).Warn("m", "c", 3, slog.Group("h", "d", 4), slog.Attr{})
	logger.With("a", 1).Error("with")
	logger.Info("unseen")
	logger.Error("e")
	if got := out.String(); !strings.HasSuffix(got, " ERROR e\n") || !strings.Contains(got, " WARN m a=1 g.b=2 g.c=3 g.h.d=4\n") || !strings.Contains(got, " ERROR with a=1\n") || strings.Count(got, "\n") != 3 {
		t.Errorf("got %q", got)
	}
	for _, test := range []struct {
		at   time.Time
		want string
	}{
		{time.Date(2026, 11, 25, 20, 0, 1, 0, time.UTC), "2026/11/25 20:00:01 INFO m\n"},
		{time.Time{}, "INFO m\n"},
		{time.Date(2026, 11, 25, 20, 0, 1, 9e8, time.UTC), "2026/11/25 20:00:01 INFO m\n"},
		{time.Date(2026, 11, 25, 20, 0, 2, 0, time.UTC), "2026/11/25 20:00:02 INFO m\n"},
		{time.Unix(0, 0).UTC(), "1970/01/01 00:00:00 INFO m\n"},
	} {
		for _, h := range []slog.Handler{logger.Handler(), logger.Handler().WithGroup("g")} {
			out.Reset()
			h.Handle(t.Context(), slog.Record{Time: test.at, Message: "m"})
			if out.String() != test.want {
				t.Errorf("got %q, want %q", out.String(), test.want)
			}
		}
	}
}

// TestLogPackageGoesThroughTheHandler, once that is slog's default: net/http's lines do.
func TestLogPackageGoesThroughTheHandler(t *testing.T) {
	var out bytes.Buffer
	capture(t, NewTextHandler(&out, slog.LevelInfo))
	log.Print("http: \u202e\n\tpanic")
	if got := out.String(); !strings.HasSuffix(got, ` INFO http: \u202e\u000a\u0009panic`+"\n") {
		t.Errorf("got %q", got)
	}
}

// capture makes h slog's default while the test runs.
func capture(t testing.TB, h slog.Handler) {
	t.Helper()
	old, flags, output := slog.Default(), log.Flags(), log.Writer()
	slog.SetDefault(slog.New(h))
	t.Cleanup(func() {
		slog.SetDefault(old)
		log.SetOutput(output)
		log.SetFlags(flags)
	})
}

func BenchmarkTextLine(b *testing.B) {
	logger := slog.New(NewTextHandler(io.Discard, slog.LevelInfo))
	b.ReportAllocs()
	for b.Loop() {
		logger.Info("GET /api/cars/1 - Requesting car details asynchronously", "method", "GET", "path", "/api/cars/1", "id", 1)
	}
}
