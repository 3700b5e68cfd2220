//go:build unix

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// slowly skips a test that takes some seconds of starting and waiting.
func slowly(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes many seconds; run without -short")
	}
	t.Parallel()
}

// TestNoQuorum: writes and linearizable reads are refused, local ones grow old, and all
// goes on by itself when there is a quorum again.
func TestNoQuorum(t *testing.T) {
	slowly(t)
	members := startMembers(t, 3)
	s := startServers(t, 1, addrs(members))[0]
	local := startServers(t, 1, addrs(members), "-reads", "local")[0]
	s.want(t, 201, "POST", "/api/cars", saab)
	members[0].freeze()
	members[1].kill()
	resp, text := s.want(t, 503, "DELETE", "/api/cars/1", "")
	if strings.Contains(text, "Nothing was changed") != (resp.Header.Get("Retry-After") != "") {
		t.Errorf("got Retry-After %q with %s", resp.Header.Get("Retry-After"), text)
	}
	s.want(t, 503, "GET", "/api/cars/1", "")
	s.want(t, 503, "GET", "/api/cars", "")
	s.want(t, 503, "GET", "/readyz", "")
	s.want(t, 200, "GET", "/healthz", "")
	fastest := time.Hour // of several, since the machine may be busy
	for range 3 {
		began := time.Now()
		s.want(t, 503, "POST", "/api/cars", saab)
		fastest = min(fastest, time.Since(began))
	}
	if fastest >= 5*time.Second {
		t.Errorf("writes take %v though it is known that etcd does not answer, want 1.5 s and not 5 s", fastest)
	}
	resp, _ = local.want(t, 200, "GET", "/api/cars/1", "")
	if age, err := strconv.Atoi(resp.Header.Get("Age")); err != nil || age < 3 {
		t.Errorf("got Age %q of a local read after seconds without a quorum", resp.Header.Get("Age"))
	}
	local.want(t, 200, "GET", "/readyz", "")
	local.want(t, 503, "POST", "/api/cars", saab)
	members[0].thaw()
	began := time.Now()
	s.until(t, "/readyz", 200)
	s.want(t, 201, "POST", "/api/cars", saab)
	t.Logf("written again %v after the quorum was back", time.Since(began).Round(time.Millisecond))
	resp, _ = local.want(t, 200, "GET", "/api/cars/2", "")
	for late := time.Now().Add(patience); resp.Header.Get("Age") != "0" && time.Now().Before(late); {
		resp, _ = local.want(t, 200, "GET", "/api/cars/2", "")
	}
	if age := resp.Header.Get("Age"); age != "0" {
		t.Errorf("got Age %q of a local read when there was a quorum again", age)
	}
}

// TestQuotaIsFull: writes are 507, deletions, too, and all reads go on. When an operator
// has made room, so do writes.
func TestQuotaIsFull(t *testing.T) {
	slowly(t)
	member := startMembers(t, 1, "--quota-backend-bytes", strconv.Itoa(4<<20))[0]
	s := startServers(t, 1, member.addr)[0]
	large := encode(carOf(2))
	list := "[" + strings.Repeat(large+",", 100) + large + "]"
	status := 200
	for n := 0; n < 50 && status == 200; n++ {
		resp, _ := s.ask(t, "PUT", "/api/cars", list)
		status = resp.StatusCode
	}
	if status != 507 {
		t.Fatalf("got %d of a full etcd, want 507; its log ends with\n%s", status, tail(s.log.String(), 5))
	}
	_, before := s.want(t, 200, "GET", "/api/cars", "")
	s.want(t, 507, "POST", "/api/cars", saab)
	id := before[strings.Index(before, ":")+1 : strings.Index(before, ",")]
	s.want(t, 507, "DELETE", "/api/cars/"+id, "")
	s.want(t, 200, "GET", "/readyz", "")
	if _, after := s.want(t, 200, "GET", "/api/cars", ""); after != before {
		t.Error("the catalogue has changed")
	}
	member.makeRoom(t)
	s.want(t, 200, "DELETE", "/api/cars/"+id, "")
	s.want(t, 201, "POST", "/api/cars", saab)
}

