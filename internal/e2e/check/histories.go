package check

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Clients create, change, delete, replace and read a few cars, all at once, and note what
// they are answered.
type Clients struct {
	Number   int // of clients
	Requests int // that each makes
	// Send sends a request of a client, which are numbered from 0. It is called by many
	// goroutines at once.
	Send func(client int, r *http.Request) (*http.Response, error)
	// Faulty tells that there may be no answer, or 503. A 503 with Retry-After says that
	// nothing was changed; otherwise, the outcome of a write is not known then.
	Faulty bool
	// Bulk is how many cars there are beside the few. They are always replaced together
	// and are one car for the history, so that a part of them is an error.
	Bulk int
	// Done, if there is one, is closed to have the clients end before their last request.
	Done <-chan struct{}

	clock, price atomic.Int64

	mu       sync.Mutex
	versions map[string]Catalogue // what the lists of a version had
	given    map[int]bool         // IDs that were given
	seenAt   map[int]int          // IDs of the prices that were seen
}

const (
	firstID = 1001 // of those that are always the same
	ids     = 4    // how many those are
	bulkID  = 2000 // stands for the bulk, whose IDs come behind it
)

// A client is one goroutine.
type client struct {
	*Clients
	number int
	events []Event
	failed []error
	know   map[int]answer // what was read last of each car
	list   answer         // and of all
	newID  int            // that this client was given last
	lost   []Event        // cars that were made, or not, with an ID that is not known; of price Sent
}

// Start replaces the catalogue by a few cars, and returns it.
func (c *Clients) Start() (Catalogue, error) {
	one := c.client(0)
	with := one.anything()
	if c.Bulk > 0 {
		with[bulkID] = int(c.price.Add(1)) // so that IDs that are given come behind it
	}
	got, err := one.ask("PUT", "/api/cars", one.body(with), "")
	for try := 0; try < 20 && got.status == http.StatusInsufficientStorage; try++ {
		got, err = one.ask("PUT", "/api/cars", one.body(with), "")
	}
	if err == nil && got.status != http.StatusOK {
		err = fmt.Errorf("PUT /api/cars: got %d", got.status)
	}
	return with, err
}

// List returns the catalogue as a client reads it, its version, and the event.
func (c *Clients) List(number int) (Catalogue, string, Event, error) {
	sent := c.clock.Add(1)
	got, err := c.client(number).ask("GET", "/api/cars", "", "")
	if err == nil && got.status != http.StatusOK {
		err = fmt.Errorf("GET /api/cars: got %d", got.status)
	}
	e := listEvent(got.all)
	e.Sent, e.Answered = sent, c.clock.Add(1)
	return got.all, got.version, e, err
}

// Create has one client make cars until that is answered, and returns what it saw.
func (c *Clients) Create(number int) ([]Event, error) {
	one := c.client(number)
	for range 20 {
		one.create()
		if n := len(one.events); n > 0 {
			return one.history(), errors.Join(one.failed...)
		}
		time.Sleep(500 * time.Millisecond)
	}
	return nil, errors.New("a write is not answered")
}

// Version returns the catalogue of a version, if a list of that was seen.
func (c *Clients) Version(version string) (seen Catalogue, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen, known = c.versions[version]
	return seen, known
}

// Collapse returns the catalogue that cars are, by ID and price. It is an error if only a
// part of the bulk is there.
func (c *Clients) Collapse(prices map[int]int) (Catalogue, error) {
	bulk := make(map[int]int) // how many have a price
	all := make(Catalogue)
	for id, price := range prices {
		if id > bulkID && id <= bulkID+c.Bulk {
			bulk[price]++
			id = bulkID
		}
		all[id] = price
	}
	if len(bulk) > 1 || len(bulk) == 1 && bulk[all[bulkID]] != c.Bulk {
		return all, fmt.Errorf("a replacement of the catalogue was seen in part: of %d cars, so many had the prices %v", c.Bulk, bulk)
	}
	return all, nil
}

// Work has all clients make their requests, and returns what they saw. Errors are answers
// that nothing explains, even alone.
func (c *Clients) Work() ([]Event, error) {
	all := make([]*client, c.Number)
	var working sync.WaitGroup
	for i := range all {
		one := c.client(i)
		all[i] = one
		working.Go(func() {
			for range c.Requests {
				select {
				case <-c.Done:
					return
				default:
					one.request()
				}
			}
		})
	}
	working.Wait()
	var events []Event
	var failed []error
	for _, one := range all {
		events = append(events, one.history()...)
		failed = append(failed, one.failed...)
	}
	return events, errors.Join(failed...)
}

// history returns all that a client saw, when all others have ended.
func (c *client) history() []Event {
	for _, e := range c.lost {
		price := int(e.Answered)
		made := createEvent(0, price, true)
		made.explains = func(now Catalogue) (Catalogue, bool) {
			c.mu.Lock()
			id := cmp.Or(c.seenAt[price], -price) // somebody may see it after the history has ended; nobody asks for the latter
			c.mu.Unlock()
			return createEvent(id, price, true).explains(now)
		}
		made.What = fmt.Sprintf("client %d: create %d, a new one", c.number, price)
		made.Sent, made.Answered = e.Sent, never
		c.events = append(c.events, made)
	}
	return c.events
}

