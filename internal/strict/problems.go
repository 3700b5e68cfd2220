package strict

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"cars/internal/rest"
)

// Problems say what is wrong with the fields of an object: one message for each of these
// fields, by its path.
type Problems map[string]string

// MaxProblems is the most problems that are noted. A client that makes more mistakes meant
// to send something else.
const MaxProblems = 100

// Note adds a message about the field at path, unless there is one already. A path of
// more than 100 characters is cut.
func (p Problems) Note(path, message string) {
	const longest = 100 // characters of a path that makes sense
	if runes := []rune(path); len(runes) > longest {
		path = string(runes[:longest]) + "…"
	}
	if _, noted := p[path]; !noted && len(p) < MaxProblems {
		p[path] = message
	}
}

// String returns the first five messages in one line, for clients that show only one.
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
