package e2e

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// selfSigned returns the paths of a new certificate for localhost and of its key,
// and those who trust it.
func selfSigned(t *testing.T) (cert, key string, trust *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cars"}, DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	parsed, _ := x509.ParseCertificate(der)
	trust = x509.NewCertPool()
	trust.AddCert(parsed)
	pemFile := func(kind string, content []byte) string {
		file := filepath.Join(t.TempDir(), "pair.pem")
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return pemFile("CERTIFICATE", der), pemFile("PRIVATE KEY", secret), trust
}

// trusting returns a client for a server with such a certificate. Only with http2
// does it offer to speak HTTP/2.
func trusting(t *testing.T, trust *x509.CertPool, http2 bool) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, ForceAttemptHTTP2: http2, MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// answer reads one answer, whole.
func answer(t *testing.T, r *bufio.Reader) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestHTTPS(t *testing.T) {
	t.Parallel()
	cert, key, trust := selfSigned(t)
	s := start(t, "-delay", "0", "-tls-cert", cert, "-tls-key", key)
	s.addr = strings.TrimPrefix(s.url, "https://")
	for _, major := range []int{1, 2} {
		c := trusting(t, trust, major == 2)
		for _, ask := range []struct {
			method, path, host string
			status             int
		}{{"GET", "/api/cars/1", "", 200}, {"POST", "/api/cars", "", 201}, {"GET", "/api/cars/1", "evil.com", 403}} {
			req, _ := http.NewRequest(ask.method, s.url+ask.path, strings.NewReader(saab))
			req.Host = ask.host
			req.Header.Set("Content-Type", "application/json")
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != ask.status || resp.ProtoMajor != major {
				t.Errorf("%s %s for host %q: got %d over %s, want %d over HTTP/%d", ask.method, ask.path, ask.host, resp.StatusCode, resp.Proto, ask.status, major)
			}
		}
	}
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", s.addr, &tls.Config{RootCAs: trust, MinVersion: version, MaxVersion: version})
		if (err == nil) != want || err != nil && !strings.Contains(err.Error(), "protocol version") {
			t.Errorf("%s: got %v, want a connection: %t", tls.VersionName(version), err, want)
		}
		if err == nil {
			conn.Close()
		}
	}
	if resp, body := answer(t, bufio.NewReader(s.dial(t, header("GET", "/", 0)))); resp.StatusCode != 400 || !strings.Contains(body, "HTTP request to an HTTPS server") {
		t.Errorf("HTTP: got %d %s, want 400", resp.StatusCode, body)
	}
	s.waitForLine(t, " WARN http: TLS handshake error")
	// TLS 1.2 with a suite of CBC, as old clients want it.
	for suite, want := range map[uint16]bool{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA: false, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA: false, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256: false, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: true} {
		conn, err := tls.Dial("tcp", s.addr, &tls.Config{RootCAs: trust, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}})
		if (err == nil) != want {
			t.Errorf("%s: got %v, want a connection: %t", tls.CipherSuiteName(suite), err, want)
		}
		if err == nil {
			conn.Close()
		}
	}
}

// TestRenewedCertificate: connections that begin after a renewal get the new one, whoever
// is connected already.
func TestRenewedCertificate(t *testing.T) {
	t.Parallel()
	cert, key, trust := selfSigned(t)
	s := start(t, "-delay", "0", "-tls-cert", cert, "-tls-key", key)
	early := trusting(t, trust, true)
	get := func(c *http.Client) error {
		resp, err := c.Get(s.url + "/api/cars/1")
		if err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		return err
	}
	if err := get(early); err != nil {
		t.Fatal(err)
	}
	newCert, newKey, newTrust := selfSigned(t)
	copyFile(t, newCert, cert)
	copyFile(t, newKey, key)
	for late := time.Now().Add(patience); get(trusting(t, newTrust, true)) != nil; {
		if time.Now().After(late) {
			t.Fatal("the new certificate is not used")
		}
	}
	if err := get(trusting(t, trust, true)); err == nil {
		t.Error("the old certificate is used, too")
	}
	if err := get(early); err != nil {
		t.Errorf("a connection from before: %v", err)
	}
}

