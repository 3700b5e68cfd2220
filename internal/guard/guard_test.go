package guard

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cars/internal/rest"
)

// newGuard returns a guard for tests.
func newGuard(t testing.TB, options Options) *Guard {
	t.Helper()
	options.Vital = func(path string) bool { return path == "/healthz" }
	if options.MaxInFlight == 0 {
		options.MaxInFlight = 1
	}
	g, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// ask sends a request through g; each header is a line such as "Origin: null".
func ask(g *Guard, method, target string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.Host = "localhost:8080"
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			r.Host = value
		} else {
			r.Header.Add(name, value)
		}
	}
	rec := httptest.NewRecorder()
	g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest.SetHeader(w.Header())
		rest.AddVary(w.Header(), "Accept-Encoding")
	})).ServeHTTP(rec, r)
	return rec
}

func TestHosts(t *testing.T) {
	g := newGuard(t, Options{Loopback: true, Hosts: []string{"Cars.Example.", "192.0.2.7", "[2001:db8::1]"}})
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8080": true, "LOCALHOST:1": true, "localhost.": true, "localhost.:80": true, "localhost:": true,
		"app.localhost:3000": true, "127.0.0.1": true, "127.0.0.1:65535": true, "127.8.9.10": true, "[::1]": true, "[::1]:8080": true,
		"[0:0:0:0:0:0:0:1]": true, "[::ffff:127.0.0.1]": true, "[::FFFF:7f00:1]:80": true, "127.0.0.1.": true,
		"cars.example": true, "CARS.EXAMPLE.:443": true, "192.0.2.7:80": true, "[2001:DB8:0::1]": true,

		":8080": false, ".": false, "evil.com": false, "evil.com:8080": false,
		"localhost.evil.com": false, "127.0.0.1.evil.com": false, "evil-localhost": false, "xlocalhost": false, "localhosts": false,
		"localhost:x": false, "localhost:65536": false, "localhost:-1": false, "localhost:+1": false, "localhost:80:80": false, "localhost:8080.": false,
		"2130706433": false, "0x7f000001": false, "0177.0.0.1": false, "127.1": false, "0.0.0.0": false, "0.0.0.0:8080": false, "0": false,
		"[::]": false, "[::1": false, "::1": false, "[::1]x": false, "[::1]:x": false, "[::1%25lo]": false, "[::1%lo]": false, "[127.0.0.1]": false, "[localhost]": false,
		"[::ffff:8.8.8.8]": false, "128.0.0.1": false, "localhost@evil.com": false, "evil.com@localhost": false, "localhost/": false, "localhost\\": false,
		" localhost": false, "localhost ": false, "localhost,evil.com": false, "lоcalhost": false, "localhost..": false, "192.0.2.8": false,
		"x.cars.example": false, "[2001:db8::2]": false, strings.Repeat("a.", 130) + "localhost": false,
	} {
		rec := ask(g, "GET", "/", "Host: "+host)
		if (rec.Code == 200) != want || !want && rec.Code != 403 {
			t.Errorf("%q: got %d, want allowed: %v", host, rec.Code, want)
		}
	}
	public := newGuard(t, Options{})
	for _, host := range []string{"evil.com", "", "::"} {
		if rec := ask(public, "GET", "/", "Host: "+host); rec.Code != 200 {
			t.Errorf("not on a loopback address, %q: got %d", host, rec.Code)
		}
	}
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"} {
		if rec := ask(g, method, "/", "Host: evil.com"); rec.Code != 403 || !strings.Contains(rec.Body.String(), "-hosts evil.com") {
			t.Errorf("%s: got %d %s", method, rec.Code, rec.Body)
		}
	}
}

