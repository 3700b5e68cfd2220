package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A car has every field that one must have, in the server's order. The zero car
// stands for none.
type car struct {
	ID           int     `json:"id,omitempty"`
	Name         string  `json:"name"`
	Manufacturer string  `json:"manufacturer"`
	Category     string  `json:"category"`
	Year         int     `json:"year"`
	Price        int     `json:"price"`
	ImageURL     string  `json:"imageUrl"`
	Details      details `json:"details"`
}

type details struct {
	Engine       string `json:"engine"`
	Horsepower   int    `json:"horsepower"`
	Transmission string `json:"transmission"`
	Drivetrain   string `json:"drivetrain"`
}

// carOf returns a car that has no ID yet. Its other fields all follow from n, so
// that a mixture of two writes shows. With an even n it is large, 8 KB.
func carOf(n int) car {
	image := "/images/" + fmt.Sprint(n)
	if n%2 == 0 {
		image += strings.Repeat("🚗", 2000)
	}
	return car{
		Name: fmt.Sprint("Car ", n), Manufacturer: fmt.Sprint("Maker ", n), Category: fmt.Sprint("Class ", n),
		Year: 1900 + n%100, Price: n, ImageURL: image,
		Details: details{fmt.Sprint("Engine ", n), n % 5000, fmt.Sprint("Transmission ", n), fmt.Sprint("Drivetrain ", n)},
	}
}

func (c car) String() string {
	if c == (car{}) {
		return "no car"
	}
	return fmt.Sprintf("%.300s", encode(c))
}

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // texts and numbers can always be encoded
	}
	return string(text)
}

// parse reads a car, in which no field may be missing and nothing else be.
func parse(t *testing.T, body string) car {
	t.Helper()
	var c car
	if err := json.Unmarshal([]byte(body), &c); err != nil || encode(c) != strings.TrimSpace(body) {
		t.Errorf("got %.300q, %v, want a car with all its fields", body, err)
	}
	return c
}

// client keeps as many connections open as there are writers.
var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}, Timeout: 50 * time.Second}

// send returns status and body, or an error. A 503 must say when to come again, unless
// that is of no use.
func (s *server) send(t testing.TB, method, path, body string) (int, string, error) {
	t.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	failed := bytes.Contains(answer, []byte("until the server is started anew"))
	if again := resp.Header.Get("Retry-After"); resp.StatusCode == 503 && failed != (again == "") {
		t.Errorf("%s %s: got a 503 with Retry-After %q: %s", method, path, again, answer)
	}
	return resp.StatusCode, string(answer), err
}

// wantStatus returns the body of an answer that must have this status.
func (s *server) wantStatus(t *testing.T, want int, method, path, body string) string {
	t.Helper()
	got, answer, err := s.send(t, method, path, body)
	if err != nil || got != want {
		t.Errorf("%s %s: got %d %.300s, %v, want %d", method, path, got, answer, err, want)
	}
	return answer
}

// cars returns the catalogue by ID.
func (s *server) cars(t *testing.T) map[int]car {
	t.Helper()
	body := s.wantStatus(t, 200, "GET", "/api/cars", "")
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatal(err)
	}
	byID := make(map[int]car)
	for _, text := range list {
		c := parse(t, string(text))
		byID[c.ID] = c
	}
	if len(byID) != len(list) {
		t.Errorf("got %d cars with %d IDs", len(list), len(byID))
	}
	return byID
}

// wantEveryWriteRefused checks that every kind of write gets 503 and changes
// nothing that can be seen.
func (s *server) wantEveryWriteRefused(t *testing.T) {
	t.Helper()
	want := s.cars(t)
	for range 2 {
		s.wantStatus(t, 503, "POST", "/api/cars", saab)
		s.wantStatus(t, 503, "PUT", "/api/cars/1", saab)
		s.wantStatus(t, 503, "PATCH", "/api/cars/1", `{"year":2000}`)
		s.wantStatus(t, 503, "DELETE", "/api/cars/1", "")
		s.wantStatus(t, 503, "PUT", "/api/cars", "["+saab+"]")
	}
	s.wantCar(t, "/api/cars/1")
	wantSame(t, s.cars(t), want)
}

// wantSame checks that two catalogues are the same.
func wantSame(t *testing.T, got, want map[int]car) {
	t.Helper()
	all := maps.Clone(got)
	maps.Copy(all, want)
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if got[id] != want[id] {
			t.Errorf("car %d: got %v, want %v", id, got[id], want[id])
		}
	}
}

