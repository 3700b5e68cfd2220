// Package guard decides which requests come in. Every web page that its user opens can
// reach a server on localhost; the guard lets these pages read, but not write. It judges,
// in this order: the host that a request is for, the origin of the page that sends it, its
// token, whether writing is allowed at all, and whether there is room. The same options
// decide what the server tells browsers beforehand (CORS protocol, Fetch standard).
package guard

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"cars/internal/rest"
)

// Options say who may come in.
type Options struct {
	Loopback bool     // the server listens on loopback addresses only: it answers to their names and Hosts
	Hosts    []string // further names and addresses that requests may be for, without port
	Origins  []string // further origins whose pages may write, such as https://app.example
	Token    string   // the token that writes, and reads of Secret, need; empty: they need none
	ReadOnly string   // why all writes are refused; empty: writes are allowed

	// AllowNetworkWrites lets clients on other machines write even if there is no Token.
	// Otherwise clients that reach a loopback address through a proxy may not write.
	AllowNetworkWrites bool

	Rate        float64 // requests a second for each client address, in bursts of twice that; 0: no limit
	MaxInFlight int     // requests that may be inside at once, beside streams
	MaxStreams  int     // streams that may be open at once

	Secret []string                   // paths that need the token even for reading
	Vital  func(path string) bool     // whether there is always room for requests for path
	Long   func(r *http.Request) bool // whether r asks to stay inside for long; nil: no request does
	Stream func(r *http.Request) bool // whether the answer to r is a stream; nil: no answer is
	Ending context.Context            // ends the streams when it is done; nil: it never is

	// Report is called for each preflight of a write that is refused. Neither the answer nor
	// the page that asked shows the reason. Report may be nil.
	Report func(r *http.Request, refusal *rest.Error)
}

// NetworkReadOnly says why clients on other machines may not write.
const NetworkReadOnly = "This server can be reached from the network and has no token, so it is read-only; to allow writes, set CARS_TOKEN in its environment"

// Settle makes a server read-only if other machines can reach it and it has no token, unless
// AllowNetworkWrites is set. It returns a warning for the server's user, or "". secure says
// that the server serves HTTPS. A server with Hosts counts as reachable, since Hosts are for
// proxies.
func (o *Options) Settle(secure bool) (warning string) {
	switch {
	case o.Token != "" && !o.Loopback && !secure:
		return "CARS_TOKEN travels over the network unencrypted; serve HTTPS with -tls-cert and -tls-key, or put a proxy in front"
	case o.Token != "" || o.ReadOnly != "" || o.Loopback && len(o.Hosts) == 0:
		return ""
	case o.AllowNetworkWrites:
		return "-read-only=false lets everybody who can reach this server write, since CARS_TOKEN is not set"
	default:
		o.ReadOnly = NetworkReadOnly
		return NetworkReadOnly
	}
}

// A Guard judges requests.
type Guard struct {
	Options
	hosts    map[string]bool
	origins  map[string]bool
	token    [sha256.Size]byte
	limiter  *limiter // nil if there is no limit
	inFlight atomic.Int64
	long     atomic.Int64           // requests inside that asked to stay for long
	streams  atomic.Int64           // open streams
	lastHost atomic.Pointer[string] // the last host that was allowed; nearly always the next one, too
}

// New returns a guard. An error is a sentence about a host or origin of the options.
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

// Streams returns how many streams are open.
func (g *Guard) Streams() int { return int(g.streams.Load()) }

// Wrap returns a handler that lets the requests that may come in through to next.
func (g *Guard) Wrap(next http.Handler) http.Handler {
	return rest.Handle(func(w http.ResponseWriter, r *http.Request) error {
		originAllowed := r.Method == "GET" && originOf(r) == "" || g.originAllowed(r) // most requests are GETs without an origin
		g.setReaders(w.Header(), r, originAllowed)
		if err := g.judge(r, originAllowed); err != nil {
			return err
		}
		switch {
		case r.Method == "OPTIONS" && r.Header.Get("Access-Control-Request-Method") != "":
			g.preflight(w, r, originAllowed)
		case g.Vital(r.URL.Path):
			next.ServeHTTP(w, r)
		default:
			return g.admit(w, r, next)
		}
		return nil
	})
}