// makeRoom is what an operator does with etcdctl compact, defrag and alarm disarm.
func (p *process) makeRoom(t *testing.T) {
	t.Helper()
	p.compact(t)
	p.want(t, 200, "POST", "/v3/maintenance/defragment", "{}")
	_, text := p.want(t, 200, "POST", "/v3/maintenance/alarm", `{"action":"GET"}`)
	_, id, _ := strings.Cut(text, `"memberID":`)
	id = strings.Trim(strings.SplitN(id, ",", 2)[0], ` "`)
	p.want(t, 200, "POST", "/v3/maintenance/alarm", `{"action":"DEACTIVATE","alarm":"NOSPACE","memberID":"`+id+`"}`)
}

// compact drops the history of etcd.
func (p *process) compact(t *testing.T) {
	t.Helper()
	_, text := p.want(t, 200, "POST", "/v3/kv/range", `{"key":"AA=="}`)
	_, revision, _ := strings.Cut(text, `"revision":`)
	revision = strings.Trim(strings.SplitN(revision, ",", 2)[0], ` "`)
	p.ask(t, "POST", "/v3/kv/compaction", `{"physical":true,"revision":"`+revision+`"}`)
}

// TestMissedHistoryIsCompacted: a server that was frozen meanwhile loads all anew.
func TestMissedHistoryIsCompacted(t *testing.T) {
	slowly(t)
	members := startMembers(t, 3)
	servers := startServers(t, 2, addrs(members))
	local := startServers(t, 1, addrs(members), "-reads", "local")[0]
	for _, s := range []*process{servers[1], local} {
		s.freeze()
	}
	for _, m := range members { // or what they have sent already would wait in the connection
		m.kill()
		m.start(t)
	}
	for _, m := range members {
		m.until(t, "/health", 200)
	}
	servers[0].until(t, "/readyz", 200)
	servers[0].want(t, 200, "DELETE", "/api/cars/1", "")
	for range 20 {
		servers[0].want(t, 201, "POST", "/api/cars", saab)
	}
	members[0].compact(t)
	_, want := servers[0].want(t, 200, "GET", "/api/cars", "")
	frozen := time.Now()
	time.Sleep(1500 * time.Millisecond)
	for _, s := range []*process{servers[1], local} {
		s.thaw()
	}
	if resp, text := local.ask(t, "GET", "/api/cars/1", ""); resp.StatusCode != 404 && resp.Header.Get("Age") == "0" {
		t.Errorf("got %s with Age 0 of a server that was frozen for %v", text, time.Since(frozen))
	}
	for range 20 {
		servers[1].want(t, 404, "GET", "/api/cars/1", "")
		if _, got := servers[1].want(t, 200, "GET", "/api/cars", ""); got != want {
			t.Fatalf("got %.200s…, want %.200s…", got, want)
		}
	}
	if reloads := servers[1].metric(t, "cars_etcd_reloads_total"); reloads != 1 {
		t.Errorf("got %v reloads, want 1; the log:\n%s", reloads, servers[1].log)
	}
}

func (p *process) metric(t *testing.T, name string) float64 {
	t.Helper()
	s := &server{url: "http://" + p.addr}
	return s.metric(t, name)
}

// TestBackupIsRestored: etcd has an older state than a server has seen. The server takes
// it, says so in its log, and writes go on from there.
func TestBackupIsRestored(t *testing.T) {
	slowly(t)
	dir := filepath.Join(t.TempDir(), "data")
	member := startMembers(t, 1, "--data-dir", dir)[0]
	servers := startServers(t, 2, member.addr)
	servers[0].want(t, 200, "DELETE", "/api/cars/1", "")
	_, want := servers[0].want(t, 200, "GET", "/api/cars", "")
	member.kill()
	if err := os.CopyFS(dir+".backup", os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	member.start(t)
	member.until(t, "/health", 200)
	for _, s := range servers {
		s.until(t, "/readyz", 200)
	}
	for range 20 {
		servers[0].want(t, 201, "POST", "/api/cars", saab)
	}
	member.kill()
	os.RemoveAll(dir)
	if err := os.Rename(dir+".backup", dir); err != nil {
		t.Fatal(err)
	}
	servers[0].until(t, "/readyz", 503)
	member.start(t)
	member.until(t, "/health", 200)
	for _, s := range servers {
		s.until(t, "/readyz", 200)
		for late := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
			_, got := s.want(t, 200, "GET", "/api/cars", "")
			if got == want {
				break
			}
			if time.Now().After(late) {
				t.Fatalf("%s has %.200s…, want the cars of the backup; the log:\n%s", s.name, got, s.log)
			}
		}
		if log := s.log.String(); !strings.Contains(log, "ERROR") || !strings.Contains(log, "backup") {
			t.Errorf("got the log %q, want an error about a backup", log)
		}
	}
	servers[0].want(t, 201, "POST", "/api/cars", saab)
	_, one := servers[0].want(t, 200, "GET", "/api/cars", "")
	if _, other := servers[1].want(t, 200, "GET", "/api/cars", ""); one != other {
		t.Error("two servers have different cars after a write")
	}
}

