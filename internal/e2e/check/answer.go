// Package check holds what tests compare the server with: what holds for every answer,
// a model of the lists, and a checker of histories. It knows the server from outside
// alone, by its answers and by the description that it hands out.
package check

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cars/internal/e2e/openapi"
	"cars/web"
)

// Description is the description of the API that the server hands out, and
// DescriptionText its text.
var Description, DescriptionText = func() (*openapi.Document, []byte) {
	text, err := web.Files.ReadFile("openapi.json")
	if err != nil {
		panic(err) // it is part of the program
	}
	description, err := openapi.Read(text)
	if err != nil {
		panic(err)
	}
	return description, text
}()

// OfThePage reports whether a file is there for the page alone, so that the
// description says nothing of it.
func OfThePage(name string) bool { return slices.Contains([]string{".css", ".js"}, path.Ext(name)) }

// An ErrorBody is the body of every error.
type ErrorBody struct {
	Error   string            `json:"error"`
	Message string            `json:"message"`
	Code    int               `json:"code"`
	Errors  map[string]string `json:"errors"` // by field, with 422 alone
}

// Answer returns what is wrong with the answer to r, whose body was sent, as far as it
// can be told of any answer: its header, the form of an error, and that all is as the
// description says. The body of the answer is there to be read again.
func Answer(r *http.Request, sent []byte, resp *http.Response) error {
	packed, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(packed))
	body, err := Body(resp)
	if err != nil {
		return err
	}
	return errors.Join(checkHeader(r, resp, packed), checkContent(r, resp, body), checkDescribed(r, sent, resp, body))
}

// Body returns the body of an answer, unpacked, and leaves it to be read again.
func Body(resp *http.Response) ([]byte, error) {
	packed, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(packed))
	if resp.Header.Get("Content-Encoding") != "gzip" || len(packed) == 0 {
		return packed, nil
	}
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(zr)
}

// hasBody reports whether an answer must have a body.
func hasBody(r *http.Request, resp *http.Response) bool {
	return r.Method != "HEAD" && resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusNotModified
}

func isPreflight(r *http.Request) bool {
	return r.Method == "OPTIONS" && r.Header.Get("Access-Control-Request-Method") != ""
}

// checkHeader wants the header fields that every answer has. packed is the body as it
// was sent.
func checkHeader(r *http.Request, resp *http.Response, packed []byte) error {
	want := map[string]string{
		"Access-Control-Expose-Headers": "X-Total-Count, Catalogue-Version, Link, ETag, Location, Server-Timing, Retry-After, RateLimit, RateLimit-Policy",
		"Cache-Control":                 "no-cache",
		"Timing-Allow-Origin":           "*",
		"X-Content-Type-Options":        "nosniff",
	}
	if resp.StatusCode != http.StatusCreated {
		want["Location"] = ""
	}
	if hasBody(r, resp) && !isMetrics(r, resp) {
		want["Content-Length"] = strconv.Itoa(len(packed))
		if resp.Header.Get("Content-Security-Policy") == "" { // not of the page
			want["Content-Type"] = "application/json"
		}
	}
	wrong := []error{checkReaders(r, resp), checkForms(r, resp)}
	for name, value := range want {
		if got := resp.Header.Get(name); got != value {
			wrong = append(wrong, fmt.Errorf("%s: got %q, want %q", name, got, value))
		}
	}
	return errors.Join(wrong...)
}