func (c *Clients) client(number int) *client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.versions == nil {
		c.versions, c.given, c.seenAt = make(map[string]Catalogue), make(map[int]bool), make(map[int]int)
	}
	return &client{Clients: c, number: number, know: make(map[int]answer), newID: firstID}
}

// anything returns another catalogue.
func (c *client) anything() Catalogue {
	with := make(Catalogue)
	for id := range ids {
		if rand.IntN(4) > 0 {
			with[firstID+id] = int(c.price.Add(1))
		}
	}
	if c.Bulk > 0 && rand.IntN(3) > 0 {
		with[bulkID] = int(c.price.Add(1))
	}
	return with
}

func carJSON(id, price int) string {
	if id == 0 {
		return fmt.Sprintf(`{"name":"A","manufacturer":"B","price":%d}`, price)
	}
	return fmt.Sprintf(`{"id":%d,"name":"A","manufacturer":"B","price":%d}`, id, price)
}

// body returns a catalogue as it is sent.
func (c *client) body(with Catalogue) string {
	var texts []string
	for id, price := range with {
		if id != bulkID {
			texts = append(texts, carJSON(id, price))
			continue
		}
		for i := range c.Bulk {
			texts = append(texts, carJSON(bulkID+1+i, price))
		}
	}
	return "[" + strings.Join(texts, ",") + "]"
}

// request makes a request, and notes what comes of it.
func (c *client) request() {
	id := firstID + rand.IntN(ids)
	if rand.IntN(8) == 0 {
		id = c.newID
	}
	price := int(c.price.Add(1))
	path := "/api/cars/" + strconv.Itoa(id)
	switch n := rand.IntN(12); n {
	case 0, 1, 2, 3:
		c.do("GET", path, "", "", func(got answer) Event {
			c.know[id] = got
			return readEvent(id, got.price)
		}, nil)
	case 4, 5:
		c.do("GET", "/api/cars", "", "", func(got answer) Event {
			c.list = got
			return listEvent(got.all)
		}, nil)
	case 6:
		c.do("POST", "/api/cars", carJSON(id, price), "", func(got answer) Event {
			return createEvent(id, price, got.status == http.StatusCreated)
		}, func() Event { return createEvent(id, price, true) })
	case 7:
		c.create()
	case 8:
		c.do("DELETE", path, "", "", func(got answer) Event { return deleteEvent(id, got.price) }, func() Event { return removeEvent(id) })
	case 9:
		with := c.anything()
		var before Catalogue
		tag := ""
		if c.list.tag != "" && rand.IntN(4) > 0 {
			before, tag = c.list.all, c.list.tag
		}
		c.do("PUT", "/api/cars", c.body(with), tag, func(got answer) Event { return replaceEvent(before, with, got.status) },
			func() Event { return replaceEvent(before, with, http.StatusOK) })
	default:
		before, tag := absent, ""
		if old := c.know[id]; old.tag != "" && rand.IntN(2) == 0 {
			before, tag = old.price, old.tag
		}
		method, body := "PATCH", fmt.Sprintf(`{"price":%d}`, price)
		if n == 10 {
			method, body = "PUT", carJSON(id, price)
		}
		c.do(method, path, body, tag, func(got answer) Event { return changeEvent(id, before, price, got.status) },
			func() Event { return changeEvent(id, before, price, http.StatusOK) })
	}
}

// create makes a car that gets the next ID.
func (c *client) create() {
	price := int(c.price.Add(1))
	sent := c.clock.Load() + 1
	c.do("POST", "/api/cars", carJSON(0, price), "", func(got answer) Event {
		if got.status == http.StatusCreated {
			c.newID = got.id
			c.give(got.id)
		}
		return createEvent(got.id, price, got.status == http.StatusCreated)
	}, func() Event {
		c.lost = append(c.lost, Event{Sent: sent, Answered: int64(price)})
		return Event{}
	})
}

// do sends a request, and notes the event that saw or, without an answer, lost returns.
func (c *client) do(method, target, body, tag string, saw func(answer) Event, lost func() Event) {
	sent := c.clock.Add(1)
	got, err := c.ask(method, target, body, tag)
	var e Event
	switch {
	case got.status == http.StatusInsufficientStorage, got.status == http.StatusServiceUnavailable && got.again != "" && c.Faulty:
		return // nothing was changed
	case (got.status == 0 || got.status == http.StatusServiceUnavailable) && c.Faulty:
		if lost == nil {
			return
		}
		if e = lost(); e.explains == nil {
			return
		}
		e.Answered = never
	case err != nil:
		c.failed = append(c.failed, err)
		return
	default:
		e = saw(got)
		e.Answered = c.clock.Add(1)
	}
	e.Sent = sent
	e.What = fmt.Sprintf("client %d: %s", c.number, e.What)
	c.events = append(c.events, e)
}

// give notes that an ID was given.
func (c *client) give(id int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.given[id] {
		c.failed = append(c.failed, fmt.Errorf("ID %d was given twice", id))
	}
	c.given[id] = true
}

// Histories has many clients at work, and returns the catalogue before and what they saw.
func Histories(send func(*http.Request) (*http.Response, error)) (Catalogue, []Event, error) {
	c := &Clients{Number: 8, Requests: 150, Send: func(_ int, r *http.Request) (*http.Response, error) { return send(r) }}
	first, err := c.Start()
	if err != nil {
		return nil, nil, err
	}
	events, err := c.Work()
	return first, events, err
}
