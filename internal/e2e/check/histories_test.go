package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

func TestLinearizable(t *testing.T) {
	at := func(sent, answered int64, e Event) Event {
		e.Sent, e.Answered = sent, answered
		return e
	}
	const a, b = 1, 2 // IDs
	created := at(1, 2, createEvent(a, 90, true))
	for _, test := range []struct {
		name   string
		events []Event
		want   bool
	}{
		{"one after the other", []Event{created, at(3, 4, readEvent(a, 90)), at(5, 6, deleteEvent(a, 90)), at(7, 8, readEvent(a, absent))}, true},
		{"stale read", []Event{created, at(3, 4, changeEvent(a, 0, 91, 200)), at(5, 6, readEvent(a, 90))}, false},
		{"stale list", []Event{created, at(3, 4, changeEvent(a, 0, 91, 200)), at(5, 6, listEvent(Catalogue{a: 90}))}, false},
		{"read during the change, old", []Event{created, at(3, 8, changeEvent(a, 0, 91, 200)), at(5, 6, readEvent(a, 90))}, true},
		{"read during the change, new", []Event{created, at(3, 8, changeEvent(a, 0, 91, 200)), at(5, 6, readEvent(a, 91))}, true},
		{"new, then old", []Event{created, at(3, 20, changeEvent(a, 0, 91, 200)), at(5, 6, readEvent(a, 91)), at(7, 8, readEvent(a, 90))}, false},
		{"two changes, each seen last by somebody", []Event{created, at(3, 9, changeEvent(a, 0, 91, 200)), at(3, 9, changeEvent(a, 0, 92, 200)),
			at(10, 11, readEvent(a, 91)), at(10, 11, readEvent(a, 92))}, false},
		{"two cars in two orders, though each alone is right", []Event{created, at(3, 20, changeEvent(a, 0, 91, 200)), at(3, 20, createEvent(b, 80, true)),
			at(4, 19, listEvent(Catalogue{a: 91})), at(4, 19, listEvent(Catalogue{a: 90, b: 80}))}, false},
		{"lost update", []Event{created, at(3, 9, changeEvent(a, 90, 91, 200)), at(3, 9, changeEvent(a, 90, 92, 200))}, false},
		{"lost update of the whole", []Event{created, at(3, 9, replaceEvent(Catalogue{a: 90}, Catalogue{b: 80}, 200)), at(3, 9, changeEvent(a, 0, 91, 200)), at(10, 11, readEvent(a, absent))}, false},
		{"one of two", []Event{created, at(3, 9, changeEvent(a, 90, 91, 200)), at(3, 9, changeEvent(a, 90, 92, 412))}, true},
		{"created twice", []Event{at(1, 5, createEvent(a, 90, true)), at(1, 5, createEvent(a, 91, true))}, false},
		{"deleted twice", []Event{created, at(3, 5, deleteEvent(a, 90)), at(3, 5, deleteEvent(a, 90))}, false},
		{"not created for no reason", []Event{at(1, 2, createEvent(a, 90, false))}, false},
		{"without an answer, not made", []Event{created, at(3, never, changeEvent(a, 0, 91, 200)), at(5, 6, readEvent(a, 90))}, true},
		{"without an answer, made late", []Event{created, at(3, never, changeEvent(a, 0, 91, 200)), at(5, 6, readEvent(a, 90)), at(7, 8, readEvent(a, 91))}, true},
		{"without an answer, made before it was sent", []Event{created, at(3, 4, readEvent(a, 91)), at(5, never, changeEvent(a, 0, 91, 200))}, false},
		{"without an answer, made twice", []Event{created, at(3, never, changeEvent(a, 0, 91, 200)), at(5, 6, readEvent(a, 91)),
			at(7, 8, changeEvent(a, 0, 92, 200)), at(9, 10, readEvent(a, 91))}, false},
		{"without an answer, one after the other", []Event{at(1, never, createEvent(b, 80, true)), at(1, never, changeEvent(b, 80, 81, 200)), at(1, never, removeEvent(b)),
			at(3, 4, readEvent(b, 81)), at(5, 6, readEvent(b, absent))}, true},
		{"without an answer, a whole of which one car was changed", []Event{created, at(3, never, replaceEvent(nil, Catalogue{a: 70, b: 71}, 200)),
			at(5, 6, changeEvent(a, 0, 91, 200)), at(7, 8, listEvent(Catalogue{a: 91, b: 71}))}, true},
	} {
		if err := Linearizable(Catalogue{}, test.events); (err == nil) != test.want || errors.Is(err, ErrUndecided) {
			t.Errorf("%s: got %v, want that it is linearizable: %v", test.name, err, test.want)
		}
	}
}

