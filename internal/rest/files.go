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

// contentTypes are the media types of files, by extension. Package mime would ask the
// operating system, whose answer differs from machine to machine.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".json": "application/json",
}

// policy lets a page load only what this server has. It keeps the page out of frames of
// other pages, and has the browser refuse scripts that make HTML of texts (Content
// Security Policy Level 3, Trusted Types).
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' http://*.localhost:*; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// AddFiles adds a route for each file of fsys: / for index.html, and its name for any other.
// fallbacks has, by folder, the file that answers for a name that is not in the folder, if
// both have the same extension; notFound answers for all other names. The entity tag of a
// file depends on its content alone, so it survives a restart.
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
				if r.URL.Path != "/" { // ServeMux leads /%2F here, too
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

// A noRanges is a ResponseWriter that takes Accept-Ranges out of the answer.
type noRanges struct{ http.ResponseWriter }

func (w noRanges) WriteHeader(status int) {
	w.Header().Del("Accept-Ranges")
	w.ResponseWriter.WriteHeader(status)
}