// checkReaders wants the fields that say which pages may read the answer (Fetch
// standard, CORS protocol): those of every origin or, if the page that asks may write,
// that page alone and with credentials. Of /metrics, no page may read anything if the
// server has no token.
func checkReaders(r *http.Request, resp *http.Response) error {
	h := resp.Header
	origin := r.Header.Get("Origin")
	readers, credentials := h.Get("Access-Control-Allow-Origin"), h.Get("Access-Control-Allow-Credentials")
	varies := slices.Contains(strings.Split(h.Get("Vary"), ", "), "Origin")
	mayWrite := resp.StatusCode < 300 && r.Method != "GET" && r.Method != "HEAD" && r.Method != "OPTIONS" ||
		strings.Contains(h.Get("Access-Control-Allow-Methods"), "DELETE")
	switch {
	case len(h["Access-Control-Allow-Origin"]) > 1 || len(h["Vary"]) > 1:
		return fmt.Errorf("more than one line: %q, %q", h["Access-Control-Allow-Origin"], h["Vary"])
	case withoutSlash(r.URL.Path) == "/metrics" && h["Access-Control-Allow-Origin"] == nil && credentials == "":
		return nil
	case origin == "" && (readers != "*" || credentials != "" || varies):
		return fmt.Errorf("readers are %q with credentials %q and Vary %q, but no page asked", readers, credentials, h.Get("Vary"))
	case origin == "":
		return nil
	case !varies:
		return fmt.Errorf("Vary: got %q, want Origin in it", h.Get("Vary"))
	case readers == "*" && credentials == "" && (!mayWrite || origin == "null"):
		return nil
	case readers != origin || credentials != "true" || origin == "null":
		return fmt.Errorf("readers are %q with credentials %q, but the page is of %q", readers, credentials, origin)
	}
	return nil
}

// forms are those that some fields have as the server sends them. The description does
// not say as much, since proxies change them on the way.
var forms = map[string]*regexp.Regexp{
	"Etag":             regexp.MustCompile(`^"[0-9a-f]{16}(-gzip)?"$`), // strong
	"Location":         regexp.MustCompile(`^(/[^/?#][^?#]*)?/api/cars/[1-9][0-9]*$`),
	"Content-Location": regexp.MustCompile(`^(/[^/?#][^?#]*)?/api/cars(/[1-9][0-9]*)?$`),
	"Vary":             regexp.MustCompile(`^(Origin|Accept-Encoding|Origin, Accept-Encoding)$`),
}

// checkForms wants the fields that have a form to have it, and lists to vary with what
// their client accepts: compressed, they have another tag.
func checkForms(r *http.Request, resp *http.Response) error {
	for name, form := range forms {
		if value := resp.Header.Get(name); value != "" && !form.MatchString(value) {
			return fmt.Errorf("%s: got %q, want it to match %s", name, value, form)
		}
	}
	etag, coding := resp.Header.Get("ETag"), resp.Header.Get("Content-Encoding")
	if resp.StatusCode != http.StatusNotModified && strings.HasSuffix(etag, `-gzip"`) != (coding == "gzip") {
		return fmt.Errorf("the tag %s is that of content with the encoding %q", etag, coding)
	}
	isList := withoutSlash(r.URL.Path) == "/api/cars" && (resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNotModified)
	if varies := strings.HasSuffix(resp.Header.Get("Vary"), "Accept-Encoding"); varies != isList && resp.StatusCode < 400 {
		return fmt.Errorf("Vary: got %q, and that it is a list is %v", resp.Header.Get("Vary"), isList)
	}
	return nil
}

// withoutSlash returns a path without the slash at its end, which is as if it were not
// there. Paths that begin or end in two are not like others.
func withoutSlash(path string) string {
	if path == "/" || strings.HasSuffix(path, "//") {
		return path
	}
	return strings.TrimSuffix(path, "/")
}

// isMetrics reports whether an answer is text, whose length is not known beforehand.
func isMetrics(r *http.Request, resp *http.Response) bool {
	return withoutSlash(r.URL.Path) == "/metrics" && resp.StatusCode == http.StatusOK
}

// checkContent wants JSON where there is to be some, in one line of its own, and errors
// in the form that clients rely on.
func checkContent(r *http.Request, resp *http.Response, body []byte) error {
	switch {
	case r.Method == "HEAD" && len(body) == 0: // or it comes from a handler, to which HEAD is GET
		return nil
	case !hasBody(r, resp) && len(body) > 0 && r.Method != "HEAD":
		return fmt.Errorf("a %d has a body: %q", resp.StatusCode, body)
	case resp.StatusCode >= 400:
		return Error(resp, resp.StatusCode)
	case resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get("Content-Security-Policy") != "":
		return nil
	case !json.Valid(body) || !bytes.HasSuffix(body, []byte("\n")):
		return fmt.Errorf("the body is not JSON with the end of a line: %q", body)
	}
	return nil
}

