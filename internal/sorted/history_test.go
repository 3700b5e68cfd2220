package sorted

import (
	"fmt"
	"testing"
)

func TestHistoryIsBounded(t *testing.T) {
	var h History
	var lists []List
	list := NewList([]*Item{newItem(1)})
	for i := range 2 * maxPast {
		next := list.Put(newItem(1 + i%3))
		h.Add(fmt.Sprint(i), list, next)
		lists = append(lists, list)
		list = next
	}
	for i, want := range lists {
		got := h.Find(fmt.Sprint(i))
		found := got != nil
		if wantFound := i >= maxPast; found != wantFound {
			t.Fatalf("list %d of %d is known: %v, want %v", i, len(lists), found, wantFound)
		} else if found && got.Hash() != want.Hash() {
			t.Fatalf("list %d is another", i)
		}
	}
	if h.Find("") != nil {
		t.Error("found a list without a name")
	}
}

// TestHistoryForgetsLargeChanges: it must not keep a whole catalogue that was replaced.
func TestHistoryForgetsLargeChanges(t *testing.T) {
	newOf := func(n int) List {
		items := make([]*Item, n)
		for i := range items {
			items[i] = newItem(i + 1)
		}
		return NewList(items)
	}
	var h History
	small, half, large := newOf(1), newOf(maxChanges*2/3), newOf(maxChanges+2)
	h.Add("small", small, small)
	h.Add("half", half, newOf(maxChanges*2/3))
	if h.Find("small") == nil {
		t.Error("forgot what there was room for")
	}
	h.Add("another half", newOf(maxChanges*2/3), newOf(3))
	if h.Find("half") != nil {
		t.Error("remembers more items than it is to")
	}
	if h.Find("another half") == nil {
		t.Error("forgot the last change, for which there was room")
	}
	for _, change := range [][2]List{{large, {}}, {{}, large}} {
		h.Add("small", small, small)
		h.Add("large", change[0], change[1])
		for _, name := range []string{"small", "large"} {
			if h.Find(name) != nil {
				t.Errorf("remembers %q across a change that is too large", name)
			}
		}
	}
}
