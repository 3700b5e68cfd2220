package guard

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"cars/internal/rest"
)

// pipes is a listener for connections without a network, on which time is that of the
// synctest bubble and nothing is buffered: a byte counts as taken when it is read.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p pipes) dial() net.Conn {
	client, server := net.Pipe()
	p <- server
	return client
}

// servePaced serves handler with the timeouts of the real server until the test ends.
func servePaced(t *testing.T, handler http.HandlerFunc) pipes {
	server := &http.Server{
		Handler:           Pace(handler),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      70 * time.Second,
		Protocols:         new(http.Protocols),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	listener := make(pipes)
	go server.Serve(listener)
	t.Cleanup(func() {
		close(listener)
		server.Close()
		time.Sleep(time.Hour) // whoever still sleeps must end inside the bubble
	})
	return listener
}

// A slowReader reads so many bytes a second from the first on.
type slowReader struct {
	io.Reader
	rate float64
}

func (s slowReader) Read(p []byte) (int, error) {
	p = p[:min(len(p), 16<<10)]
	n, err := s.Reader.Read(p)
	time.Sleep(time.Duration(float64(n) / s.rate * float64(time.Second)))
	return n, err
}

// TestSlowAnswers has clients take a list of 45 MB at different rates.
func TestSlowAnswers(t *testing.T) {
	const size = 45_000_000
	for _, test := range []struct {
		rate   float64
		pieces int // as which the handler writes
		whole  bool
	}{
		{400_000, 1, true}, {400_000, 10_000, true}, {70_000, 1, true}, {50_000, 1, false}, {1, 1, false},
	} {
		for _, version := range []int{1, 2} {
			t.Run(fmt.Sprintf("HTTP/%d at %.0f in %d", version, test.rate, test.pieces), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					outcome := make(chan error, 1)
					listener := servePaced(t, func(w http.ResponseWriter, r *http.Request) {
						time.Sleep(60 * time.Second) // the longest processing time
						w.Header().Set("Content-Length", fmt.Sprint(size))
						piece := make([]byte, size/test.pieces)
						var err error
						for i := 0; i < test.pieces && err == nil; i++ {
							_, err = w.Write(piece)
						}
						outcome <- err
					})
					transport := newTransport(listener, version)
					defer transport.CloseIdleConnections()
					resp, err := (&http.Client{Transport: transport}).Get("http://localhost/")
					if err != nil {
						t.Fatal(err)
					}
					start := time.Now()
					n, err := io.Copy(io.Discard, slowReader{resp.Body, test.rate})
					resp.Body.Close()
					failure := <-outcome
					if test.whole && (n != size || err != nil || failure != nil) {
						t.Errorf("%d bytes came in %v: %v; the server had %v", n, time.Since(start), err, failure)
					}
					if !test.whole && (err == nil || !errors.Is(failure, os.ErrDeadlineExceeded) || n > size/2 && test.rate < 100) {
						t.Errorf("%d bytes came in %v: %v; the server had %v", n, time.Since(start), err, failure)
					}
				})
			})
		}
	}
}

func newTransport(listener pipes, version int) *http.Transport {
	transport := &http.Transport{
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return listener.dial(), nil },
		DisableCompression: true,
		Protocols:          new(http.Protocols),
	}
	transport.Protocols.SetHTTP1(version == 1)
	transport.Protocols.SetUnencryptedHTTP2(version == 2)
	return transport
}

// TestAnswerInBursts has a client that is fast enough on average, behind buffers that take
// 14 MB at once and then nothing until they are empty, as those of Linux do.
func TestAnswerInBursts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, burst, rate = 45_000_000, 14_000_000, 70_000
		outcome := make(chan error, 1)
		listener := servePaced(t, func(w http.ResponseWriter, r *http.Request) {
			_, err := w.Write(make([]byte, size))
			outcome <- err
		})
		client := listener.dial()
		defer client.Close()
		io.WriteString(client, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		for left := size; left > 0; left -= burst {
			io.CopyN(io.Discard, client, burst)
			time.Sleep(burst / rate * time.Second)
		}
		go io.Copy(io.Discard, client) // the header, which counts too
		if err := <-outcome; err != nil {
			t.Error(err)
		}
	})
}

// TestClientsThatStop are cut off in time, however much they have read or sent before,
// and after however long a processing time.
func TestClientsThatStop(t *testing.T) {
	const size = 45_000_000
	get := "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	put := fmt.Sprintf("PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", size)
	for _, test := range []struct {
		request string
		bytes   int // that move before the client stops
		after   time.Duration
	}{
		{get, 0, 10 * time.Second}, {get, 40_000_000, 5 * time.Minute}, {put, 0, 10 * time.Second}, {put, 40_000_000, time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			outcome := make(chan error, 1)
			listener := servePaced(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "GET" {
					_, err := w.Write(make([]byte, size))
					outcome <- err
					return
				}
				_, err := io.Copy(io.Discard, r.Body)
				outcome <- err
			})
			client := listener.dial()
			defer client.Close()
			io.WriteString(client, test.request)
			if test.request == get {
				io.CopyN(io.Discard, client, int64(test.bytes))
			} else {
				client.Write(make([]byte, test.bytes))
			}
			start := time.Now()
			if err := <-outcome; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%.3s after %d bytes: got %v", test.request, test.bytes, err)
			}
			if got := time.Since(start); got < test.after || got > test.after+2*time.Second {
				t.Errorf("%.3s after %d bytes: after %v, want %v", test.request, test.bytes, got, test.after)
			}
		})
	}
}

