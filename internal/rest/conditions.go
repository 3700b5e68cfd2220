package rest

import (
	"cmp"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Conditions are the entity tags that a request is conditional on (RFC 9110, section
// 13). A list of nothing but * matches any tag; nil stands for a field that was not
// sent.
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

// Check returns an error, 412, unless the content with this entity tag may be changed
// (RFC 9110, sections 13.1.1 and 13.1.2).
func (c Conditions) Check(etag string) error {
	matches := c.IfMatch == nil || isAny(c.IfMatch) ||
		slices.Contains(c.IfMatch, etag) && !strings.HasPrefix(etag, "W/") // comparison is strong
	if !matches || c.hasCurrent(etag) {
		return Errorf(http.StatusPreconditionFailed, "Nothing was changed: If-Match or If-None-Match does not hold (any longer)")
	}
	return nil
}

// hasCurrent reports whether If-None-Match names etag. A GET is then answered 304.
func (c Conditions) hasCurrent(etag string) bool {
	return isAny(c.IfNoneMatch) || slices.ContainsFunc(c.IfNoneMatch, func(tag string) bool { // comparison is weak
		return strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(etag, "W/")
	})
}

func isAny(tags []string) bool { return len(tags) == 1 && tags[0] == "*" }

// NotModified answers 304 if the client has the content with this entity tag,
// and reports whether it did (RFC 9110, section 13.1.2).
func NotModified(w http.ResponseWriter, r *http.Request, etag string) bool {
	w.Header()["Etag"] = []string{etag}
	if !ReadConditions(r).hasCurrent(etag) {
		return false
	}
	SetHeader(w.Header())
	w.WriteHeader(http.StatusNotModified)
	return true
}

// acceptsGzip reports whether r's client takes gzip (RFC 9110, section 12.5.3).
func acceptsGzip(r *http.Request) bool {
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
