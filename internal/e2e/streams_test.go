package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cars/internal/e2e/check"
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

// TestStreamsHaveRoomOfTheirOwn: no part in -max-in-flight, a bound and a gauge of their
// own, and none in the histogram of durations.
func TestStreamsHaveRoomOfTheirOwn(t *testing.T) {
	t.Parallel()
	s := start(t, "-delay", "0", "-max-in-flight", "1", "-max-streams", "10").skippingLog()
	const durations = "http_request_duration_seconds_count"
	wait := func(open float64) {
		t.Helper()
		for late := time.Now().Add(patience); s.metric(t, "cars_streams_open") != open; {
			if time.Now().After(late) {
				t.Fatalf("%v streams are open, want %v", s.metric(t, "cars_streams_open"), open)
			}
		}
	}
	var open []*stream
	for i := range 10 {
		one, err := openStream(t.Context(), client, s.url+[]string{"/api/cars", "/api/cars/"}[i%2], "")
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, one)
		defer one.close()
	}
	wait(10)
	before := s.metric(t, durations)
	s.wantCar(t, "/api/cars/1")
	if one, err := openStream(t.Context(), client, s.url+"/api/cars", ""); err == nil || !strings.Contains(err.Error(), "status 503") || !strings.Contains(err.Error(), "as many as -max-streams allows") {
		t.Errorf("one stream too many: got %v, %v", one, err)
	}
	open[0].close()
	wait(9)
	for _, one := range open {
		one.close()
	}
	wait(0)
	// Each reading counts those before: the two above, and the refused stream.
	asked := 0.0
	if got := s.metric(t, durations) - before; got < 3 {
		t.Errorf("%v durations, want those of a car, of a refusal and of metrics", got)
	}
	_, text, err := s.get("/metrics")
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, `http_requests_total{`) && strings.Contains(line, `route="/api/cars"`) && strings.Contains(line, `code="200"`) {
			fmt.Sscan(line[strings.LastIndexByte(line, ' '):], &asked)
		}
	}
	if err != nil || asked != 10 {
		t.Errorf("%v streams were counted under their route, %v, want 10", asked, err)
	}
	total := 0.0
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, `http_requests_total{`) {
			n := 0.0
			fmt.Sscan(line[strings.LastIndexByte(line, ' '):], &n)
			total += n
		}
	}
	if got := metricIn(text, durations); got != total-10 {
		t.Errorf("%v durations of %v requests, want all but those of 10 streams", got, total)
	}
}

// metricIn returns the value of a metric without labels.
func metricIn(text, name string) (value float64) {
	_, rest, _ := strings.Cut(text, "\n"+name+" ")
	fmt.Sscan(rest, &value)
	return value
}

// TestStreamsPassTheGuard: Host and rate are asked when one opens.
func TestStreamsPassTheGuard(t *testing.T) {
	t.Parallel()
	s := start(t, "-delay", "0", "-rate", "0.001")
	opened, refused := 0, ""
	for refused == "" {
		one, err := openStream(t.Context(), client, s.url+"/api/cars", "")
		if err != nil {
			refused = err.Error()
			break
		}
		defer one.close()
		if opened++; opened > 10 {
			t.Fatal("the rate does not count streams")
		}
	}
	if opened == 0 || !strings.Contains(refused, "status 429") {
		t.Errorf("after %d streams: got %q, want 429", opened, refused)
	}
	conn := s.dial(t, "GET /api/cars HTTP/1.1\r\nHost: evil.example\r\nAccept: text/event-stream\r\n\r\n")
	wantErrorStatus(t, conn, 403)
}

func wantErrorStatus(t *testing.T, conn net.Conn, status int) {
	t.Helper()
	if resp, body := answer(t, bufio.NewReader(conn)); resp.StatusCode != status || !json.Valid([]byte(body)) {
		t.Errorf("got %d %s, want %d", resp.StatusCode, body, status)
	}
}

