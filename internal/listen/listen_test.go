package listen

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// listen listens until the test ends.
func listen(t *testing.T, addr string) []net.Listener {
	t.Helper()
	listeners, err := On(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, l := range listeners {
			l.Close()
		}
	})
	return listeners
}

func hasIPv6() bool { return len(loopbackHosts()) == 2 }

func TestLocalhostIsBothAddresses(t *testing.T) {
	want := 1
	if hasIPv6() {
		want = 2
	}
	for _, addr := range []string{"localhost:0", "LocalHost:0"} {
		listeners := listen(t, addr)
		if len(listeners) != want || !Loopback(listeners) {
			t.Fatalf("%s: got %d listeners, want %d", addr, len(listeners), want)
		}
		_, port, _ := net.SplitHostPort(listeners[0].Addr().String())
		server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
		served := make(chan error, 1)
		go func() { served <- Serve(server, listeners) }()
		for _, host := range loopbackHosts() {
			resp, err := http.Get("http://" + net.JoinHostPort(host, port))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
		server.Close()
		if err := <-served; err != http.ErrServerClosed {
			t.Errorf("got %v", err)
		}
	}
	for _, addr := range []string{"127.0.0.1:0", ":0"} {
		if got := len(listen(t, addr)); got != 1 {
			t.Errorf("%s: got %d listeners", addr, got)
		}
	}
}

// TestListenOnATakenPort has the port be taken on either of the addresses of localhost.
// The other must then be free again.
func TestListenOnATakenPort(t *testing.T) {
	for _, host := range loopbackHosts() {
		busy := listen(t, net.JoinHostPort(host, "0"))[0].Addr().String()
		_, port, _ := net.SplitHostPort(busy)
		for _, addr := range []string{busy, "localhost:" + port} {
			_, err := On(addr)
			if err == nil || !strings.HasPrefix(err.Error(), `cannot listen on "`+addr+`": `) ||
				!strings.Contains(err.Error(), "in use") || strings.Count(err.Error(), port) > 1 {
				t.Errorf("%s: got %v", addr, err)
			}
		}
		for _, other := range loopbackHosts() {
			if other != host {
				listen(t, net.JoinHostPort(other, port))
			}
		}
	}
	if _, err := On("256.256.256.256:1"); err == nil || !strings.HasPrefix(err.Error(), `cannot listen on "256.256.256.256:1": `) {
		t.Errorf("got %v", err)
	}
}

// fakeListener has an address and no more.
type fakeListener struct {
	net.Listener
	addr net.Addr
}

func (f fakeListener) Addr() net.Addr { return f.addr }

func TestLoopback(t *testing.T) {
	for ips, want := range map[string]bool{"127.0.0.1": true, "127.1.2.3": true, "::1": true, "127.0.0.1 ::1": true,
		"0.0.0.0": false, "::": false, "192.0.2.1": false, "127.0.0.1 192.0.2.1": false} {
		var listeners []net.Listener
		for ip := range strings.FieldsSeq(ips) {
			listeners = append(listeners, fakeListener{addr: &net.TCPAddr{IP: net.ParseIP(ip)}})
		}
		if got := Loopback(listeners); got != want {
			t.Errorf("%s: got %v", ips, got)
		}
	}
}

func TestPublicAddr(t *testing.T) {
	listeners := []net.Listener{fakeListener{addr: &net.TCPAddr{IP: net.IPv6zero, Port: 9000}}}
	for addr, want := range map[string]string{
		"localhost:0":    "localhost:9000",
		":9000":          "localhost:9000",
		"0.0.0.0:0":      "localhost:9000",
		"[::]:9000":      "localhost:9000",
		"[::1]:0":        "[::1]:9000",
		"192.0.2.7:9000": "192.0.2.7:9000",
	} {
		if got := PublicAddr(addr, listeners); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
}

// TestStopDoesNotWaitForSilence: connections that have never sent anything are closed at
// a stop, with and without TLS, and a request that is being answered is not.
func TestStopDoesNotWaitForSilence(t *testing.T) {
	for _, secure := range []bool{false, true} {
		var silent SilentConns
		var accepted sync.WaitGroup
		inside, leave := make(chan bool), make(chan bool)
		server := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				inside <- true
				<-leave
			}),
			ConnState: func(conn net.Conn, state http.ConnState) {
				silent.State(conn, state)
				if state == http.StateNew {
					accepted.Done()
				}
			},
			ErrorLog: log.New(io.Discard, "", 0),
		}
		scheme := "http://"
		if secure {
			scheme = "https://"
			server.TLSConfig = newTLS(t, writeCertificate(t, t.TempDir(), "one"), nil)
		}
		listeners := listen(t, "127.0.0.1:0")
		addr := listeners[0].Addr().String()
		served := make(chan error, 1)
		go func() { served <- Serve(server, listeners) }()

		accepted.Add(3)
		answered := make(chan error, 1)
		client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		go func() {
			_, err := client.Get(scheme + addr)
			answered <- err
		}()
		select {
		case <-inside:
		case err := <-answered:
			t.Fatal(err)
		}
		var conns []net.Conn
		for range 2 {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conns = append(conns, conn)
		}
		accepted.Wait()
		stopped := make(chan error, 1)
		go func() { stopped <- silent.Shutdown(context.Background(), server) }()
		for _, conn := range conns {
			conn.SetReadDeadline(time.Now().Add(3 * time.Second)) // net/http closes them after 5
			if _, err := conn.Read(make([]byte, 1)); err != io.EOF && !strings.Contains(err.Error(), "reset") {
				t.Errorf("a silent connection: %v", err)
			}
		}
		select {
		case err := <-stopped:
			t.Errorf("stopped while a request was inside: %v", err)
		default:
		}
		close(leave)
		if err := errors.Join(<-answered, <-stopped); err != nil {
			t.Error(err)
		}
		if err := <-served; err != http.ErrServerClosed {
			t.Errorf("got %v", err)
		}
	}
}

