//go:build unix

package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var etcdBinary = flag.String("etcd", "etcd", "the etcd to test with")

// A process listens on an address, is killed, frozen, and started again there.
type process struct {
	name, addr string
	make       func() *exec.Cmd
	cmd        *exec.Cmd
	log        *logTail
}

// A logTail keeps the last of what a process says.
type logTail struct {
	mu   sync.Mutex
	text []byte
}

func (l *logTail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if len(l.text) > 1<<20 {
		l.text = bytes.Clone(l.text[1<<19:])
	}
	return len(p), nil
}

func (l *logTail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

func (p *process) start(t testing.TB) {
	t.Helper()
	p.cmd = p.make()
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

// kill kills with signal 9, which is noticed by nobody.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

func (p *process) freeze() { p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *process) thaw()   { p.cmd.Process.Signal(syscall.SIGCONT) }

// until waits until a path is answered with a status.
func (p *process) until(t testing.TB, path string, status int) {
	t.Helper()
	client := http.Client{Timeout: 2 * time.Second}
	var last string
	for late := time.Now().Add(2 * patience); time.Now().Before(late); time.Sleep(20 * time.Millisecond) {
		resp, err := client.Get("http://" + p.addr + path)
		if err != nil {
			last = err.Error()
			continue
		}
		resp.Body.Close()
		if last = resp.Status; resp.StatusCode == status {
			return
		}
	}
	t.Fatalf("%s: %s: got %s, want %d; its log ends with\n%s", p.name, path, last, status, tail(p.log.String(), 30))
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// startMembers starts an etcd of so many members. Without one to start, the test is skipped.
func startMembers(t testing.TB, count int, more ...string) []*process {
	t.Helper()
	path, err := exec.LookPath(*etcdBinary)
	if err != nil {
		t.Skip("needs etcd: apt-get install etcd-server")
	}
	peers := make([]string, count)
	var cluster []string
	for i := range peers {
		peers[i] = "http://" + freeAddr(t)
		cluster = append(cluster, fmt.Sprintf("m%d=%s", i+1, peers[i]))
	}
	members := make([]*process, count)
	for i := range members {
		addr, dir := freeAddr(t), filepath.Join(t.TempDir(), "etcd")
		args := append([]string{"--name", fmt.Sprint("m", i+1), "--data-dir", dir, "--log-level", "error",
			"--listen-client-urls", "http://" + addr, "--advertise-client-urls", "http://" + addr,
			"--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i], "--initial-cluster", strings.Join(cluster, ",")}, more...)
		members[i] = &process{name: fmt.Sprint("member ", i+1), addr: addr, log: new(logTail), make: func() *exec.Cmd {
			cmd := exec.Command(path, args...)
			cmd.Env = append(os.Environ(), "ETCD_UNSUPPORTED_ARCH=arm64")
			return cmd
		}}
		members[i].start(t)
		t.Cleanup(members[i].kill)
	}
	for _, m := range members {
		m.until(t, "/health", http.StatusOK)
	}
	return members
}

// addrs returns the addresses as -data has them.
func addrs(members []*process) string {
	var all []string
	for _, m := range members {
		all = append(all, m.addr)
	}
	return strings.Join(all, ",")
}

// startServers starts so many servers on one catalogue.
func startServers(t testing.TB, count int, members string, more ...string) []*process {
	t.Helper()
	servers := make([]*process, count)
	for i := range servers {
		addr := freeAddr(t)
		args := append([]string{"-addr", addr, "-data", "etcd://" + members + "/cars", "-delay", "0", "-log-level", "warn"}, more...)
		servers[i] = &process{name: fmt.Sprint("server ", i+1), addr: addr, log: new(logTail), make: func() *exec.Cmd { return command(t, args...) }}
		servers[i].start(t)
		t.Cleanup(servers[i].kill)
	}
	for _, s := range servers {
		s.until(t, "/readyz", http.StatusOK)
	}
	return servers
}
