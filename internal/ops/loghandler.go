package ops

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// NewTextHandler returns a handler of log lines for people to read, in the form of the
// standard logger: time, level, message, and attributes as key=value. It writes each
// line to w in one piece. It leaves out an attribute whose value stands in the message
// already, and writes the attribute stack below the line.
func NewTextHandler(w io.Writer, level slog.Leveler) slog.Handler {
	out := &textOutput{w: w}
	attrs := slog.NewTextHandler(&out.line, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			_, isLevel := a.Value.Any().(slog.Level)
			if len(groups) == 0 && (a.Key == slog.LevelKey && isLevel || a.Key == slog.MessageKey && a.Value.String() == "") {
				return slog.Attr{} // Handle has written the level and the message
			}
			return a
		},
	})
	return &textHandler{out, attrs, false}
}

// A textHandler writes time, level and message itself, and has slog's own handler
// write the attributes.
type textHandler struct {
	*textOutput
	attrs   slog.Handler // writes to textOutput.line
	derived bool         // attrs may have attributes that the record does not
}

// A textOutput is shared by a handler and the handlers derived from it.
type textOutput struct {
	mu     sync.Mutex
	line   bytes.Buffer
	stamp  []byte // the time of the last line, as it was written
	second int64  // the Unix time of the last line
	w      io.Writer
}

func (h *textHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.attrs.Enabled(ctx, level)
}

func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &textHandler{h.textOutput, h.attrs.WithAttrs(attrs), true}
}

func (h *textHandler) WithGroup(name string) slog.Handler {
	return &textHandler{h.textOutput, h.attrs.WithGroup(name), true}
}

func (h *textHandler) Handle(ctx context.Context, r slog.Record) error {
	attrs := slog.NewRecord(time.Time{}, r.Level, "", 0)
	stack := ""
	r.Attrs(func(a slog.Attr) bool {
		switch {
		case a.Key == "stack":
			stack = a.Value.String()
		case !isSaid(r.Message, a):
			attrs.AddAttrs(a)
		}
		return true
	})

	h.mu.Lock()
	defer h.mu.Unlock()
	h.line.Reset()
	if !r.Time.IsZero() {
		h.line.Write(h.stampOf(r.Time))
	}
	h.line.WriteString(r.Level.String())
	h.line.WriteByte(' ')
	escapeTo(&h.line, []byte(r.Message))
	var err error
	if before := h.line.Len(); h.derived || attrs.NumAttrs() > 0 {
		h.line.WriteByte(' ')
		err = h.attrs.Handle(ctx, attrs)
		h.line.Truncate(h.line.Len() - 1) // the newline of attrs
		if h.line.Len() == before+1 {     // attrs had nothing to write
			h.line.Truncate(before)
		}
	}
	h.line.WriteByte('\n')
	if stack != "" {
		h.line.WriteString(strings.TrimRight(stack, "\n"))
		h.line.WriteByte('\n')
	}
	if _, writeErr := h.w.Write(h.line.Bytes()); err == nil {
		err = writeErr
	}
	return err
}

// stampOf returns t in the form of the standard logger. Most lines come in the same second
// as the line before, and use its stamp again.
func (o *textOutput) stampOf(t time.Time) []byte {
	if second := t.Unix(); second != o.second || o.stamp == nil {
		o.stamp, o.second = t.AppendFormat(o.stamp[:0], "2006/01/02 15:04:05 "), second
	}
	return o.stamp
}

// isSaid reports whether the value of a stands in message between spaces. Of numbers, only an
// id or a status counts: a 55 in the message need not be the value of bytes=55.
func isSaid(message string, a slog.Attr) bool {
	switch a.Value.Kind() {
	case slog.KindString:
	case slog.KindInt64, slog.KindUint64:
		if a.Key != "id" && a.Key != "status" {
			return false
		}
	default:
		return false
	}
	value := a.Value.String()
	if value == "" {
		return false
	}
	for rest := message; ; {
		before, after, found := strings.Cut(rest, value)
		if !found {
			return false
		}
		after = strings.TrimLeft(after, ",.:;") // the punctuation of the sentence
		begins := before == "" && len(rest) == len(message) || strings.HasSuffix(before, " ")
		if begins && (after == "" || after[0] == ' ') {
			return true
		}
		rest = rest[len(before)+1:]
	}
}

// NewJSONHandler returns a handler of log lines for programs to read: one JSON object
// on each, with the keys time, level and msg beside the attributes' keys. A
// duration is a number of milliseconds. It writes each line to w in one piece.
func NewJSONHandler(w io.Writer, level slog.Leveler) slog.Handler {
	return slog.NewJSONHandler(jsonEscaper{w}, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Value.Kind() == slog.KindDuration {
				a.Value = slog.Float64Value(float64(a.Value.Duration().Microseconds()) / 1000)
			}
			return a
		},
	})
}

// A jsonEscaper escapes, in lines of JSON, the characters that could deceive a reader. They
// stand in strings only, where their \u escapes mean the same.
type jsonEscaper struct{ w io.Writer }

func (e jsonEscaper) Write(line []byte) (int, error) {
	text, ended := bytes.CutSuffix(line, []byte("\n"))
	if !bytes.ContainsFunc(text, isDeceptive) {
		return e.w.Write(line)
	}
	var escaped bytes.Buffer
	escapeTo(&escaped, text)
	if ended {
		escaped.WriteByte('\n')
	}
	if _, err := e.w.Write(escaped.Bytes()); err != nil {
		return 0, err
	}
	return len(line), nil
}

// escapeTo appends text to b, with deceptive characters as JSON and Go write them: \u202e.
func escapeTo(b *bytes.Buffer, text []byte) {
	for len(text) > 0 {
		n := bytes.IndexFunc(text, isDeceptive)
		if n < 0 {
			n = len(text)
		}
		b.Write(text[:n])
		if text = text[n:]; len(text) > 0 {
			r, size := utf8.DecodeRune(text)
			fmt.Fprintf(b, `\u%04x`, r)
			text = text[size:]
		}
	}
}

// isDeceptive reports whether r could make a line look like something else. It is true for
// control characters, marks and embeddings that change the direction of text, spaces
// without width, separators of lines, and bytes that are not UTF-8. It is false for joiners
// (U+200C and U+200D), since languages and emoji need them.
func isDeceptive(r rune) bool {
	if r < 0x7f {
		return r < ' '
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) ||
		r == '\u200b' || r == '\ufeff' || r == '\u2028' || r == '\u2029' || r == utf8.RuneError
}
