package sorted

import "iter"

// MaxID is the largest ID that an item may have: JavaScript cannot represent all
// larger integers (RFC 7493, section 2.2).
const MaxID = 1<<53 - 1

// An Item is an element of a List: a value with an ID, and what is computed from the value
// once. An item never changes while it is in a list.
type Item struct {
	ID     int    // 1 to MaxID
	Line   []byte // its JSON on one line, and a newline
	Hash   uint64 // of Line alone, so that it survives a restart
	ETag   string // strong entity tag (RFC 9110, section 8.8.3), made of Hash
	Search string // the text that a search looks in
	Value  any    // what the item is; only its maker and the maker's fields know the type
}

// JSON returns the item's JSON without the newline.
func (i *Item) JSON() []byte { return i.Line[:len(i.Line)-1] }

// JSON yields the JSON of the items of all blocks.
func JSON(blocks [][]*Item) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, block := range blocks {
			for _, item := range block {
				if !yield(item.JSON()) {
					return
				}
			}
		}
	}
}
