package sorted

// A History holds earlier lists, by name. They share most items with each other and with
// the newest list, so a History takes memory only for items that were replaced or deleted.
// The zero value is empty.
type History struct {
	past    []past // from the oldest on
	changes int    // the sum of the changes in past
}

type past struct {
	name    string
	list    List
	changes int // items that differ in the next list
}

// A History goes back as far as both of these allow: the number of lists, and of changed
// items. With items of 1 kB it takes some 15 MB; 60 MB if lists have a million items.
const (
	maxPast    = 1000
	maxChanges = 10_000
)

// Add adds list, which next replaces. If the two differ in more than maxChanges items, the
// History is empty afterwards.
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
		h.past[0] = past{} // otherwise the array would keep it alive
		h.past = h.past[1:]
	}
}

// Find returns the list of that name, or nil if the History does not have it.
func (h *History) Find(name string) *List {
	for i := len(h.past) - 1; i >= 0; i-- {
		if h.past[i].name == name {
			list := h.past[i].list // a copy: Add changes past
			return &list
		}
	}
	return nil
}