func TestBadCertificates(t *testing.T) {
	t.Parallel()
	cert, key, _ := selfSigned(t)
	_, other, _ := selfSigned(t)
	garbage, missing := filepath.Join(t.TempDir(), "garbage.pem"), filepath.Join(t.TempDir(), "missing.pem")
	if err := os.WriteFile(garbage, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		cert, key string
		status    int
	}{{garbage, key, 1}, {cert, garbage, 1}, {cert, other, 1}, {key, cert, 1}, {missing, key, 1}, {cert, missing, 1}, {cert, "", 2}, {"", key, 2}} {
		s := launch(t, "", "-addr", "localhost:0", "-tls-cert", test.cert, "-tls-key", test.key)
		var said []string
		for line := range s.lines {
			if said = append(said, line); strings.Contains(line, "Listening on ") {
				s.cmd.Process.Kill()
			}
		}
		if state := s.wait(t); state.ExitCode() != test.status || len(said) != 1 || !strings.HasPrefix(said[0], "cars: ") || !strings.Contains(said[0], "-tls-cert") {
			t.Errorf("-tls-cert %q -tls-key %q: got %v, %q, want exit status %d and one line", test.cert, test.key, state, said, test.status)
		}
	}
}

// TestWhoMayComeIn wants every refusal to say, to the client and in the log, what
// would allow the request.
func TestWhoMayComeIn(t *testing.T) {
	get, evil := header("GET", "/api/cars/1", 0), "GET /api/cars/1 HTTP/1.1\r\nHost: evil.com\r\n\r\n"
	post := func(more ...string) string { return header("POST", "/api/cars", len(saab), more...) + saab }
	slow, scrape := header("GET", "/api/cars/1?_delay=60000", 0), func(more ...string) string { return header("GET", "/metrics", 0, more...) }
	const right, wrong = "Authorization: Bearer s3cret", "Authorization: Bearer s3cre"
	type ask struct {
		text   string
		status int    // 0 if the answer is not waited for
		flag   string // that a refusal names
	}
	for _, test := range []struct {
		args   string
		token  string
		before string // a warning at start
		asks   []ask
	}{
		{"", "", "", []ask{{get, 200, ""}, {post(), 201, ""}, {scrape(), 200, ""}, {evil, 403, "-hosts evil.com"},
			{post("Origin: http://localhost:5173"), 201, ""}, {post("Origin: https://evil.com"), 403, "-origins https://evil.com"}}},
		{"-hosts evil.com -origins https://evil.com", "", "read-only", []ask{{evil, 200, ""}, {post("Origin: https://evil.com"), 403, "CARS_TOKEN"}}},
		{"-hosts evil.com -origins https://evil.com -read-only=false", "", "-read-only=false", []ask{{evil, 200, ""}, {post("Origin: https://evil.com"), 201, ""},
			{post("X-Forwarded-For: 203.0.113.9"), 201, ""}}},
		{"-origins https://evil.com", "", "", []ask{{post("Origin: https://evil.com"), 201, ""}, {post("X-Forwarded-For: 192.0.2.7"), 403, "CARS_TOKEN"},
			{post("X-Forwarded-For: 192.0.2.7, 127.0.0.1"), 403, "CARS_TOKEN"}, {post("X-Real-IP: 192.0.2.7"), 403, "CARS_TOKEN"}, {post("Forwarded: for=192.0.2.7"), 403, "CARS_TOKEN"},
			{post("X-Forwarded-For: ::1, 127.0.0.1"), 201, ""}, {post(`Forwarded: for="[::1]:5173"`), 201, ""}, {header("GET", "/api/cars", 0, "X-Forwarded-For: 192.0.2.7"), 200, ""}}},
		{"-hosts evil.com", "", "read-only", []ask{{evil, 200, ""}, {post(), 403, "CARS_TOKEN"}}},
		{"-hosts evil.com", "s3cret", "", []ask{{evil, 200, ""}, {post(), 401, "CARS_TOKEN"}, {post(right, "X-Forwarded-For: 192.0.2.7"), 201, ""}}},
		{"-hosts evil.com -read-only=false", "", "lets everybody who can reach this server write", []ask{{evil, 200, ""}, {post(), 201, ""}, {post("X-Forwarded-For: 192.0.2.7"), 201, ""}}},
		{"-addr :0 -read-only=false", "", "lets everybody who can reach this server write", []ask{{post(), 201, ""}}},
		{"-read-only", "", "", []ask{{get, 200, ""}, {post(), 403, "-read-only"}}},
		{"-rate 0.001", "", "", []ask{{get, 200, ""}, {get, 429, "-rate"}}},
		{"-max-in-flight 1", "", "", []ask{{slow, 0, ""}, {get, 503, "-max-in-flight"}}},
		{"-addr 0.0.0.0:0", "", "read-only", []ask{{evil, 200, ""}, {scrape(), 200, ""}, {post(), 403, "CARS_TOKEN"}, {header("DELETE", "/api/cars/1", 0), 403, "CARS_TOKEN"}}},
		{"-addr :0", "", "read-only", []ask{{get, 200, ""}, {post(right), 403, "CARS_TOKEN"}}},
		{"-addr :0", "s3cret", "unencrypted", []ask{{get, 200, ""}, {post(), 401, "CARS_TOKEN"}, {post(right), 201, ""}}},
		{"", "s3cret", "", []ask{{get, 200, ""}, {post(), 401, "CARS_TOKEN"}, {post(wrong), 401, "CARS_TOKEN"}, {post(right), 201, ""},
			{scrape(), 401, "CARS_TOKEN"}, {scrape(wrong), 401, "CARS_TOKEN"}, {scrape(right), 200, ""}}},
	} {
		t.Run(test.args+" "+test.token, func(t *testing.T) {
			t.Setenv("CARS_TOKEN", test.token)
			s := start(t, strings.Fields(test.args)...)
			s.addr = strings.TrimPrefix(s.url, "http://")
			if warned := strings.Contains(s.before, " WARN "); warned != (test.before != "") || !strings.Contains(s.before, test.before) {
				t.Errorf("got %q before it listens, want a warning that it is %q", s.before, test.before)
			}
			for _, ask := range test.asks {
				request, _, _ := strings.Cut(ask.text, "\r\n")
				conn := s.dial(t, ask.text)
				if ask.status == 0 {
					s.waitForLine(t, "Requesting")
					continue
				}
				resp, body := answer(t, bufio.NewReader(conn))
				if resp.StatusCode != ask.status || !strings.Contains(body, ask.flag) {
					t.Errorf("%s: got %d %.300s, want %d that names %q", request, resp.StatusCode, body, ask.status, ask.flag)
				}
				if ask.status < 400 {
					continue
				}
				if line := s.waitForLine(t, " WARN "); !strings.Contains(line, fmt.Sprint(" status=", ask.status)) || !strings.Contains(line, ask.flag) {
					t.Errorf("%s: got line %q, want one with %d and %q", request, line, ask.status, ask.flag)
				}
			}
		})
	}
}

