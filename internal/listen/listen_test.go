package listen

import (
	"net"
	"strings"
	"testing"
)

func TestOn(t *testing.T) {
	listener, err := On("localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if !Loopback(listener.Addr()) {
		t.Errorf("%v is not on a loopback address", listener.Addr())
	}
	busy := listener.Addr().String()
	for addr, want := range map[string]string{busy: "in use", "256.256.256.256:1": ""} {
		if _, err := On(addr); err == nil || !strings.HasPrefix(err.Error(), `cannot listen on "`+addr+`": `) ||
			!strings.Contains(err.Error(), want) || strings.Count(err.Error(), addr) > 1 {
			t.Errorf("%s: got %v", addr, err)
		}
	}
}

func TestLoopback(t *testing.T) {
	for ip, want := range map[string]bool{"127.0.0.1": true, "127.1.2.3": true, "::1": true, "0.0.0.0": false, "::": false, "192.0.2.1": false} {
		if got := Loopback(&net.TCPAddr{IP: net.ParseIP(ip)}); got != want {
			t.Errorf("%s: got %v", ip, got)
		}
	}
}

func TestPublicAddr(t *testing.T) {
	actual := &net.TCPAddr{IP: net.IPv6zero, Port: 9000}
	for addr, want := range map[string]string{
		"localhost:0":    "localhost:9000",
		":9000":          "localhost:9000",
		"0.0.0.0:0":      "localhost:9000",
		"[::]:9000":      "localhost:9000",
		"[::1]:0":        "[::1]:9000",
		"192.0.2.7:9000": "192.0.2.7:9000",
	} {
		if got := PublicAddr(addr, actual); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
}