// TestUsers: tokens expire every two seconds.
func TestUsers(t *testing.T) {
	slowly(t)
	members := startMembers(t, 3, "--auth-token-ttl", "2", "--bcrypt-cost", "4")
	key, end := base64.StdEncoding.EncodeToString([]byte("cars/")), base64.StdEncoding.EncodeToString([]byte("cars0"))
	for _, ask := range [][2]string{
		{"user/add", `{"name":"root","password":"r"}`}, {"user/add", `{"name":"cars","password":"s3cret"}`},
		{"role/add", `{"name":"root"}`}, {"role/add", `{"name":"cars"}`},
		{"role/grant", `{"name":"cars","perm":{"permType":"READWRITE","key":"` + key + `","range_end":"` + end + `"}}`},
		{"user/grant", `{"user":"root","role":"root"}`}, {"user/grant", `{"user":"cars","role":"cars"}`}, {"enable", `{}`},
	} {
		members[0].want(t, 200, "POST", "/v3/auth/"+ask[0], ask[1])
	}
	for _, wrong := range []string{"", "CARS_ETCD_PASSWORD=wrong"} {
		cmd := command(t, "-addr", freeAddr(t), "-data", "etcd://"+addrs(members)+"/cars")
		cmd.Env = append(os.Environ(), "CARS_ETCD_USER=cars", wrong)
		if wrong == "" {
			cmd.Env = os.Environ()
		}
		began := time.Now()
		out, _ := cmd.CombinedOutput()
		if text := string(out); cmd.ProcessState.ExitCode() != 1 || strings.Count(text, "\n") != 1 || time.Since(began) > patience {
			t.Errorf("%q: got %v after %v: %q, want exit status 1 and one line", wrong, cmd.ProcessState, time.Since(began), text)
		} else {
			t.Logf("%s", text)
		}
	}
	addr := freeAddr(t)
	s := &process{name: "server", addr: addr, log: new(logTail), make: func() *exec.Cmd {
		cmd := command(t, "-addr", addr, "-data", "etcd://"+addrs(members)+"/cars", "-delay", "0", "-log-level", "warn")
		cmd.Env = append(os.Environ(), "CARS_ETCD_USER=cars", "CARS_ETCD_PASSWORD=s3cret")
		return cmd
	}}
	s.start(t)
	t.Cleanup(s.kill)
	s.until(t, "/readyz", 200)
	for end := time.Now().Add(7 * time.Second); time.Now().Before(end); time.Sleep(700 * time.Millisecond) {
		s.want(t, 201, "POST", "/api/cars", saab)
		s.want(t, 200, "GET", "/api/cars/2", "")
	}
	large := encode(carOf(2))
	s.want(t, 200, "PUT", "/api/cars", "["+strings.Repeat(large+",", 200)+large+"]")
	for _, m := range members[:2] { // tokens are forgotten
		m.kill()
		m.start(t)
	}
	s.until(t, "/readyz", 200)
	s.want(t, 201, "POST", "/api/cars", saab)
	if log := s.log.String(); strings.Contains(log, "token") {
		t.Errorf("tokens that expire are nothing to tell, and the log is\n%s", log)
	}
}

