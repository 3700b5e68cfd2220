package rest

import (
	"net/http"
	"testing"
)

func TestSetTiming(t *testing.T) {
	h := make(http.Header)
	SetTiming(h, 1_234_567, 100_000_999)
	if got, want := h.Get("Server-Timing"), "queue;dur=1.234, process;dur=100.000"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	SetTiming(h, -1, 0)
	if got, want := h.Get("Server-Timing"), "queue;dur=0.000, process;dur=0.000"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
