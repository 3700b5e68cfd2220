package guard

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// splitHost reads what a Host field says (RFC 9110, section 7.2): a name or address
// in lower case, without the dot that may end a name and the brackets of IPv6, and
// its port, which may be missing.
func splitHost(hostport string) (host, port string, ok bool) {
	host = strings.ToLower(hostport)
	if rest, isV6 := strings.CutPrefix(host, "["); isV6 {
		host, port, ok = strings.Cut(rest, "]")
		addr, err := netip.ParseAddr(host)
		if !ok || err != nil || !addr.Is6() || addr.Zone() != "" || port != "" && port[0] != ':' {
			return "", "", false
		}
		return addr.String(), strings.TrimPrefix(port, ":"), port == "" || isPort(port[1:])
	}
	host, port, hasPort := strings.Cut(host, ":")
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > 253 || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return "", "", false
	}
	return host, port, !hasPort || isPort(port)
}

// isPort reports whether s is a port, which may be empty (RFC 3986, section 3.2.3).
func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return s == "" || err == nil
}

// isLoopback reports whether a name or address cannot be any other machine's. Names
// below localhost cannot (RFC 6761, section 6.3). 0.0.0.0 leads here, too, but is not
// a loopback address, and nobody calls this machine so who means well.
func isLoopback(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// hostAllowed reports whether the server may be called by this name. A page whose
// own name leads to a loopback address (DNS rebinding) gets no further.
func (g *Guard) hostAllowed(hostport string) bool {
	if last := g.lastHost.Load(); !g.Loopback || last != nil && *last == hostport {
		return true
	}
	host, _, ok := splitHost(hostport)
	allowed := ok && (isLoopback(host) || g.hosts[host])
	if allowed {
		last := hostport // a variable of its own, or each call would allocate one
		g.lastHost.Store(&last)
	}
	return allowed
}

// originAllowed reports whether pages of the origin that r comes from may write. What
// has no origin was not sent by a page.
func (g *Guard) originAllowed(r *http.Request) bool {
	sent := originOf(r)
	if len(r.Header["Origin"]) > 1 {
		return false
	}
	origin, host, ok := parseOrigin(sent)
	if ok && (isLoopback(host) || g.origins[origin]) {
		return true
	}
	switch r.Header.Get("Sec-Fetch-Site") { // no page can set it
	case "same-origin", "none": // none: by the user's own hand
		return true
	case "": // not a browser, or an old one
		_, authority, _ := strings.Cut(sent, "://")
		return sent == "" || ok && authority == r.Host
	default:
		return false
	}
}

// originOf returns the origin of the page that sent r, or "". It is asked about every
// request, and Get would look at each letter of the name.
func originOf(r *http.Request) string {
	if lines := r.Header["Origin"]; len(lines) > 0 {
		return lines[0]
	}
	return ""
}

// parseOrigin reads an origin (RFC 6454, section 6.2) of HTTP, and returns it in one
// form for all ways to write it, and its host.
func parseOrigin(s string) (origin, host string, ok bool) {
	if s == "" {
		return "", "", false
	}
	u, err := url.Parse(s)
	if err != nil || u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(s, "#") {
		return "", "", false
	}
	host, port, ok := splitHost(u.Host)
	if !ok || u.Scheme != "http" && u.Scheme != "https" {
		return "", "", false
	}
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(host, port), host, true
}
