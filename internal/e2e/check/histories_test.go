package check

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"sync"
	"testing"
)

func TestLinearizable(t *testing.T) {
	at := func(sent, answered int64, e Event) Event {
		e.Sent, e.Answered = sent, answered
		return e
	}
	for _, test := range []struct {
		name   string
		events []Event
		want   bool
	}{
		{"one after the other", []Event{at(1, 2, createEvent(1990, true)), at(3, 4, readEvent(1990)), at(5, 6, deleteEvent(1990)), at(7, 8, readEvent(absent))}, true},
		{"stale read", []Event{at(1, 2, createEvent(1990, true)), at(3, 4, changeEvent(0, 1991, 200)), at(5, 6, readEvent(1990))}, false},
		{"read during the change, old", []Event{at(1, 2, createEvent(1990, true)), at(3, 8, changeEvent(0, 1991, 200)), at(5, 6, readEvent(1990))}, true},
		{"read during the change, new", []Event{at(1, 2, createEvent(1990, true)), at(3, 8, changeEvent(0, 1991, 200)), at(5, 6, readEvent(1991))}, true},
		{"new, then old", []Event{at(1, 2, createEvent(1990, true)), at(3, 20, changeEvent(0, 1991, 200)), at(5, 6, readEvent(1991)), at(7, 8, readEvent(1990))}, false},
		{"two changes, each seen last by somebody", []Event{at(1, 2, createEvent(1990, true)), at(3, 9, changeEvent(0, 1991, 200)), at(3, 9, changeEvent(0, 1992, 200)),
			at(10, 11, readEvent(1991)), at(10, 11, readEvent(1992))}, false},
		{"lost update", []Event{at(1, 2, createEvent(1990, true)), at(3, 9, changeEvent(1990, 1991, 200)), at(3, 9, changeEvent(1990, 1992, 200))}, false},
		{"one of two", []Event{at(1, 2, createEvent(1990, true)), at(3, 9, changeEvent(1990, 1991, 200)), at(3, 9, changeEvent(1990, 1992, 412))}, true},
		{"created twice", []Event{at(1, 5, createEvent(1990, true)), at(1, 5, createEvent(1991, true))}, false},
		{"deleted twice", []Event{at(1, 2, createEvent(1990, true)), at(3, 5, deleteEvent(1990)), at(3, 5, deleteEvent(1990))}, false},
		{"not created for no reason", []Event{at(1, 2, createEvent(1990, false))}, false},
	} {
		if got := Linearizable(test.events); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

// TestHistories records those of a server that is right, of one whose reads are stale
// now and then, and of one that does not look at If-Match.
func TestHistories(t *testing.T) {
	for _, test := range []struct {
		name   string
		server *smallServer
		want   bool
	}{
		{"right", &smallServer{}, true},
		{"stale reads", &smallServer{stale: true}, false},
		{"lost updates", &smallServer{careless: true}, false},
	} {
		s := test.server
		s.years, s.old = map[int]int{}, map[int]int{}
		histories, err := Histories(func(r *http.Request) (*http.Response, error) {
			rec := httptest.NewRecorder()
			s.ServeHTTP(rec, r)
			return rec.Result(), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		all := true
		for _, events := range histories {
			all = Linearizable(events) && all
		}
		if all != test.want {
			t.Errorf("%s: linearizable is %v, want %v", test.name, all, test.want)
		}
	}
}

// A smallServer is the simplest that can be asked for histories. A car's entity tag is
// its year.
type smallServer struct {
	stale, careless bool

	mu         sync.Mutex
	years, old map[int]int // by ID
}

func (s *smallServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var car struct{ ID, Year int }
	json.NewDecoder(r.Body).Decode(&car)
	if r.Method != "POST" {
		car.ID, _ = strconv.Atoi(path.Base(r.URL.Path))
	}
	year, found := s.years[car.ID]
	if old, was := s.old[car.ID]; s.stale && r.Method == "GET" && was && rand.IntN(20) == 0 {
		year, found = old, true
	} else if found && rand.IntN(5) == 0 {
		s.old[car.ID] = year
	}
	tag := strconv.Quote(strconv.Itoa(year))
	switch condition := r.Header.Get("If-Match"); {
	case r.Method == "POST" && found:
		w.WriteHeader(http.StatusConflict)
		return
	case r.Method == "POST":
		s.years[car.ID], year = car.Year, car.Year
		w.WriteHeader(http.StatusCreated)
	case !found:
		w.WriteHeader(http.StatusNotFound)
		return
	case condition != "" && condition != tag && !s.careless:
		w.WriteHeader(http.StatusPreconditionFailed)
		return
	case r.Method == "DELETE":
		delete(s.years, car.ID)
	case r.Method == "PATCH":
		s.years[car.ID], year = car.Year, car.Year
	default:
		w.Header().Set("ETag", tag)
	}
	fmt.Fprintf(w, `{"year":%d}`, year)
}
