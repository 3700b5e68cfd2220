package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// An event is one of a stream, or an error at its end.
type event struct{ name, id, data string }

// A stream is an event stream, as a client reads it.
type stream struct {
	resp *http.Response
	in   *bufio.Reader
	id   string // of the last event, as EventSource keeps it
}

// openStream asks for a stream, and returns it when the header of the answer is there.
func openStream(ctx context.Context, client *http.Client, url, since string) (*stream, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if since != "" {
		req.Header.Set("Last-Event-ID", since)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != 200 {
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		return nil, fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	return &stream{resp: resp, in: bufio.NewReader(resp.Body), id: since}, nil
}

func (s *stream) close() { s.resp.Body.Close() }

// next returns the next event, by the rules of the HTML standard. An event without its end
// is none.
func (s *stream) next() (event, error) {
	var e event
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return event{}, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			e.name = value
		case "data":
			e.data += value
		case "id":
			e.id = value
		case "":
			if line != "\n" {
				continue // a comment
			}
			if e.id != "" {
				s.id = e.id
			}
			if e.data != "" {
				return e, nil
			}
			e = event{}
		}
	}
}

// A follower keeps a copy of a list by events alone, once it has read the list, through
// whatever cuts its connections.
type follower struct {
	url    func() string // of the proxy or server
	query  string        // that filters
	byLine bool          // says by _since what it has, and not by Last-Event-ID
	client *http.Client

	mu      sync.Mutex
	cars    map[int]string // JSON by ID; nil when it must read the list
	version string
	states  map[string]string // the copies so far, by version
	resets  int
	cuts    int
	moved   chan struct{} // has a value when something has changed
}

func newFollower(url func() string, query string) *follower {
	return &follower{url: url, query: query, client: &http.Client{Transport: &http.Transport{}}, states: map[string]string{}, moved: make(chan struct{}, 1)}
}

// canonical returns a list as one text.
func canonical(cars map[int]string) string {
	var text strings.Builder
	for _, id := range slices.Sorted(maps.Keys(cars)) {
		text.WriteString(cars[id] + "\n")
	}
	return text.String()
}

// readList returns a list by ID, and its version.
func readList(ctx context.Context, client *http.Client, url string) (map[int]string, string, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return nil, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	var list []json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return nil, "", err
	}
	cars := map[int]string{}
	for _, text := range list {
		cars[idOf(text)] = string(text)
	}
	return cars, resp.Header.Get("Catalogue-Version"), nil
}

func idOf(text []byte) int {
	var c struct{ ID int }
	json.Unmarshal(text, &c)
	return c.ID
}

// run follows until ctx is done.
func (f *follower) run(ctx context.Context, t *testing.T) {
	for ctx.Err() == nil {
		err := f.connection(ctx)
		f.client.CloseIdleConnections()
		f.mu.Lock()
		f.cuts++
		f.mu.Unlock()
		if wrong := (faulty{}); errors.As(err, &wrong) && ctx.Err() == nil {
			t.Errorf("%s: %v", f.query, wrong)
			return
		}
	}
}

// faulty is what no server may send, whatever happens to connections.
type faulty struct{ error }

// connection follows by one connection.
func (f *follower) connection(ctx context.Context) error {
	if f.cars == nil {
		cars, version, err := readList(ctx, f.client, f.url()+"/api/cars?"+f.query)
		if err != nil {
			return err
		}
		f.become(cars, version)
	}
	url, since := f.url()+"/api/cars?"+f.query, f.version
	if f.byLine {
		url, since = url+"&_since="+f.version, ""
	}
	s, err := openStream(ctx, f.client, url, since)
	if err != nil {
		return err
	}
	defer s.close()
	for first := true; ; first = false {
		e, err := s.next()
		if err != nil {
			return err
		}
		switch {
		case first != (e.name == "ready"):
			return faulty{fmt.Errorf("got %+v, and that it is the first is %v", e, first)}
		case e.name == "ready" && e.id == f.version && e.data == "{}":
		case e.name == "ready" && e.id == "" && e.data == "{}": // reset follows
			if e, err = s.next(); err == nil && e.name != "reset" {
				return faulty{fmt.Errorf("got %+v, want reset", e)}
			}
			fallthrough
		case e.name == "reset":
			f.mu.Lock()
			f.cars = nil
			if err == nil {
				f.resets++
			}
			f.mu.Unlock()
			return err
		case e.name == "change" && e.id != f.version:
			var step struct {
				Put    []json.RawMessage
				Delete []int
			}
			if err := json.Unmarshal([]byte(e.data), &step); err != nil || len(step.Put)+len(step.Delete) == 0 {
				return faulty{fmt.Errorf("got %+v, %v", e, err)}
			}
			cars := maps.Clone(f.cars)
			for _, id := range step.Delete {
				if _, has := cars[id]; !has {
					return faulty{fmt.Errorf("car %d is deleted, which it does not have: %+v", id, e)}
				}
				delete(cars, id)
			}
			for _, text := range step.Put {
				if cars[idOf(text)] == string(text) {
					return faulty{fmt.Errorf("car %s is put once more", text)}
				}
				cars[idOf(text)] = string(text)
			}
			f.become(cars, e.id)
		default:
			return faulty{fmt.Errorf("got %+v with version %s", e, f.version)}
		}
	}
}

