// Package guard decides which requests come in. A server on localhost can be reached
// by every web page that its user opens; this is what keeps them from more than
// reading. It judges, in this order: the host that a request is for, the origin of
// the page that sends it, its token, whether writing is allowed at all, and
// whether there is room. The same options say what browsers are told beforehand
// (CORS protocol, Fetch standard).
package guard

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Options say who may come in.
type Options struct {
	Loopback bool     // the server listens on a loopback address: it has no other name
	Hosts    []string // further names and addresses that requests may be for, without port
	Origins  []string // further origins whose pages may write, such as https://app.example
	Token    string   // what writes, and all of Secret, need to bear; empty: nothing
	ReadOnly string   // why all writes are refused; empty: they are not

	Rate        float64 // requests a second for each client address, with bursts of twice that; 0: any
	MaxInFlight int     // requests that may be inside at once

	Secret []string               // paths that need the token even for reading
	Vital  func(path string) bool // whether there is always room for a path

	// Refuse answers with an error. The message is for a person.
	Refuse func(w http.ResponseWriter, message string, status int)
}

// A Guard judges requests.
type Guard struct {
	Options
	hosts    map[string]bool
	origins  map[string]bool
	token    [sha256.Size]byte
	browsers http.CrossOriginProtection
	limiter  *limiter // nil if there is no limit
	inFlight atomic.Int64
	lastHost atomic.Pointer[string] // that was allowed: nearly always that of the next request
}

// New returns a guard. An error is a sentence about one of the hosts or origins.
func New(options Options) (*Guard, error) {
	g := &Guard{
		Options: options,
		hosts:   make(map[string]bool),
		origins: make(map[string]bool),
		token:   sha256.Sum256([]byte(options.Token)),
	}
	for _, h := range options.Hosts {
		name, port, ok := splitHost(h)
		if !ok || port != "" {
			return nil, fmt.Errorf("%q is not a host name or address without port", h)
		}
		g.hosts[name] = true
	}
	for _, o := range options.Origins {
		origin, _, ok := parseOrigin(o)
		if !ok {
			return nil, fmt.Errorf("%q is not an origin such as https://app.example:8443", o)
		}
		g.origins[origin] = true
	}
	if options.Rate > 0 {
		g.limiter = newLimiter(options.Rate)
	}
	return g, nil
}

// InFlight returns how many requests are inside.
func (g *Guard) InFlight() int { return int(g.inFlight.Load()) }

// Wrap lets the requests that may come in through to next.
func (g *Guard) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if message, status := g.judge(w, r); status != 0 {
			g.Refuse(w, message, status)
			return
		}
		if r.Method == "OPTIONS" && r.Header.Get("Access-Control-Request-Method") != "" {
			g.preflight(w, r)
			return
		}
		if !g.Vital(r.URL.Path) {
			defer g.inFlight.Add(-1)
			if g.inFlight.Add(1) > int64(g.MaxInFlight) {
				w.Header().Set("Retry-After", "1")
				g.Refuse(w, fmt.Sprintf("%d requests are being answered already, as many as -max-in-flight allows; try again", g.MaxInFlight), http.StatusServiceUnavailable)
				return
			}
			if g.limiter != nil && !g.admit(w, r) {
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// judge returns why a request is refused for what it is, and with which status;
// 0 if it is not.
func (g *Guard) judge(w http.ResponseWriter, r *http.Request) (message string, status int) {
	writes := isWrite(r.Method)
	secret := slices.Contains(g.Secret, r.URL.Path) && r.Method != "OPTIONS" // browsers ask without the token whether they may send it
	switch {
	case !g.hostAllowed(r.Host):
		name, _, _ := splitHost(r.Host)
		return fmt.Sprintf("This server does not answer to the host %q; to allow a name, start it with -hosts, such as -hosts %s", r.Host, cmp.Or(name, "cars.example")), http.StatusForbidden
	case writes && !g.originAllowed(r):
		origin, _, _ := parseOrigin(r.Header.Get("Origin"))
		return fmt.Sprintf("Pages of other origins may not write; to allow one, start the server with -origins, such as -origins %s", cmp.Or(origin, "https://app.example")), http.StatusForbidden
	case g.Token != "" && (writes || secret) && !g.bearsToken(r):
		w.Header().Set("WWW-Authenticate", "Bearer")
		return "This needs the server's token, which is CARS_TOKEN in its environment; send it as Authorization: Bearer", http.StatusUnauthorized
	case writes && g.ReadOnly != "":
		return g.ReadOnly, http.StatusForbidden
	}
	return "", 0
}

// isWrite reports whether a method may change something (RFC 9110, section 9.2.1).
func isWrite(method string) bool {
	return method != "GET" && method != "HEAD" && method != "OPTIONS"
}

// bearsToken compares without telling by the time it takes how much was right.
func (g *Guard) bearsToken(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(sum[:], g.token[:]) == 1
}

// preflight tells a browser what a page may send.
func (g *Guard) preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Vary", "Origin")
	h.Set("Access-Control-Allow-Origin", "*") // to read; credentials are never sent with that
	h.Set("Access-Control-Allow-Methods", "GET, HEAD")
	if g.originAllowed(r) {
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
	}
	h.Set("Access-Control-Allow-Headers", "*, Authorization") // * does not cover Authorization
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}

// admit tells a client how many requests it has left (draft-ietf-httpapi-ratelimit-headers-11),
// and refuses the one that is too many.
func (g *Guard) admit(w http.ResponseWriter, r *http.Request) bool {
	left, full, wait := g.limiter.take(clientOf(r.RemoteAddr), time.Now())
	h := w.Header()
	h.Set("RateLimit-Policy", g.limiter.policy)
	h.Set("RateLimit", fmt.Sprintf(`"address";r=%d;t=%d`, left, seconds(full)))
	if wait == 0 {
		return true
	}
	h.Set("Retry-After", strconv.Itoa(seconds(wait)))
	g.Refuse(w, fmt.Sprintf("More than %g requests a second from one address, which is what -rate allows; try again later", g.Rate), http.StatusTooManyRequests)
	return false
}

// seconds rounds up.
func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
