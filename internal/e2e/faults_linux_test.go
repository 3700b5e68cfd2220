package e2e

import (
	"fmt"
	"io"
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

// asRoot skips a test that cannot mount file systems or be another user.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount file systems and be another user; run as root on Linux")
	}
}

// mount mounts a file system until the end of the test.
func mount(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		t.Skipf("needs to mount file systems, and mount says %v: %s", err, out)
	}
	target := args[len(args)-1]
	t.Cleanup(func() { exec.Command("umount", "-l", target).Run() })
}

// open lets every user into the folders of a test.
func open(t *testing.T, dir string) {
	t.Helper()
	for _, d := range []string{filepath.Dir(dir), scratch} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// nobody has the server run as another user.
func nobody(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}

// said returns what a server says until it ends. If it is to end by itself, it must not
// listen.
func (s *server) said(t *testing.T) (lines []string) {
	t.Helper()
	for line := range s.lines {
		lines = append(lines, line)
		if strings.Contains(line, "Listening on ") {
			s.cmd.Process.Kill()
		}
	}
	s.wait(t)
	return lines
}

// grow replaces a car until its file has so many bytes more. Every write must succeed.
func grow(t *testing.T, s *server, file string, bytes int64) {
	t.Helper()
	for n, end := 0, stat(t, file).Size()+bytes; stat(t, file).Size() < end && !t.Failed(); n += 2 {
		s.wantStatus(t, 200, "PUT", "/api/cars/1", encode(carOf(n)))
	}
}

// TestFileThatCannotBeReplaced: the old file stays in force, for writes and for the next
// start, and the log says once that it is never compacted.
func TestFileThatCannotBeReplaced(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(t *testing.T, file string) func(*exec.Cmd){
		"mounted by itself": func(t *testing.T, file string) func(*exec.Cmd) {
			other := filepath.Join(t.TempDir(), "x.jsonl")
			for _, path := range []string{file, other} {
				if err := os.WriteFile(path, []byte(seal(`{"put":[`+audi+`]}`)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			mount(t, "--bind", other, file)
			return func(*exec.Cmd) {}
		},
		"sticky folder": func(t *testing.T, file string) func(*exec.Cmd) {
			open(t, filepath.Dir(file))
			if err := os.WriteFile(file, []byte(seal(`{"put":[`+audi+`]}`)), 0o644); err != nil {
				t.Fatal(err)
			}
			os.Chmod(file, 0o666)
			os.Chmod(filepath.Dir(file), 0o777|os.ModeSticky)
			return nobody
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asRoot(t)
			file := filepath.Join(t.TempDir(), "cars.jsonl")
			as := prepare(t, file)
			for range 2 {
				cmd := command(t, "-addr", "localhost:0", "-delay", "0", "-log-level", "info", "-data", file)
				as(cmd)
				s := launchCommand(t, cmd).listens(t)
				grow(t, s, file, 3<<20) // several times what is compacted
				want := s.cars(t)
				s.signal(t, syscall.SIGTERM)
				log := s.before + strings.Join(s.said(t), "\n")
				if told := strings.Count(log, "The compaction failed; the old file stays in force"); told != 1 || !strings.Contains(log, "next=never") {
					t.Errorf("got %d lines about it, want one that says that it is never tried again", told)
				}
				if state := s.cmd.ProcessState; !state.Success() {
					t.Errorf("the server ended with %v, want exit status 0", state)
				}
				wantSame(t, replay(t, file), want)
			}
		})
	}
}

// TestRenameFails has the disk fail at the one call that would put a compacted file in
// place.
func TestRenameFails(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"EIO", "EBUSY", "EPERM", "ENOSPC"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "cars.jsonl")
			if err := os.WriteFile(file, []byte(seal(`{"put":[`+audi+`]}`)), 0o644); err != nil {
				t.Fatal(err)
			}
			s := serve(t, file)
			tamper(t, s, renames, "error="+fault)
			grow(t, s, file, 3<<20)
			want := s.cars(t)
			s.cmd.Process.Kill()
			log := s.before + strings.Join(s.said(t), "\n")
			if told := strings.Count(log, "The compaction failed; the old file stays in force"); told != 1 {
				t.Errorf("it was said %d times, want once", told)
			}
			again := serve(t, file)
			wantSame(t, again.cars(t), want)
			if !strings.Contains(again.before, "Compacted the file") {
				again.waitForLine(t, "Compacted the file")
			}
			grow(t, again, file, 1<<18)
		})
	}
}