// TestNginx has README's recipe, and strangers who come through the proxy. Without a
// token none can write, nor can they through a proxy that hides the name by which it was
// called, as long as it says for whom it asks.
func TestNginx(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("needs nginx: apt-get install nginx-light")
	}
	var recipe string
	for _, block := range blocks(t) {
		if text := strings.Join(block, "\n"); strings.Contains(text, "proxy_pass http://localhost:8080/;") {
			recipe = regexp.MustCompile(`(?m)^ *(listen|ssl_).*\n`).ReplaceAllString(text, "") // HTTPS needs a certificate
		}
	}
	hiding := "server {\nlocation /shop/ {\nproxy_pass http://localhost:8080/;\nproxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n}\n}"
	for _, test := range []struct {
		recipe string
		args   []string
		token  string
		status int // of a stranger who replaces the catalogue by nothing
	}{
		{recipe, []string{"-hosts", "cars.example"}, "", 403},
		{recipe, []string{"-hosts", "cars.example"}, "s3cret", 401},
		{recipe, []string{"-hosts", "cars.example", "-read-only=false"}, "", 200},
		{hiding, nil, "", 403},
		{hiding, []string{"-read-only=false"}, "", 200},
	} {
		s := launch(t, "CARS_TOKEN="+test.token, append([]string{"-addr", "localhost:0", "-delay", "0"}, test.args...)...).listens(t)
		s.skipLog()
		front, dir := freeAddr(t), t.TempDir()
		server := strings.Replace(strings.Replace(test.recipe, "localhost:8080", s.addr, 1), "server {", "server {\nlisten "+front+";", 1)
		conf := "pid nginx.pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n"
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			conf += kind + "_temp_path " + dir + ";\n"
		}
		file := filepath.Join(dir, "nginx.conf")
		if err := os.WriteFile(file, []byte(conf+server+"\n}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(path, "-p", dir, "-c", file, "-g", "daemon off; master_process off;")
		var said strings.Builder
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		s.addr = front
		ask := func(method, path, body string) (int, string) {
			req, _ := http.NewRequest(method, "http://"+front+path, strings.NewReader(body))
			req.Host = "cars.example"
			req.Header.Set("X-Forwarded-For", "192.0.2.7") // as if another proxy came before: this test sends nothing from elsewhere
			req.Header.Set("Content-Type", "application/json")
			for late := time.Now().Add(patience); ; {
				resp, err := http.DefaultClient.Do(req)
				if err == nil {
					defer resp.Body.Close()
					answer, _ := io.ReadAll(resp.Body)
					return resp.StatusCode, string(answer)
				}
				if time.Now().After(late) {
					t.Fatalf("%v; nginx says: %s", err, &said)
				}
			}
		}
		if status, body := ask("GET", "/shop/api/cars/1", ""); status != 200 {
			t.Errorf("%q, token %q: GET: got %d %s, want 200", test.args, test.token, status, body)
		}
		if status, body := ask("PUT", "/shop/api/cars", "[]"); status != test.status {
			t.Errorf("%q, token %q: PUT: got %d %s, want %d", test.args, test.token, status, body, test.status)
		}
		cmd.Process.Kill()
	}
}

