package query

import (
	"strconv"
	"strings"

	"cars/internal/sorted"
	"cars/internal/strict"
)

// SearchText returns what a search of v looks in, to be kept in [sorted.Item.Search]: a
// line for each field of the table, in lower case. A newline in a text becomes a space.
func SearchText(table strict.Table, v any) string {
	b := make([]byte, 0, 256)
	for i := range table {
		if f := &table[i]; f.Text != nil {
			b = append(b, oneLine(*f.Text(v))...)
		} else {
			b = strconv.AppendInt(b, int64(*f.Number(v)), 10)
		}
		b = append(b, '\n')
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	// One allocation, if all is ASCII: with garbage between the texts of two items, a
	// search of a million takes twice as long.
	return strings.ToLower(string(b))
}

// oneLine returns s with spaces in place of newlines.
func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// lower returns text as a SearchText has it.
func lower(text string) string { return strings.ToLower(oneLine(text)) }

// finds returns the condition that text is found in the field's line of a SearchText.
// A newline that text begins or ends with is a border of that line.
func (f field) finds(text string) condition {
	if text == "" {
		return func(*sorted.Item) bool { return true }
	}
	find := newFinder(text)
	return func(item *sorted.Item) bool {
		for from := 0; ; {
			i := find.index(item.Search[from:])
			if i < 0 {
				return false
			}
			from += i
			if strings.Count(item.Search[:from+1], "\n") == f.index {
				return true
			}
			from++
		}
	}
}

// A finder looks for a text in others. It does what strings.Index does, and takes as long
// as strings.IndexByte for the rarest byte in text, where strings.Index looks for
// the first. For a77 in a car, that is a third.
type finder struct {
	text string
	rare int // where that byte is
}

// common has the most common bytes of a SearchText, about in that order.
const common = "\n eaiotnrsl-cdumhgpfybwkvxzjq0123456789"

func newFinder(text string) finder {
	rarest, rare := -1, 0
	for i := range len(text) {
		rarity := strings.IndexByte(common, text[i])
		if rarity < 0 {
			rarity = len(common)
		}
		if rarity > rarest {
			rarest, rare = rarity, i
		}
	}
	return finder{text, rare}
}

// index returns where f's text, which is not empty, is first in s, or -1.
func (f *finder) index(s string) int {
	for from := f.rare; from < len(s); from++ {
		i := strings.IndexByte(s[from:], f.text[f.rare])
		if i < 0 {
			return -1
		}
		from += i
		if strings.HasPrefix(s[from-f.rare:], f.text) {
			return from - f.rare
		}
	}
	return -1
}
