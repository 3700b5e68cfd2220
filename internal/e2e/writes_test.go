package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const saab = `{"name":"Saab 900","manufacturer":"Saab","year":1994}`

// dial opens a connection and sends text, which may be part of a request.
func (s *server) dial(t testing.TB, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

// header is that of a request with a body of length bytes.
func header(method, target string, length int, more ...string) string {
	lines := append([]string{method + " " + target + " HTTP/1.1", "Host: localhost", "Content-Type: application/json", fmt.Sprint("Content-Length: ", length)}, more...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// wantError reads an answer from conn that must be an error in JSON, after
// which the connection is closed.
func wantError(t *testing.T, conn net.Conn, status int, message string) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	var body struct {
		Error, Message string
		Code           int
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || resp.StatusCode != status || body.Code != status || body.Message != message {
		t.Errorf("got %d %+v, %v, want %d %q", resp.StatusCode, body, err, status, message)
	}
	if !resp.Close {
		t.Errorf("after a %d the connection stays open", status)
	}
}

func TestSlowBodies(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 10 seconds; run without -short")
	}
	t.Parallel()
	s := start(t)
	before, _, _ := s.get("/api/cars")
	stopped := s.dial(t, header("POST", "/api/cars", len(saab))+saab[:20])
	crawling := s.dial(t, header("PUT", "/api/cars/1", len(saab)))
	chunked := s.dial(t, "PATCH /api/cars/1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"yea")
	deleting := s.dial(t, header("DELETE", "/api/cars/1", 10))
	reading := s.dial(t, header("GET", "/api/cars/1", 10))
	go func() {
		for i := range saab {
			if _, err := io.WriteString(crawling, saab[i:i+1]); err != nil {
				return
			}
			time.Sleep(time.Second) // it is the pace that is tested
		}
	}()
	for _, conn := range []net.Conn{stopped, crawling, chunked, deleting, reading} {
		wantError(t, conn, 408, "The body did not arrive in time")
	}
	if after, _, _ := s.get("/api/cars"); after != before {
		t.Error("something has changed")
	}
	s.wantCar(t, "/api/cars/1")
}

func TestTooLargeBodiesAreRefusedBeforeTheyAreSent(t *testing.T) {
	t.Parallel()
	s := start(t, "-delay", "0")
	for _, test := range []struct {
		method, target string
		limit          int
	}{{"POST", "/api/cars", 1 << 20}, {"PUT", "/api/cars/1", 1 << 20}, {"PATCH", "/api/cars/1", 1 << 20}, {"DELETE", "/api/cars/1", 1 << 20}, {"PUT", "/api/cars", 64 << 20}} {
		message := fmt.Sprintf("The body is larger than %d bytes", test.limit)
		wantError(t, s.dial(t, header(test.method, test.target, test.limit+1)), 413, message)
		wantError(t, s.dial(t, header(test.method, test.target, test.limit+1, "Expect: 100-continue")), 413, message)
	}
	// One who sends all, and wants the connection closed, reads the answer, too.
	for range 20 {
		const size = 3 << 20
		conn := s.dial(t, header("POST", "/api/cars", size, "Connection: close"))
		if _, err := io.WriteString(conn, strings.Repeat(" ", size)); err != nil { // many clients give up here
			t.Error(err)
		}
		wantError(t, conn, 413, "The body is larger than 1048576 bytes")
	}
	// One who sends all the same reads the answer, too.
	body := strings.Repeat(" ", 5<<20)
	resp, err := http.Post(s.url+"/api/cars", "application/json", strings.NewReader(body))
	if err != nil || resp.StatusCode != 413 {
		t.Errorf("5 MiB: got %v, %v, want 413", resp, err)
	}
	s.wantCar(t, "/api/cars/1")
}

// TestClientsThatLeaveBeforeTheirTurn: nothing happens for them. The server has 3 s to
// notice that they have left.
func TestClientsThatLeaveBeforeTheirTurn(t *testing.T) {
	t.Parallel()
	s := start(t)
	_, before, _ := s.get("/api/cars")
	for _, request := range []string{
		header("POST", "/api/cars?_delay=3000", len(saab)) + saab,
		header("PUT", "/api/cars/1?_delay=3000", len(saab)) + saab,
		header("PATCH", "/api/cars/1?_delay=3000", 13) + `{"year":2000}`,
		header("DELETE", "/api/cars/1?_delay=3000", 0),
		header("DELETE", "/api/cars/1?_delay=3000", 2) + "{}",
		header("PUT", "/api/cars?_delay=3000", 2) + "[]",
	} {
		conn := s.dial(t, request)
		method, _, _ := strings.Cut(request, " ")
		s.waitForLine(t, method+" /api/cars")
		conn.Close()
	}
	for i := range len(saab) { // cut off at every byte of the body
		s.dial(t, header("PUT", "/api/cars/1?_delay=0", len(saab))+saab[:i]).Close()
	}
	if _, after, err := s.get("/api/cars?_delay=4000"); after != before || err != nil {
		t.Errorf("something has changed: %s, %v", after, err)
	}
}
