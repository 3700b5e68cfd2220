package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// scratch is a folder that lives as long as the tests.
var scratch string

func TestMain(m *testing.M) {
	if play := roles[os.Getenv(roleEnv)]; play != nil {
		if err := play(os.Getenv(inputEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	var err error
	if scratch, err = os.MkdirTemp("", "cars-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(scratch)
	os.Exit(status)
}

var given = flag.String("binary", "", "test this server, such as an older one, instead of building one")

// binary builds the server and returns its path.
var binary = sync.OnceValues(func() (string, error) {
	if *given != "" {
		return *given, nil
	}
	// Go reuses the result of a test run until a file changes that the tests
	// have looked at. The compiler looks at the server's for us, so we must, too.
	filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if entry != nil && entry.Name() == ".git" {
			return fs.SkipDir
		}
		return err
	})
	path := filepath.Join(scratch, "cars.exe")
	build := exec.Command("go", "build", "-o", path)
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		build.Args = append(build.Args, "-race") // as these tests were
	}
	build.Args = append(build.Args, "cars")
	out, err := build.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, err
})

// command is the server's command line, not yet started. Without -data in args
// it keeps its cars in memory, or the tests would meet in one file.
func command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(args, "-data") {
		args = append([]string{"-data", ""}, args...)
	}
	return exec.Command(path, args...)
}

// A server is a process that listens.
type server struct {
	url, addr string
	cmd       *exec.Cmd
	before    string      // what it logged before it listened
	lines     chan string // the rest of its standard error, line by line; closed at its end
}

// start runs the binary on a free port and returns when it listens.
func start(t *testing.T, args ...string) *server {
	t.Helper()
	return launch(t, "", append([]string{"-addr", "localhost:0"}, args...)...).listens(t)
}

// listens returns s when it listens.
func (s *server) listens(t *testing.T) *server {
	t.Helper()
	for line := range s.lines {
		if _, url, listens := strings.Cut(line, "Listening on "); listens {
			s.url, s.addr = url, strings.TrimPrefix(url, "http://")
			return s
		}
		s.before += line + "\n"
	}
	t.Fatalf("%s ended before it listened:\n%s", s.cmd, s.before)
	return nil
}

// launch runs the binary with one more line of environment. What is left of it
// at the end of the test is killed.
func launch(t testing.TB, env string, args ...string) *server {
	t.Helper()
	return launchIn(t, "", env, args...)
}

// launchIn is launch in a folder.
func launchIn(t testing.TB, dir, env string, args ...string) *server {
	t.Helper()
	cmd := command(t, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env)
	return launchCommand(t, cmd)
}

// launchCommand is launch with a command line that runs the binary in some way.
func launchCommand(t testing.TB, cmd *exec.Cmd) *server {
	t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(5*time.Minute+*soak, func() { // or a test that waits for a line would wait forever
		t.Error("the server still runs, though every test should be over")
		cmd.Process.Kill()
	})
	t.Cleanup(func() { late.Stop(); cmd.Process.Kill(); cmd.Wait() })
	s := &server{cmd: cmd, lines: make(chan string, 10_000)}
	go func() {
		defer close(s.lines)
		defer late.Stop()
		for scanner := bufio.NewScanner(stderr); scanner.Scan(); {
			s.lines <- scanner.Text()
		}
	}()
	return s
}

// waitForLine returns the next log line that contains text.
func (s *server) waitForLine(t *testing.T, text string) string {
	t.Helper()
	for line := range s.lines {
		if strings.Contains(line, text) {
			return line
		}
	}
	t.Fatalf("the server ended without logging %q", text)
	return ""
}

// skipLog reads what else the server logs, or it would wait in the end.
func (s *server) skipLog() {
	go func() {
		for range s.lines {
		}
	}()
}

// signal sends the server a signal.
func (s *server) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("Windows cannot send signals to a process; run this test on Linux or macOS")
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// patience is how much longer than it should take a test waits for something that must
// happen. A busy machine is no reason to fail: only what never happens is.
const patience = 20 * time.Second

// wait returns how the server ended. A stop takes 10 s at most.
func (s *server) wait(t *testing.T) *os.ProcessState {
	t.Helper()
	const d = 10*time.Second + patience
	late := time.AfterFunc(d, func() {
		t.Errorf("the server still runs after %v", d)
		s.cmd.Process.Kill()
	})
	defer late.Stop()
	for range s.lines { // Wait may close the pipe only when it has been read
	}
	s.cmd.Wait()
	return s.cmd.ProcessState
}