func TestOrigins(t *testing.T) {
	g := newGuard(t, Options{Loopback: true, Origins: []string{"https://App.Example", "http://app.example:8000"}})
	for headers, want := range map[string]bool{
		"":                                                         true, // curl
		"Origin: http://localhost:8080":                            true,
		"Origin: http://localhost:5173":                            true,
		"Origin: https://127.0.0.1":                                true,
		"Origin: http://[::1]:3000":                                true,
		"Origin: http://app.localhost":                             true,
		"Origin: https://app.example":                              true,
		"Origin: https://app.example:443":                          true,
		"Origin: http://app.example:8000":                          true,
		"Origin: HTTPS://APP.EXAMPLE":                              true,
		"Sec-Fetch-Site: same-origin":                              true,
		"Sec-Fetch-Site: none":                                     true,
		"Sec-Fetch-Site: cross-site|Origin: http://localhost:5173": true,
		"Sec-Fetch-Site: same-site|Origin: https://app.example":    true,

		"Origin: null":                                false,
		"Origin: https://evil.com":                    false,
		"Origin: http://app.example":                  false,
		"Origin: https://app.example:444":             false,
		"Origin: https://app.example.evil.com":        false,
		"Origin: https://x.app.example":               false,
		"Origin: https://app.example/":                false,
		"Origin: https://app.example@evil.com":        false,
		"Origin: http://localhost.evil.com:5173":      false,
		"Origin: http://127.0.0.1.evil.com":           false,
		"Origin: http://0.0.0.0:5173":                 false,
		"Origin: file://localhost":                    false,
		"Origin: chrome-extension://localhost":        false,
		"Origin: chrome-extension://localhost:8080":   false, // whatever its own host
		"Origin: localhost":                           false,
		"Origin: ":                                    true, // empty: not a page's
		"Origin: http://localhost:5173|Origin: null":  false,
		"Origin: http://localhost:5173, https://evil": false,
		"Sec-Fetch-Site: cross-site":                  false,
		"Sec-Fetch-Site: same-site":                   false,
		"Sec-Fetch-Site: cross-site|Origin: null":     false,
	} {
		lines := strings.Split(headers, "|")
		if headers == "" {
			lines = nil
		}
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "BREW"} {
			rec := ask(g, method, "/", lines...)
			if (rec.Code == 200) != want || !want && rec.Code != 403 {
				t.Errorf("%s with %q: got %d, want allowed: %v", method, headers, rec.Code, want)
			}
		}
		for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
			if rec := ask(g, method, "/", lines...); rec.Code != 200 {
				t.Errorf("%s with %q: got %d, and reading is open", method, headers, rec.Code)
			}
		}
		rec := ask(g, "OPTIONS", "/", append(lines, "Access-Control-Request-Method: PUT")...)
		methods := rec.Header().Get("Access-Control-Allow-Methods")
		if rec.Code != 204 {
			t.Errorf("preflight with %q: got %d %v", headers, rec.Code, rec.Header())
		}
		if want && methods != "GET, HEAD, POST, PUT, PATCH, DELETE" || !want && methods != "GET, HEAD" {
			t.Errorf("preflight with %q: got methods %q", headers, methods)
		}
	}
}

