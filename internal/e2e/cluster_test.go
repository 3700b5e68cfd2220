//go:build unix

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cars/internal/e2e/check"
)

var clusterMinutes = flag.Float64("cluster-minutes", 0.4, "kill and freeze members and servers for so long")

// A cluster is several servers on one catalogue.
type cluster struct {
	members, servers []*process
	client           *http.Client
	avoid            [][]atomic.Int64 // by client and server: Unix time in ms until which it is not asked
	pace             time.Duration
}

func newCluster(members, servers []*process, clients int) *cluster {
	c := &cluster{members: members, servers: servers, avoid: make([][]atomic.Int64, clients), pace: 8 * time.Millisecond,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}, Timeout: 7 * time.Second}}
	for i := range c.avoid {
		c.avoid[i] = make([]atomic.Int64, len(servers))
	}
	return c
}

// send sends a request to any server, but for those that have not answered this client a
// moment ago.
func (c *cluster) send(client int, r *http.Request) (*http.Response, error) {
	time.Sleep(rand.N(c.pace))
	server := rand.N(len(c.servers))
	for range c.servers {
		if time.Now().UnixMilli() >= c.avoid[client][server].Load() {
			break
		}
		server = (server + 1) % len(c.servers)
	}
	r.URL.Host = c.servers[server].addr
	resp, err := c.client.Do(r)
	if err != nil || resp.StatusCode == http.StatusServiceUnavailable {
		c.avoid[client][server].Store(time.Now().UnixMilli() + 500)
	}
	return resp, err
}

// sendTo returns a function that sends requests to one server.
func (c *cluster) sendTo(server *process) func(int, *http.Request) (*http.Response, error) {
	return func(_ int, r *http.Request) (*http.Response, error) {
		r.URL.Host = server.addr
		return c.client.Do(r)
	}
}

// ask returns the answer of one server.
func (p *process) ask(t testing.TB, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+p.addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept-Encoding", "identity")
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatalf("%s: %s %s: %v", p.name, method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %s %s: %v", p.name, method, path, err)
	}
	return resp, string(text)
}

// want is ask for an answer that must have a status.
func (p *process) want(t testing.TB, status int, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	resp, text := p.ask(t, method, path, body, headers...)
	if resp.StatusCode != status {
		t.Fatalf("%s: %s %s: got %d %.300s, want %d; its log ends with\n%s", p.name, method, path, resp.StatusCode, text, status, tail(p.log.String(), 10))
	}
	return resp, text
}

// settle waits until all that clients have asked for has happened, or never will, and
// returns the catalogue that all servers have then, its version, and what was seen
// meanwhile. A write ends it: a transaction that comes later fails.
func (c *cluster) settle(t *testing.T, clients *check.Clients) (catalogue check.Catalogue, version string, events []check.Event) {
	t.Helper()
	for _, s := range c.servers {
		for late := time.Now().Add(patience); s.metric(t, "cars_processor_waiting") > 0; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(late) {
				t.Fatalf("%s still has requests in its hands", s.name)
			}
		}
	}
	clients.Send = c.sendTo(c.servers[0])
	events, err := clients.Create(0)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range c.servers {
		clients.Send = c.sendTo(s)
		all, v, event, err := clients.List(i)
		if err != nil {
			t.Fatalf("%s: %v; its log ends with\n%s", s.name, err, tail(s.log.String(), 10))
		}
		if i > 0 && (v != version || !maps.Equal(all, catalogue)) {
			t.Errorf("%s has version %s: %v, and %s has %s: %v", s.name, v, all, c.servers[0].name, version, catalogue)
		}
		catalogue, version = all, v
		events = append(events, event)
	}
	return catalogue, version, events
}

// A clusterFault is what happens to processes, and how it ends.
type clusterFault struct {
	name     string
	from, to func(c *cluster, t *testing.T, n int) // n tells which
}