// become notes what the list is at a version.
func (f *follower) become(cars map[int]string, version string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cars, f.version = cars, version
	f.states[version] = canonical(cars)
	select {
	case f.moved <- struct{}{}:
	default:
	}
}

// wait waits until the copy is as wanted.
func (f *follower) wait(t *testing.T, want string) {
	t.Helper()
	late := time.After(patience)
	for {
		f.mu.Lock()
		got, version := canonical(f.cars), f.version
		f.mu.Unlock()
		if got == want {
			return
		}
		select {
		case <-f.moved:
		case <-late:
			t.Errorf("%s: after %v, at %s, got\n%.2000s\nwant\n%.2000s", f.query, patience, version, got, want)
			return
		}
	}
}

// A cutter is a proxy that cuts each connection after a number of bytes of its answers.
type cutter struct {
	addr string
	to   atomic.Pointer[string]
	most atomic.Int64  // the number is at random up to this; 0: none is cut
	slow time.Duration // between two reads of 256 bytes
	open sync.Map      // of net.Conn
}

func startCutter(t *testing.T, to string, most int64, slow time.Duration) *cutter {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	c := &cutter{addr: listener.Addr().String(), slow: slow}
	c.to.Store(&to)
	c.most.Store(most)
	go func() {
		for {
			down, err := listener.Accept()
			if err != nil {
				return
			}
			go c.serve(down)
		}
	}()
	return c
}

func (c *cutter) url() string { return "http://" + c.addr }

func (c *cutter) serve(down net.Conn) {
	defer down.Close()
	up, err := net.Dial("tcp", *c.to.Load())
	if err != nil {
		return
	}
	defer up.Close()
	go func() {
		io.Copy(up, down)
		up.Close()
	}()
	from := io.Reader(up)
	if most := c.most.Load(); most > 0 {
		from = io.LimitReader(up, 200+rand.Int64N(most))
	}
	if c.slow == 0 {
		io.Copy(down, from)
		return
	}
	up.(*net.TCPConn).SetReadBuffer(4 << 10)
	for piece := make([]byte, 256); ; time.Sleep(c.slow) { // it crawls
		n, err := from.Read(piece)
		if _, wrong := down.Write(piece[:n]); err != nil || wrong != nil {
			return
		}
	}
}

// filters are of both dialects; keeps is what they say, without any cleverness.
var filters = []struct {
	query string
	keeps func(c car) bool
}{
	{"", func(car) bool { return true }},
	{"year_gte=1930&year_lt=1980", func(c car) bool { return c.Year >= 1930 && c.Year < 1980 }},
	{"details.horsepower:gt=40&year:ne=1950", func(c car) bool { return c.Details.Horsepower > 40 && c.Year != 1950 }},
	{"name_like=7|Car%201", func(c car) bool { return strings.Contains(c.Name, "7") || strings.Contains(c.Name, "Car 1") }},
	{`_where={"or":[{"price":{"lt":30}},{"manufacturer":{"contains":"maker%206"}}]}`, func(c car) bool { return c.Price < 30 || strings.Contains(c.Manufacturer, "Maker 6") }},
	{"q=class%208", func(c car) bool { return strings.Contains(c.Category, "Class 8") }},
	{"category=Class%2011&category=Class%2012", func(c car) bool { return c.Category == "Class 11" || c.Category == "Class 12" }},
}

