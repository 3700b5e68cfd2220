package rest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"time"
)

// contentTypes are by extension. The operating system's opinion, which package mime
// would ask, differs from machine to machine.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".json": "application/json",
}

// policy lets a page load what this server has and nothing else, keeps it out of frames
// of other pages, and has the browser refuse scripts that would make HTML of texts
// (Content Security Policy Level 3, Trusted Types).
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' http://*.localhost:*; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// AddFiles adds the routes of the files of fsys. index.html is at /, others are at their
// names. A name that does not exist in a folder leads to the file of that folder in
// fallbacks, if the two have the same extension. The entity tag of a file depends on its
// content alone, so it survives a restart.
func (t Routes) AddFiles(fsys fs.FS, fallbacks map[string]string, notFound http.HandlerFunc) error {
	folders := make(map[string]map[string]http.HandlerFunc) // handlers by folder and name
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(fsys, name)
		contentType := contentTypes[path.Ext(name)]
		if err == nil && contentType == "" {
			err = fmt.Errorf("rest: %s is of no known type", name)
		}
		sum := sha256.Sum256(content)
		folder := path.Dir(name)
		if folders[folder] == nil {
			folders[folder] = make(map[string]http.HandlerFunc)
		}
		folders[folder][path.Base(name)] = fileHandler(content, contentType, fmt.Sprintf(`"%x"`, sum[:8]))
		return err
	})
	for folder, handlers := range folders {
		if folder != "." {
			t["/"+folder+"/{name}"] = map[string]http.HandlerFunc{"GET": func(w http.ResponseWriter, r *http.Request) {
				name, fallback := r.PathValue("name"), fallbacks[folder]
				handler := handlers[name]
				if handler == nil && path.Ext(name) == path.Ext(fallback) {
					handler = handlers[fallback]
				}
				if handler == nil {
					handler = notFound
				}
				handler(w, r)
			}}
			continue
		}
		for name, handler := range handlers {
			if name != "index.html" {
				t["/"+name] = map[string]http.HandlerFunc{"GET": handler}
				continue
			}
			t["/{$}"] = map[string]http.HandlerFunc{"GET": func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/" { // ServeMux takes /%2F for it, too
					notFound(w, r)
					return
				}
				handler(w, r)
			}}
		}
	}
	return err
}

func fileHandler(content []byte, contentType, etag string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		SetHeader(h)
		h.Set("Content-Security-Policy", policy)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Type", contentType)
		h.Set("ETag", etag)
		// ServeContent refuses a range, or an If-Match that does not hold, in plain text.
		// Both may be ignored (RFC 9110, sections 14.2 and 13.2.1).
		r.Header.Del("Range")
		r.Header.Del("If-Match")
		http.ServeContent(noRanges{w}, r, "", time.Time{}, bytes.NewReader(content))
	}
}

// A noRanges takes out of an answer that ranges can be had.
type noRanges struct{ http.ResponseWriter }

func (w noRanges) WriteHeader(status int) {
	w.Header().Del("Accept-Ranges")
	w.ResponseWriter.WriteHeader(status)
}
