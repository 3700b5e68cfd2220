package check

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// The kinds of events, and what explains them.

func readEvent(id, price int) Event {
	return Event{What: fmt.Sprintf("read %d: %d", id, price), sees: []int{price}, explains: func(now Catalogue) (Catalogue, bool) { return now, now[id] == price }}
}

func listEvent(seen Catalogue) Event {
	return Event{What: fmt.Sprint("list ", seen), sees: slices.Collect(maps.Values(seen)), explains: func(now Catalogue) (Catalogue, bool) { return now, now.equal(seen) }}
}

func createEvent(id, price int, created bool) Event {
	return Event{What: fmt.Sprintf("create %d as %d: %t", id, price, created), makes: []int{price}, explains: func(now Catalogue) (Catalogue, bool) {
		if !created {
			return now, now[id] != absent
		}
		return now.with(id, price), now[id] == absent
	}}
}

// changeEvent is a change of a car to price that was answered with status. If before is
// not absent, it had the condition that the car had that price.
func changeEvent(id, before, price, status int) Event {
	return Event{What: fmt.Sprintf("change %d from %d to %d: %d", id, before, price, status), makes: []int{price}, sees: []int{before}, explains: func(now Catalogue) (Catalogue, bool) {
		switch status {
		case http.StatusOK:
			return now.with(id, price), now[id] != absent && (before == absent || now[id] == before)
		case http.StatusPreconditionFailed:
			return now, now[id] != absent && now[id] != before
		default:
			return now, now[id] == absent
		}
	}}
}

// deleteEvent is a delete that was answered with the car of that price, or with 404 if
// price is absent.
func deleteEvent(id, price int) Event {
	return Event{What: fmt.Sprintf("delete %d: %d", id, price), sees: []int{price}, explains: func(now Catalogue) (Catalogue, bool) { return now.with(id, absent), now[id] == price }}
}

// removeEvent is a delete without an answer.
func removeEvent(id int) Event {
	return Event{What: fmt.Sprint("delete ", id), explains: func(now Catalogue) (Catalogue, bool) { return now.with(id, absent), now[id] != absent }}
}

// replaceEvent is a replacement of the whole catalogue. If before is not nil, it had the
// condition that the catalogue was that.
func replaceEvent(before, after Catalogue, status int) Event {
	return Event{What: fmt.Sprintf("replace %v by %v: %d", before, after, status), makes: slices.Collect(maps.Values(after)), sees: slices.Collect(maps.Values(before)), explains: func(now Catalogue) (Catalogue, bool) {
		if status == http.StatusOK {
			return after, before == nil || now.equal(before)
		}
		return now, before != nil && !now.equal(before)
	}}
}