func TestTokens(t *testing.T) {
	g := newGuard(t, Options{Token: "s3cret", Secret: []string{"/metrics"}})
	for header, want := range map[string]bool{
		"Authorization: Bearer s3cret":   true,
		"Authorization: bearer  s3cret ": true,
		"":                               false,
		"Authorization: Bearer":          false,
		"Authorization: Bearer s3cre":    false,
		"Authorization: Bearer s3crett":  false,
		"Authorization: Bearer S3CRET":   false,
		"Authorization: Basic s3cret":    false,
		"Authorization: s3cret":          false,
	} {
		var lines []string
		if header != "" {
			lines = []string{header}
		}
		for _, request := range []string{"POST /", "DELETE /x", "GET /metrics", "HEAD /metrics", "GET /metrics/"} {
			method, target, _ := strings.Cut(request, " ")
			rec := ask(g, method, target, lines...)
			if (rec.Code == 200) != want || !want && (rec.Code != 401 || rec.Header().Get("WWW-Authenticate") != "Bearer") {
				t.Errorf("%s with %q: got %d, want allowed: %v", request, header, rec.Code, want)
			}
		}
		if rec := ask(g, "GET", "/", lines...); rec.Code != 200 {
			t.Errorf("GET with %q: got %d", header, rec.Code)
		}
	}
	if rec := ask(newGuard(t, Options{}), "POST", "/"); rec.Code != 200 {
		t.Errorf("without a token: got %d", rec.Code)
	}
	if rec := ask(newGuard(t, Options{Token: "x", ReadOnly: "because"}), "POST", "/", "Authorization: Bearer x"); rec.Code != 403 || !strings.Contains(rec.Body.String(), "because") {
		t.Errorf("read-only: got %d %s", rec.Code, rec.Body)
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for _, options := range []Options{
		{Hosts: []string{"a b"}}, {Hosts: []string{"https://cars.example"}}, {Hosts: []string{"cars.example:80"}}, {Hosts: []string{""}}, {Hosts: []string{"*"}},
		{Origins: []string{"app.example"}}, {Origins: []string{"https://app.example/x"}}, {Origins: []string{"*"}}, {Origins: []string{"null"}}, {Origins: []string{"ftp://app.example"}},
	} {
		if _, err := New(options); err == nil {
			t.Errorf("%+v: was accepted", options)
		}
	}
}

func TestRoom(t *testing.T) {
	g := newGuard(t, Options{MaxInFlight: 2})
	entered, leave := make(chan bool), make(chan bool)
	handler := g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stay" {
			entered <- true
			<-leave
		}
	}))
	status := func(path string) int {
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		if (rec.Header().Get("Retry-After") != "") != (rec.Code == 503) {
			t.Errorf("got %d %v", rec.Code, rec.Header())
		}
		return rec.Code
	}
	var inside sync.WaitGroup
	for range 2 {
		inside.Go(func() { status("/stay") })
		<-entered
	}
	if got := status("/"); got != 503 || g.InFlight() != 2 {
		t.Errorf("the third: got %d, %d inside", got, g.InFlight())
	}
	if got := status("/healthz"); got != 200 {
		t.Errorf("health: got %d", got)
	}
	close(leave)
	inside.Wait()
	if got := status("/"); got != 200 || g.InFlight() != 0 {
		t.Errorf("when they have left: got %d, %d inside", got, g.InFlight())
	}
}

// TestHalfTheRoomIsForOthers: requests that ask for a long stay get at most half of the room.
func TestHalfTheRoomIsForOthers(t *testing.T) {
	for maxInFlight, want := range map[int]int{1: 1, 2: 1, 5: 2, 10: 5} {
		g := newGuard(t, Options{MaxInFlight: maxInFlight, Long: func(r *http.Request) bool { return r.URL.RawQuery != "" }})
		entered, leave := make(chan bool), make(chan bool)
		handler := g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/stay" {
				entered <- true
				<-leave
			}
		}))
		status := func(target string) int {
			rec := httptest.NewRecorder()
			handler.ServeHTTP(rec, httptest.NewRequest("GET", target, nil))
			return rec.Code
		}
		var inside sync.WaitGroup
		for range want {
			inside.Go(func() { status("/stay?long") })
			<-entered
		}
		if got := status("/?long"); got != 503 {
			t.Errorf("of %d, one more than %d: got %d", maxInFlight, want, got)
		}
		withBody := httptest.NewRecorder()
		handler.ServeHTTP(withBody, httptest.NewRequest("GET", "/", strings.NewReader("x")))
		if withBody.Code != 503 {
			t.Errorf("of %d, one that reads and has a body: got %d", maxInFlight, withBody.Code)
		}
		if got := status("/"); got != 200 && maxInFlight > 1 {
			t.Errorf("of %d, another: got %d", maxInFlight, got)
		}
		close(leave)
		inside.Wait()
		if got := status("/?long"); got != 200 || g.InFlight() != 0 || g.long.Load() != 0 {
			t.Errorf("of %d, when they have left: got %d", maxInFlight, got)
		}
	}
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, Options{Rate: 5})
		handler := g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
		request := func(addr string) *httptest.ResponseRecorder {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = addr
			rec := httptest.NewRecorder()
			handler.ServeHTTP(rec, r)
			return rec
		}
		check := func(addr string, status int, limit, retry string) {
			t.Helper()
			rec := request(addr)
			h := rec.Header()
			if rec.Code != status || h.Get("RateLimit") != limit || h.Get("RateLimit-Policy") != `"address";q=10;w=2` || h.Get("Retry-After") != retry {
				t.Errorf("got %d %v, want %d, %s, %s", rec.Code, h, status, limit, retry)
			}
		}
		for left := 9; left >= 0; left-- {
			check("192.0.2.1:1000", 200, fmt.Sprintf(`"address";r=%d;t=%d`, left, (10-left+4)/5), "")
		}
		check("192.0.2.1:1001", 429, `"address";r=0;t=2`, "1") // whatever the port
		check("192.0.2.2:1000", 200, `"address";r=9;t=1`, "")
		check("[::ffff:192.0.2.1]:1000", 429, `"address";r=0;t=2`, "1")
		time.Sleep(200 * time.Millisecond)
		check("192.0.2.1:1000", 200, `"address";r=0;t=2`, "")
		check("192.0.2.1:1000", 429, `"address";r=0;t=2`, "1")
		time.Sleep(time.Hour)
		check("192.0.2.1:1000", 200, `"address";r=9;t=1`, "")
		for i := range 10 { // one network
			check(fmt.Sprintf("[2001:db8::%d]:1000", i+1), 200, fmt.Sprintf(`"address";r=%d;t=%d`, 9-i, (1+i+4)/5), "")
		}
		check("[2001:db8::ffff:1]:1000", 429, `"address";r=0;t=2`, "1")
		check("[2001:db8:0:1::1]:1000", 200, `"address";r=9;t=1`, "")
	})
}

