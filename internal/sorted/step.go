package sorted

import (
	"bytes"
	"strconv"
)

// Step returns the changes from one list to another of the items for which matches is true,
// or nil if there are none: an object such as {"put":[{…}],"delete":[7]}, as in a line of
// the file. put has each item that matches, and is new, has changed or did not match before.
// delete has the ID of each item that matched before, and is gone or does not match after.
func Step(before, after List, matches func(*Item) bool) []byte {
	var step, deleted []byte
	for old, now := range Changes(before, after) {
		switch matched := old != nil && matches(old); {
		case now != nil && matches(now):
			if !matched || !bytes.Equal(old.Line, now.Line) {
				step = append(append(step, now.JSON()...), ',')
			}
		case matched:
			deleted = append(strconv.AppendInt(deleted, int64(old.ID), 10), ',')
		}
	}
	if step == nil && deleted == nil {
		return nil
	}
	step = append(append([]byte(`{"put":[`), bytes.TrimSuffix(step, []byte{','})...), `],"delete":[`...)
	return append(append(step, bytes.TrimSuffix(deleted, []byte{','})...), "]}"...)
}