// get returns status and body, or an error.
func (s *server) get(path string) (int, string, error) {
	resp, err := http.Get(s.url + path)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// wantCar checks that the server answers a GET of path with the Audi.
func (s *server) wantCar(t *testing.T, path string) {
	t.Helper()
	status, body, err := s.get(path)
	if err != nil || status != 200 || !strings.Contains(body, `"name":"Audi A4"`) {
		t.Errorf("GET %s: got %d %q, %v, want the Audi", path, status, body, err)
	}
}

func TestLogTellsTheStory(t *testing.T) {
	t.Parallel()
	cmd := command(t, "-h")
	if out, err := cmd.Output(); err != nil || !bytes.Contains(out, []byte("curl http://localhost:8080/api/cars/1")) {
		t.Errorf("-h: got %s, %v, want an example", out, err)
	}
	addr := freeAddr(t)
	s := launch(t, "", "-addr", addr)
	s.url = "http://" + addr
	for _, want := range []string{
		"Car detail processor started and waiting for requests...",
		"Listening on " + s.url,
		"Try: curl " + s.url + "/api/cars/1",
	} {
		if got := <-s.lines; !strings.HasSuffix(got, " INFO "+want) {
			t.Errorf("got line %q, want %q", got, want)
		}
	}
	s.wantCar(t, "/api/cars/1")
	for _, want := range []string{
		"GET /api/cars/1 - Requesting car details asynchronously",
		"Processing completed for car ID 1: Audi A4",
	} {
		if got := <-s.lines; !strings.HasSuffix(got, " INFO "+want) {
			t.Errorf("got line %q, want %q", got, want)
		}
	}
	s.signal(t, os.Interrupt)
	s.waitForLine(t, "Stopped")
	if state := s.wait(t); !state.Success() {
		t.Errorf("the server ended with %v, want exit status 0", state)
	}
}

func TestLogLevelWarnLogsWarningsOnly(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	s := launch(t, "", "-addr", addr, "-log-level", "warn", "-delay", "0", "-jitter", "1ms")
	s.url = "http://" + addr
	s.waitForLine(t, "WARN -jitter has no effect") // logged when it listens already
	s.wantCar(t, "/api/cars/1")
	s.signal(t, syscall.SIGTERM)
	for line := range s.lines {
		t.Errorf("at level warn it logged %q", line)
	}
}

// freeAddr returns an address that nobody listens on at the moment.
func freeAddr(t testing.TB) string {
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func TestStopAnswersTheRequestsInside(t *testing.T) {
	t.Parallel()
	s := start(t, "-delay", "1s")
	const requests = 50
	var answered sync.WaitGroup
	for range requests {
		answered.Go(func() {
			start := time.Now()
			s.wantCar(t, "/api/cars/1")
			if elapsed := time.Since(start); elapsed < time.Second {
				t.Errorf("answered after %v, want the whole second", elapsed)
			}
		})
	}
	for range requests {
		s.waitForLine(t, "Requesting car details")
	}
	s.signal(t, syscall.SIGTERM)
	s.waitForLine(t, "Stopping")
	for { // the listener is closed just after that line
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			break
		}
		conn.Close()
	}
	answered.Wait()
	if state := s.wait(t); !state.Success() {
		t.Errorf("the server ended with %v, want exit status 0", state)
	}
}

func TestStopTakesTenSecondsAtMost(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 8 seconds; run without -short")
	}
	t.Parallel()
	s := start(t)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		s.wantCar(t, "/api/cars/1?_delay=60000")
	}()
	s.waitForLine(t, "Requesting car details")
	s.signal(t, syscall.SIGTERM)
	if state := s.wait(t); !state.Success() {
		t.Errorf("the server ended with %v, want exit status 0", state)
	}
	<-answered
}

// TestStopWhenNobodyTakesTheLog has a standard error that is full: a pipe whose
// reader waits, as a terminal does after Control-S.
func TestStopWhenNobodyTakesTheLog(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 10 seconds; run without -short")
	}
	t.Parallel()
	unread, stderr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer unread.Close()
	addr := freeAddr(t)
	cmd := command(t, "-addr", addr, "-delay", "0")
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stderr.Close()
	s := &server{cmd: cmd, lines: make(chan string)}
	close(s.lines)
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })

	client := http.Client{Timeout: time.Second}
	served := false
	for {
		resp, err := client.Get("http://" + addr + "/api/cars/1")
		if err == nil {
			resp.Body.Close()
			served = true
		} else if served {
			break // it waits for its log
		}
	}
	s.signal(t, syscall.SIGTERM)
	s.wait(t)
}

