package ops

import (
	"net/http"
	"testing"
)

func TestMemoryIsGivenBackAfterACrowd(t *testing.T) {
	freed := 0
	c := Connections{free: func() { freed++ }}
	come := func(n int) {
		for range n {
			c.State(nil, http.StateNew)
			c.State(nil, http.StateActive)
			c.State(nil, http.StateIdle)
		}
	}
	leave := func(n int) {
		for range n {
			c.State(nil, http.StateClosed)
		}
	}
	for i, step := range []struct{ come, leave, freed int }{{999, 999, 0}, {1000, 899, 0}, {0, 1, 1}, {0, 100, 1}, {20_000, 17_999, 1}, {0, 1, 2}, {0, 1800, 3}, {0, 200, 3}} {
		come(step.come)
		leave(step.leave)
		if freed != step.freed {
			t.Errorf("step %d: given back %d times, want %d", i, freed, step.freed)
		}
	}
	if open := c.Open(); open != 0 {
		t.Errorf("%d connections are open", open)
	}
}
