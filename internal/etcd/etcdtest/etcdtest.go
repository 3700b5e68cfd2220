// Package etcdtest has an etcd in memory, for tests: several members on one history, which
// lose answers, do things twice, hang, lose their quorum, compact, end watches, run full and
// are restored from backups, whenever a test wants that. It speaks as etcd 3.4 does, or as
// etcd 3.6. [Start] starts a real one.
package etcdtest

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Fault is what happens to a request.
type Fault int

const (
	None    Fault = iota
	Lost          // it is done, but there is no answer
	Dropped       // it is not done, and there is no answer
	Hanging       // it is not done, and the connection stays open
	Late          // there is no answer, and it is done half a second later
	Twice         // it is done, and once more half a second later
	Slow          // it is done, and answered half a second later
)

// A Request is what a fault is decided by.
type Request struct {
	Member int
	Path   string
	Body   string
}

// A Cluster is an etcd in memory.
type Cluster struct {
	Members []string // host:port of each

	servers []*httptest.Server
	modern  bool // speaks as etcd 3.6

	mu       sync.Mutex
	store    *history
	fault    func(Request) Fault
	quorum   bool
	full     bool
	user     string // user and password; empty: everybody may do everything
	tokens   map[string]bool
	changed  chan struct{} // closed and replaced when something has changed that watches wait for
	watching int           // number of watches
	ended    int           // times that all watches were ended
	counts   map[string]int
}

// New starts an etcd with a number of members. version is "3.4" or "3.6".
func New(t testing.TB, version string, members int) *Cluster {
	c := &Cluster{modern: version == "3.6", store: newHistory(), quorum: true, tokens: map[string]bool{}, changed: make(chan struct{}), counts: map[string]int{}}
	for i := range members {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.serve(i, w, r) }))
		c.servers = append(c.servers, server)
		c.Members = append(c.Members, strings.TrimPrefix(server.URL, "http://"))
	}
	t.Cleanup(func() {
		c.EndWatches()
		for _, server := range c.servers {
			server.CloseClientConnections()
			server.Close()
		}
	})
	return c
}

// do changes something, and tells the watches.
func (c *Cluster) do(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.changed)
	c.changed = make(chan struct{})
}

// Fault has f decide what happens to each request; nil: nothing.
func (c *Cluster) Fault(f func(Request) Fault) { c.do(func() { c.fault = f }) }

// Quorum takes away the quorum, or brings it back.
func (c *Cluster) Quorum(there bool) {
	c.do(func() {
		c.quorum = there
		if !there {
			c.ended++
		}
	})
}

// Full fills the quota, or makes room.
func (c *Cluster) Full(full bool) { c.do(func() { c.full = full }) }

// EndWatches ends all watches.
func (c *Cluster) EndWatches() { c.do(func() { c.ended++ }) }

// Compact forgets all history.
func (c *Cluster) Compact() { c.do(func() { c.store.compacted = c.store.revision }) }

// Users refuses all requests without this user's password.
func (c *Cluster) Users(user, password string) { c.do(func() { c.user = user + ":" + password }) }

// Expire has all tokens expire.
func (c *Cluster) Expire() { c.do(func() { clear(c.tokens) }) }

// EndLeases ends all leases.
func (c *Cluster) EndLeases() {
	c.do(func() {
		var ops []op
		for _, kv := range c.store.read("", "", 0) {
			if kv.lease != 0 {
				ops = append(ops, op{Delete: &span{Key: []byte(kv.key)}})
			}
		}
		c.store.apply(ops)
	})
}

// Backup returns a copy of the present state.
func (c *Cluster) Backup() any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.store.clone()
}

// Restore makes everything as it was in a backup, and calls then before anybody can ask.
func (c *Cluster) Restore(backup any, then func()) {
	c.do(func() {
		c.store = backup.(*history).clone()
		c.ended++
		then()
	})
}

// Keys returns all keys that begin with prefix.
func (c *Cluster) Keys(prefix string) (keys []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, kv := range c.store.read(prefix, prefix+"\xff", 0) {
		keys = append(keys, kv.key)
	}
	return keys
}

// Put puts a value at a key, as somebody else may. An empty one deletes the key.
func (c *Cluster) Put(key, value string) { c.do(func() { c.Change(key, value) }) }

// Change is Put for a caller within Restore.
func (c *Cluster) Change(key, value string) {
	if value == "" {
		c.store.apply([]op{{Delete: &span{Key: []byte(key)}}})
		return
	}
	c.store.apply([]op{{Put: &put{Key: []byte(key), Value: []byte(value)}}})
}

// Count returns how many requests for a path there were.
func (c *Cluster) Count(path string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[path]
}

// Watches returns how many watches there are.
func (c *Cluster) Watches() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watching
}