// TestNoHost: a load balancer's health check in HTTP/1.0 may have no host, and a page has.
func TestNoHost(t *testing.T) {
	g := newGuard(t, Options{Loopback: true})
	for method, want := range map[string]int{"GET": 200, "HEAD": 200, "OPTIONS": 200, "POST": 403, "PUT": 403, "PATCH": 403, "DELETE": 403, "BREW": 403} {
		if rec := ask(g, method, "/healthz", "Host: "); rec.Code != want {
			t.Errorf("%s: got %d, want %d", method, rec.Code, want)
		}
	}
}

// TestProxies has requests that say for whom a proxy sends them.
func TestProxies(t *testing.T) {
	g := newGuard(t, Options{Loopback: true})
	for header, want := range map[string]bool{
		"X-Forwarded-For: 127.0.0.1":                        true,
		"X-Real-Ip: 127.0.0.1":                              true,
		"X-Real-Ip: 192.0.2.7":                              false,
		"X-Forwarded-For: ::1":                              true,
		"X-Forwarded-For: ::ffff:127.0.0.1":                 true,
		"X-Forwarded-For: 127.0.0.1:5173":                   true,
		"X-Forwarded-For: [::1]:5173":                       true,
		"X-Forwarded-For: [::1]":                            true,
		"X-Forwarded-For: 127.0.0.1, ::1":                   true,
		"Forwarded: for=127.0.0.1":                          true,
		`Forwarded: proto=http;For="[::1]:4711";by=_x`:      true,
		"Forwarded: for=127.0.0.1, for=127.0.0.2":           true,
		"X-Forwarded-Proto: https":                          true,
		"X-Forwarded-For: 203.0.113.9":                      false,
		"X-Forwarded-For: 127.0.0.1, 203.0.113.9":           false,
		"X-Forwarded-For: 203.0.113.9, 127.0.0.1":           false,
		"X-Forwarded-For: 10.0.0.1":                         false,
		"X-Forwarded-For: ::ffff:203.0.113.9":               false,
		"X-Forwarded-For: unknown":                          false,
		"X-Forwarded-For: localhost":                        false,
		"X-Forwarded-For: ":                                 false,
		"X-Forwarded-For: 127.0.0.1,":                       false,
		"X-Forwarded-For: 127.0.0.1|X-Forwarded-For: ::":    false,
		"Forwarded: for=203.0.113.9":                        false,
		"Forwarded: for=unknown":                            false,
		"Forwarded: for=_hidden":                            false,
		`Forwarded: for="[2001:db8::1]:4711"`:               false,
		"Forwarded: proto=https":                            false,
		"Forwarded: for=127.0.0.1, proto=https":             false,
		"Forwarded: for=127.0.0.1;for=203.0.113.9":          false,
		`Forwarded: for=127.0.0.1;x=", for=203.0.113.9`:     false,
		"Forwarded: for=127.0.0.1|Forwarded: for=_x":        false,
		"Forwarded: ":                                       false,
		"X-Forwarded-For: 127.0.0.1|Forwarded: for=8.8.8.8": false,
	} {
		lines := strings.Split(header, "|")
		for _, method := range []string{"POST", "DELETE"} {
			rec := ask(g, method, "/", lines...)
			if (rec.Code == 200) != want || !want && (rec.Code != 403 || !strings.Contains(rec.Body.String(), NetworkReadOnly)) {
				t.Errorf("%s with %q: got %d %s, want allowed: %v", method, header, rec.Code, rec.Body, want)
			}
		}
		if rec := ask(g, "GET", "/", lines...); rec.Code != 200 {
			t.Errorf("GET with %q: got %d", header, rec.Code)
		}
	}
	const network = "X-Forwarded-For: 203.0.113.9"
	if rec := ask(newGuard(t, Options{Loopback: true, AllowNetworkWrites: true}), "POST", "/", network); rec.Code != 200 {
		t.Errorf("with -read-only=false: got %d", rec.Code)
	}
	if rec := ask(newGuard(t, Options{Loopback: true, Token: "x"}), "POST", "/", network, "Authorization: Bearer x"); rec.Code != 200 {
		t.Errorf("with a token: got %d", rec.Code)
	}
}

