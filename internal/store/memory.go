package store

import (
	"time"

	"cars/internal/ops"
)

// A Memory is a store without a file: what is committed is lost when the process ends.
type Memory struct {
	events chan Event // Commit sends, the owner receives; has room for the one outcome
}

// NewMemory returns a store in memory.
func NewMemory() *Memory { return &Memory{make(chan Event, 1)} }

func (m *Memory) Commit(Commit)            { m.events <- Event{Kind: Committed} }
func (m *Memory) Confirm()                 {}
func (m *Memory) Confirms() bool           { return false }
func (m *Memory) Age() time.Duration       { return 0 }
func (m *Memory) MaxWrites() int           { return maxWrites }
func (m *Memory) Events() <-chan Event     { return m.events }
func (m *Memory) Shared() bool             { return false }
func (m *Memory) Failed() error            { return nil }
func (m *Memory) AddMetrics(*ops.Registry) {}
func (m *Memory) Close() error             { return nil }
