package guard

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// splitHost splits the value of a Host field (RFC 9110, section 7.2). It returns the name or
// address in lower case, without a dot at its end and without the brackets of IPv6, and
// the port or "". ok is false if hostport is invalid.
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

// isLoopback reports whether a name or address can only be this machine. That is true of
// names below localhost (RFC 6761, section 6.3). 0.0.0.0 leads to this machine, too, but is
// refused: only attackers use it as a host.
func isLoopback(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// hostAllowed reports whether requests for the host are answered. It refuses requests of a
// page whose own name leads to a loopback address (DNS rebinding).
func (g *Guard) hostAllowed(hostport string) bool {
	if last := g.lastHost.Load(); !g.Loopback || last != nil && *last == hostport {
		return true
	}
	host, _, ok := splitHost(hostport)
	allowed := ok && (isLoopback(host) || g.hosts[host])
	if allowed {
		last := hostport // a variable of its own: storing &hostport would make every call allocate
		g.lastHost.Store(&last)
	}
	return allowed
}

// originAllowed reports whether r may write, judged by the origin of its page. A request
// without an origin was not sent by a page.
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
	case "same-origin", "none": // none: the user has typed the address
		return true
	case "": // not a browser, or an old one
		_, authority, _ := strings.Cut(sent, "://")
		return sent == "" || ok && authority == r.Host
	default:
		return false
	}
}

// originOf returns the origin of the page that sent r, or "". It does not call Header.Get,
// which checks each letter of the name, because it runs for every request.
func originOf(r *http.Request) string {
	if lines := r.Header["Origin"]; len(lines) > 0 {
		return lines[0]
	}
	return ""
}

// parseOrigin parses an origin (RFC 6454, section 6.2) of http or https. It returns the
// origin in one form, with the port, however s writes it, and its host.
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