var clusterFaults = []clusterFault{
	{"nothing happens", func(*cluster, *testing.T, int) {}, func(*cluster, *testing.T, int) {}},
	{"a member is killed", func(c *cluster, t *testing.T, n int) { c.members[n].kill() }, func(c *cluster, t *testing.T, n int) { c.members[n].start(t) }},
	{"a server is killed", func(c *cluster, t *testing.T, n int) { c.servers[n].kill() }, func(c *cluster, t *testing.T, n int) { c.servers[n].start(t) }},
	{"a member is frozen", func(c *cluster, t *testing.T, n int) { c.members[n].freeze() }, func(c *cluster, t *testing.T, n int) { c.members[n].thaw() }},
	{"a server is frozen", func(c *cluster, t *testing.T, n int) { c.servers[n].freeze() }, func(c *cluster, t *testing.T, n int) { c.servers[n].thaw() }},
	{"the leader is killed", func(c *cluster, t *testing.T, _ int) { c.moveLeader(t); c.members[0].kill() }, func(c *cluster, t *testing.T, _ int) { c.members[0].start(t) }},
	{"two members are frozen", func(c *cluster, t *testing.T, n int) { c.members[n].freeze(); c.members[(n+1)%3].freeze() },
		func(c *cluster, t *testing.T, n int) { c.members[n].thaw(); c.members[(n+1)%3].thaw() }},
	{"all members are killed", func(c *cluster, t *testing.T, _ int) {
		for _, m := range c.members {
			m.kill()
		}
	}, func(c *cluster, t *testing.T, _ int) {
		for _, m := range c.members {
			m.start(t)
		}
	}},
	{"a member and a server are killed", func(c *cluster, t *testing.T, n int) { c.members[n].kill(); c.servers[n].kill() },
		func(c *cluster, t *testing.T, n int) { c.servers[n].start(t); c.members[n].start(t) }},
}

// moveLeader sorts the members so that the leader comes first.
func (c *cluster) moveLeader(t *testing.T) {
	for i, m := range c.members {
		var status struct {
			Header struct {
				ID string `json:"member_id"`
			} `json:"header"`
			Leader string `json:"leader"`
		}
		_, text := m.ask(t, "POST", "/v3/maintenance/status", "{}")
		if err := json.Unmarshal([]byte(text), &status); err == nil && status.Leader != "" && status.Leader == status.Header.ID {
			c.members[0], c.members[i] = c.members[i], c.members[0]
			return
		}
	}
	t.Log("no member says that it is the leader")
}

// TestClusterUnderFaults kills and freezes members and servers, one after the other, while
// clients are at work at all servers. Whatever happens, one order of all that happened to
// the catalogue explains what they were answered; all servers have the same afterwards,
// under the same version; and a client that follows the changes, now at this server and now
// at that, has it, too.
func TestClusterUnderFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; run without -short")
	}
	const number = 8
	members := startMembers(t, 3)
	servers := startServers(t, 3, addrs(members))
	c := newCluster(members, servers, number+len(servers))
	clients := &check.Clients{Number: number, Requests: 1 << 20, Send: c.send, Faulty: true, Bulk: 200}
	first, err := clients.Start()
	if err != nil {
		t.Fatal(err)
	}
	follower := followCluster(t, c, clients)
	end := time.Now().Add(time.Duration(*clusterMinutes * float64(time.Minute)))
	for round := 0; round < len(clusterFaults) || time.Now().Before(end); round++ {
		fault, n := clusterFaults[round%len(clusterFaults)], rand.N(3)
		done := make(chan struct{})
		clients.Done = done
		type history struct {
			events []check.Event
			err    error
		}
		ended := make(chan history)
		go func() {
			events, err := clients.Work()
			ended <- history{events, err}
		}()
		time.Sleep(300*time.Millisecond + rand.N(100*time.Millisecond))
		fault.from(c, t, n)
		time.Sleep(800*time.Millisecond + rand.N(800*time.Millisecond))
		fault.to(c, t, n)
		for _, s := range servers {
			s.until(t, "/readyz", http.StatusOK)
		}
		time.Sleep(500 * time.Millisecond)
		close(done)
		got := <-ended
		if got.err != nil {
			t.Errorf("%s: %v", fault.name, got.err)
		}
		catalogue, version, events := c.settle(t, clients)
		got.events = append(got.events, events...)
		clients.Send = c.send
		unanswered := 0
		for _, e := range got.events {
			if e.Answered > 1<<60 {
				unanswered++
			}
		}
		began := time.Now()
		err := check.Linearizable(first, got.events)
		t.Logf("%s: %d requests, %d writes without an answer, judged in %v", fault.name, len(got.events), unanswered, time.Since(began).Round(time.Millisecond))
		if err != nil {
			t.Errorf("%s: %v", fault.name, err)
		}
		follower.has(t, version, catalogue)
		if t.Failed() {
			for _, p := range servers {
				t.Logf("%s:\n%s", p.name, tail(p.log.String(), 15))
			}
			t.FailNow()
		}
		first = catalogue
	}
	follower.close()
	t.Logf("the client that follows was connected %d times, and read the list %d times", follower.connected, follower.resets)
}

