// Package web is the window: the page at /, and the description of the API for
// programs.
package web

import "embed"

// Files are what is served, under their names.
//
//go:embed index.html *.css *.js images openapi.json
var Files embed.FS