// TestPagesAndMetrics: without a token, pages of other origins may read the cars, and not
// the metrics.
func TestPagesAndMetrics(t *testing.T) {
	t.Parallel()
	s := start(t, "-delay", "0")
	for _, origin := range []string{"https://evil.com", "http://localhost:5173", "null"} {
		for path, want := range map[string]bool{"/metrics": false, "/api/cars/1": true} {
			req, _ := http.NewRequest("GET", s.url+path, nil)
			req.Header.Set("Origin", origin)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if allowed := resp.Header["Access-Control-Allow-Origin"]; resp.StatusCode != 200 || (allowed != nil) != want {
				t.Errorf("%s from %s: got %d that %q may read, want one that pages may read: %t", path, origin, resp.StatusCode, allowed, want)
			}
		}
	}
}

// TestCharactersThatDeceive: those that show nothing or turn text around are neither in a
// car nor, as they are, in the log. Joiners, which languages and emoji need, may be.
func TestCharactersThatDeceive(t *testing.T) {
	t.Parallel()
	s := start(t, "-delay", "0", "-log-level", "debug")
	deceiving := []rune{0x00, 0x07, 0x1b, 0x7f, 0x85, 0x9b, 0x200b, 0x202a, 0x202e, 0x2066, 0x2069, 0xfeff}
	for _, r := range deceiving {
		for _, field := range []string{"name", "manufacturer", "category", "imageUrl"} {
			car := map[string]any{"name": "Saab", "manufacturer": "Saab"}
			car[field] = "/" + string(r) + "x"
			body := s.wantStatus(t, 422, "POST", "/api/cars", encode(car))
			if !strings.Contains(body, `"errors":{"`+field+`":`) || strings.ContainsRune(body, r) {
				t.Errorf("%U in %s: got %q, want an error of that field without the character", r, field, body)
			}
		}
		s.wantStatus(t, 404, "GET", "/images/"+url.PathEscape(string(r))+"/x?q="+url.QueryEscape(string(r)), "")
		s.wantStatus(t, 404, "GET", "/nowhere/"+url.PathEscape(string(r)), "")
		req, _ := http.NewRequest("DELETE", s.url+"/api/cars/1", nil)
		req.Header["Origin"] = []string{"https://" + string(r) + ".example"}
		if resp, err := http.DefaultClient.Do(req); err == nil { // not all can be sent
			resp.Body.Close()
		}
	}
	for _, name := range []string{"Citroën 2\u200dCV", "می\u200cخواهم", "👩\u200d🔧"} {
		s.wantStatus(t, 201, "POST", "/api/cars", encode(map[string]string{"name": name, "manufacturer": "M"}))
	}
	s.signal(t, syscall.SIGTERM)
	lines := 0
	for line := range s.lines {
		lines++
		for _, r := range deceiving {
			if strings.ContainsRune(line, r) {
				t.Errorf("got line %q with %U", line, r)
			}
		}
	}
	if lines < len(deceiving) {
		t.Errorf("got %d lines, want one for each refusal", lines)
	}
}

