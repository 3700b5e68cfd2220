package etcd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cars/internal/etcd"
	"cars/internal/etcd/etcdtest"
)

// onAll runs a test on every kind of etcd: two in memory, and a real one where there is one.
func onAll(t *testing.T, f func(t *testing.T, c *etcd.Client)) {
	for _, version := range []string{"3.4", "3.6"} {
		t.Run("in memory as "+version, func(t *testing.T) {
			f(t, client(t, etcd.Options{Members: etcdtest.New(t, version, 1).Members}))
		})
	}
	t.Run("real", func(t *testing.T) { f(t, client(t, etcd.Options{Members: []string{etcdtest.Start(t)}})) })
}

func client(t *testing.T, options etcd.Options) *etcd.Client {
	c := etcd.New(options)
	t.Cleanup(c.Close)
	return c
}

// within returns a context that ends after a duration.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func puts(pairs ...string) (ops []etcd.Op) {
	for i := 0; i < len(pairs); i += 2 {
		ops = append(ops, etcd.Op{Put: &etcd.Put{Key: []byte(pairs[i]), Value: []byte(pairs[i+1])}})
	}
	return ops
}

func mustTxn(t *testing.T, c *etcd.Client, txn etcd.Txn) etcd.TxnResult {
	t.Helper()
	result, err := c.Txn(within(t, 5*time.Second), txn)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func text(kvs []etcd.KeyValue) (all string) {
	for _, kv := range kvs {
		all += fmt.Sprintf("%s=%s ", kv.Key, kv.Value)
	}
	return strings.TrimSpace(all)
}

func TestRangesAndTransactions(t *testing.T) {
	onAll(t, func(t *testing.T, c *etcd.Client) {
		ctx := within(t, 10*time.Second)
		first := mustTxn(t, c, etcd.Txn{Compare: []etcd.Compare{etcd.Modified([]byte("k/a"), 0)}, Success: puts("k/a", "1", "k/b", "2", "k/c", "\x00\xff")})
		if !first.Succeeded || first.Header.Revision == 0 {
			t.Fatalf("got %+v", first)
		}
		again := mustTxn(t, c, etcd.Txn{Compare: []etcd.Compare{etcd.Modified([]byte("k/a"), 0)}, Success: puts("k/a", "2"),
			Failure: []etcd.Op{{Range: &etcd.Range{Key: []byte("k/a")}}}})
		if again.Succeeded || len(again.Responses) != 1 || text(again.Responses[0].Range.KVs) != "k/a=1" {
			t.Errorf("got %+v", again)
		}
		if got := again.Responses[0].Range.KVs[0]; got.ModRevision != first.Header.Revision || got.CreateRevision != first.Header.Revision {
			t.Errorf("got %+v, want revision %d", got, first.Header.Revision)
		}
		second := mustTxn(t, c, etcd.Txn{Compare: []etcd.Compare{etcd.Created([]byte("k/a"), first.Header.Revision)},
			Success: append(puts("k/a", "3"), etcd.Op{Delete: &etcd.Delete{Key: []byte("k/b")}})})
		if !second.Succeeded {
			t.Errorf("got %+v", second)
		}
		for _, test := range []struct {
			r    etcd.Range
			want string
		}{
			{etcd.Range{Key: []byte("k/a")}, "k/a=3"},
			{etcd.Range{Key: []byte("k/"), End: []byte("k0")}, "k/a=3 k/c=\x00\xff"},
			{etcd.Range{Key: []byte("k/"), End: []byte("k0"), Revision: first.Header.Revision}, "k/a=1 k/b=2 k/c=\x00\xff"},
			{etcd.Range{Key: []byte("k/"), End: []byte("k0"), Limit: 1}, "k/a=3"},
			{etcd.Range{Key: []byte("k/"), End: []byte("k0"), KeysOnly: true}, "k/a= k/c="},
			{etcd.Range{Key: []byte("nothing")}, ""},
		} {
			if result, err := c.Range(ctx, test.r); err != nil || text(result.KVs) != test.want {
				t.Errorf("%s: got %q, %v, want %q", test.r.Key, text(result.KVs), err, test.want)
			}
		}
		_, err := c.Range(ctx, etcd.Range{Key: []byte("k/a"), Revision: second.Header.Revision + 1000})
		var e *etcd.Error
		if !errors.As(err, &e) || !e.Lost() || !e.Final() || e.Full() || !strings.Contains(e.Message, "future") {
			t.Errorf("got %v", err)
		}
		_, err = c.Txn(ctx, etcd.Txn{Success: puts("k/a", strings.Repeat("x", 1600<<10))})
		if !errors.As(err, &e) || !e.Final() || e.Full() || e.Unknown {
			t.Errorf("too large: got %#v", err)
		}
		lease, err := c.Grant(ctx, 30)
		if err != nil || lease == 0 {
			t.Errorf("got lease %d, %v", lease, err)
		}
	})
}

func TestWatch(t *testing.T) {
	onAll(t, func(t *testing.T, c *etcd.Client) {
		ctx := within(t, 10*time.Second)
		first := mustTxn(t, c, etcd.Txn{Success: puts("k/a", "1", "k/b", "2", "l", "no")})
		w, err := c.Watch(ctx, []byte("k/"), []byte("k0"), first.Header.Revision)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		mustTxn(t, c, etcd.Txn{Success: append(puts("k/a", "3"), etcd.Op{Delete: &etcd.Delete{Key: []byte("k/b")}})})
		var got []string
		for len(got) < 4 {
			events, err := w.Next()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				got = append(got, fmt.Sprintf("%d %s=%s %v", e.KV.ModRevision-first.Header.Revision, e.KV.Key, e.KV.Value, e.Deleted()))
			}
		}
		if want := []string{"0 k/a=1 false", "0 k/b=2 false", "1 k/a=3 false", "1 k/b= true"}; !reflect.DeepEqual(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// fake returns an etcd in memory, and a client of it.
func fake(t *testing.T, version string, members int) (*etcdtest.Cluster, *etcd.Client) {
	f := etcdtest.New(t, version, members)
	return f, client(t, etcd.Options{Members: f.Members})
}

func onFakes(t *testing.T, members int, f func(t *testing.T, fake *etcdtest.Cluster, c *etcd.Client)) {
	for _, version := range []string{"3.4", "3.6"} {
		t.Run(version, func(t *testing.T) {
			cluster, c := fake(t, version, members)
			f(t, cluster, c)
		})
	}
}

func TestWatchEnds(t *testing.T) {
	onFakes(t, 1, func(t *testing.T, f *etcdtest.Cluster, c *etcd.Client) {
		ctx := within(t, 10*time.Second)
		next := func(revision int64, then func()) *etcd.Error {
			t.Helper()
			w, err := c.Watch(ctx, []byte("k/"), []byte("k0"), revision)
			if err == nil {
				defer w.Close()
				then()
				_, err = w.Next()
			}
			var e *etcd.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			return e
		}
		mustTxn(t, c, etcd.Txn{Success: puts("k/a", "1")})
		mustTxn(t, c, etcd.Txn{Success: puts("k/a", "2")})
		if e := next(9, f.EndWatches); e.Code != 0 || e.Final() {
			t.Errorf("ended: got %+v", e)
		}
		if e := next(9, func() { f.Quorum(false) }); e.Code != 14 || e.Final() || e.Message != "etcdserver: no leader" {
			t.Errorf("no quorum: got %+v", e)
		}
		if e := next(9, func() {}); e.Code != 14 || e.Final() {
			t.Errorf("still no quorum: got %+v", e)
		}
		f.Quorum(true)
		f.Compact()
		if e := next(2, func() {}); !e.Lost() {
			t.Errorf("compacted: got %+v", e)
		}
	})
}

func TestFailover(t *testing.T) {
	onFakes(t, 3, func(t *testing.T, f *etcdtest.Cluster, c *etcd.Client) {
		var asked [3]atomic.Int32
		for _, fault := range []etcdtest.Fault{etcdtest.Dropped, etcdtest.Lost, etcdtest.Hanging} {
			bad := 0
			for i, member := range f.Members {
				asked[i].Store(0)
				if member == c.Member() {
					bad = i
				}
			}
			f.Fault(func(r etcdtest.Request) etcdtest.Fault {
				asked[r.Member].Add(1)
				if r.Member == bad {
					return fault
				}
				return etcdtest.None
			})
			txn := etcd.Txn{Success: puts("k", fmt.Sprint(fault)), Compare: []etcd.Compare{etcd.Modified([]byte(fmt.Sprint("no", fault)), 0)}}
			result, err := c.Txn(within(t, time.Second), txn)
			if err != nil || !result.Succeeded || !result.Repeated {
				t.Errorf("fault %d: got %+v, %v", fault, result, err)
			}
			if _, err := c.Range(within(t, time.Second), etcd.Range{Key: []byte("k")}); err != nil {
				t.Error(err)
			}
			if n := asked[bad].Load(); n != 1 {
				t.Errorf("fault %d: got %d requests to the bad member, want 1: the others answer", fault, n)
			}
		}
	})
}

// free returns an address on which nothing listens.
func free(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestUnknownOutcomes(t *testing.T) {
	onFakes(t, 2, func(t *testing.T, f *etcdtest.Cluster, c *etcd.Client) {
		txn := func() *etcd.Error {
			t.Helper()
			_, err := c.Txn(within(t, 300*time.Millisecond), etcd.Txn{Success: puts("k", "v")})
			var e *etcd.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			return e
		}
		f.Quorum(false)
		if e := txn(); e.Unknown || e.Code != 0 || !strings.Contains(e.Message, "no leader") {
			t.Errorf("no leader: got %+v", e)
		}
		f.Quorum(true)
		f.Full(true)
		if e := txn(); e.Unknown || !e.Full() || !e.Final() {
			t.Errorf("full: got %+v", e)
		}
		var n atomic.Int32
		f.Fault(func(etcdtest.Request) etcdtest.Fault {
			if n.Add(1) == 1 {
				return etcdtest.Dropped
			}
			return etcdtest.None
		})
		if e := txn(); !e.Unknown || !e.Full() {
			t.Errorf("no answer, then full: got %+v", e)
		}
		f.Full(false)
		f.Fault(func(etcdtest.Request) etcdtest.Fault { return etcdtest.Lost })
		if e := txn(); !e.Unknown || !strings.Contains(e.Error(), f.Members[0]) || !strings.Contains(e.Error(), f.Members[1]) {
			t.Errorf("lost: got %+v", e)
		}
	})
	c := client(t, etcd.Options{Members: []string{free(t), free(t)}})
	_, err := c.Txn(within(t, 300*time.Millisecond), etcd.Txn{Success: puts("k", "v")})
	var e *etcd.Error
	if !errors.As(err, &e) || e.Unknown || strings.Count(e.Error(), "connection refused") != 2 {
		t.Errorf("nobody there: got %+v", err)
	}
}

func TestUsers(t *testing.T) {
	for _, version := range []string{"3.4", "3.6"} {
		f := etcdtest.New(t, version, 2)
		with := func(user, password string) *etcd.Client {
			return client(t, etcd.Options{Members: f.Members, User: user, Password: password})
		}
		read := func(c *etcd.Client) error {
			_, err := c.Range(within(t, time.Second), etcd.Range{Key: []byte("k")})
			return err
		}
		c := with("cars", "secret")
		if err := read(c); err != nil {
			t.Errorf("without users: got %v", err)
		}
		f.Users("cars", "secret")
		before := f.Count("/v3/auth/authenticate")
		for range 3 {
			if err := read(c); err != nil {
				t.Error(err)
			}
		}
		f.Expire()
		w, err := c.Watch(within(t, time.Second), []byte("k"), []byte("l"), 1)
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		if n := f.Count("/v3/auth/authenticate") - before; n != 2 {
			t.Errorf("got %d tokens, want 2", n)
		}
		for _, c := range []*etcd.Client{with("cars", "wrong"), with("", "")} {
			err := read(c)
			var e *etcd.Error
			if !errors.As(err, &e) || !e.Final() || e.Unknown {
				t.Errorf("got %v", err)
			}
		}
	}
}

func TestParseAddress(t *testing.T) {
	for _, test := range []struct {
		text, want string
	}{
		{"etcd://one:2379,two:1,[::1]:3,four,[::2],10.0.0.1/cars", "{[one:2379 two:1 [::1]:3 four:2379 [::2]:2379 10.0.0.1:2379] cars false}"},
		{"etcds://one/my/cars/", "{[one:2379] my/cars true}"},
		{"etcd://one", "needs a prefix"},
		{"etcd://one/", "needs a prefix"},
		{"etcd:///cars", "not host:port"},
		{"etcd://one,/cars", "not host:port"},
		{"etcd://one:0/cars", "not host:port"},
		{"etcd://one:99999/cars", "not host:port"},
		{"etcd://one:x y/cars", "spaces"},
		{"etcd://::1/cars", "not host:port"},
		{"etcd://user:secret@one/cars", "must not have a user"},
		{"etcd://one/cars?a=b", "must not have ?"},
		{"http://one/cars", "must begin with etcd://"},
	} {
		a, err := etcd.ParseAddress(test.text)
		got := fmt.Sprint(a)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, test.want) {
			t.Errorf("%s: got %s, want %s", test.text, got, test.want)
		}
		if err != nil && strings.Contains(got, "secret") {
			t.Errorf("the error has a password: %s", got)
		}
	}
}

// certificate writes a certificate and its key, made by parent or by itself.
func certificate(t *testing.T, name string, parent *tls.Certificate) (pair tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{Organization: []string{name}}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: parent == nil, BasicConstraintsValid: true,
	}
	issuer, issuerKey := template, any(key)
	if parent != nil {
		issuer, issuerKey = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err = tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	return pair, certFile, keyFile
}

func TestTLS(t *testing.T) {
	ca, caFile, _ := certificate(t, "CA", nil)
	own, _, _ := certificate(t, "server", &ca)
	_, certFile, keyFile := certificate(t, "client", &ca)
	_, otherFile, _ := certificate(t, "another CA", nil)
	f := etcdtest.New(t, "3.4", 1)
	trusted := x509.NewCertPool()
	trusted.AddCert(ca.Leaf)
	server := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Director:      func(r *http.Request) { r.URL.Scheme, r.URL.Host = "http", f.Members[0] },
		FlushInterval: -1,
	})
	server.TLS = &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusted}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	for _, test := range []struct{ ca, cert, key, want string }{
		{caFile, certFile, keyFile, ""},
		{caFile, "", "", "certificate required"},
		{otherFile, certFile, keyFile, "unknown authority"},
		{"", certFile, keyFile, "unknown authority"},
	} {
		config, err := etcd.TLSConfig(test.ca, test.cert, test.key)
		if err != nil {
			t.Fatal(err)
		}
		c := client(t, etcd.Options{Members: []string{strings.TrimPrefix(server.URL, "https://")}, TLS: config})
		_, err = c.Txn(within(t, time.Second), etcd.Txn{Success: puts("k", "v")})
		if got := fmt.Sprint(err); test.want == "" && err != nil || !strings.Contains(got, test.want) {
			t.Errorf("got %s, want %s", got, test.want)
		}
		if test.want != "" {
			continue
		}
		w, err := c.Watch(within(t, time.Second), []byte("k"), []byte("l"), 1)
		if err != nil {
			t.Fatal(err)
		}
		if events, err := w.Next(); err != nil || len(events) != 1 {
			t.Errorf("got %v, %v", events, err)
		}
		w.Close()
	}
}

func TestTLSFiles(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none.pem")
	if err := os.WriteFile(none, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, files := range [][3]string{{"missing.pem"}, {none}, {"", none, none}, {"", none, ""}, {"", "", none}} {
		if _, err := etcd.TLSConfig(files[0], files[1], files[2]); err == nil {
			t.Errorf("%q: got no error", files)
		}
	}
}
