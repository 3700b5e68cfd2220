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
// 13). A list that is only * matches any tag. A list is nil if its field was not
// sent.
type Conditions struct {
	IfMatch, IfNoneMatch []string
}

// ReadConditions returns the conditions of r.
func ReadConditions(r *http.Request) Conditions {
	return Conditions{entityTags(r.Header["If-Match"]), entityTags(r.Header["If-None-Match"])}
}

// entityTags returns the entity tags in the lines of a field, or nil if there are no lines.
// The tag of a compressed body is returned as that of the body itself. A tag of another
// server may contain commas. Its pieces are equal to none of the tags that are made here.
func entityTags(lines []string) []string {
	if lines == nil {
		return nil
	}
	tags := strings.Split(strings.Join(lines, ","), ",")
	for i := range tags {
		tags[i] = strings.Replace(strings.TrimSpace(tags[i]), gzipSuffix, `"`, 1)
	}
	return tags
}

// gzipSuffix is the end of a compressed body's entity tag. A strong tag has to differ when
// the bytes of the body do (RFC 9110, section 8.8.3.3).
const gzipSuffix = `-gzip"`

// gzipTag returns the entity tag of the compressed body, given that of the body itself.
func gzipTag(etag string) string { return strings.TrimSuffix(etag, `"`) + gzipSuffix }

// Check returns an error, 412, unless the content with this strong entity tag may be
// changed (RFC 9110, sections 13.1.1 and 13.1.2).
func (c Conditions) Check(etag string) error {
	if err := c.checkMatch(etag); err != nil {
		return err
	}
	if c.hasCurrent(etag) {
		return Errorf(http.StatusPreconditionFailed, "Nothing was changed: what If-None-Match rules out is there")
	}
	return nil
}

// checkMatch returns an error, 412, if there is an If-Match that does not name etag. The
// comparison is strong: a weak tag never matches.
func (c Conditions) checkMatch(etag string) error {
	switch {
	case c.IfMatch == nil, isAny(c.IfMatch), slices.Contains(c.IfMatch, etag):
		return nil
	case slices.Contains(c.IfMatch, "W/"+etag):
		return Errorf(http.StatusPreconditionFailed, "If-Match has the right entity tag in its weak form, W/%s, which never matches; a proxy has made it weak, as many do that compress. Have the proxy leave ETag alone, or send the tag without W/", etag)
	default:
		return Errorf(http.StatusPreconditionFailed, "If-Match does not hold (any longer): it has been changed since, or is another")
	}
}

// hasCurrent reports whether If-None-Match names etag. A GET is then answered 304.
func (c Conditions) hasCurrent(etag string) bool {
	return isAny(c.IfNoneMatch) || slices.ContainsFunc(c.IfNoneMatch, func(tag string) bool { // comparison is weak
		return strings.TrimPrefix(tag, "W/") == etag
	})
}

func isAny(tags []string) bool { return len(tags) == 1 && tags[0] == "*" }

// NotModified sets the entity tag of an answer to GET or HEAD. If the client has that
// content, it answers 304 and reports true. It returns an error, 412, if If-Match does not
// hold (RFC 9110, section 13.2.2).
func NotModified(w http.ResponseWriter, r *http.Request, etag string) (bool, error) {
	h := w.Header()
	h["Etag"] = []string{etag}
	if r.Header["If-None-Match"] == nil && r.Header["If-Match"] == nil { // as in nearly all requests
		return false, nil
	}
	c := ReadConditions(r)
	if err := c.checkMatch(etag); err != nil {
		return false, err
	}
	if !c.hasCurrent(etag) {
		return false, nil
	}
	if strings.Contains(r.Header.Get("If-None-Match"), gzipTag(etag)) {
		h["Etag"] = []string{gzipTag(etag)}
	}
	SetHeader(h)
	w.WriteHeader(http.StatusNotModified)
	return true, nil
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
