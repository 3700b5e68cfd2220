// Package routes leads requests to handlers by path and method, and gives the answers
// that follow from there being no other: OPTIONS, 404 and 405.
package routes

import (
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"

	"cars/internal/answer"
)

// A Table has the handlers of every path, which is a pattern of [http.ServeMux] without
// method, by method. A handler of GET is one of HEAD, too.
type Table map[string]map[string]http.HandlerFunc

// Options are what a table does not say.
type Options struct {
	AcceptPatch string // the media types of bodies of PATCH (RFC 5789, section 3.1)
	NotFound    http.HandlerFunc

	// Refuse answers with an error. The message is for a person.
	Refuse func(w http.ResponseWriter, message string, status int)
}

// Handler returns the handler of all paths.
func (t Table) Handler(options Options) http.Handler {
	mux := http.NewServeMux()
	for pattern, byMethod := range t {
		for method, handler := range byMethod {
			mux.HandleFunc(method+" "+pattern, handler)
		}
		allow := allowed(byMethod)
		mux.HandleFunc("OPTIONS "+pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", allow)
			if byMethod["PATCH"] != nil {
				w.Header().Set("Accept-Patch", options.AcceptPatch)
			}
			answer.SetHeader(w.Header())
			w.WriteHeader(http.StatusNoContent)
		})
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", allow)
			options.Refuse(w, "Method not allowed; this path knows "+allow, http.StatusMethodNotAllowed)
		})
	}
	mux.HandleFunc("/", options.NotFound)

	// ServeMux would answer paths such as //api/cars and /api/../x with a redirect in
	// HTML. No pattern ends in a slash, so a path is either clean or unknown.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "OPTIONS" && r.URL.Path == "*" { // about the server as a whole (RFC 9110, section 9.3.7)
			answer.SetHeader(w.Header())
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if p := r.URL.EscapedPath(); !strings.HasPrefix(p, "/") || path.Clean(p) != p {
			options.NotFound(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// allowed is what Allow says (RFC 9110, section 10.2.1).
func allowed(byMethod map[string]http.HandlerFunc) string {
	methods := append(slices.Sorted(maps.Keys(byMethod)), "OPTIONS")
	if byMethod["GET"] != nil {
		methods = append(methods, "HEAD")
	}
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}
