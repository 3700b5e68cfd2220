//go:build unix

package e2e

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cars/internal/e2e/check"
)

// A meddler stands between servers and etcd, and takes from them what they rely on.
type meddler struct {
	member string
	blind  atomic.Bool // transactions compare nothing
	lossy  atomic.Bool // answers to transactions are lost now and then, after they were done
	hides  atomic.Bool // nobody can tell whose batch a state is
}

// TestCheckerCatches has servers that do wrong, and one check that they do right under
// the same load. What is wrong must be seen within a few histories.
func TestCheckerCatches(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; run without -short")
	}
	member := startMembers(t, 1)[0]
	for _, test := range []struct {
		name   string
		args   []string
		meddle func(m *meddler)
		wrong  bool
	}{
		{"right, though answers are lost", nil, func(m *meddler) { m.lossy.Store(true) }, false},
		{"local reads", []string{"-reads", "local"}, func(*meddler) {}, true},
		{"a store that does not compare", nil, func(m *meddler) { m.blind.Store(true) }, true},
		{"a store that judges again after a lost answer", nil, func(m *meddler) { m.lossy.Store(true); m.hides.Store(true) }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := &meddler{member: member.addr}
			proxy := httptest.NewServer(m)
			defer proxy.Close()
			defer proxy.CloseClientConnections()
			prefix := fmt.Sprintf("%s/%d", proxy.Listener.Addr(), rand.Int())
			servers := startServers(t, 3, prefix, test.args...)
			test.meddle(m)
			c := newCluster(nil, servers, 8)
			c.pace = time.Millisecond
			var err error
			for try := 0; try < 5 && err == nil; try++ {
				clients := &check.Clients{Number: 8, Requests: 60, Send: c.send, Bulk: 200}
				var first check.Catalogue
				if first, err = clients.Start(); err != nil {
					t.Fatal(err)
				}
				var events []check.Event
				if events, err = clients.Work(); err == nil {
					err = check.Linearizable(first, events)
				}
				if !test.wrong && try == 1 {
					break
				}
			}
			if (err != nil) != test.wrong {
				t.Errorf("got %v, want an error: %t", err, test.wrong)
				for _, p := range servers {
					t.Logf("%s:\n%s", p.name, tail(p.log.String(), 10))
				}
			}
		})
	}
}

var stateValue = regexp.MustCompile(`"value":\s*"([A-Za-z0-9+/=]+)"`)

func (m *meddler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	txn := strings.HasSuffix(r.URL.Path, "/txn")
	if txn && m.blind.Load() {
		var asked map[string]json.RawMessage
		if json.Unmarshal(body, &asked) == nil && asked["success"] != nil {
			delete(asked, "compare")
			body, _ = json.Marshal(asked)
		}
	}
	ask, _ := http.NewRequestWithContext(r.Context(), r.Method, "http://"+m.member+r.URL.Path, bytes.NewReader(body))
	ask.Header = r.Header.Clone()
	resp, err := http.DefaultTransport.RoundTrip(ask)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	if txn && m.lossy.Load() && rand.N(10) == 0 {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(resp.StatusCode)
	for lines := bufio.NewReader(resp.Body); ; {
		line, err := lines.ReadBytes('\n')
		if m.hides.Load() {
			line = stateValue.ReplaceAllFunc(line, func(field []byte) []byte {
				value, _ := base64.StdEncoding.DecodeString(string(stateValue.FindSubmatch(field)[1]))
				if after, is := bytes.CutPrefix(value, []byte(`{"batch":"`)); is {
					value = append([]byte(`{"batch":"somebody`), after...)
				}
				return []byte(`"value":"` + base64.StdEncoding.EncodeToString(value) + `"`)
			})
		}
		w.Write(line)
		w.(http.Flusher).Flush()
		if err != nil {
			return
		}
	}
}