// TestReaders says which pages may read an answer: all may, and one that may write is
// named, so that it may send credentials.
func TestReaders(t *testing.T) {
	g := newGuard(t, Options{Loopback: true, Origins: []string{"https://app.example"}, Secret: []string{"/metrics"}})
	const network = "X-Forwarded-For: 203.0.113.9"
	for _, test := range []struct {
		request, origin string
		want            string // Access-Control-Allow-Origin
		status          int
	}{
		{"GET /", "", "*", 200},
		{"GET /", "http://localhost:5173", "http://localhost:5173", 200},
		{"GET /", "https://app.example", "https://app.example", 200},
		{"GET /", "http://localhost:8080", "http://localhost:8080", 200}, // its own
		{"GET /", "https://evil.com", "*", 200},
		{"GET /", "null", "*", 200},
		{"GET /", "null|Sec-Fetch-Site: same-origin", "*", 200},
		{"OPTIONS /", "http://localhost:5173", "http://localhost:5173", 200},
		{"POST /", "https://evil.com", "*", 403},
		{"POST /network", "http://localhost:5173", "http://localhost:5173", 403},
		{"GET /metrics", "", "", 200},
		{"GET /metrics", "http://localhost:5173", "", 200},
		{"GET /metrics", "https://evil.com", "", 200},
		{"GET /metrics/", "https://evil.com", "", 200},
		{"POST /metrics", "https://evil.com", "", 403},
	} {
		method, path, _ := strings.Cut(test.request, " ")
		var lines []string
		if test.origin != "" {
			lines = strings.Split("Origin: "+test.origin, "|")
		}
		if path == "/network" {
			lines = append(lines, network)
		}
		rec := ask(g, method, path, lines...)
		h := rec.Header()
		credentials := ""
		if test.want != "" && test.want != "*" {
			credentials = "true"
		}
		var varies []string
		if test.origin != "" && !strings.HasPrefix(path, "/metrics") {
			varies = append(varies, "Origin")
		}
		if test.status == 200 {
			varies = append(varies, "Accept-Encoding")
		}
		vary := strings.Join(varies, ", ")
		if rec.Code != test.status || h.Get("Access-Control-Allow-Origin") != test.want || h.Get("Access-Control-Allow-Credentials") != credentials || h.Get("Vary") != vary {
			t.Errorf("%s from %q: got %d %v, want %d, origin %q", test.request, test.origin, rec.Code, h, test.status, test.want)
		}
	}
	withToken := newGuard(t, Options{Loopback: true, Token: "x", Secret: []string{"/metrics"}})
	if rec := ask(withToken, "GET", "/metrics", "Authorization: Bearer x"); rec.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("/metrics with a token: got %v", rec.Header())
	}
}