// TestSecondSignalEndsAtOnce, but not one that a wrapper has passed on: that comes at the
// same time as the first.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t)
	go s.get("/api/cars/1?_delay=60000")
	s.waitForLine(t, "Requesting car details")
	s.signal(t, syscall.SIGTERM)
	s.waitForLine(t, "Stopping")
	s.signal(t, syscall.SIGTERM)
	var later atomic.Bool
	time.AfterFunc(time.Second, func() { // which tells them apart
		later.Store(true)
		s.cmd.Process.Signal(syscall.SIGTERM)
	})
	s.waitForLine(t, "cars: stopped at once by a second signal")
	if !later.Load() {
		t.Error("two signals at the same time have ended it")
	}
	if state := s.wait(t); state.ExitCode() != 1 {
		t.Errorf("the server ended with %v, want exit status 1", state)
	}
}

// TestSignalThatComesTwice is as timeout and npm send it: to the whole group and, once
// more, to the process. The request inside is answered.
func TestSignalThatComesTwice(t *testing.T) {
	t.Parallel()
	s := start(t, "-delay", "1500ms")
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		s.wantCar(t, "/api/cars/1")
	}()
	s.waitForLine(t, "Requesting car details")
	s.signal(t, syscall.SIGTERM)
	s.waitForLine(t, "Stopping")
	s.signal(t, syscall.SIGTERM)
	if state := s.wait(t); !state.Success() {
		t.Errorf("the server ended with %v, want exit status 0", state)
	}
	<-answered
}

// TestSilentConnectionsDoNotHoldUpAStop has connections that have never sent anything.
// net/http alone would wait for them for 5 s. A request begun in time shows that the
// others have been seen.
func TestSilentConnectionsDoNotHoldUpAStop(t *testing.T) {
	t.Parallel()
	s := start(t, "-delay", "0")
	for range 3 {
		s.dial(t, "")
	}
	s.wantCar(t, "/api/cars/1")
	for s.metric(t, "http_connections_open") < 4 {
	}
	began := time.Now()
	s.signal(t, syscall.SIGTERM)
	if state := s.wait(t); !state.Success() {
		t.Errorf("the server ended with %v, want exit status 0", state)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the stop took %v, want less than the 5 s that net/http waits", took)
	}
}

// TestReaderOfTheLogGoesAway is cars 2>&1 | grep -m1 Listening.
func TestReaderOfTheLogGoesAway(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		read, stderr, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := command(t, "-addr", "localhost:0", "-delay", "0", "-log-format", format)
		cmd.Stdout, cmd.Stderr = stderr, stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		stderr.Close()
		s := &server{cmd: cmd, lines: make(chan string)}
		close(s.lines)
		for lines := bufio.NewScanner(read); s.url == "" && lines.Scan(); {
			if _, url, listens := strings.Cut(lines.Text(), "Listening on "); listens {
				s.url, _, _ = strings.Cut(url, `"`)
			}
		}
		read.Close()
		for range 100 {
			s.wantCar(t, "/api/cars/1")
		}
		s.signal(t, syscall.SIGTERM)
		if state := s.wait(t); !state.Success() {
			t.Errorf("the server ended with %v, want exit status 0", state)
		}
	}
}

// TestLocalhostIsBothAddresses: whichever of them a client tries, and tries alone.
func TestLocalhostIsBothAddresses(t *testing.T) {
	t.Parallel()
	if probe, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("needs IPv6: ", err)
	} else {
		probe.Close()
	}
	start := func(env string, args ...string) *server { return launch(t, env, args...).listens(t) }
	for name, s := range map[string]*server{"-addr": start("", "-addr", "localhost:0"), "PORT": start("PORT=0")} {
		_, port, err := net.SplitHostPort(s.addr)
		if err != nil || !strings.HasPrefix(s.url, "http://localhost:") {
			t.Errorf("%s: it says that it listens on %s, %v, want localhost", name, s.url, err)
		}
		for _, host := range []string{"127.0.0.1", "::1", "localhost"} {
			s.url = "http://" + net.JoinHostPort(host, port)
			s.wantCar(t, "/api/cars/1")
		}
	}
}

func TestFlagsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	tests := []struct {
		args   []string
		env    string
		status int
		stderr string
	}{
		{[]string{"-colour", "red"}, "", 2, "flag provided but not defined: -colour"},
		{[]string{"-delay", "fast"}, "", 2, `invalid value "fast" for flag -delay`},
		{[]string{"-delay", "5"}, "", 2, `invalid value "5" for flag -delay: must be a time with its unit, such as 300ms or 2s`},
		{[]string{"start"}, "", 2, `unexpected argument "start"`},
		{nil, "PORT=web", 2, "must be 0 to 65535"},
		{nil, "CARS_TOKEN= \t", 2, "CARS_TOKEN in the environment: it must not be blank"},
		{[]string{"-addr", busy.Addr().String()}, "", 1, "address already in use; choose another address"},
		{[]string{"-addr", "256.256.256.256:1"}, "", 1, `cannot listen on "256.256.256.256:1"`},
	}
	for _, test := range tests {
		var stdout, stderr bytes.Buffer
		cmd := command(t, test.args...)
		cmd.Env = append(os.Environ(), test.env)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != test.status {
			t.Errorf("cars %v: got %v, want exit status %d", test.args, err, test.status)
		}
		if !strings.HasPrefix(stderr.String(), "cars: ") || !strings.Contains(stderr.String(), test.stderr) ||
			strings.Count(stderr.String(), "\n") != 1 || stdout.Len() > 0 {
			t.Errorf("cars %v: got %q and %q, want one line with %q", test.args, stdout.String(), stderr.String(), test.stderr)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	out, err := command(t, "-version").CombinedOutput()
	if want := runtime.Version(); err != nil || !bytes.HasPrefix(out, []byte("cars ")) || !bytes.Contains(out, []byte(want)) {
		t.Errorf("got %q, %v, want a line that names cars and %s", out, err, want)
	}
}

func TestPortFromEnvironment(t *testing.T) {
	t.Parallel()
	_, port, _ := net.SplitHostPort(freeAddr(t))
	launch(t, "PORT="+port).waitForLine(t, "Listening on http://localhost:"+port)
}

// TestSlowClientsAreDropped has clients that stop in the middle of a header
// and of a body, beside one that behaves.
func TestSlowClientsAreDropped(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 10 seconds; run without -short")
	}
	t.Parallel()
	s := start(t, "-delay", "0")
	var dropped sync.WaitGroup
	for _, slow := range []struct {
		sent    string
		seconds int
	}{
		{"", 5}, // never a byte
		{"GET /api/cars/1 HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", 5},
		{"GET /api/cars/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nslow", 10},
	} {
		dropped.Go(func() {
			conn, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, slow.sent)
			limit := time.Duration(slow.seconds)*time.Second + patience
			conn.SetReadDeadline(time.Now().Add(limit))
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a client that sent %q still has its connection after %v", slow.sent, limit)
			}
		})
	}
	for range 100 {
		s.wantCar(t, "/api/cars/1")
	}
	dropped.Wait()
}

func TestHeaderLimit(t *testing.T) {
	t.Parallel()
	s := start(t, "-delay", "0")
	for size, want := range map[int]int{15 << 10: 200, 17 << 10: http.StatusRequestHeaderFieldsTooLarge} {
		req, _ := http.NewRequest("GET", s.url+"/api/cars/1", nil)
		req.Header.Set("X-Padding", strings.Repeat("x", size))
		req.Close = true // on a connection in use, net/http reads 4 KiB more before it looks at the limit
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Errorf("%d bytes of header: %v", size, err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%d bytes of header: got %d, want %d", size, resp.StatusCode, want)
		}
	}
}

// TestClientsThatLeave has requests cut off while they wait; the server forgets
// them and answers others.
func TestClientsThatLeave(t *testing.T) {
	t.Parallel()
	s := start(t)
	for range 100 {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, "GET /api/cars/2?_delay=60000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
		s.waitForLine(t, "Requesting car details")
		conn.Close()
	}
	forgotten := time.Now().Add(patience) // which is less than their requests take
	for s.metric(t, "cars_requests_in_flight") > 0 {
		if time.Now().After(forgotten) {
			t.Fatal("clients that have left are still waited for")
		}
	}
	s.wantCar(t, "/api/cars/1")
	s.signal(t, syscall.SIGTERM)
	if state := s.wait(t); !state.Success() {
		t.Errorf("the server ended with %v, want exit status 0", state)
	}
}
