package strict

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"cars/internal/rest"
)

// Problems are what is wrong with the fields of an object: a message for each, by the
// path of the field.
type Problems map[string]string

// MaxProblems is how many there may be. A client that makes more mistakes meant to send
// something else.
const MaxProblems = 100

// Note adds a message about one more field. The first about a field stays.
func (p Problems) Note(path, message string) {
	const longest = 100 // characters of a path that makes sense
	if runes := []rune(path); len(runes) > longest {
		path = string(runes[:longest]) + "…"
	}
	if _, noted := p[path]; !noted && !p.full() {
		p[path] = message
	}
}

func (p Problems) full() bool { return len(p) >= MaxProblems }

// String names the first few, for clients that show one message.
func (p Problems) String() string {
	const most = 5
	var sentences []string
	for _, path := range slices.Sorted(maps.Keys(p)) {
		sentences = append(sentences, path+" "+p[path])
	}
	if more := len(sentences) - most; more > 0 {
		sentences = append(sentences[:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(sentences, "; ")
}

// Err returns a *[rest.Error], 422, or nil if there are no problems.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return &rest.Error{Status: http.StatusUnprocessableEntity, Message: p.String(), Fields: p}
}
