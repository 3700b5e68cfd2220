//go:build unix

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"cars/internal/etcd"
)

func init() { clusterRows = rowsOfClusters }

// rowsOfClusters returns the rows of servers on one catalogue in etcd, of three members, or
// says why there are none. The members start with the first row. No goal depends on them.
func rowsOfClusters(b *testing.B) (rows []row, missing string) {
	if _, err := exec.LookPath(*etcdBinary); err != nil {
		return nil, "needs etcd: apt-get install etcd-server"
	}
	if testing.Short() {
		return nil, "left out in short"
	}
	c := &clusters{members: sync.OnceValue(func() string {
		return addrs(startMembers(b, 3, "--quota-backend-bytes", "8000000000"))
	})}
	post := header("POST", "/api/cars", len(saab)) + saab
	for _, servers := range []int{1, 3} {
		of := map[int]string{1: "1 server on etcd: ", 3: "3 servers on etcd: "}[servers]
		rows = append(rows,
			row{name: of + "GETs, 1 connection", measure: c.underLoad(servers, getAudi, 1)},
			row{name: of + "GETs, 64 connections", measure: c.underLoad(servers, getAudi, 64)},
			row{name: of + "POSTs, 1 connection", measure: c.underLoad(servers, post, 1)},
			row{name: of + "POSTs, 64 connections", measure: c.underLoad(servers, post, 64)})
	}
	return append(rows,
		row{name: "3 servers on etcd, local reads: GETs, 64 connections", measure: c.underLoad(3, getAudi, 64, "-reads", "local")},
		row{name: "3 servers on etcd: PUT of 100,000 cars", measure: c.replace(100_000)},
		row{name: "3 servers on etcd: slowest GET meanwhile", measure: func(*testing.B) measure { return c.meanwhile }},
		row{name: "1 server on etcd: start with 100,000 cars", measure: c.startWith(100_000)},
		row{name: "1 server on etcd: start with 1,000,000 cars", measure: c.startWith(1_000_000)}), ""
}

// clusters are servers on the same members, each row's under a prefix of its own.
type clusters struct {
	members   func() string // their addresses, as -data has them
	prefixes  int
	meanwhile measure // of the readers beside the last replacement
}

// start starts so many servers on one new catalogue.
func (c *clusters) start(b *testing.B, count int, more ...string) []*process {
	c.prefixes++
	return startServers(b, count, c.members(), append([]string{"-data", fmt.Sprintf("etcd://%s/row%d", c.members(), c.prefixes)}, more...)...)
}

func kill(servers []*process) {
	for _, s := range servers {
		s.kill()
	}
}

// underLoad measures servers whose clients, spread over them, ask anew as soon as they have
// their answer. The CPU time is that of the servers, without etcd.
func (c *clusters) underLoad(count int, request string, connections int, more ...string) func(b *testing.B) measure {
	return func(b *testing.B) (m measure) {
		servers := c.start(b, count, more...)
		defer kill(servers)
		used := func() (all time.Duration) {
			for _, s := range servers {
				all += cpuTime(s.cmd.Process.Pid)
			}
			return all
		}
		l := load{Addr: addrs(servers), Requests: []string{request}, Connections: connections, Duration: time.Duration(*seconds * float64(time.Second))}
		before := used()
		for status, o := range l.run(b) {
			if status/100 != 2 {
				b.Errorf("got status %d, %d times", status, o.Count)
				continue
			}
			m = l.measure(o)
		}
		m.cpu = (used() - before) / time.Duration(max(1, m.count))
		for _, s := range servers {
			m.memory = max(m.memory, peak(s.cmd.Process.Pid))
		}
		return m
	}
}

// replace measures a PUT of so many cars at one server, while clients of the two others read.
func (c *clusters) replace(cars int) func(b *testing.B) measure {
	return func(b *testing.B) measure {
		servers := c.start(b, 3)
		defer kill(servers)
		var list strings.Builder
		for car := range differentCars(cars) {
			list.WriteString("," + encode(car))
		}
		var (
			reading sync.WaitGroup
			done    = make(chan struct{})
			slowest = make([]time.Duration, 2)
		)
		for i, s := range servers[1:] {
			reading.Go(func() {
				for {
					select {
					case <-done:
						return
					case <-time.After(5 * time.Millisecond):
					}
					began := time.Now()
					if resp, err := client.Get("http://" + s.addr + "/api/cars/1"); err != nil {
						b.Error(err)
					} else if resp.Body.Close(); resp.StatusCode != http.StatusOK {
						b.Error(s.name, " answered ", resp.Status)
					}
					slowest[i] = max(slowest[i], time.Since(began))
				}
			})
		}
		began := time.Now()
		servers[0].want(b, http.StatusOK, "PUT", "/api/cars", "["+list.String()[1:]+"]")
		took := time.Since(began)
		close(done)
		reading.Wait()
		c.meanwhile = measure{p99: max(slowest[0], slowest[1])}
		return measure{p50: took}
	}
}

// startWith measures how long a server takes until it is ready, with so many cars, which
// are written once.
func (c *clusters) startWith(cars int) func(b *testing.B) measure {
	prefix := fmt.Sprint("with", cars)
	filled := false
	return func(b *testing.B) measure {
		if !filled {
			filled = true
			c.fill(b, prefix, cars)
		}
		began := time.Now()
		servers := startServers(b, 1, c.members(), "-data", "etcd://"+c.members()+"/"+prefix)
		took := time.Since(began)
		defer kill(servers)
		servers[0].want(b, http.StatusOK, "GET", fmt.Sprint("/api/cars/", cars), "")
		return measure{start: took, memory: peak(servers[0].cmd.Process.Pid)}
	}
}

// fill writes a catalogue as a server would, but all at once: its body would be too large.
func (c *clusters) fill(b *testing.B, prefix string, cars int) {
	to := etcd.New(etcd.Options{Members: strings.Split(c.members(), ",")})
	defer to.Close()
	var writing sync.WaitGroup
	ops := make(chan []etcd.Op)
	for range 8 {
		writing.Go(func() {
			for some := range ops {
				if _, err := to.Txn(context.Background(), etcd.Txn{Success: some}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	put := func(key, value string) etcd.Op {
		return etcd.Op{Put: &etcd.Put{Key: []byte(prefix + key), Value: []byte(value)}}
	}
	some := []etcd.Op{put("/state", fmt.Sprintf(`{"batch":"bench-1","nextId":%d,"generation":"bench-1"}`, cars+1))}
	for car := range differentCars(cars) {
		some = append(some, put(fmt.Sprintf("/bench-1/%016d", car.ID), encode(car)))
		if len(some) == etcd.MaxOps || car.ID == cars {
			ops <- some
			some = nil
		}
	}
	close(ops)
	writing.Wait()
}