// TestHistories records those of a server that is right, of one that is right and does
// not always say what it did, and of some that are wrong.
func TestHistories(t *testing.T) {
	for _, test := range []struct {
		name   string
		server *smallServer
		want   bool
	}{
		{"right", &smallServer{}, true},
		{"silent now and then", &smallServer{silent: true}, true},
		{"stale reads", &smallServer{stale: true}, false},
		{"stale lists", &smallServer{staleLists: true}, false},
		{"lost updates", &smallServer{careless: true}, false},
		{"judges again what it has done", &smallServer{twice: true}, false},
		{"a replacement in two steps", &smallServer{halves: true}, false},
		{"an ID twice", &smallServer{sameIDs: true}, false},
		{"says that nothing was changed though it was", &smallServer{liar: true}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := test.server
			s.now = Catalogue{}
			c := &Clients{Number: 8, Requests: 150, Faulty: s.silent || s.liar, Bulk: 3, Send: func(_ int, r *http.Request) (*http.Response, error) {
				rec := httptest.NewRecorder()
				s.ServeHTTP(rec, r)
				return rec.Result(), nil
			}}
			first, err := c.Start()
			if err != nil {
				t.Fatal(err)
			}
			s.started = true
			events, err := c.Work()
			if err == nil {
				err = Linearizable(first, events)
			}
			if (err == nil) != test.want || errors.Is(err, ErrUndecided) {
				t.Errorf("got %v, want that it is linearizable: %v", err, test.want)
			}
		})
	}
}

// TestCreateThatIsSeenLate: a car whose POST was not answered is found by a list that is read
// when the clients have ended.
func TestCreateThatIsSeenLate(t *testing.T) {
	s := &smallServer{now: Catalogue{}}
	lost := false
	c := &Clients{Number: 1, Faulty: true, Send: func(_ int, r *http.Request) (*http.Response, error) {
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, r)
		if lost && r.Method == "POST" {
			return nil, errors.New("the answer is lost")
		}
		return rec.Result(), nil
	}}
	first, err := c.Start()
	if err != nil {
		t.Fatal(err)
	}
	lost = true
	one := c.client(0)
	one.create()
	events := one.history()
	all, _, list, err := c.List(0)
	if err != nil || len(all) != len(first)+1 {
		t.Fatalf("got %v, %v, want one more than %v", all, err, first)
	}
	if err := Linearizable(first, append(events, list)); err != nil {
		t.Error(err)
	}
}

// A smallServer is the simplest that can be asked for histories. A car's entity tag is
// its price.
type smallServer struct {
	silent, stale, staleLists, careless, twice, halves, sameIDs, liar bool

	mu       sync.Mutex
	started  bool
	now, old Catalogue
	lastID   int
}

func (s *smallServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	sometimes := s.started && rand.IntN(20) == 0
	write := r.Method != "GET"
	switch {
	case s.liar && sometimes && write:
		s.answer(httptest.NewRecorder(), r, body)
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case s.silent && sometimes && write:
		if rand.IntN(2) == 0 {
			s.answer(httptest.NewRecorder(), r, body)
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case s.twice && sometimes && write:
		s.answer(httptest.NewRecorder(), r, body)
	case (s.stale || s.staleLists) && write && rand.IntN(10) == 0:
		s.old = s.now
	}
	now := s.now
	if stale := s.old != nil && rand.IntN(10) == 0; !write && stale && (s.staleLists == (r.URL.Path == "/api/cars")) {
		s.now = s.old
	}
	s.answer(w, r, body)
	if !write {
		s.now = now
	}
}

func (s *smallServer) answer(w http.ResponseWriter, r *http.Request, body []byte) {
	type car struct{ ID, Price int }
	condition := r.Header.Get("If-Match")
	refuses := func(tag string) bool { return condition != "" && condition != tag && !s.careless }
	whole := strconv.Quote(s.now.key())
	if r.URL.Path == "/api/cars" && r.Method != "POST" {
		var list []car
		switch json.Unmarshal(body, &list); {
		case r.Method == "PUT" && refuses(whole):
			w.WriteHeader(http.StatusPreconditionFailed)
			return
		case r.Method == "PUT":
			s.now = Catalogue{}
			for _, one := range list {
				s.now[one.ID] = one.Price
			}
			if s.halves && len(list) > 2 {
				all := s.now
				s.now = s.now.with(list[0].ID, absent)
				s.mu.Unlock()
				time.Sleep(time.Millisecond) // in which others come
				s.mu.Lock()
				s.now = all
			}
		}
		list = nil
		for _, id := range slices.Sorted(maps.Keys(s.now)) {
			list = append(list, car{id, s.now[id]})
		}
		w.Header().Set("ETag", strconv.Quote(s.now.key()))
		text, _ := json.Marshal(list)
		if list == nil {
			text = []byte("[]")
		}
		w.Write(text)
		return
	}
	var one car
	json.Unmarshal(body, &one)
	id, err := strconv.Atoi(path.Base(r.URL.Path))
	if err != nil {
		if id = one.ID; id == 0 {
			s.lastID++
			id = 3000 + s.lastID
			if s.sameIDs && s.lastID > 1 && rand.IntN(5) == 0 {
				id--
				s.now = s.now.with(id, absent)
			}
		}
	}
	price := s.now[id]
	tag := strconv.Quote(strconv.Itoa(price))
	switch {
	case r.Method == "POST" && price != absent:
		w.WriteHeader(http.StatusConflict)
		return
	case r.Method == "POST":
		price = one.Price
		s.now = s.now.with(id, price)
		w.WriteHeader(http.StatusCreated)
	case price == absent:
		w.WriteHeader(http.StatusNotFound)
		return
	case refuses(tag):
		w.WriteHeader(http.StatusPreconditionFailed)
		return
	case r.Method == "DELETE":
		s.now = s.now.with(id, absent)
	case r.Method == "GET":
		w.Header().Set("ETag", tag)
	default:
		price = one.Price
		s.now = s.now.with(id, price)
	}
	fmt.Fprintf(w, `{"id":%d,"price":%d}`, id, price)
}
