package query

import (
	"strconv"
	"strings"

	"cars/internal/sorted"
	"cars/internal/strict"
)

// SearchText returns the text in which searches look for v, for [sorted.Item.Search]: a line
// for each field of the table, in lower case. A newline in a field becomes a space.
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
	// If all is ASCII, ToLower allocates nothing. Otherwise there would be garbage between
	// the texts of two items, and a search of a million would take twice as long.
	return strings.ToLower(string(b))
}

// oneLine returns s with spaces in place of newlines.
func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// lower returns text in the form that it has in a SearchText.
func lower(text string) string { return strings.ToLower(oneLine(text)) }

// finds returns the condition that text is in the field's line of a SearchText. A newline
// at the beginning or end of text stands for that end of the line.
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

// A finder looks for text in other texts, as strings.Index does. It looks for the rarest
// byte of text, and strings.Index for the first. So it finds "a77" among cars in a third of
// the time.
type finder struct {
	text string
	rare int // index of the rarest byte in text
}

// common has the most frequent bytes of a SearchText, the most frequent about first.
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

// index returns the index of the first f.text in s, or -1. f.text must not be empty.
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