// TestStreamsHaveNoOrder: what sorts or slices is named and refused, before any event.
func TestStreamsHaveNoOrder(t *testing.T) {
	t.Parallel()
	s := start(t, "-delay", "0")
	for query, named := range map[string]string{
		"_sort=year": "_sort", "_sort=-year&_order=asc": "_sort", "_start=1": "_start", "_end=3": "_end", "_limit=3": "_limit",
		"_page=1": "_page", "_page=1&_per_page=5": "_page", "year_gte=abc": "year_gte", "_where={": "_where", "_delay=x": "_delay",
	} {
		_, err := openStream(t.Context(), client, s.url+"/api/cars?"+query, "")
		if err == nil || !strings.Contains(err.Error(), "status 400") || !strings.Contains(err.Error(), named) {
			t.Errorf("%s: got %v, want 400 and %s", query, err, named)
		}
	}
}

// TestStreamsEndWithTheServer at once, whether or not their clients read.
func TestStreamsEndWithTheServer(t *testing.T) {
	t.Parallel()
	cert, key, trust := selfSigned(t)
	for name, args := range map[string][]string{"HTTP/1.1": nil, "HTTPS": {"-tls-cert", cert, "-tls-key", key}, "HTTP/2": {"-tls-cert", cert, "-tls-key", key}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, append(args, "-delay", "0", "-log-level", "info")...)
			c := trusting(t, trust, name == "HTTP/2")
			var reading sync.WaitGroup
			for range 20 {
				one, err := openStream(t.Context(), c, s.url+"/api/cars", "")
				if err != nil {
					t.Fatal(err)
				}
				defer one.close()
				if e, err := one.next(); e.name != "ready" || err != nil {
					t.Fatal(e, err)
				}
				reading.Go(func() {
					for {
						if _, err := one.next(); err != nil {
							if err != io.EOF {
								t.Errorf("the stream of a client that reads ended with %v, want a proper end", err)
							}
							return
						}
					}
				})
			}
			if name != "HTTPS" { // for TLS, the client would have to be written here
				stuckStreams(t, s, c, 5, name == "HTTP/2")
			}
			began := time.Now()
			s.signal(t, syscall.SIGTERM)
			reading.Wait()
			if state := s.wait(t); !state.Success() {
				t.Errorf("the server ended with %v, want exit status 0", state)
			}
			if took := time.Since(began); took > 4*time.Second { // much less than the 9.5 s after which it cuts off
				t.Errorf("the stop took %v, want about half a second", took)
			} else {
				t.Log("the stop took ", took)
			}
		})
	}
}

// stuckStreams opens streams whose clients read no more than the header, and returns when
// the server waits for them: they have no room for another event.
func stuckStreams(t *testing.T, s *server, c *http.Client, n int, http2 bool) {
	t.Helper()
	for range n {
		if http2 {
			one, err := openStream(t.Context(), c, s.url+"/api/cars", "")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(one.close)
			continue
		}
		conn := s.dial(t, "GET /api/cars HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
		conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		io.ReadFull(conn, make([]byte, 100))
	}
	// 100 kB each, twelve a second or more: what the kernels take is full after 6 MB.
	var all []car
	for id := range 14 {
		one := carOf(2 * id)
		one.ID = id + 1
		all = append(all, one)
	}
	for i := range 120 {
		for id := range all {
			all[id].Price = i*14 + id
		}
		req, _ := http.NewRequest("PUT", s.url+"/api/cars", strings.NewReader(encode(all)))
		req.Header.Set("Content-Type", "application/json")
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		time.Sleep(25 * time.Millisecond) // or two would be one step
	}
}

// TestStreamThatIsNotReadIsClosed after 30 s without room for an event, and not before.
// Another stream and writers do not notice it.
func TestStreamThatIsNotReadIsClosed(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 40 seconds; run without -short")
	}
	t.Parallel()
	s := start(t, "-delay", "0").skippingLog()
	stuckStreams(t, s, client, 3, false)
	list, _, err := readList(t.Context(), client, s.url+"/api/cars")
	if err != nil {
		t.Fatal(err)
	}
	f := newFollower(func() string { return s.url }, "")
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { f.run(ctx, t) })
	f.wait(t, canonical(list))
	for late := time.Now().Add(30*time.Second + patience); s.metric(t, "cars_streams_open") > 1; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%v streams are open, want the one that reads", s.metric(t, "cars_streams_open"))
		}
		s.wantStatus(t, 200, "PATCH", "/api/cars/1", fmt.Sprintf(`{"price":%d}`, rand.N(1_000_000)))
	}
	list, _, err = readList(t.Context(), client, s.url+"/api/cars")
	if err != nil {
		t.Fatal(err)
	}
	f.wait(t, canonical(list))
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cuts > 0 {
		t.Errorf("the stream that reads was cut %d times", f.cuts)
	}
}

