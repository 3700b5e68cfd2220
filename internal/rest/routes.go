package rest

import (
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
)

// Routes are the handlers of every path, by method. A path is a pattern of
// [http.ServeMux] without method. A handler of GET is one of HEAD, too.
type Routes map[string]map[string]http.HandlerFunc

// Handler returns the handler of all paths. It answers OPTIONS, 404 and 405. notFound
// answers paths without a handler; acceptPatch lists the media types of bodies of PATCH
// (RFC 5789, section 3.1).
func (t Routes) Handler(notFound http.HandlerFunc, acceptPatch string) http.Handler {
	mux := http.NewServeMux()
	numbered := make(map[string]numberedRoute) // by the path before the number
	for pattern, byMethod := range t {
		if folder, found := strings.CutSuffix(pattern, "{id}"); found && byMethod["GET"] != nil {
			numbered[folder] = numberedRoute{"GET " + pattern, byMethod["GET"]}
		}
		for method, handler := range byMethod {
			mux.HandleFunc(method+" "+pattern, handler)
		}
		allow := allowed(byMethod)
		mux.HandleFunc("OPTIONS "+pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", allow)
			if byMethod["PATCH"] != nil {
				w.Header().Set("Accept-Patch", acceptPatch)
			}
			SetHeader(w.Header())
			w.WriteHeader(http.StatusNoContent)
		})
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			err := Errorf(http.StatusMethodNotAllowed, "Method not allowed; this path knows %s", allow)
			err.Header = map[string]string{"Allow": allow}
			WriteError(w, err)
		})
	}
	mux.HandleFunc("/", notFound)

	// ServeMux would answer paths such as //api/cars and /api/../x with a redirect in
	// HTML. No pattern ends in a slash, so a path is either clean or unknown.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" && r.URL.RawPath == "" {
			i := strings.LastIndexByte(r.URL.Path, '/') + 1
			route, found := numbered[r.URL.Path[:i]]
			if found && i < len(r.URL.Path) && strings.Trim(r.URL.Path[i:], "0123456789") == "" {
				r.Pattern = route.pattern
				route.handler(w, r)
				return
			}
		}
		if r.Method == "OPTIONS" && r.URL.Path == "*" { // about the server as a whole (RFC 9110, section 9.3.7)
			SetHeader(w.Header())
			w.WriteHeader(http.StatusNoContent)
			return
		}
		p := r.URL.EscapedPath()
		if rest, found := strings.CutSuffix(p, "/"); found && rest != "" && !strings.HasSuffix(rest, "/") { // one slash at the end is ignored
			without := *r.URL
			without.Path, without.RawPath = strings.TrimSuffix(r.URL.Path, "/"), strings.TrimSuffix(r.URL.RawPath, "/")
			p, r.URL = rest, &without
		}
		if !strings.HasPrefix(p, "/") || path.Clean(p) != p {
			notFound(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// A numberedRoute is GET of a pattern such as /cars/{id}. Requests with a number in the place
// of {id} are the most frequent, and ServeMux would take longer than all the rest of this
// handler. So they pass it by, and their handlers read the number from the path.
type numberedRoute struct {
	pattern string
	handler http.HandlerFunc
}

// allowed is the value of Allow (RFC 9110, section 10.2.1).
func allowed(byMethod map[string]http.HandlerFunc) string {
	methods := append(slices.Sorted(maps.Keys(byMethod)), "OPTIONS")
	if byMethod["GET"] != nil {
		methods = append(methods, "HEAD")
	}
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}
