package sorted

import (
	"bytes"
	"strconv"
)

// Step returns what is to be told of the way from one list to another, as far as matches
// holds, or nil if that is nothing: an object such as {"put":[{…}],"delete":[7]}, as a line
// of the file has it. An item that has come to match, or has changed and matches still, is
// put. One that matches no longer is among the deleted.
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
