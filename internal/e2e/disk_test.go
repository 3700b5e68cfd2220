package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small tmpfs; run as root on Linux")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("needs a small tmpfs, and mount says %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", dir).Run() })
	file, filler := filepath.Join(dir, "cars.jsonl"), filepath.Join(dir, "filler")
	s := serve(t, file)
	want := s.cars(t)
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o644); err == nil {
		t.Fatal("got 1 MiB into 256 KiB, want an error")
	}
	post := func(n int) (status int) {
		status, body, err := s.send(t, "POST", "/api/cars", encode(carOf(n)))
		if err != nil || status != 201 && status != 507 {
			t.Fatalf("got %d %s, %v, want 201 or 507", status, body, err)
		}
		if status == 201 {
			c := parse(t, body)
			want[c.ID] = c
		}
		wantSame(t, s.cars(t), want)
		return status
	}
	for n := 1; post(n) != 507; n += 2 { // until the last page of the file is full
	}
	for n := range 10 {
		post(n) // of which half are larger than a page
	}
	s.wantCar(t, "/api/cars/1")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if status := post(100); status != 201 {
		t.Errorf("got %d with room again, want 201", status)
	}
	wantSame(t, replay(t, file), want)
	s.crash(t)
	wantSame(t, serve(t, file).cars(t), want)
}

// The system calls that tests tamper with, as strace names them.
const (
	syncs   = "fsync,fdatasync"
	renames = "/^rename"
)

// tamper has strace do something to every one of some system calls of s, until stop is
// called. It skips the test if that cannot be.
func tamper(t *testing.T, s *server, calls, what string) (stop func()) {
	t.Helper()
	stop, missing := inject(t, s, calls, what)
	if missing != "" {
		t.Skip(missing)
	}
	return stop
}

// inject is tamper, but says what is missing.
func inject(t testing.TB, s *server, calls, what string) (stop func(), missing string) {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		return nil, "needs strace, which is there for Linux: apt-get install strace"
	}
	cmd := exec.Command(path, "-f", "-o", os.DevNull, "-p", fmt.Sprint(s.cmd.Process.Pid),
		"-e", "trace="+calls, "-e", "inject="+calls+":"+what)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { cmd.Process.Kill(); cmd.Wait() })
	t.Cleanup(stop)
	if said, _ := bufio.NewReader(stderr).ReadString('\n'); !strings.Contains(said, " attached") {
		return nil, "needs leave to trace other processes, and strace 5.0 or later; in a container run it with --cap-add SYS_PTRACE. It says: " + said
	}
	return stop, ""
}

func TestFailedSync(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cars.jsonl")
	s := serve(t, file)
	s.wantStatus(t, 201, "POST", "/api/cars", saab)
	want := s.cars(t)
	heal := tamper(t, s, syncs, "error=EIO")
	refused := carOf(1)
	s.wantStatus(t, 503, "POST", "/api/cars", encode(refused))
	s.wantCar(t, "/api/cars/1")
	heal()
	s.wantEveryWriteRefused(t) // what the kernel dropped after the first error, no later success brings back
	s.crash(t)
	got := serve(t, file).cars(t)
	refused.ID = 34
	if got[34] == refused { // what was not acknowledged may have happened all the same
		delete(got, 34)
	}
	wantSame(t, got, want)
}

func TestReadsWhileTheDiskHangs(t *testing.T) {
	s := serve(t, filepath.Join(t.TempDir(), "cars.jsonl"))
	want := s.cars(t)
	unplug := tamper(t, s, syncs, "delay_enter=30000000") // 30 s
	posted := make(chan bool)
	go func() {
		s.wantStatus(t, 201, "POST", "/api/cars", saab)
		close(posted)
	}()
	s.waitForLine(t, "Requesting car creation")
	for range 200 {
		s.wantCar(t, "/api/cars/1")
	}
	wantSame(t, s.cars(t), want)
	select {
	case <-posted:
		t.Error("a write was answered before it was on the disk")
	default:
	}
	unplug()
	<-posted
	s.wantStatus(t, 200, "GET", "/api/cars/33", "")
}