func TestLogFormatJSON(t *testing.T) {
	t.Parallel()
	cert, key, trust := selfSigned(t)
	s := start(t, "-log-format", "json", "-log-level", "debug", "-tls-cert", cert, "-tls-key", key)
	s.url, _, _ = strings.Cut(s.url, `"`)
	s.addr = strings.TrimPrefix(s.url, "https://")
	for path, want := range map[string]int{"/api/cars/1": 200, "/%22%0a%ff": 404, "/api/cars/x": 400} {
		resp, err := trusting(t, trust, true).Get(s.url + path)
		if err != nil || resp.StatusCode != want {
			t.Errorf("%s: got %v, %v, want %d", path, resp, err, want)
		}
	}
	answer(t, bufio.NewReader(s.dial(t, header("GET", "/", 0)))) // HTTP: net/http logs this by itself
	s.signal(t, syscall.SIGTERM)
	log := s.before
	for line := range s.lines {
		log += line + "\n"
	}
	levels := make(map[string]int)
	for line := range strings.Lines(log) {
		var entry struct {
			Time       time.Time
			Level, Msg string
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Time.IsZero() || entry.Msg == "" {
			t.Errorf("got line %q, %v, want JSON with time and msg", line, err)
		}
		levels[entry.Level]++
	}
	if levels["DEBUG"] == 0 || levels["INFO"] == 0 || levels["WARN"] == 0 || len(levels) != 3 {
		t.Errorf("got levels %v, want DEBUG, INFO and WARN", levels)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := serve(t, filepath.Join(t.TempDir(), "cars.jsonl"))
	for _, ask := range []struct {
		method, path, body string
		status, times      int
	}{
		{"GET", "/api/cars/1", "", 200, 3}, {"GET", "/api/cars/99", "", 404, 2}, {"HEAD", "/api/cars", "", 200, 1},
		{"POST", "/api/cars", saab, 201, 2}, {"POST", "/api/cars", "{", 400, 1}, {"BREW", "/nowhere", "", 404, 1},
	} {
		for range ask.times {
			s.wantStatus(t, ask.status, ask.method, ask.path, ask.body)
		}
	}
	text := s.wantStatus(t, 200, "GET", "/metrics", "")
	for _, want := range []string{
		`http_requests_total{method="GET",route="/api/cars/{id}",code="200"} 3`,
		`http_requests_total{method="GET",route="/api/cars/{id}",code="404"} 2`,
		`http_requests_total{method="HEAD",route="/api/cars",code="200"} 1`,
		`http_requests_total{method="POST",route="/api/cars",code="201"} 2`,
		`http_requests_total{method="POST",route="/api/cars",code="400"} 1`,
		`http_requests_total{method="other",route="other",code="404"} 1`,
		`http_request_duration_seconds_count 10`,
		`cars_requests_in_flight 0`, // this one is not counted
		`cars_processor_waiting 0`,
		`cars_catalogue_cars 34`,
		`cars_journal_batch_writes_sum 2`,
		`cars_journal_sync_seconds_count 2`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("got no line %s in\n%s", want, text)
		}
	}
	if s.metric(t, "cars_processor_busy_seconds_total") == 0 {
		t.Error("the processor has never been busy")
	}
	t.Run("promtool", func(t *testing.T) {
		path, err := exec.LookPath("promtool")
		if err != nil {
			t.Skip("needs promtool: apt-get install prometheus")
		}
		cmd := exec.Command(path, "check", "metrics")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool check metrics: %v\n%s", err, out)
		}
	})
}
