package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A load is what a generator does to a server, in a process of its own, so that the
// CPU time that it needs counts apart.
type load struct {
	Addr        string   // of the server, or of several, with commas between them: connections are spread over them
	Requests    []string // as they go over the connection; each takes them in turn
	Connections int
	Duration    time.Duration
	Rate        float64 // requests a second in all; 0: each connection sends the next when it has its answer
	Stamped     bool    // each stamp in a request is when the request was sent
}

// stamp is what is replaced by "@" and the nanoseconds since 1970.
const stamp = "@1234567890123456789"

// outcomes are the answers to a load by status; 0 stands for connections that broke.
type outcomes map[int]*outcome

// An outcome is how long answers took since their requests were due: a client that asks late,
// because its last answer was late, has waited since the request was due.
type outcome struct {
	Count         int
	P50, P99, Max time.Duration
	took          []time.Duration
}

// This program plays other roles in processes of their own: their names, and what they
// are told, are in the environment.
const roleEnv, inputEnv = "CARS_TEST_ROLE", "CARS_TEST_INPUT"

var roles = map[string]func(input string) error{
	"load":          generate,
	"followers":     followAll,
	"bare":          serveBare,
	"bare owner":    serveBareOwner,
	"sleeping loop": serveLoops(1),
	"pool of five":  serveLoops(5),
}

// run generates the load and returns what came of it.
func (l load) run(t testing.TB) outcomes {
	t.Helper()
	config, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"=load", inputEnv+"="+string(config))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("load generator: %v", err)
	}
	got := make(outcomes)
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("load generator: %v in %.200s", err, out)
	}
	return got
}

// generate is the main function of the process that generates a load.
func generate(config string) error {
	var l load
	if err := json.Unmarshal([]byte(config), &l); err != nil {
		return err
	}
	var (
		mu      sync.Mutex
		all     = make(outcomes)
		clients sync.WaitGroup
	)
	addrs := strings.Split(l.Addr, ",")
	conns := make([]net.Conn, l.Connections) // made before the clock starts: they are not what is measured
	for i := range conns {
		conns[i], _ = net.Dial("tcp", addrs[i%len(addrs)])
	}
	start := time.Now()
	for i, conn := range conns {
		clients.Go(func() {
			l := l
			l.Addr = addrs[i%len(addrs)]
			got := l.connection(i, conn, start)
			mu.Lock()
			defer mu.Unlock()
			for status, o := range got {
				all.of(status).took = append(all.of(status).took, o.took...)
			}
		})
	}
	clients.Wait()
	for _, o := range all {
		slices.Sort(o.took)
		o.Count = len(o.took)
		o.P50, o.P99, o.Max = o.took[o.Count/2], o.took[o.Count*99/100], o.took[o.Count-1]
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

func (o outcomes) of(status int) *outcome {
	if o[status] == nil {
		o[status] = new(outcome)
	}
	return o[status]
}

// connection is one client. It opens a new connection when one breaks.
func (l load) connection(i int, conn net.Conn, start time.Time) outcomes {
	got := make(outcomes)
	r := bufio.NewReader(conn)
	end := start.Add(l.Duration)
	interval := time.Duration(0)
	due, last := start, end // what is answered after last does not count
	if l.Rate > 0 {
		last = end.Add(patience)
		interval = time.Duration(float64(l.Connections) / l.Rate * float64(time.Second))
		due = start.Add(interval * time.Duration(i) / time.Duration(l.Connections))
	}
	for n := i; ; n++ {
		if l.Rate > 0 {
			time.Sleep(time.Until(due))
		} else {
			due = time.Now()
		}
		if !due.Before(end) {
			break
		}
		status, err, fresh := 0, error(nil), n == i
		if conn == nil {
			conn, err = net.Dial("tcp", l.Addr)
			r.Reset(conn)
			fresh = true
		}
		if err == nil {
			if fresh {
				conn.SetDeadline(last)
			}
			request := l.Requests[n%len(l.Requests)]
			if l.Stamped {
				request = strings.Replace(request, stamp, "@"+strconv.FormatInt(time.Now().UnixNano(), 10), 1)
			}
			if _, err = conn.Write([]byte(request)); err == nil {
				status, err = skipAnswer(r)
			}
		}
		if err != nil {
			if l.Rate == 0 && time.Now().After(end) {
				break // it would have been answered some time
			}
			status = 0
			if conn != nil {
				conn.Close()
			}
			conn = nil
		}
		o := got.of(status)
		o.took = append(o.took, time.Since(due))
		due = due.Add(interval)
	}
	if conn != nil {
		conn.Close()
	}
	return got
}

// skipAnswer reads an answer with a Content-Length and returns its status.
func skipAnswer(r *bufio.Reader) (status int, err error) {
	length := 0
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		switch {
		case first && len(line) > len("HTTP/1.1 200"):
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, err
			}
		case len(line) <= len("\r\n"):
			_, err := r.Discard(length)
			return status, err
		case bytes.HasPrefix(line, []byte("Content-Length: ")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[16:]))); err != nil {
				return 0, err
			}
		}
	}
}
