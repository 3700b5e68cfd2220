package sorted

import (
	"bytes"
	"strconv"
)

// AppendStep appends what is to be told of the way from one list to another, as far as
// matches holds: an object such as {"put":[{…}],"delete":[7]}, as a line of the file has
// it. An item that has come to match, or has changed and matches still, is put. One that
// matches no longer is among the deleted. If that is nothing, it appends nothing. fits
// tells that the object has no more than most bytes; nothing is appended otherwise.
func AppendStep(b []byte, before, after List, matches func(*Item) bool, most int) (step []byte, fits bool) {
	start := len(b)
	b = append(b, `{"put":[`...)
	first, deletes := len(b), false
	for old, now := range Changes(before, after) {
		matched := old != nil && matches(old)
		if now == nil || !matches(now) {
			deletes = deletes || matched
		} else if !matched || !bytes.Equal(old.Line, now.Line) {
			b = append(append(b, now.JSON()...), ',')
		}
		if len(b)-start > most {
			return b[:start], false
		}
	}
	if len(b) == first && !deletes {
		return b[:start], true
	}
	b = append(bytes.TrimSuffix(b, []byte{','}), `],"delete":[`...)
	if deletes {
		for old, now := range Changes(before, after) {
			if old != nil && matches(old) && (now == nil || !matches(now)) {
				b = append(strconv.AppendInt(b, int64(old.ID), 10), ',')
			}
		}
		b = bytes.TrimSuffix(b, []byte{','})
	}
	if b = append(b, "]}"...); len(b)-start > most {
		return b[:start], false
	}
	return b, true
}
