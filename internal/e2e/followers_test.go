package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Followers are clients of event streams, in a process of their own. Cars whose name is
// a stamp tell them when each was sent.
type followers struct {
	Addr    string
	Streams int
	Stuck   int // more, that do not read
}

// told is what followers have been told.
type told struct {
	Count         int // of stamps, by all streams
	Steps         int // events, by all streams
	P50, P99, Max time.Duration
}

// A following is a process of followers.
type following struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// follow returns when all streams are open.
func (f followers) follow(t testing.TB) *following {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	if path, err := exec.LookPath("nice"); err == nil { // in reality, readers are on other machines
		cmd = exec.Command(path, "-n", "19", os.Args[0])
	}
	cmd.Env = append(os.Environ(), roleEnv+"=followers", inputEnv+"="+encode(f))
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	p := &following{cmd, in, bufio.NewReader(out)}
	if _, err := p.out.ReadString('\n'); err != nil {
		t.Fatal("followers: ", err)
	}
	return p
}

// end returns what the streams were told since they were opened, and closes them. It waits
// for the last of so many stamps a stream, if that takes no longer than patience.
func (p *following) end(t testing.TB, stamps int) (got told) {
	t.Helper()
	fmt.Fprintln(p.in, stamps)
	if err := json.NewDecoder(p.out).Decode(&got); err != nil {
		t.Fatal("followers: ", err)
	}
	p.in.Close()
	p.cmd.Wait()
	return got
}

// followAll is the main function of the process.
func followAll(config string) error {
	var f followers
	if err := json.Unmarshal([]byte(config), &f); err != nil {
		return err
	}
	const request = "GET /api/cars HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
	var (
		mu    sync.Mutex
		got   told
		took  []time.Duration
		ended sync.WaitGroup
		count atomic.Int64 // of stamps
	)
	conns := make([]net.Conn, f.Streams+f.Stuck)
	for i := range conns {
		conn, err := net.Dial("tcp", f.Addr)
		if err != nil {
			return err
		}
		conns[i] = conn
		if i >= f.Streams {
			conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		}
		if _, err := io.WriteString(conn, request); err != nil {
			return err
		}
		if i >= f.Streams {
			continue
		}
		r := bufio.NewReaderSize(conn, 64<<10) // more than a line
		if line, err := r.ReadString('\n'); line != "HTTP/1.1 200 OK\r\n" {
			return fmt.Errorf("a stream was answered %q, %v", line, err)
		}
		ended.Go(func() {
			mine := make([]time.Duration, 0, 1<<10)
			steps := 0
			for {
				line, err := r.ReadSlice('\n')
				now := time.Now().UnixNano()
				if err != nil {
					break
				}
				if bytes.HasPrefix(line, []byte("event: change")) {
					steps++
				}
				for _, part := range bytes.Split(line, []byte(`"name":"@`))[1:] {
					if sent, err := strconv.ParseInt(string(part[:min(19, len(part))]), 10, 64); err == nil {
						mine = append(mine, time.Duration(now-sent))
						count.Add(1)
					}
				}
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
			got.Steps += steps
		})
	}
	fmt.Println("open")
	var stamps int
	fmt.Scanln(&stamps)
	for late := time.Now().Add(patience); count.Load() < int64(stamps*f.Streams) && time.Now().Before(late); {
		time.Sleep(time.Millisecond)
	}
	for _, conn := range conns {
		conn.SetReadDeadline(time.Now())
	}
	ended.Wait()
	if got.Count = len(took); got.Count > 0 {
		slices.Sort(took)
		got.P50, got.P99, got.Max = took[got.Count/2], took[got.Count*99/100], took[got.Count-1]
	}
	return json.NewEncoder(os.Stdout).Encode(got)
}

// besideStreams measures durable writes at an even rate, by one client, while streams are
// open, of which some are stuck. When each was sent is in the car's name.
func besideStreams(without *float64, streams, stuck int) func(b *testing.B) measure {
	return func(b *testing.B) measure {
		addr := freeAddr(b)
		server := launch(b, "", "-addr", addr, "-data", filepath.Join(b.TempDir(), "cars.jsonl"), "-delay", "0", "-log-level", "warn")
		server.url, server.addr = "http://"+addr, addr
		server.skipLog()
		waitForAnswer(b, addr)
		pid := server.cmd.Process.Pid
		f := followers{Addr: addr, Streams: streams, Stuck: stuck}.follow(b)
		car := strings.Replace(saab, "Saab 900", stamp, 1)
		l := load{Addr: addr, Requests: []string{header("POST", "/api/cars", len(car)) + car}, Connections: 1, Duration: time.Duration(5 * *seconds * float64(time.Second)), Rate: 100, Stamped: true}
		cpu, busy := cpuTime(pid), server.metric(b, "cars_processor_busy_seconds_total")
		posted := l.run(b).of(201)
		cpu, busy = cpuTime(pid)-cpu, server.metric(b, "cars_processor_busy_seconds_total")-busy
		memory, most := resident(pid), peak(pid)
		told := f.end(b, posted.Count)
		server.cmd.Process.Kill()
		server.cmd.Wait()
		if want := posted.Count * streams; told.Count != want {
			b.Errorf("%d streams were told %d times, want %d", streams, told.Count, want)
		}
		m := l.measure(posted)
		m.cpu, m.owner = cpu/time.Duration(max(1, m.count)), time.Duration(busy*1e9)/time.Duration(max(1, m.count))
		m.memory, m.told = most, told.P99
		if streams == 0 {
			*without = memory
		} else {
			m.size = (memory - *without) * 1e3 / float64(streams+stuck)
		}
		return m
	}
}
