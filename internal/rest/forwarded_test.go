package rest

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestURL(t *testing.T) {
	for _, test := range []struct {
		host, header, want string
	}{
		{"localhost:8080", "", "http://localhost:8080/api/cars"},
		{"", "", "/api/cars"},
		{"a:1", "X-Forwarded-Proto: https", "https://a:1/api/cars"},
		{"a:1", "X-Forwarded-Proto: HTTPS, http", "https://a:1/api/cars"},
		{"a:1", "X-Forwarded-Proto: javascript", "http://a:1/api/cars"},
		{"a:1", "X-Forwarded-Host: cars.example:8443, inner", "http://cars.example:8443/api/cars"},
		{"a:1", "X-Forwarded-Host: [2001:db8::1]:80", "http://[2001:db8::1]:80/api/cars"},
		{"a:1", "X-Forwarded-Host: evil.example/path", "http://a:1/api/cars"},
		{"a:1", "X-Forwarded-Host: user@evil.example", "http://a:1/api/cars"},
		{"a:1", `X-Forwarded-Host: a>; rel="next"`, "http://a:1/api/cars"},
		{"a:1", "X-Forwarded-Host: ", "http://a:1/api/cars"},
		{"", "X-Forwarded-Host: b", "http://b/api/cars"},
		{"a:1", "X-Forwarded-Prefix: /demo", "http://a:1/demo/api/cars"},
		{"a:1", "X-Forwarded-Prefix: /demo/v1/", "http://a:1/demo/v1/api/cars"},
		{"a:1", "X-Forwarded-Prefix: /", "http://a:1/api/cars"},
		{"a:1", "X-Forwarded-Prefix: //evil.example", "http://a:1/api/cars"},
		{"a:1", "X-Forwarded-Prefix: /a/../b", "http://a:1/api/cars"},
		{"a:1", "X-Forwarded-Prefix: demo", "http://a:1/api/cars"},
		{"a:1", "X-Forwarded-Prefix: /a>;b", "http://a:1/api/cars"},
	} {
		r := httptest.NewRequest("GET", "/api/cars?year=2020", nil)
		r.Host = test.host
		name, value, _ := strings.Cut(test.header, ": ")
		r.Header.Set(name, value)
		if got := URL(r, "/api/cars"); got != test.want {
			t.Errorf("%q, %s: got %s, want %s", test.host, test.header, got, test.want)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.TLS = new(tls.ConnectionState)
	if got, want := URL(r, "/"), "https://example.com/"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestSlashAtTheEnd is as if it were not there, and nothing is redirected.
func TestSlashAtTheEnd(t *testing.T) {
	handler := Routes{
		"/{$}":         {"GET": func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("root")) }},
		"/cars":        {"GET": func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("list")) }},
		"/cars/{name}": {"GET": func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(r.PathValue("name") + r.URL.Path)) }},
	}.Handler(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) }, "")
	for path, want := range map[string]string{
		"/": "root", "/cars": "list", "/cars/": "list", "/cars/1": "1/cars/1", "/cars/1/": "1/cars/1", "/cars/a%2Fb/": "a/b/cars/a/b",
		"//": "", "/cars//": "", "//cars/": "", "/cars/./": "", "/cars/../cars/": "", "/nothing/": "",
	} {
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		if got := rec.Body.String(); got != want || rec.Code >= 300 && rec.Code < 400 {
			t.Errorf("%s: got %d %q, want %q", path, rec.Code, got, want)
		}
	}
}

// TestNumberedRoute leads numbers, and nothing else, past ServeMux.
func TestNumberedRoute(t *testing.T) {
	handler := Routes{"/cars/{id}": {"GET": func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(r.PathValue("id") + "," + r.URL.Path + "," + r.Pattern))
	}}}.Handler(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) }, "")
	for path, want := range map[string]string{
		"/cars/17": ",/cars/17,GET /cars/{id}", "/cars/x": "x,/cars/x,GET /cars/{id}", "/cars/%31": "1,/cars/1,GET /cars/{id}",
		"/cars/17/": "17,/cars/17,GET /cars/{id}", "/cars/": "", "/other/17": "", "/17": "", "//cars/17": "",
	} {
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		if got := rec.Body.String(); got != want {
			t.Errorf("%s: got %d %q, want %q", path, rec.Code, got, want)
		}
	}
}