// TestReadOnlyFile: -read-only neither locks the file nor writes anything, so that it
// serves a file on a mount that cannot be written to, and one that another server uses.
func TestReadOnlyFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "cars.jsonl")
	writer := serve(t, file)
	writer.wantStatus(t, 201, "POST", "/api/cars", saab)
	want := writer.cars(t)
	beside := serve(t, file, "-read-only")
	wantSame(t, beside.cars(t), want)
	beside.wantStatus(t, 403, "POST", "/api/cars", saab)
	writer.wantStatus(t, 201, "POST", "/api/cars", saab)
	want = writer.cars(t)
	writer.crash(t)
	beside.crash(t)

	t.Run("mount", func(t *testing.T) {
		asRoot(t)
		mount(t, "--bind", dir, dir)
		mount(t, "-o", "remount,ro,bind", dir)
		s := serve(t, file, "-read-only")
		wantSame(t, s.cars(t), want)
		s.wantStatus(t, 403, "DELETE", "/api/cars/1", "")
		wantRefusal(t, file, "only read the file: -read-only")
	})
	t.Run("torn tail", func(t *testing.T) {
		torn := filepath.Join(t.TempDir(), "cars.jsonl")
		content := read(t, file) + `{"put":[`
		if err := os.WriteFile(torn, []byte(content), 0o444); err != nil {
			t.Fatal(err)
		}
		s := serve(t, torn, "-read-only")
		wantSame(t, s.cars(t), want)
		if names, _ := os.ReadDir(filepath.Dir(torn)); len(names) != 1 || read(t, torn) != content {
			t.Errorf("got files %v, want one and the same", names)
		}
	})
	t.Run("no file", func(t *testing.T) {
		missing := filepath.Join(t.TempDir(), "cars.jsonl")
		said := launch(t, "", "-addr", "localhost:0", "-data", missing, "-read-only").said(t)
		if len(said) != 1 || !strings.Contains(said[0], missing+" does not exist, and is not created by a server that is read-only") {
			t.Errorf("got %q, want one line that says that there is none", said)
		}
		if names, _ := os.ReadDir(filepath.Dir(missing)); len(names) != 0 {
			t.Errorf("got files %v, want none", names)
		}
	})
}

// TestNoLocks is a file system without locks, as some network file systems are.
func TestNoLocks(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace: apt-get install strace")
	}
	for _, fault := range []string{"ENOLCK", "EOPNOTSUPP", "ENOSYS"} {
		file := filepath.Join(t.TempDir(), "cars.jsonl")
		traced := func(args ...string) *server {
			cmd := command(t, append([]string{"-addr", "localhost:0", "-data", file}, args...)...)
			cmd.Args = append([]string{path, "-f", "-qq", "-o", os.DevNull, "-e", "trace=flock", "-e", "inject=flock:error=" + fault, cmd.Path}, cmd.Args[1:]...)
			cmd.Path = path
			return launchCommand(t, cmd)
		}
		said := traced().said(t)
		if len(said) == 1 && strings.Contains(said[0], "strace:") {
			t.Skip("needs leave to trace: ", said[0])
		}
		if len(said) != 1 || !strings.HasPrefix(said[0], "cars: journal: "+file) || !strings.HasSuffix(said[0], "; choose a folder on a local disk") {
			t.Errorf("%s: got %q, want one line that says what to do", fault, said)
		}
	}
}

// TestFileThatMayNotBeWritten is in a folder that may be.
func TestFileThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	asRoot(t)
	file := filepath.Join(t.TempDir(), "cars.jsonl")
	open(t, filepath.Dir(file))
	os.Chmod(filepath.Dir(file), 0o777)
	if err := os.WriteFile(file, []byte(seal(`{"put":[`+audi+`]}`)), 0o444); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "-addr", "localhost:0", "-data", file)
	nobody(cmd)
	said := launchCommand(t, cmd).said(t)
	if len(said) != 1 || !strings.HasPrefix(said[0], "cars: journal: "+file+" cannot be opened: its mode is 0444") || strings.Contains(said[0], "choose a folder") {
		t.Errorf("got %q, want one line that names the file and its mode", said)
	}
}

