// Package assets serves files that are part of the program: a page, and what it
// consists of.
package assets

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"

	"cars/internal/answer"
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

// A File answers with its content.
type File struct {
	content []byte
	etag    string // of the content alone, so that it survives a restart
	kind    string
}

// Read returns the files of fsys by name, such as images/sedan.svg.
func Read(fsys fs.FS) (map[string]File, error) {
	files := make(map[string]File)
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(fsys, name)
		kind := contentTypes[path.Ext(name)]
		if err == nil && kind == "" {
			err = fmt.Errorf("assets: %s is of no known type", name)
		}
		sum := sha256.Sum256(content)
		files[name] = File{content, fmt.Sprintf(`"%x"`, sum[:8]), kind}
		return err
	})
	return files, err
}

func (f File) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if answer.NotModified(w, r, f.etag) {
		return
	}
	h := w.Header()
	answer.SetHeader(h)
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Type", f.kind)
	h.Set("Content-Length", strconv.Itoa(len(f.content)))
	w.WriteHeader(http.StatusOK)
	w.Write(f.content)
}