func TestPreflightHeaders(t *testing.T) {
	g := newGuard(t, Options{Loopback: true})
	const any = "*, Authorization"
	for _, test := range []struct{ origin, asked, want string }{
		{"http://localhost:5173", "content-type,if-match, x-My_header", "content-type,if-match, x-My_header"},
		{"http://localhost:5173", "", any},
		{"http://localhost:5173", "content-type,", any},
		{"http://localhost:5173", "content type", any},
		{"http://localhost:5173", "x:y", any},
		{"http://localhost:5173", "x\u00e9", any},
		{"https://evil.com", "content-type", any},
	} {
		rec := ask(g, "OPTIONS", "/", "Origin: "+test.origin, "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: "+test.asked)
		if got := rec.Header().Get("Access-Control-Allow-Headers"); got != test.want {
			t.Errorf("%s asks for %q: got %q", test.origin, test.asked, got)
		}
	}
}

// TestRefusedPreflightIsReported with advice that applies to the page, as the refused
// write has it.
func TestRefusedPreflightIsReported(t *testing.T) {
	var reports []string
	g := newGuard(t, Options{Loopback: true, Report: func(r *http.Request, refusal *rest.Error) {
		reports = append(reports, refusal.Message)
	}})
	const flag, file = "start the server with -origins, such as -origins ", "if it was opened as a file, serve it"
	for _, test := range []struct{ origin, method, want string }{
		{"https://evil.com", "PUT", flag + "https://evil.com:443"},
		{"https://evil.com", "POST", flag + "https://evil.com:443"},
		{"null", "DELETE", file},
		{"file://", "PATCH", file},
		{"https://evil.com", "GET", ""},
		{"null", "HEAD", ""},
		{"http://localhost:5173", "PUT", ""},
	} {
		reports = nil
		ask(g, "OPTIONS", "/", "Origin: "+test.origin, "Access-Control-Request-Method: "+test.method)
		if test.want == "" {
			if reports != nil {
				t.Errorf("%+v: reported %q", test, reports)
			}
			continue
		}
		if len(reports) != 1 || !strings.Contains(reports[0], test.want) || (test.want == file) == strings.Contains(reports[0], flag) {
			t.Errorf("%+v: reported %q", test, reports)
		}
		if rec := ask(g, test.method, "/", "Origin: "+test.origin); rec.Code != 403 || !strings.Contains(rec.Body.String(), test.want) {
			t.Errorf("%+v: got %d %s", test, rec.Code, rec.Body)
		}
	}
	ask(newGuard(t, Options{}), "OPTIONS", "/", "Origin: null", "Access-Control-Request-Method: PUT") // nobody is told
}

// TestMessagesAreSafeToShow: no text of a client gets into a message with characters
// that do not show or that turn it around.
func TestMessagesAreSafeToShow(t *testing.T) {
	g := newGuard(t, Options{Loopback: true})
	for _, c := range "\u202e\u2066\u200b\ufeff\x1b\x7f\u0085\u2028" {
		for _, header := range []string{"Host: evil" + string(c), "Origin: evil://" + string(c)} {
			rec := ask(g, "POST", "/", header)
			if rec.Code != 403 || strings.ContainsRune(rec.Body.String(), c) {
				t.Errorf("%q: got %d %q", header, rec.Code, rec.Body)
			}
		}
	}
}

