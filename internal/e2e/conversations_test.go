package e2e

import (
	"strings"
	"testing"

	"cars/internal/e2e/conversation"
)

// TestConversations holds the conversations in testdata with the real binary.
func TestConversations(t *testing.T) {
	files, err := conversation.Read("testdata/*.http")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(file.Name, func(t *testing.T) {
			t.Parallel()
			file.Play(t, startCommand)
		})
	}
}

// startCommand starts the binary with a command such as CARS_TOKEN=secret cars -read-only.
func startCommand(t *testing.T, command string) conversation.Server {
	env, flags, _ := strings.Cut(command, "cars")
	args := strings.Fields(flags)
	if !strings.Contains(flags, "-addr") {
		args = append(args, "-addr", "localhost:0")
	}
	s := launch(t, strings.TrimSpace(env), args...)
	_, addr, _ := strings.Cut(s.waitForLine(t, "Listening on "), "http://")
	s.skipLog()
	return conversation.Dial(addr)
}