// TestFollowersHaveWhatTheServerHas: they fold events from a list's version on, through a
// proxy that cuts their connections, while writers change the catalogue, and across kills
// of the server. Whenever the writers rest, each has exactly what its filter keeps; and at
// every version that was told and read by somebody, all have seen the same.
func TestFollowersHaveWhatTheServerHas(t *testing.T) {
	t.Parallel()
	rounds, kills := 30, 3
	if testing.Short() {
		rounds, kills = 8, 1
	}
	file, addr := filepath.Join(t.TempDir(), "cars.jsonl"), freeAddr(t)
	serve := func() *server {
		s := launch(t, "", "-addr", addr, "-data", file, "-delay", "0", "-log-level", "warn").skippingLog()
		s.url, s.addr = "http://"+addr, addr
		for {
			if status, _, err := s.get("/readyz"); err == nil && status == 200 {
				return s
			}
		}
	}
	s := serve()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	cut, crawl := startCutter(t, addr, 60_000, 0), startCutter(t, addr, 0, 100*time.Microsecond)
	var followers []*follower
	for i, filter := range filters {
		f := newFollower(cut.url, filter.query)
		f.byLine = i%2 == 1
		followers = append(followers, f)
	}
	followers = append(followers, newFollower(crawl.url, ""), newFollower(func() string { return "http://" + addr }, ""))
	for _, f := range followers {
		running.Go(func() { f.run(ctx, t) })
	}

	var number atomic.Int64
	lists := map[string]string{}
	for round := range rounds {
		kill := round%(rounds/(kills+1)) == rounds/(kills+1)-1 && round < rounds-1
		var writing sync.WaitGroup
		for w := range 4 {
			writing.Go(func() {
				for i := range 15 {
					n := int(number.Add(1))
					made, path := carOf(2*n+1), fmt.Sprint("/api/cars/", 1+rand.N(40))
					made.Details.Horsepower = n % 100
					method, body := "PUT", encode(made)
					switch rand.N(4) {
					case 0:
						method, path = "POST", "/api/cars"
					case 1:
						method, body = "PATCH", fmt.Sprintf(`{"year":%d}`, made.Year)
					case 2:
						method, body = "DELETE", ""
					}
					if w == 0 && i == 7 && round%3 == 0 {
						var all []car
						for id := range 20 {
							one := carOf(2*(n+id) + 1)
							one.ID = id + 1
							all = append(all, one)
						}
						method, path, body = "PUT", "/api/cars", encode(all)
					}
					status, answer, err := s.send(t, method, path, body)
					if err != nil && kill {
						return
					}
					if err != nil || status != 200 && status != 201 && status != 404 {
						t.Errorf("%s %s: got %d %.300s, %v", method, path, status, answer, err)
					}
					if w == 1 { // reads versions as they go by
						if list, version, err := readList(ctx, client, s.url+"/api/cars"); err == nil && w == 1 {
							lists[version] = canonical(list)
						}
					}
				}
			})
		}
		if kill {
			for number.Load()%60 < 30 {
			}
			s.cmd.Process.Kill()
			writing.Wait()
			s.cmd.Wait()
			s = serve()
		}
		writing.Wait()
		list, version, err := readList(ctx, client, s.url+"/api/cars")
		if err != nil {
			t.Fatal(err)
		}
		lists[version] = canonical(list)
		for i, f := range followers {
			keeps := filters[0].keeps
			if i < len(filters) {
				keeps = filters[i].keeps
			}
			want := map[int]string{}
			for id, text := range list {
				if keeps(parse(t, text)) {
					want[id] = text
				}
			}
			f.wait(t, canonical(want))
		}
		if t.Failed() {
			return
		}
	}
	cancel()
	running.Wait()
	agreed, cuts, resets := 0, 0, 0
	for i, f := range followers {
		cuts, resets = cuts+f.cuts, resets+f.resets
		if f.query != "" {
			continue
		}
		if f.resets < kills {
			t.Errorf("follower %d was told to read the list %d times, want once for each of %d kills", i, f.resets, kills)
		}
		for version, got := range f.states {
			if want, read := lists[version]; read {
				if agreed++; got != want {
					t.Errorf("follower %d at %s: got\n%s\nwant\n%s", i, version, got, want)
				}
			} else {
				lists[version] = got
			}
		}
	}
	t.Logf("%d versions were compared; %d connections were cut, %d resets told", agreed, cuts, resets)
	if agreed < rounds || cuts < rounds {
		t.Errorf("%d versions were compared, and %d connections cut, want %d at least", agreed, cuts, rounds)
	}
}

// skippingLog is for chains.
func (s *server) skippingLog() *server {
	s.skipLog()
	return s
}
