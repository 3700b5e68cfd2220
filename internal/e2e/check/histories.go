package check

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// An Event is one request about one car, with what its client saw: when it was sent and
// answered, on a clock that all clients share, and what the answer says about the car.
// The state of a car is its model year, or absent.
type Event struct {
	Sent, Answered int64
	What           string
	explains       func(state int) (next int, possible bool) // whether a car in this state gives this answer, and what becomes of it
}

func (e Event) String() string { return fmt.Sprintf("%d to %d: %s", e.Sent, e.Answered, e.What) }

const absent = -1

// Linearizable reports whether there is an order of all events that explains every
// answer. The car is absent before the first event, and no event comes before another
// that was answered before it was sent. It tries all orders, after Wing and Gong's
// "Testing and Verifying Concurrent Objects" (1993), and remembers where it has been,
// after Lowe's "Testing for Linearizability" (2017).
func Linearizable(events []Event) bool {
	slices.SortFunc(events, func(a, b Event) int { return cmp.Compare(a.Sent, b.Sent) })
	done := make([]byte, len(events))
	left := len(events)
	seen := make(map[string]bool)
	var try func(state int) bool
	try = func(state int) bool {
		key := string(done) + strconv.Itoa(state)
		if left == 0 || seen[key] {
			return left == 0
		}
		seen[key] = true
		firstAnswer := int64(math.MaxInt64)
		for i, e := range events {
			if done[i] == 1 {
				continue
			}
			if e.Sent > firstAnswer {
				return false // another was answered before this and all later events were sent, and must come first
			}
			firstAnswer = min(firstAnswer, e.Answered)
			if next, possible := e.explains(state); possible {
				done[i] = 1
				left--
				if try(next) {
					return true
				}
				done[i] = 0
				left++
			}
		}
		return false
	}
	return try(absent)
}

// The kinds of events, and what explains them.

func readEvent(seen int) Event {
	return Event{What: fmt.Sprint("read ", seen), explains: func(state int) (int, bool) { return state, state == seen }}
}

func createEvent(year int, created bool) Event {
	return Event{What: fmt.Sprint("create ", year, created), explains: func(state int) (int, bool) {
		if !created {
			return state, state != absent
		}
		return year, state == absent
	}}
}

// changeEvent is a patch to year that was answered with status. If before is not 0, the
// patch had the condition that the car had that year.
func changeEvent(before, year, status int) Event {
	return Event{What: fmt.Sprintf("change %d to %d: %d", before, year, status), explains: func(state int) (int, bool) {
		switch status {
		case http.StatusOK:
			return year, state != absent && (before == 0 || state == before)
		case http.StatusPreconditionFailed:
			return state, state != absent && state != before
		default:
			return state, state == absent
		}
	}}
}

// deleteEvent is a delete that was answered with the car of that year, or with 404 if
// year is absent.
func deleteEvent(year int) Event {
	return Event{What: fmt.Sprint("delete ", year), explains: func(state int) (int, bool) { return absent, state == year }}
}

// Histories has many clients create, change, delete and read a few cars, none of which
// is there at first, and returns what the clients saw, by the ID of the car. send sends
// a request to the server; it is called by many goroutines at once. Writes that are
// answered with 507 have changed nothing and are left out.
func Histories(send func(*http.Request) (*http.Response, error)) (map[int][]Event, error) {
	const clients, requestsEach, firstID, ids = 12, 150, 1001, 4
	var clock, year atomic.Int64
	year.Store(1886)
	type result struct {
		id    int
		event Event
		err   error
	}
	results := make(chan []result, clients)
	for range clients {
		go func() {
			var seen []result
			defer func() { results <- seen }()
			know := make(map[int]answer) // what this client has read last
			for range requestsEach {
				id := firstID + rand.IntN(ids)
				next := 1886 + int(year.Add(1))%100 // few enough to come again
				method, target, body, known, etag := "GET", "/api/cars/"+strconv.Itoa(id), "", 0, ""
				switch rand.IntN(6) {
				case 0, 1:
				case 2:
					method, target, body = "POST", "/api/cars", fmt.Sprintf(`{"id":%d,"name":"A","manufacturer":"B","year":%d}`, id, next)
				case 3:
					method = "DELETE"
				default:
					method, body = "PATCH", fmt.Sprintf(`{"year":%d}`, next)
					if old := know[id]; old.etag != "" && rand.IntN(2) == 0 {
						known, etag = old.year, old.etag
					}
				}
				sent := clock.Add(1)
				got, err := ask(send, method, target, body, etag)
				answered := clock.Add(1)
				var e Event
				switch {
				case got.status == http.StatusInsufficientStorage:
					continue
				case method == "POST":
					e = createEvent(next, got.status == http.StatusCreated)
				case method == "DELETE":
					e = deleteEvent(got.year)
				case method == "PATCH":
					e = changeEvent(known, next, got.status)
				default:
					e = readEvent(got.year)
					know[id] = got
				}
				e.Sent, e.Answered = sent, answered
				seen = append(seen, result{id, e, err})
			}
		}()
	}
	histories := make(map[int][]Event)
	var failed error
	for range clients {
		for _, r := range <-results {
			histories[r.id] = append(histories[r.id], r.event)
			failed = cmp.Or(failed, r.err)
		}
	}
	return histories, failed
}

// An answer is what is of interest in one about a car.
type answer struct {
	status int
	year   int // absent without a car
	etag   string
}

// ask sends a request, with If-Match if etag is not empty.
func ask(send func(*http.Request) (*http.Response, error), method, target, body, etag string) (answer, error) {
	got := answer{year: absent}
	r, err := http.NewRequest(method, "http://localhost"+target, strings.NewReader(body))
	if err != nil {
		return got, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if etag != "" {
		r.Header.Set("If-Match", etag)
	}
	resp, err := send(r)
	if err != nil {
		return got, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return got, err
	}
	got.status, got.etag = resp.StatusCode, resp.Header.Get("ETag")
	switch got.status {
	case http.StatusOK, http.StatusCreated:
		var car struct{ Year int }
		err = json.Unmarshal(text, &car)
		got.year = car.Year
	case http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed, http.StatusInsufficientStorage:
	default:
		err = fmt.Errorf("%s %s: got %d %s", method, target, got.status, text)
	}
	return got, err
}
