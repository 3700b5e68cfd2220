// Package listen opens the address that a server was told to listen on, and says
// what to do if that cannot be, and where it can be reached if it can.
package listen

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// On listens on a TCP address, host:port. Errors are sentences for the user.
func On(addr string) (net.Listener, error) {
	listener, err := net.Listen("tcp", addr)
	if err == nil {
		return listener, nil
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // without the address, which may be another than the one that was given
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	return nil, fmt.Errorf("cannot listen on %q: %w; choose another address, such as -addr localhost:0 for any free port", addr, err)
}

// Loopback reports whether only this machine can reach an address.
func Loopback(actual net.Addr) bool {
	tcp, ok := actual.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// PublicAddr is the host and port under which a client on this machine reaches a
// server that was asked to listen on addr and does on actual.
func PublicAddr(addr string, actual net.Addr) string {
	host, _, _ := net.SplitHostPort(addr)
	_, port, _ := net.SplitHostPort(actual.String())
	if host == "" || net.ParseIP(host).IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
