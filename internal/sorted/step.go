package sorted

import (
	"bytes"
	"strconv"
)

// AppendStep appends the changes from before to after of the items for which matches is
// true: an object such as {"put":[{…}],"delete":[7]}, as in a line of the file. put has each
// item that matches, and is new, has changed or did not match before. delete has the ID of
// each item that matched before, and is gone or does not match after. If there are no such
// changes, it appends nothing. If the object is longer than most bytes, it appends nothing
// and fits is false.
func AppendStep(b []byte, before, after List, matches func(*Item) bool, most int) (step []byte, fits bool) {
	start := len(b)
	b = append(b, `{"put":[`...)
	first, deletes := len(b), false
	for old, now := range Changes(before, after) {
		matched := old != nil && matches(old)
		if now == nil || !matches(now) {
			deletes = deletes || matched
		} else {
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