// TestStreamThroughACompressingProxy: one that gathers what it compresses must leave
// streams alone, and is told so. Nothing here compresses them.
func TestStreamThroughACompressingProxy(t *testing.T) {
	t.Parallel()
	s := start(t, "-delay", "0")
	to, _ := url.Parse(s.url)
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ModifyResponse = func(resp *http.Response) error {
		if strings.Contains(resp.Header.Get("Cache-Control"), "no-transform") {
			return nil
		}
		body, err := io.ReadAll(resp.Body) // to the end
		var packed bytes.Buffer
		zw := gzip.NewWriter(&packed)
		zw.Write(body)
		zw.Close()
		resp.Body, resp.ContentLength = io.NopCloser(&packed), int64(packed.Len())
		resp.Header.Set("Content-Encoding", "gzip")
		return err
	}
	front := httptest.NewServer(proxy)
	defer front.CloseClientConnections()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	whole := s.dial(t, "GET /api/cars HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nLast-Event-ID: old\r\n\r\n")
	one, err := openStream(ctx, &http.Client{Transport: &http.Transport{DisableCompression: true}}, front.URL+"/api/cars?category=SUV", "")
	if err != nil {
		t.Fatal(err)
	}
	defer one.close()
	for name, want := range map[string]string{"Content-Type": "text/event-stream", "X-Accel-Buffering": "no", "Cache-Control": "no-cache, no-transform", "Content-Encoding": "", "Content-Length": "", "Access-Control-Allow-Origin": "*"} {
		if got := one.resp.Header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(whole), nil)
	if err != nil {
		t.Fatal(err)
	}
	var text string
	hasTold := func(events int) { // or the next change would be part of the same step
		for part := make([]byte, 1<<10); strings.Count(text, "event: ") < events; {
			n, err := resp.Body.Read(part)
			if text += string(part[:n]); err != nil {
				t.Fatalf("after %q: %v", text, err)
			}
		}
	}
	s.wantStatus(t, 200, "PATCH", "/api/cars/1", `{"category":"SUV"}`)
	ready, err1 := one.next()
	put, err2 := one.next()
	hasTold(3)
	s.wantStatus(t, 200, "PATCH", "/api/cars/1", `{"category":"Sedan"}`)
	deleted, err3 := one.next()
	if ready.name != "ready" || !strings.HasPrefix(put.data, `{"put":[{"id":1,`) || deleted.data != `{"put":[],"delete":[1]}` || errors.Join(err1, err2, err3) != nil {
		t.Errorf("got %+v, %+v, %+v, %v", ready, put, deleted, errors.Join(err1, err2, err3))
	}
	hasTold(4)
	s.signal(t, syscall.SIGTERM)
	rest, err := io.ReadAll(resp.Body)
	if text += string(rest); err != nil {
		t.Error(err)
	}
	operation, _ := check.Description.Find("GET", "/api/cars")
	if err := check.Description.CheckAnswer(operation, 200, resp.Header, []byte(text)); err != nil || strings.Count(text, "event: ") != 4 {
		t.Errorf("got %s, %v, want ready, reset and two changes, as described", text, err)
	}
}