// Error returns what is wrong with an answer that is to be an error with this status.
func Error(resp *http.Response, status int) error {
	text, err := Body(resp)
	if err != nil {
		return err
	}
	var body ErrorBody
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		return fmt.Errorf("%w in %q", err, text)
	}
	name := http.StatusText(status)
	if name == "" && strings.Contains(body.Message, "Simulated") { // of a status that nobody knows
		name = body.Error
	}
	if resp.StatusCode != status || body.Code != status || body.Error != name || body.Message == "" {
		return fmt.Errorf("got status %d and body %+v, want %d in both", resp.StatusCode, body, status)
	}
	if strings.Contains(body.Message, "json:") || strings.Contains(body.Message, "main.") {
		return fmt.Errorf("the message is not for a client: %s", body.Message)
	}
	if simulated := body.Message == "Simulated failure"; !simulated && len(body.Errors) > 0 != (status == http.StatusUnprocessableEntity) {
		return fmt.Errorf("a %d has errors for fields: %v", status, body.Errors)
	}
	return nil
}

// checkDescribed wants the answer to be as the description says, and a body that was
// accepted to be one that it allows. What the description does not know must not be
// there, whatever else may be the matter with r.
func checkDescribed(r *http.Request, sent []byte, resp *http.Response, body []byte) error {
	escaped := withoutSlash(r.URL.EscapedPath())
	op, known := Description.Find(r.Method, escaped)
	_, err := web.Files.Open(strings.TrimPrefix(r.URL.Path, "/"))
	switch {
	case known:
	case isPreflight(r) || r.URL.Path == "*" || err == nil && OfThePage(r.URL.Path):
		return nil
	default:
		want := http.StatusNotFound
		if _, known := Description.Find("OPTIONS", escaped); known {
			want = http.StatusMethodNotAllowed
		}
		if refused := []int{401, 403, 429, 503}; resp.StatusCode != want && !slices.Contains(refused, resp.StatusCode) {
			return fmt.Errorf("%s %s, which the description does not know: got %d, want %d", r.Method, escaped, resp.StatusCode, want)
		}
		return nil
	}
	if asksForPage(r) && resp.StatusCode == http.StatusOK && r.Method == "GET" {
		data, err := unwrapPage(body)
		if err != nil {
			return err
		}
		body = data
	}
	if err := Description.CheckAnswer(op, resp.StatusCode, resp.Header, body); err != nil {
		return fmt.Errorf("%d is not as the description says: %w", resp.StatusCode, err)
	}
	if !slices.Contains(op.Statuses(), strconv.Itoa(resp.StatusCode)) && !bytes.Contains(body, []byte(`"message":"Simulated failure"`)) {
		return fmt.Errorf("the description does not know the status %d", resp.StatusCode)
	}
	if resp.StatusCode < 300 && slices.Contains([]string{"POST", "PUT", "PATCH"}, r.Method) {
		if err := Description.CheckBody(op, r.Header.Get("Content-Type"), sent); err != nil {
			return fmt.Errorf("the description does not allow the body: %w", err)
		}
	}
	return nil
}

// brackets are those of arrays, which are as if they were not there.
var brackets = regexp.MustCompile(`\[[0-9]*\]$`)

// asksForPage reports whether a list is asked for as a page in an object: with _page and
// _per_page, as json-server 1.x has it.
func asksForPage(r *http.Request) bool {
	given := map[string]bool{}
	for name, values := range r.URL.Query() {
		name = brackets.ReplaceAllString(name, "")
		given[name] = given[name] || strings.Join(values, "") != ""
	}
	return withoutSlash(r.URL.Path) == "/api/cars" && given["_page"] && given["_per_page"]
}

// unwrapPage returns the list in the body of such an answer, which must be as the
// description says.
func unwrapPage(body []byte) ([]byte, error) {
	var page any
	if err := json.Unmarshal(body, &page); err != nil {
		return nil, err
	}
	if err := Description.Validate(map[string]any{"$ref": "#/components/schemas/CarPage"}, page); err != nil {
		return nil, fmt.Errorf("the page is not as the description says: %w", err)
	}
	var list struct{ Data json.RawMessage }
	err := json.Unmarshal(body, &list)
	return list.Data, err
}
