// Package listen opens the addresses of a server, with or without TLS, and closes them
// again.
package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Check returns an error that says what addr must be, unless it is host:port with a port
// from 0 to 65535.
func Check(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return errors.New("must be host:port, such as localhost:8080 or :8080")
	}
	return nil
}

// On listens on a TCP address, host:port. For localhost it listens on one port of both
// loopback addresses, or of the one that the machine has: clients differ in the address
// that they try first, and some try only one. An error is a sentence for the user.
func On(addr string) ([]net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && strings.EqualFold(host, "localhost") {
		return listenLocal(addr, port)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, cannotListen(addr, err)
	}
	return []net.Listener{listener}, nil
}

// listenLocal listens on the loopback addresses. If port is 0, the port that the first
// address gives may be in use on the second. listenLocal then tries further ports.
func listenLocal(addr, port string) (listeners []net.Listener, err error) {
	hosts := loopbackHosts()
	const attempts = 10
	for range attempts {
		listeners, err = listenAll(hosts, port)
		if err == nil {
			return listeners, nil
		}
		if port != "0" {
			break
		}
	}
	return nil, cannotListen(addr, err)
}

// loopbackHosts returns the loopback addresses that the machine has. If it has none, it
// returns 127.0.0.1: listening there then gives the error.
func loopbackHosts() []string {
	var hosts []string
	for _, host := range []string{"127.0.0.1", "::1"} {
		if listener, err := net.Listen("tcp", net.JoinHostPort(host, "0")); err == nil {
			listener.Close()
			hosts = append(hosts, host)
		}
	}
	if hosts == nil {
		return []string{"127.0.0.1"}
	}
	return hosts
}

// listenAll listens on one port of all hosts, or of none. Port 0 stands for a port that is
// free on the first.
func listenAll(hosts []string, port string) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, host := range hosts {
		listener, err := net.Listen("tcp", net.JoinHostPort(host, port))
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			return nil, err
		}
		listeners = append(listeners, listener)
		_, port, _ = net.SplitHostPort(listener.Addr().String())
	}
	return listeners, nil
}

// cannotListen returns a sentence for the user about addr. It leaves out the address in err,
// which may be another than addr.
func cannotListen(addr string, err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	return fmt.Errorf("cannot listen on %q: %w; choose another address, such as -addr localhost:0 for any free port", addr, err)
}

// Loopback reports whether only this machine can reach the listeners.
func Loopback(listeners []net.Listener) bool {
	for _, listener := range listeners {
		if tcp, ok := listener.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
			return false
		}
	}
	return true
}

// PublicAddr returns the host and port by which a client on this machine reaches a server.
// addr is the address that it was asked to listen on, and listeners are what On returned.
func PublicAddr(addr string, listeners []net.Listener) string {
	host, _, _ := net.SplitHostPort(addr)
	_, port, _ := net.SplitHostPort(listeners[0].Addr().String())
	if host == "" || net.ParseIP(host).IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// NewServer returns a server with limits on how long a client may hold a connection without
// sending or reading. longest is how long a handler may take before it begins to answer.
func NewServer(handler http.Handler, longest time.Duration) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second, // header and body
		IdleTimeout:       75 * time.Second,
		WriteTimeout:      longest + 10*time.Second, // from the end of the header to the end of the answer
		// 16 KiB: net/http reads 4 KiB beyond this before it answers 431.
		MaxHeaderBytes: (16 - 4) << 10,
		// OPTIONS * goes to the handler, as all other requests do.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn),
	}
}

// Serve serves on all listeners, with TLS if the server has a configuration for that. It
// returns the first error, which is [http.ErrServerClosed] after Shutdown or Close.
func Serve(server *http.Server, listeners []net.Listener) error {
	ended := make(chan error, len(listeners))
	secure := server.TLSConfig != nil // asked now: Serve makes a configuration for HTTP/2
	for _, l := range listeners {
		go func() {
			if secure {
				ended <- server.ServeTLS(&listener{Listener: l}, "", "")
			} else {
				ended <- server.Serve(&listener{Listener: l})
			}
		}()
	}
	return <-ended
}

// SilentConns are the connections on which no request has begun. The zero value has none.
type SilentConns struct {
	conns sync.Map // a set of net.Conn. Each request deletes its own, which is nearly always gone
}

// State is for the field ConnState of an [http.Server].
func (s *SilentConns) State(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.conns.Store(conn, nil)
	case http.StateIdle: // comes after StateActive
	default:
		s.conns.Delete(conn)
	}
}

// Shutdown is [http.Server.Shutdown], but closes silent connections after 100 ms. [http.Server]
// would wait up to 5 s for their first request. In 100 ms, a request arrives that was sent
// before the stop.
func (s *SilentConns) Shutdown(ctx context.Context, server *http.Server) error {
	const moment = 100 * time.Millisecond
	timer := time.AfterFunc(moment, func() {
		s.conns.Range(func(conn, _ any) bool {
			conn.(net.Conn).Close()
			return true
		})
	})
	defer timer.Stop()
	return server.Shutdown(ctx)
}