// Writers change the catalogue, each of them cars of its own and one at a time,
// so that what must be there is simple to say: what was acknowledged last and,
// of the one write without an answer, all or nothing.
type writers struct {
	mu    sync.Mutex
	acked map[int]car // by ID, every car that was ever acknowledged; the zero car if it was deleted
	count int         // acknowledged writes
	all   []*writer
}

type writer struct {
	*writers
	next    int     // number of the next car to make; no two writers have the same
	ids     []int   // of its cars
	pending *change // the write that has no answer yet
}

// A change is what a write makes of a car.
type change struct {
	method string
	id     int // 0 for a new one
	after  car // the zero car if it is deleted
	body   string
}

// newWriters returns writers to whom a catalogue belongs that none will change.
func newWriters(count int, catalogue map[int]car) *writers {
	w := &writers{acked: maps.Clone(catalogue)}
	for number := range count {
		w.all = append(w.all, &writer{writers: w, next: count + number})
	}
	return w
}

// work has all of them write until the server ends, which can be waited for.
func (w *writers) work(t *testing.T, s *server) *sync.WaitGroup {
	var working sync.WaitGroup
	for _, one := range w.all {
		working.Go(func() {
			for one.write(t, s) {
			}
		})
	}
	return &working
}

// write makes one write, and reports whether it was acknowledged.
func (w *writer) write(t *testing.T, s *server) bool {
	c := w.choose()
	path := "/api/cars"
	if c.id != 0 {
		path = fmt.Sprint("/api/cars/", c.id)
	}
	status, answer, err := s.send(t, c.method, path, c.body)
	if err != nil {
		return false
	}
	if status != 200 && status != 201 {
		t.Errorf("%s %s: got %d %s, want 200 or 201", c.method, path, status, answer)
		return false
	}
	got := parse(t, answer)
	w.mu.Lock()
	defer w.mu.Unlock()
	want := c.after
	switch c.method {
	case "POST":
		want.ID = got.ID
		if old, given := w.acked[got.ID]; given {
			t.Errorf("got ID %d for %v, want one that was never given; it was for %v", got.ID, got, old)
		}
	case "DELETE":
		want = w.acked[c.id]
	}
	if got != want {
		t.Errorf("%s %s: got %v, want %v", c.method, path, got, want)
	}
	c.id, c.after.ID = got.ID, got.ID
	w.happened(c)
	w.count++
	return true
}

// choose returns the next write, which is pending from now on.
func (w *writer) choose() change {
	w.mu.Lock()
	defer w.mu.Unlock()
	made := carOf(w.next)
	w.next += len(w.all)
	c := change{"POST", 0, made, encode(made)}
	if len(w.ids) > 0 && (len(w.ids) == 6 || rand.N(3) > 0) {
		id := w.ids[rand.N(len(w.ids))]
		made.ID = id
		switch after := w.acked[id]; rand.N(8) {
		case 0:
			c = change{"DELETE", id, car{}, ""}
		case 1, 2, 3:
			c = change{"PUT", id, made, encode(made)}
		default:
			after.Year, after.Price, after.Details = made.Year, made.Price, made.Details
			c = change{"PATCH", id, after, fmt.Sprintf(`{"year":%d,"price":%d,"details":%s}`, made.Year, made.Price, encode(made.Details))}
		}
	}
	w.pending = &c
	return c
}

// happened notes a write that was acknowledged, or was found to have happened.
func (w *writer) happened(c change) {
	w.pending = nil
	w.ids = slices.DeleteFunc(w.ids, func(id int) bool { return id == c.id })
	if c.method == "DELETE" {
		c.after = car{}
	} else {
		w.ids = append(w.ids, c.id)
	}
	w.acked[c.id] = c.after
}

// check compares a catalogue with what must be in it when no writer works.
func (w *writers) check(t *testing.T, got map[int]car) {
	t.Helper()
	for _, one := range w.all {
		one.settle(got)
	}
	wantSame(t, got, w.acked)
}

// settle looks in a catalogue for what became of the write without an answer.
func (w *writer) settle(got map[int]car) {
	c := w.pending
	w.pending = nil
	switch {
	case c == nil:
	case c.id != 0:
		if got[c.id] == c.after {
			w.happened(*c)
		}
	default:
		for id, found := range got {
			c.id, c.after.ID = id, id
			if _, given := w.acked[id]; !given && found == c.after {
				w.happened(*c)
				return
			}
		}
	}
}

// snapshot returns what is acknowledged at the moment.
func (w *writers) snapshot() map[int]car {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.acked)
}

// deletes reports whether a car is deleted or about to be.
func (w *writers) deletes(id int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acked[id] == car{} || slices.ContainsFunc(w.all, func(one *writer) bool {
		return one.pending != nil && one.pending.method == "DELETE" && one.pending.id == id
	})
}
