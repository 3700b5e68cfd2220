package rest

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// URL returns the URL of a path of this server as r's client knows it, without query. A
// proxy that has changed scheme, host or the beginning of the path says so in
// X-Forwarded-Proto, -Host and -Prefix. Of several values the first is the client's; an
// invalid value is ignored. If no host is known (HTTP/1.0), URL returns the path alone.
func URL(r *http.Request, path string) string {
	u := url.URL{Scheme: "http", Host: r.Host, Path: Path(r, path)}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	if proto := strings.ToLower(forwarded(r, "X-Forwarded-Proto")); proto == "http" || proto == "https" {
		u.Scheme = proto
	}
	if host := forwarded(r, "X-Forwarded-Host"); isHost(host) {
		u.Host = host
	}
	if u.Host == "" {
		u.Scheme = ""
	}
	return u.String()
}

// Path returns a path of this server as r's client knows it: behind the prefix that a
// proxy names in X-Forwarded-Prefix.
func Path(r *http.Request, p string) string {
	prefix := strings.TrimSuffix(forwarded(r, "X-Forwarded-Prefix"), "/")
	if prefix == "" || prefix[0] != '/' || path.Clean(prefix) != prefix || strings.Trim(prefix, pathCharacters) != "" {
		return p
	}
	return prefix + p
}

// pathCharacters may stand in a path without being escaped (RFC 3986, section 3.3). Rare
// ones that could be taken for something else are left out.
const pathCharacters = "/ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~@:+"

// forwarded returns the first value of a header field that a proxy has set.
func forwarded(r *http.Request, name string) string {
	lines := r.Header[name]
	if len(lines) == 0 { // as in nearly all requests
		return ""
	}
	first, _, _ := strings.Cut(lines[0], ",")
	return strings.TrimSpace(first)
}

// isHost reports whether s is a host with or without port.
func isHost(s string) bool {
	u, err := url.Parse("http://" + s)
	return err == nil && s != "" && u.Host == s && u.Hostname() != "" && strings.Trim(s, pathCharacters+"[]") == ""
}