// TestReplaceIsOneStep replaces 20,000 cars (100,000 in a long run) by others, from two servers in turn, while
// others read at a third: they never see cars of both.
func TestReplaceIsOneStep(t *testing.T) {
	slowly(t)
	size := 20_000
	if *clusterMinutes > 1 {
		size = 100_000
	}
	members := startMembers(t, 3)
	servers := startServers(t, 3, addrs(members))
	list := func(price int) string {
		var text bytes.Buffer
		for i := range size {
			fmt.Fprintf(&text, `,{"id":%d,"name":"A","manufacturer":"B","price":%d}`, i+1, price)
		}
		text.WriteByte(']')
		text.Bytes()[0] = '['
		return text.String()
	}
	servers[0].want(t, 200, "PUT", "/api/cars", list(1))
	var newest atomic.Int64
	newest.Store(1)
	done := make(chan struct{})
	reading := make(chan time.Duration)
	reads := 0
	go func() {
		var slowest time.Duration
		defer func() { reading <- slowest }()
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			default:
			}
			s := servers[n%3]
			if n%8 > 0 {
				began := time.Now()
				s.ask(t, "GET", "/api/cars/77777", "")
				slowest = max(slowest, time.Since(began))
				continue
			}
			reads++
			least := newest.Load()
			resp, text := s.ask(t, "GET", "/api/cars?_limit=1", "")
			_, after, _ := strings.Cut(text, `"price":`)
			price, _, _ := strings.Cut(after, ",")
			if got, _ := strconv.ParseInt(price, 10, 64); resp.StatusCode != 200 || got < least {
				t.Errorf("%s: got %d with price %s, want at least %d", s.name, resp.StatusCode, price, least)
				return
			}
			version := resp.Header.Get("Catalogue-Version")
			resp, _ = s.ask(t, "GET", "/api/cars?_limit=1&price="+price, "")
			if resp.Header.Get("Catalogue-Version") == version && resp.Header.Get("X-Total-Count") != strconv.Itoa(size) {
				t.Errorf("%s: got %s cars with price %s, want all or none", s.name, resp.Header.Get("X-Total-Count"), price)
				return
			}
		}
	}()
	for price := 2; price <= 3; price++ {
		began := time.Now()
		servers[price%2].want(t, 200, "PUT", "/api/cars", list(price))
		newest.Store(int64(price))
		t.Logf("%d cars replaced in %v", size, time.Since(began).Round(time.Millisecond))
	}
	close(done)
	t.Logf("the slowest GET of one car took %v", <-reading)
	if reads < 3 {
		t.Errorf("got %d lists, want some", reads)
	}
}

// TestEtcdFlags has command lines that make no sense.
func TestEtcdFlags(t *testing.T) {
	t.Parallel()
	cert, _, _ := selfSigned(t)
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	if err := os.WriteFile(garbage, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"-data", "etcd://localhost:2379"}, "prefix"},
		{[]string{"-data", "etcd:///cars"}, "host:port"},
		{[]string{"-data", "etcd://a:b:c/cars"}, `"a:b:c" is not host:port`},
		{[]string{"-data", "etcd://a:99999/cars"}, "is not host:port"},
		{[]string{"-data", "etcd://a,,b/cars"}, "is not host:port"},
		{[]string{"-data", "etcd://root:pw@a/cars"}, "password"},
		{[]string{"-data", "etcd://a/cars?x=1"}, "?"},
		{[]string{"-data", "etcd://a/cars", "-reads", "sometimes"}, "linearizable or local"},
		{[]string{"-data", "", "-reads", "local"}, "-data etcd://"},
		{[]string{"-data", "", "-etcd-ca", cert}, "etcds://"},
		{[]string{"-data", "etcd://a/cars", "-etcd-ca", cert}, "etcds://"},
		{[]string{"-data", "etcds://a/cars", "-etcd-ca", garbage}, "garbage.pem has no certificate"},
		{[]string{"-data", "etcds://a/cars", "-etcd-ca", garbage + ".not"}, "no such file"},
		{[]string{"-data", "etcds://a/cars", "-etcd-cert", cert}, "needs its key"},
		{[]string{"-data", "etcds://a/cars", "-etcd-cert", cert, "-etcd-key", garbage}, "PEM"},
	} {
		cmd := command(t, test.args...)
		out, _ := cmd.CombinedOutput()
		if text := string(out); cmd.ProcessState.ExitCode() != 2 || !strings.HasPrefix(text, "cars: ") || strings.Count(text, "\n") != 1 || !strings.Contains(text, test.says) {
			t.Errorf("cars %v: got %v and %q, want exit status 2 and one line with %q", test.args, cmd.ProcessState, text, test.says)
		}
	}
}