// judge returns an error if a request is refused for its host, origin, token or method.
func (g *Guard) judge(r *http.Request, originAllowed bool) error {
	writes := isWrite(r.Method)
	switch {
	case r.Host == "" && !writes: // every page names the host, so this is an HTTP/1.0 client, such as a load balancer
	case !g.hostAllowed(r.Host):
		name, _, _ := splitHost(r.Host)
		return rest.Errorf(http.StatusForbidden, "This server does not answer to the host %q; to allow a name, start it with -hosts, such as -hosts %s", r.Host, cmp.Or(name, "cars.example"))
	}
	secret := g.isSecret(r.URL.Path) && r.Method != "OPTIONS" // a preflight never has the token
	switch {
	case writes && !originAllowed:
		return refuseOrigin(r)
	case g.Token != "" && (writes || secret) && !g.bearsToken(r):
		err := rest.Errorf(http.StatusUnauthorized, "This needs the server's token, which is CARS_TOKEN in its environment; send it as Authorization: Bearer")
		err.Header = map[string]string{"WWW-Authenticate": "Bearer"}
		return err
	case writes && g.ReadOnly != "":
		return rest.Errorf(http.StatusForbidden, "%s", g.ReadOnly)
	case writes && g.Token == "" && !g.AllowNetworkWrites && fromNetwork(r.Header):
		return rest.Errorf(http.StatusForbidden, NetworkReadOnly)
	}
	return nil
}

// isSecret reports whether a path needs the token even for reading. It ignores a slash at
// the end of the path, as [rest.Routes] does.
func (g *Guard) isSecret(path string) bool {
	return slices.Contains(g.Secret, strings.TrimSuffix(path, "/"))
}

// isWrite reports whether a method may change something (RFC 9110, section 9.2.1).
func isWrite(method string) bool {
	return method != "GET" && method != "HEAD" && method != "OPTIONS"
}

// bearsToken reports whether r has the token, in a time that gives away no part of it.
func (g *Guard) bearsToken(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(sum[:], g.token[:]) == 1
}

// admit lets a request through to next, or returns an error if there is no room for it.
func (g *Guard) admit(w http.ResponseWriter, r *http.Request, next http.Handler) error {
	if g.Stream != nil && g.Stream(r) {
		defer g.streams.Add(-1)
		if g.streams.Add(1) > int64(g.MaxStreams) {
			return tooMany("%d streams are open already, as many as -max-streams allows; try again", g.MaxStreams)
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		if g.Ending != nil {
			defer context.AfterFunc(g.Ending, cancel)()
		}
		stream, outer := r.WithContext(ctx), r
		defer func() { outer.Pattern = stream.Pattern }() // the handlers around the guard read it
		r = stream
	} else {
		defer g.inFlight.Add(-1)
		if g.inFlight.Add(1) > int64(g.MaxInFlight) {
			return tooMany("%d requests are being answered already, as many as -max-in-flight allows; try again", g.MaxInFlight)
		}
	}
	slowBody := r.ContentLength != 0 && !isWrite(r.Method) // a read needs no body, and its client may send one slowly
	if slowBody || g.Long != nil && g.Long(r) {
		// Clients choose how long these requests stay, so these must leave room for others.
		half := max(1, g.MaxInFlight/2)
		defer g.long.Add(-1)
		if g.long.Add(1) > int64(half) {
			return tooMany("%d requests that asked for a delay, or are to read and have a body, are inside already, half as many as -max-in-flight allows; try again", half)
		}
	}
	if g.limiter != nil {
		if err := g.limit(w.Header(), r); err != nil {
			return err
		}
	}
	next.ServeHTTP(w, r)
	return nil
}

func tooMany(format string, most int) error {
	err := rest.Errorf(http.StatusServiceUnavailable, format, most)
	err.RetryAfter = 1
	return err
}

// limit counts r, and tells the client how many requests it has left
// (draft-ietf-httpapi-ratelimit-headers-11). It returns an error if r is one too many.
func (g *Guard) limit(h http.Header, r *http.Request) error {
	left, full, wait := g.limiter.take(clientOf(r.RemoteAddr), time.Now())
	h.Set("RateLimit-Policy", g.limiter.policy)
	h.Set("RateLimit", fmt.Sprintf(`"address";r=%d;t=%d`, left, seconds(full)))
	if wait == 0 {
		return nil
	}
	err := rest.Errorf(http.StatusTooManyRequests, "More than %g requests a second from one address, which is what -rate allows; try again later", g.Rate)
	err.RetryAfter = seconds(wait)
	return err
}

// seconds returns d in whole seconds, rounded up.
func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