// A clusterFollower is a client that follows the changes, at one server after the other.
type clusterFollower struct {
	close func()

	mu                sync.Mutex
	cars              map[int]int // price by ID
	version           string
	problem           string
	connected, resets int
}

func followCluster(t *testing.T, c *cluster, clients *check.Clients) *clusterFollower {
	f := &clusterFollower{cars: make(map[int]int)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	f.close = func() { cancel(); <-ended }
	t.Cleanup(f.close)
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			one, cancel := context.WithTimeout(ctx, 200*time.Millisecond+rand.N(800*time.Millisecond))
			f.connect(one, c.servers[rand.N(len(c.servers))], clients)
			cancel()
		}
	}()
	return f
}

// connect follows at one server until ctx is done.
func (f *clusterFollower) connect(ctx context.Context, s *process, clients *check.Clients) {
	r, _ := http.NewRequestWithContext(ctx, "GET", "http://"+s.addr+"/api/cars", nil)
	r.Header.Set("Accept", "text/event-stream")
	f.mu.Lock()
	if f.version != "" {
		r.Header.Set("Last-Event-ID", f.version)
	}
	f.mu.Unlock()
	resp, err := http.DefaultClient.Do(r)
	if err != nil || resp.StatusCode != http.StatusOK {
		time.Sleep(20 * time.Millisecond) // it is dead, or says 503
		if err == nil {
			resp.Body.Close()
		}
		return
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<24)
	f.mu.Lock()
	f.connected++
	known := f.version != ""
	id := f.version // an event without an ID leaves it
	f.mu.Unlock()
	var name, data string
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "event":
			name = value
		case "id":
			id = value
		case "data":
			data = value
		case "":
			if name == "reset" || name == "ready" && !known {
				f.read(ctx, s)
				return // and go on from there, at another server
			}
			if name != "" {
				f.event(name, id, data, clients)
			}
			name, data = "", ""
		}
	}
}

// read reads the list.
func (f *clusterFollower) read(ctx context.Context, s *process) {
	r, _ := http.NewRequestWithContext(ctx, "GET", "http://"+s.addr+"/api/cars", nil)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	var list []struct{ ID, Price int }
	if resp.StatusCode != http.StatusOK || json.NewDecoder(resp.Body).Decode(&list) != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resets++
	f.version = resp.Header.Get("Catalogue-Version")
	f.cars = make(map[int]int)
	for _, car := range list {
		f.cars[car.ID] = car.Price
	}
}

// event makes the step that an event tells.
func (f *clusterFollower) event(name, id, data string, clients *check.Clients) {
	var step struct {
		Put    []struct{ ID, Price int }
		Delete []int
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := json.Unmarshal([]byte(data), &step); err != nil {
		f.problem = fmt.Sprintf("event %s has data %q: %v", name, data, err)
	}
	for _, car := range step.Put {
		f.cars[car.ID] = car.Price
	}
	for _, id := range step.Delete {
		delete(f.cars, id)
	}
	revision := func(version string) (n int, err error) { // a version begins with etcd's
		text, _, _ := strings.Cut(version, "-")
		return strconv.Atoi(text)
	}
	was, _ := revision(f.version)
	if is, err := revision(id); err != nil || is < was {
		f.problem = fmt.Sprintf("event %s has version %q after %q", name, id, f.version)
	}
	f.version = id
	all, err := clients.Collapse(f.cars)
	if seen, known := clients.Version(id); err != nil || known && !maps.Equal(seen, all) {
		f.problem = fmt.Sprintf("a client that follows has in version %s %v, %v; a list had %v", id, all, err, seen)
	}
}

// has wants the client that follows to have a catalogue, in the end.
func (f *clusterFollower) has(t *testing.T, version string, want check.Catalogue) {
	t.Helper()
	var at string
	var all check.Catalogue
	// What has changed nothing leads to another version, but is no step that is told.
	for late := time.Now().Add(patience); time.Now().Before(late); time.Sleep(10 * time.Millisecond) {
		f.mu.Lock()
		got := maps.Clone(f.cars)
		at = f.version
		problem := f.problem
		f.mu.Unlock()
		if problem != "" {
			t.Error(problem)
			return
		}
		all = make(check.Catalogue)
		for id, price := range got {
			if id > 2000 && id <= 2200 {
				id = 2000
			}
			all[id] = price
		}
		if at == version || maps.Equal(all, want) {
			break
		}
	}
	if !maps.Equal(all, want) {
		t.Errorf("a client that follows has version %s: %v, want %s: %v", at, all, version, want)
	}
}