// TestEtcdCannotBeReached: a line says which member said what, and the server tries for
// 30 s. One that comes meanwhile is used.
func TestEtcdCannotBeReached(t *testing.T) {
	slowly(t)
	closed := freeAddr(t)
	silent, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	strange := httptest.NewServer(http.NotFoundHandler())
	defer strange.Close()
	cmd := command(t, "-addr", "localhost:0", "-data", fmt.Sprintf("etcd://%s,%s,%s/cars", closed, silent.Addr(), strange.Listener.Addr().String()))
	began := time.Now()
	out, _ := cmd.CombinedOutput()
	took := time.Since(began)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if cmd.ProcessState.ExitCode() != 1 || len(lines) != 2 || took < 29*time.Second || took > 29*time.Second+patience {
		t.Errorf("got %v after %v: %q, want exit status 1 after 30 s, and two lines", cmd.ProcessState, took, out)
	}
	for _, line := range lines {
		for _, want := range []string{closed, "connection refused", silent.Addr().String(), "no answer in time", strange.Listener.Addr().String(), "status 404, and no answer of etcd"} {
			if !strings.Contains(line, want) {
				t.Errorf("got line %q, want %q in it", line, want)
			}
		}
	}
	t.Logf("%s", out)
}

// TestEtcdWithTLS: members want a certificate of their authority from clients.
func TestEtcdWithTLS(t *testing.T) {
	slowly(t)
	dir := t.TempDir()
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"authority"}}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(time.Hour)}
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(name string, template, parent *x509.Certificate, key *ecdsa.PrivateKey) (cert, keyFile string) {
		der, err := x509.CreateCertificate(crand.Reader, template, parent, key.Public(), authorityKey)
		if err != nil {
			t.Fatal(err)
		}
		secret, _ := x509.MarshalPKCS8PrivateKey(key)
		cert, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600)
		return cert, keyFile
	}
	ca, _ := issue("ca", authority, authority, authorityKey)
	leaf := func(name string, usage ...x509.ExtKeyUsage) (cert, key string) {
		private, _ := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
		return issue(name, &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{Organization: []string{name}}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usage, NotAfter: time.Now().Add(time.Hour)}, authority, private)
	}
	memberCert, memberKey := leaf("member", x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
	cert, key := leaf("cars", x509.ExtKeyUsageClientAuth)

	path, err := exec.LookPath(*etcdBinary)
	if err != nil {
		t.Skip("needs etcd: apt-get install etcd-server")
	}
	addr, peer, metrics := freeAddr(t), "http://"+freeAddr(t), freeAddr(t)
	member := &process{name: "member", addr: metrics, log: new(logTail), make: func() *exec.Cmd {
		return exec.Command(path, "--name", "m1", "--data-dir", filepath.Join(dir, "etcd"), "--log-level", "error",
			"--listen-client-urls", "https://"+addr, "--advertise-client-urls", "https://"+addr, "--listen-metrics-urls", "http://"+metrics,
			"--cert-file", memberCert, "--key-file", memberKey, "--trusted-ca-file", ca, "--client-cert-auth",
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "m1="+peer)
	}}
	member.start(t)
	t.Cleanup(member.kill)
	member.until(t, "/health", 200)
	data := "etcds://" + addr + "/cars"
	s := start(t, "-delay", "0", "-data", data, "-etcd-ca", ca, "-etcd-cert", cert, "-etcd-key", key)
	s.skipLog()
	s.wantStatus(t, 201, "POST", "/api/cars", saab)
	s.wantStatus(t, 200, "GET", "/readyz", "")
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"-data", data, "-etcd-cert", cert, "-etcd-key", key}, "certificate signed by unknown authority"},
		{[]string{"-data", data, "-etcd-ca", ca}, "certificate"},
		{[]string{"-data", "etcd://" + addr + "/cars"}, addr},
	} {
		s := launch(t, "", append([]string{"-addr", "localhost:0"}, test.args...)...)
		line := <-s.lines
		if !strings.Contains(line, "it is tried for 30s") || !strings.Contains(line, test.says) {
			t.Errorf("%v: got %q, want a line with %q", test.args, line, test.says)
		}
		t.Log(line)
		s.cmd.Process.Kill()
	}
}
