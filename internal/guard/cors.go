package guard

import (
	"cmp"
	"net/http"
	"strings"

	"cars/internal/rest"
)

// Header values that all answers share. They must not be changed.
var (
	varyOrigin = []string{"Origin"}
	yes        = []string{"true"}
)

// setReaders says which pages may read the answer (Fetch standard, CORS protocol).
// Pages of every origin may: [rest.SetHeader] says *. A page that may write is named,
// since its library may send credentials, which * does not allow.
//
// Only answers to pages have Vary. The Fetch standard wants it on all answers that a cache
// may use without asking the server. No cache may do that here: all answers are no-cache,
// and the 304 that a cache gets for a page has the fields for that page.
func (g *Guard) setReaders(h http.Header, r *http.Request, originAllowed bool) {
	if g.Token == "" && g.isSecret(r.URL.Path) {
		h["Access-Control-Allow-Origin"] = nil // no page may read it, and rest.SetHeader leaves it so
		return
	}
	origin := originOf(r)
	if origin == "" {
		return
	}
	h["Vary"] = varyOrigin
	if originAllowed && origin != "null" {
		h["Access-Control-Allow-Origin"] = []string{origin}
		h["Access-Control-Allow-Credentials"] = yes
	}
}

// preflight answers a browser's question about what a page may send.
func (g *Guard) preflight(w http.ResponseWriter, r *http.Request, originAllowed bool) {
	h := w.Header()
	rest.SetHeader(h)
	methods, headers := "GET, HEAD", "*, Authorization" // * does not include Authorization
	if originAllowed {
		methods = "GET, HEAD, POST, PUT, PATCH, DELETE"
		if asked := strings.Join(r.Header["Access-Control-Request-Headers"], ","); areTokens(asked) {
			headers = asked // with credentials, * is only the name of a header
		}
	} else if isWrite(r.Header.Get("Access-Control-Request-Method")) && g.Report != nil {
		g.Report(r, refuseOrigin(r))
	}
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", headers)
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}

// areTokens reports whether s is a list of tokens (RFC 9110, section 5.6.2).
func areTokens(s string) bool {
	for name := range strings.SplitSeq(s, ",") {
		name = strings.Trim(name, " \t")
		if name == "" || strings.ContainsFunc(name, func(c rune) bool {
			return c <= ' ' || c > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
		}) {
			return false
		}
	}
	return true
}

// refuseOrigin returns the error for a page that may not write, with advice that
// applies to its origin.
func refuseOrigin(r *http.Request) *rest.Error {
	sent := originOf(r)
	origin, _, ok := parseOrigin(sent)
	if sent != "" && !ok {
		return rest.Errorf(http.StatusForbidden, "A page with the origin %q may not write, and no flag allows it; if it was opened as a file, serve it from this machine, such as with python3 -m http.server", sent)
	}
	return rest.Errorf(http.StatusForbidden, "Pages of other origins may not write; to allow one, start the server with -origins, such as -origins %s", cmp.Or(origin, "https://app.example"))
}