func (c *Cluster) serve(member int, w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	c.counts[r.URL.Path]++
	fault := None
	if c.fault != nil {
		f := c.fault
		c.mu.Unlock()
		fault = f(Request{member, r.URL.Path, string(body)})
		c.mu.Lock()
	}
	quorum := c.quorum
	authorized := c.user == "" || c.tokens[r.Header.Get("Authorization")] || r.URL.Path == "/v3/auth/authenticate"
	c.mu.Unlock()
	switch {
	case fault == Hanging:
		<-r.Context().Done()
		return
	case fault == Dropped:
		panic(http.ErrAbortHandler)
	case fault == Late:
		time.AfterFunc(500*time.Millisecond, func() { c.answer(r.URL.Path, body) })
		panic(http.ErrAbortHandler)
	case fault == Twice:
		time.AfterFunc(500*time.Millisecond, func() { c.answer(r.URL.Path, body) })
	case !quorum && r.Header.Get("Grpc-Metadata-Hasleader") == "true":
		c.refuse(w, &refusal{14, "etcdserver: no leader"}, r.URL.Path == "/v3/watch")
		return
	case !quorum:
		<-r.Context().Done()
		return
	case !authorized && r.Header.Get("Authorization") == "":
		c.refuse(w, &refusal{3, "etcdserver: user name is empty"}, false)
		return
	case !authorized:
		c.refuse(w, &refusal{16, "etcdserver: invalid auth token"}, false)
		return
	case r.URL.Path == "/v3/watch":
		c.watch(w, r, body)
		return
	}
	answer, refused := c.answer(r.URL.Path, body)
	if fault == Slow {
		time.Sleep(500 * time.Millisecond)
	}
	switch {
	case fault == Lost:
		panic(http.ErrAbortHandler)
	case refused != nil:
		c.refuse(w, refused, false)
	default:
		c.write(w, answer)
	}
}

// A refusal is a gRPC error.
type refusal struct {
	code int
	text string
}

// refuse answers with an error.
func (c *Cluster) refuse(w http.ResponseWriter, e *refusal, stream bool) {
	status := map[int]int{14: 503, 16: 401, 7: 403, 8: 429}[e.code]
	switch {
	case stream && !c.modern:
		status = 200
	case status == 0:
		status = 400
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	c.write(w, c.errorBody(e, stream))
}

// errorBody returns what the version says of an error.
func (c *Cluster) errorBody(e *refusal, stream bool) any {
	switch {
	case stream && c.modern:
		return map[string]any{"error": map[string]any{"code": e.code, "message": e.text, "details": []any{}}}
	case stream:
		return map[string]any{"error": map[string]any{"grpc_code": e.code, "http_code": 503, "message": e.text, "http_status": "Service Unavailable"}}
	case c.modern:
		return map[string]any{"code": e.code, "message": e.text, "details": []any{}}
	default:
		return map[string]any{"error": e.text, "message": e.text, "code": e.code}
	}
}

// write writes an answer. etcd 3.6 puts random spaces into its JSON.
func (c *Cluster) write(w io.Writer, answer any) {
	data, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	if c.modern && rand.N(2) == 0 {
		data = []byte(strings.Replace(string(data), `":`, `": `, -1))
	}
	w.Write(append(data, '\n'))
}

// answer does what a request asks for.
func (c *Cluster) answer(path string, body []byte) (answer any, refused *refusal) {
	c.do(func() {
		switch path {
		case "/v3/kv/range":
			var r span
			if refused = decode(body, &r); refused == nil {
				answer, refused = c.store.answerRange(r)
			}
		case "/v3/kv/txn":
			var t txn
			if refused = decode(body, &t); refused == nil {
				answer, refused = c.store.answerTxn(t, c.full)
			}
		case "/v3/lease/grant":
			answer = map[string]any{"ID": strconv.Itoa(7000 + c.counts[path]), "TTL": "30"}
		case "/v3/auth/authenticate":
			var a struct{ Name, Password string }
			switch refused = decode(body, &a); {
			case refused != nil:
			case c.user == "":
				refused = &refusal{9, "etcdserver: authentication is not enabled"}
			case a.Name+":"+a.Password != c.user:
				refused = &refusal{3, "etcdserver: authentication failed, invalid user ID or password"}
			default:
				token := fmt.Sprint("token.", c.counts[path])
				c.tokens[token] = true
				answer = map[string]any{"token": token}
			}
		default:
			refused = &refusal{12, "Not Implemented"}
		}
	})
	return answer, refused
}

func decode(body []byte, v any) *refusal {
	if err := json.Unmarshal(body, v); err != nil {
		return &refusal{3, err.Error()}
	}
	return nil
}

// watch streams what happens.
func (c *Cluster) watch(w http.ResponseWriter, r *http.Request, body []byte) {
	var request struct {
		Create struct {
			Key      []byte
			End      []byte `json:"range_end"`
			Revision int64  `json:"start_revision,string"`
		} `json:"create_request"`
	}
	if refused := decode(body, &request); refused != nil {
		c.refuse(w, refused, true)
		return
	}
	next := request.Create.Revision
	write := func(result map[string]any) {
		c.write(w, map[string]any{"result": result})
		w.(http.Flusher).Flush()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watching++
	defer func() { c.watching-- }()
	ended := c.ended
	write(map[string]any{"header": c.store.header(), "created": true})
	for {
		if c.ended != ended {
			if !c.quorum {
				c.write(w, c.errorBody(&refusal{14, "etcdserver: no leader"}, true))
			}
			return
		}
		if next <= c.store.compacted {
			write(map[string]any{"header": c.store.header(), "canceled": true, "compact_revision": strconv.FormatInt(c.store.compacted, 10)})
			return
		}
		var events []any
		for ; next <= c.store.revision; next++ {
			for _, e := range c.store.log[next] {
				if within(e.key, string(request.Create.Key), string(request.Create.End)) {
					events = append(events, e.event())
				}
			}
		}
		if len(events) > 0 {
			write(map[string]any{"header": c.store.header(), "events": events})
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-r.Context().Done():
		}
		c.mu.Lock()
		if r.Context().Err() != nil {
			return
		}
	}
}