// writeCertificate writes a certificate for name and its key to dir.
func writeCertificate(t *testing.T, dir, name string) (files [2]string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyBytes, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files = [2]string{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	for i, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: cert}, {Type: "PRIVATE KEY", Bytes: keyBytes}} {
		if err := os.WriteFile(files[i], pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func newTLS(t *testing.T, files [2]string, report func(error)) *tls.Config {
	t.Helper()
	config, err := TLSConfig(files[0], files[1], report)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func TestTLS(t *testing.T) {
	server := &http.Server{
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }),
		TLSConfig: newTLS(t, writeCertificate(t, t.TempDir(), "cars.example"), nil),
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	listeners := listen(t, "localhost:0")
	addr := listeners[0].Addr().String()
	go Serve(server, listeners)
	defer server.Close()
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID}})
		want := strings.HasPrefix(suite.Name, "TLS_ECDHE_ECDSA_") && (strings.Contains(suite.Name, "GCM") || strings.Contains(suite.Name, "CHACHA20"))
		if (err == nil) != want {
			t.Errorf("%s: got %v, want accepted: %v", suite.Name, err, want)
		}
		if err == nil {
			conn.Close()
		}
	}
	if conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		conn.Close()
		t.Error("TLS 1.1 is accepted")
	}
	for _, listener := range listeners {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MaxVersion: version}, ForceAttemptHTTP2: true}
			resp, err := (&http.Client{Transport: transport}).Get("https://" + listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if resp.ProtoMajor != 2 {
				t.Errorf("TLS %x: got %s", version, resp.Proto)
			}
			resp.Body.Close()
			transport.CloseIdleConnections()
		}
	}
}

// TestRenewedCertificate: files that have changed are used, and files that cannot be
// used are reported once and change nothing.
func TestRenewedCertificate(t *testing.T) {
	dir := t.TempDir()
	files := writeCertificate(t, dir, "one")
	var reports []string
	c := &certificate{certFile: files[0], keyFile: files[1], report: func(err error) { reports = append(reports, err.Error()) }}
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	want := func(name string, reported int) {
		t.Helper()
		for range 2 {
			c.checked = c.checked.Add(-time.Second)
			pair, err := c.get(nil)
			if err != nil || pair.Leaf.DNSNames[0] != name || len(reports) != reported {
				t.Fatalf("got %v %v, reported %q; want %s, and %d", pair.Leaf.DNSNames, err, reports, name, reported)
			}
		}
	}
	want("one", 0)
	writeCertificate(t, dir, "renewed")
	if pair, _ := c.get(nil); pair.Leaf.DNSNames[0] != "one" {
		t.Error("the files are looked at for every connection")
	}
	want("renewed", 0)

	good, _ := os.ReadFile(files[0])
	os.WriteFile(files[0], good[:len(good)/2], 0o600)
	want("renewed", 1)
	if !strings.Contains(reports[0], files[0]) || !strings.Contains(reports[0], "stays in use") {
		t.Errorf("reported %q", reports[0])
	}
	os.Remove(files[0])
	want("renewed", 2)
	writeCertificate(t, dir, "again")
	want("again", 2)
}

func TestCertificateThatCannotBeUsed(t *testing.T) {
	files := writeCertificate(t, t.TempDir(), "one")
	other := writeCertificate(t, t.TempDir(), "other")
	for _, pair := range [][2]string{{files[0], other[1]}, {files[1], files[1]}, {files[0] + "x", files[1]}} {
		if _, err := TLSConfig(pair[0], pair[1], nil); err == nil || !strings.Contains(err.Error(), pair[0]) {
			t.Errorf("%v: got %v", pair, err)
		}
	}
}

func TestServerLimits(t *testing.T) {
	server := NewServer(nil, time.Minute)
	if server.WriteTimeout != 70*time.Second || server.IdleTimeout != 75*time.Second || server.ReadHeaderTimeout != 5*time.Second {
		t.Errorf("got %v to write, %v idle and %v for the header", server.WriteTimeout, server.IdleTimeout, server.ReadHeaderTimeout)
	}
}
