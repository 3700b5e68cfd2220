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
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Files returns the handlers of the files of fsys, by name, such as images/sedan.svg.
// The entity tag of a file depends on its content alone, so it survives a restart.
func Files(fsys fs.FS) (map[string]http.HandlerFunc, error) {
	files := make(map[string]http.HandlerFunc)
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
		files[name] = fileHandler(content, contentType, fmt.Sprintf(`"%x"`, sum[:8]))
		return err
	})
	return files, err
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
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
}
