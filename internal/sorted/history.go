package sorted

// A History is the lists that were before, by their names. They share most items with
// each other and with the newest, so that it takes memory only for items that were
// replaced or deleted. The zero value is empty.
type History struct {
	past    []past // from the oldest on
	changes int    // of all in past
}

type past struct {
	name    string
	list    List
	changes int // items that differ in the next list
}

// How far a History goes back: so many lists, and so many changed items. With items of
// 1 kB that is some 15 MB, and 60 if lists are of a million items.
const (
	maxPast    = 1000
	maxChanges = 10_000
)

// Add adds a list whose place another takes. A change of more items than are to
// be remembered leaves nothing to go back to.
func (h *History) Add(name string, list, next List) {
	p := past{name: name, list: list}
	for range Changes(list, next) {
		if p.changes++; p.changes > maxChanges {
			*h = History{}
			return
		}
	}
	h.past = append(h.past, p)
	h.changes += p.changes
	for len(h.past) > maxPast || h.changes > maxChanges {
		h.changes -= h.past[0].changes
		h.past[0] = past{} // or the array would keep it alive
		h.past = h.past[1:]
	}
}

// Find returns the list of that name, if it is known.
func (h *History) Find(name string) (list List, found bool) {
	for i := len(h.past) - 1; i >= 0; i-- {
		if h.past[i].name == name {
			return h.past[i].list, true
		}
	}
	return List{}, false
}