// TestSmallDisk fills a disk of 200 kB: with changes of one car, which leave the file
// mostly dead and are always possible, and then with cars. Deleting is possible on the full
// disk, and makes room.
func TestSmallDisk(t *testing.T) {
	t.Parallel()
	asRoot(t)
	dir := t.TempDir()
	mount(t, "-t", "tmpfs", "-o", "size=200k", "tmpfs", dir)
	file := filepath.Join(dir, "cars.jsonl")
	s := serve(t, file)
	for n := range 2000 { // 600 KB
		s.wantStatus(t, 200, "PATCH", "/api/cars/1", fmt.Sprintf(`{"price":%d}`, n))
	}
	var last int
	for status := 201; status == 201; last++ {
		var body string
		var err error
		if status, body, err = s.send(t, "POST", "/api/cars", encode(carOf(1))); err != nil || status != 201 && status != 507 {
			t.Fatalf("got %d %s, %v, want 201 until it is 507", status, body, err)
		}
	}
	want := s.cars(t)
	if last < 100 || len(want) != 32+last-1 {
		t.Errorf("got 507 after %d cars, and have %d", last, len(want))
	}
	for range 5 {
		s.wantStatus(t, 507, "POST", "/api/cars", encode(carOf(2)))
	}
	for id := 33; id < 33+last-1; id++ {
		s.wantStatus(t, 200, "DELETE", fmt.Sprint("/api/cars/", id), "")
		delete(want, id)
	}
	wantSame(t, s.cars(t), want)
	for range 20 {
		s.wantStatus(t, 201, "POST", "/api/cars", encode(carOf(1)))
	}
	want = s.cars(t)
	s.crash(t)
	wantSame(t, serve(t, file).cars(t), want)
}

// TestHungDisk has 60 clients change cars while the disk hangs, where there is room for 50
// requests, and come again and again. After 10 s they are answered that the outcome is
// unknown, or that nothing was changed, and reads have room. When the disk is back,
// the first write is seen to have happened.
func TestHungDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 20 seconds; run without -short")
	}
	t.Parallel()
	s := serve(t, filepath.Join(t.TempDir(), "cars.jsonl"), "-max-in-flight", "50")
	s.skipLog()
	unplug := tamper(t, s, syncs, "delay_enter=300000000")
	began := time.Now()
	stop := make(chan struct{})
	var mu sync.Mutex
	answers := map[string]int{}
	var clients sync.WaitGroup
	for range 60 {
		clients.Go(func() {
			for {
				req, _ := http.NewRequest("PUT", s.url+"/api/cars/2", strings.NewReader(saab))
				req.Header.Set("Content-Type", "application/json")
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				mu.Lock()
				switch text := string(body); {
				case strings.Contains(text, "whether the change was made is not known") && resp.Header.Get("Retry-After") == "":
					answers["unknown"]++
					if took := time.Since(began); took < 10*time.Second {
						t.Errorf("answered after %v, want 10 s", took)
					}
				case strings.Contains(text, "Nothing was changed"):
					answers["unchanged"]++
				case strings.Contains(text, "-max-in-flight"):
					answers["no room"]++
				default:
					t.Errorf("got %d %s", resp.StatusCode, text)
				}
				mu.Unlock()
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	ready := func(want int) {
		t.Helper()
		for late := time.Now().Add(20*time.Second + patience); ; {
			status, body, err := s.get("/readyz")
			if err == nil && status == want {
				return
			}
			if time.Now().After(late) {
				t.Fatalf("/readyz: got %d %s, %v, want %d", status, body, err, want)
			}
		}
	}
	ready(503)
	if took := time.Since(began); took < 5*time.Second || took > 9*time.Second+patience/2 {
		t.Errorf("/readyz turned 503 after %v, want 5 s", took)
	}
	for late := began.Add(10*time.Second + patience); ; { // until the first are answered
		mu.Lock()
		n := answers["unknown"]
		mu.Unlock()
		if n > 0 {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("got %v, want an answer that the outcome is unknown", answers)
		}
		time.Sleep(10 * time.Millisecond)
	}
	for range 100 {
		s.wantCar(t, "/api/cars/1")
		if !strings.Contains(s.wantStatus(t, 200, "GET", "/api/cars/2", ""), "Mercedes") {
			t.Error("what is not on the disk is seen")
		}
	}
	close(stop)
	clients.Wait()
	if answers["unknown"] != 1 || answers["unchanged"] < 49 {
		t.Errorf("got answers %v, want the outcome of one to be unknown, and no other to change anything", answers)
	}
	unplug()
	ready(200)
	if !strings.Contains(s.wantStatus(t, 200, "GET", "/api/cars/2", ""), "Saab") {
		t.Error("the write that had reached the disk is not seen")
	}
	s.wantStatus(t, 200, "PUT", "/api/cars/2", saab)
}
