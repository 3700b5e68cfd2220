// Package header reads what the header of a request says about content: which
// content the client has or expects to find (conditional requests, RFC 9110,
// section 13), and whether it takes it compressed (section 12.5.3).
package header

import (
	"cmp"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Conditions are the entity tags that a request is conditional on. A list of
// nothing but * matches any tag; nil stands for a field that was not sent.
type Conditions struct {
	IfMatch, IfNoneMatch []string
}

// ReadConditions returns the conditions of r.
func ReadConditions(r *http.Request) Conditions {
	return Conditions{entityTags(r.Header["If-Match"]), entityTags(r.Header["If-None-Match"])}
}

// entityTags returns the members of a list, or nil if it has no lines. Tags of
// other servers may contain commas; the pieces of those equal none of ours.
func entityTags(lines []string) []string {
	if lines == nil {
		return nil
	}
	tags := strings.Split(strings.Join(lines, ","), ",")
	for i := range tags {
		tags[i] = strings.TrimSpace(tags[i])
	}
	return tags
}

// Hold reports whether what has this entity tag may be changed (RFC 9110,
// sections 13.1.1 and 13.1.2).
func (c Conditions) Hold(etag string) bool {
	matches := c.IfMatch == nil || isAny(c.IfMatch) ||
		slices.Contains(c.IfMatch, etag) && !strings.HasPrefix(etag, "W/") // comparison is strong
	return matches && !c.HasCurrent(etag)
}

// HasCurrent reports whether the client has what has this entity tag: if it
// wants to read that, it is answered 304.
func (c Conditions) HasCurrent(etag string) bool {
	return isAny(c.IfNoneMatch) || slices.ContainsFunc(c.IfNoneMatch, func(tag string) bool { // comparison is weak
		return strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(etag, "W/")
	})
}

func isAny(tags []string) bool { return len(tags) == 1 && tags[0] == "*" }

// AcceptsGzip reports whether r's client takes gzip.
func AcceptsGzip(r *http.Request) bool {
	accepted := false
	for _, line := range r.Header["Accept-Encoding"] {
		for part := range strings.SplitSeq(line, ",") {
			coding, params, err := mime.ParseMediaType(part)
			if err != nil {
				continue
			}
			weight, err := strconv.ParseFloat(cmp.Or(params["q"], "1"), 64)
			switch coding {
			case "gzip", "x-gzip":
				return err == nil && weight > 0
			case "*":
				accepted = err == nil && weight > 0
			}
		}
	}
	return accepted
}
