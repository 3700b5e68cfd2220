package cluster

import (
	"fmt"
	"strings"
	"sync"

	"cars/internal/journal"
	"cars/internal/rest"
	"cars/internal/sorted"
	"cars/internal/store"
	"cars/internal/strict"
)

// A note is what the items of these tests are.
type note struct {
	ID   int    `json:"id"`
	Text string `json:"text"`
}

var noteFields = strict.Table{
	{Name: "id", Number: func(v any) *int { return &v.(*note).ID }, Least: 1, Most: sorted.MaxID},
	{Name: "text", Text: func(v any) *string { return &v.(*note).Text }, Most: 1 << 16},
}

func newNote(id int, text string) *sorted.Item {
	n := &note{id, text}
	line, err := rest.Encode(n)
	if err != nil {
		panic(err)
	}
	return &sorted.Item{ID: id, Line: line, Value: n}
}

func readNote(r *strict.Reader, wrong strict.Problems) *sorted.Item {
	var n note
	noteFields.Read(r, &n, wrong)
	return newNote(n.ID, n.Text)
}

func newState(notes ...*sorted.Item) store.State {
	list := sorted.NewList(notes)
	return store.State{Items: list, NextID: list.LastID() + 1}
}

// A notices gathers what a store reports.
type notices struct {
	mu    sync.Mutex
	lines []string
}

func (n *notices) notify(notice journal.Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprint(notice.Level, " ", notice.Message, " ", notice.Attrs))
}

func (n *notices) containing(text string) (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, line := range n.lines {
		count += strings.Count(line, text)
	}
	return count
}
