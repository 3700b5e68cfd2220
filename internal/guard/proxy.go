package guard

import (
	"net/http"
	"net/netip"
	"strings"
)

// fromNetwork reports whether a proxy sends a request for a client that may be on another
// machine. Proxies name the client in Forwarded (RFC 7239), X-Forwarded-For or X-Real-IP.
// A client can make up addresses in front of the one that the proxy adds, so every address
// has to be a loopback address. A development server that proxies for a browser on this
// machine names one.
func fromNetwork(h http.Header) bool {
	for _, name := range []string{"X-Forwarded-For", "X-Real-Ip"} {
		for _, line := range h[name] {
			for address := range strings.SplitSeq(line, ",") {
				if !isLoopbackNode(address) {
					return true
				}
			}
		}
	}
	// A quoted string may contain the separators. Its pieces are then not loopback addresses,
	// and the addresses outside of the string are still found.
	for _, line := range h["Forwarded"] {
		for element := range strings.SplitSeq(line, ",") {
			named := false
			for pair := range strings.SplitSeq(element, ";") {
				name, node, _ := strings.Cut(strings.TrimSpace(pair), "=")
				if !strings.EqualFold(name, "for") {
					continue
				}
				if !isLoopbackNode(node) {
					return true
				}
				named = true
			}
			if !named {
				return true
			}
		}
	}
	return false
}

// isLoopbackNode reports whether a proxy's name for a client (RFC 7239, section 6) is a
// loopback address, with or without a port. The names "unknown" and "_hidden" are not.
func isLoopbackNode(node string) bool {
	node = strings.Trim(strings.TrimSpace(node), `"`)
	if addrPort, err := netip.ParseAddrPort(node); err == nil {
		return addrPort.Addr().IsLoopback()
	}
	if inner, isV6 := strings.CutPrefix(node, "["); isV6 {
		node = strings.TrimSuffix(inner, "]")
	}
	addr, err := netip.ParseAddr(node)
	return err == nil && addr.IsLoopback()
}