// TestOwnLimits has a handler that sets its own deadline, as for a stream of events: it
// may be silent for hours and write more than is small.
func TestOwnLimits(t *testing.T) {
	for _, version := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			const size = 200_000
			listener := servePaced(t, func(w http.ResponseWriter, r *http.Request) {
				connection := http.NewResponseController(w)
				connection.SetWriteDeadline(time.Time{})
				for range 4 {
					if _, err := w.Write(make([]byte, size/4)); err != nil {
						t.Errorf("HTTP/%d: %v", version, err)
					}
					connection.Flush()
					time.Sleep(time.Hour)
				}
			})
			transport := newTransport(listener, version)
			defer transport.CloseIdleConnections()
			resp, err := (&http.Client{Transport: transport}).Get("http://localhost/")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
				t.Errorf("HTTP/%d: %d bytes came: %v", version, n, err)
			}
		})
	}
}

// TestSlowBodies has clients send bodies at different rates, some after a pause.
func TestSlowBodies(t *testing.T) {
	const limit = 64 << 20
	for _, test := range []struct {
		size  int
		rate  float64
		pause time.Duration // before the first byte
		want  int
	}{
		{20_000_000, 1_000_000, 0, 200},
		{20_000_000, 70_000, 0, 200},
		{20_000_000, 60_000, 0, 408},
		{20_000_000, 1_000_000, 9 * time.Second, 200},
		{20_000_000, 1_000_000, 11 * time.Second, 408},
		{100, 1_000_000, 9 * time.Second, 200},
		{100, 1_000_000, 11 * time.Second, 408},
		{100, 20, 0, 200},
		{100, 9, 0, 408},
	} {
		for _, version := range []int{1, 2} {
			t.Run(fmt.Sprintf("HTTP/%d %d bytes at %.0f after %v", version, test.size, test.rate, test.pause), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					read := make(chan int, 1) // what the server has come to
					listener := servePaced(t, func(w http.ResponseWriter, r *http.Request) {
						body, err := rest.ReadBody(w, r, limit, "application/json")
						if err != nil {
							read <- err.(*rest.Error).Status
							rest.WriteError(w, err)
							return
						}
						read <- http.StatusOK
						// What was a deadline for the body is none for what comes behind it.
						time.Sleep(2 * time.Second)
						r.Body.Read(make([]byte, 1))
						select {
						case <-time.After(58 * time.Second):
						case <-r.Context().Done():
							t.Error("the request was given up while it was processed")
						}
						if len(body) != test.size {
							t.Errorf("%d bytes arrived", len(body))
						}
					})
					transport := newTransport(listener, version)
					defer transport.CloseIdleConnections()
					body := &slowBody{left: test.size, rate: test.rate, pause: test.pause}
					req, _ := http.NewRequest("PUT", "http://localhost/", body)
					req.ContentLength = int64(test.size)
					req.Header.Set("Content-Type", "application/json")
					resp, err := (&http.Client{Transport: transport}).Do(req)
					if got := <-read; got != test.want {
						t.Errorf("the server came to %d, want %d", got, test.want)
					}
					if err != nil {
						if test.want == http.StatusOK { // or the client was still sending when the pipe was closed
							t.Fatal(err)
						}
						return
					}
					resp.Body.Close()
					if resp.StatusCode != test.want {
						t.Errorf("got %d, want %d", resp.StatusCode, test.want)
					}
				})
			})
		}
	}
}

type slowBody struct {
	left  int
	rate  float64
	pause time.Duration
}

func (b *slowBody) Read(p []byte) (int, error) {
	time.Sleep(b.pause)
	b.pause = 0
	n := min(len(p), b.left, max(1, int(b.rate/4)))
	if n == 0 {
		return 0, io.EOF
	}
	time.Sleep(time.Duration(float64(n) / b.rate * float64(time.Second)))
	b.left -= n
	return n, nil
}

// TestNextRequestHasItsOwnTime: the deadline of a body does not end the wait for the
// next request on the connection, nor its body.
func TestNextRequestHasItsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := servePaced(t, func(w http.ResponseWriter, r *http.Request) {
			if _, err := rest.ReadBody(w, r, 100, "application/json"); err != nil {
				rest.WriteError(w, err)
			}
		})
		client := listener.dial()
		defer client.Close()
		answers := bufio.NewReader(client)
		for range 3 {
			io.WriteString(client, "PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
			resp, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != 200 {
				t.Errorf("got %s", resp.Status)
			}
			time.Sleep(9 * time.Second)
		}
	})
}

// TestRefusalIsRead by a client that has asked for the connection to be closed and
// sends its body nevertheless.
func TestRefusalIsRead(t *testing.T) {
	patient := slowest
	patient.patience = time.Minute // the machine may be busy
	server := httptest.NewServer(patient.pace(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest.WriteError(w, rest.Errorf(http.StatusForbidden, "no"))
	})))
	defer server.Close()
	client, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const size = 20 << 20
	fmt.Fprintf(client, "PUT / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", size)
	if _, err := client.Write(bytes.Repeat([]byte("x"), size)); err != nil {
		t.Errorf("while the body was sent: %v", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("got %v, %v", resp, err)
	}
}