// TestRateIsKept over a long time, at every rate.
func TestRateIsKept(t *testing.T) {
	for _, rate := range []float64{0.0001, 0.01, 0.5, 1, 3, 1000, 1e6} {
		l := newLimiter(rate)
		now, admitted := time.Unix(0, 0), 0
		const rounds = 1000
		for range rounds {
			for range 20 {
				if _, _, wait := l.take(netip.Addr{}, now); wait == 0 {
					admitted++
				}
			}
			now = now.Add(time.Duration(float64(time.Second) / rate))
		}
		if want := min(20*rounds, rounds-1+max(1, int(2*rate))); admitted < want*99/100 || admitted > want {
			t.Errorf("rate %g: %d admitted, want %d", rate, admitted, want)
		}
	}
}

func TestLeastRate(t *testing.T) {
	for _, rate := range []float64{1e-9, 1e-11, math.SmallestNonzeroFloat64} {
		l, now := newLimiter(rate), time.Now()
		_, _, first := l.take(netip.Addr{}, now)
		_, _, second := l.take(netip.Addr{}, now.Add(time.Hour))
		if first != 0 || second < 10*365*24*time.Hour {
			t.Errorf("rate %g: to wait %v and %v", rate, first, second)
		}
	}
}

// TestLimiterMemoryIsBounded has more clients than there is memory for: those that
// are not new keep their own count, and all is forgotten in the end.
func TestLimiterMemoryIsBounded(t *testing.T) {
	l := newLimiter(1)
	now := time.Unix(0, 0)
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	refused := 0
	for i := range 3 * maxClients {
		if _, _, wait := l.take(addr(i), now); wait > 0 {
			refused++
		}
	}
	if len(l.over) > maxClients+1 {
		t.Errorf("%d clients are remembered, want %d at most", len(l.over), maxClients)
	}
	if refused != 2*maxClients-2 {
		t.Errorf("%d were refused, want all but two of those that count as one", refused)
	}
	if _, _, wait := l.take(addr(0), now); wait > 0 {
		t.Error("a client that is remembered was refused its second request")
	}
	now = now.Add(10 * time.Second)
	if _, _, wait := l.take(addr(1<<23), now); wait > 0 || len(l.over) > 1 {
		t.Errorf("later: wait %v, %d clients are remembered", wait, len(l.over))
	}
}

// FuzzHost wants what is allowed to be a loopback name by the rules of the standard
// library, too.
func FuzzHost(f *testing.F) {
	for _, seed := range []string{"localhost:8080", "[::1]", "127.0.0.1.", "x.localhost", "[::ffff:127.0.0.1]:1"} {
		f.Add(seed)
	}
	g := newGuard(f, Options{Loopback: true})
	f.Fuzz(func(t *testing.T, host string) {
		if !g.hostAllowed(host) {
			return
		}
		name := strings.ToLower(host)
		if addrPort, err := netip.ParseAddrPort(name); err == nil {
			name = addrPort.Addr().Unmap().String()
		} else if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.HasSuffix(name, "]") {
			name = name[:i]
		}
		name = strings.TrimSuffix(strings.Trim(name, "[]"), ".")
		if addr, err := netip.ParseAddr(name); err == nil && addr.Unmap().IsLoopback() {
			return
		}
		if name != "localhost" && !strings.HasSuffix(name, ".localhost") {
			t.Errorf("%q is allowed", host)
		}
	})
}

// FuzzOrigin wants an allowed origin to be one of HTTP on this machine.
func FuzzOrigin(f *testing.F) {
	for _, seed := range []string{"http://localhost:5173", "null", "https://[::1]", "http://user@localhost", "http://localhost#", "http://localhost?"} {
		f.Add(seed)
	}
	g := newGuard(f, Options{Loopback: true})
	f.Fuzz(func(t *testing.T, origin string) {
		r := httptest.NewRequest("POST", "/", nil)
		r.Host = "cars.example"
		r.Header["Origin"] = []string{origin}
		if !g.originAllowed(r) || origin == "" {
			return
		}
		lower := strings.ToLower(origin)
		rest, ok := strings.CutPrefix(lower, "http://")
		if !ok {
			rest, ok = strings.CutPrefix(lower, "https://")
		}
		if same := rest == "cars.example"; !ok || !same && !g.hostAllowed(rest) {
			t.Errorf("%q is allowed", origin)
		}
	})
}
