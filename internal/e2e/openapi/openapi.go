// Package openapi reads the description of an API (OpenAPI 3.1) and checks answers
// and bodies against it. Tests use it, and nothing else.
//
// It knows as much of JSON Schema (2020-12) as a small description needs. A keyword
// that it does not know is an error, and so is a reference that leads nowhere.
//
// Four extensions tie a description to a server. Beside the value of an example
// of an answer, x-request is the [Request] that is answered so; in an answer without
// content, x-requests are such requests; at the top, x-headers are the header fields that
// every answer may have; and in an answer, x-content is content of other types, with the
// header fields of its own, which only clients that ask for it get. As content like any
// other, it would make the type of what generated clients read from all answers uncertain.
package openapi

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

type object = map[string]any

// A Document is a description. It is not changed after it is read.
type Document struct {
	root       object
	operations []Operation
}

// Read reads a description and checks that all of it can be used.
func Read(data []byte) (*Document, error) {
	d := new(Document)
	if err := json.Unmarshal(data, &d.root); err != nil {
		return nil, fmt.Errorf("openapi: %w", err)
	}
	if err := d.check(d.root, "#"); err != nil {
		return nil, fmt.Errorf("openapi: %w", err)
	}
	paths := d.at(d.root, "paths")
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		for _, verb := range verbs {
			if described := d.at(paths, path, verb); described != nil {
				d.operations = append(d.operations, Operation{strings.ToUpper(verb), path, described})
			}
		}
	}
	return d, nil
}

// check looks for references that lead nowhere and for schemas with unknown keywords.
func (d *Document) check(v any, at string) error {
	switch v := v.(type) {
	case []any:
		for i, member := range v {
			if err := d.check(member, at+"/"+strconv.Itoa(i)); err != nil {
				return err
			}
		}
	case object:
		if ref, ok := v["$ref"].(string); ok && d.follow(v) == nil {
			return fmt.Errorf("%s: %s leads nowhere", at, ref)
		}
		for name, member := range v {
			var err error
			switch schema, isObject := member.(object); {
			case name == "value" || name == "example": // may look like anything
			case isObject && (name == "schema" || at == "#/components/schemas"):
				err = d.checkSchema(schema, at+"/"+name)
			default:
				err = d.check(member, at+"/"+name)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// follow returns what v refers to if it is a reference, and else v; nil if that
// leads nowhere.
func (d *Document) follow(v any) any {
	for range 10 { // references to references; more go round in circles
		from, _ := v.(object)
		ref, ok := from["$ref"].(string)
		if !ok {
			return v
		}
		v = d.root
		for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			within, _ := v.(object)
			v = within[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)] // RFC 6901, section 4
		}
	}
	return nil
}

// at returns the object that is so many members below v, or nil.
func (d *Document) at(v any, names ...string) object {
	for _, name := range names {
		within, _ := d.follow(v).(object)
		v = within[name]
	}
	found, _ := d.follow(v).(object)
	return found
}

// An Operation is what can be done to the resources of one path.
type Operation struct {
	Method    string
	Path      string // with the names of parameters in braces
	described object
}

// verbs are the members of a path that are operations.
var verbs = []string{"delete", "get", "head", "options", "patch", "post", "put", "trace"}

// Operations returns all of them, by path and method.
func (d *Document) Operations() []Operation { return d.operations }

// Find returns the operation of a method on an escaped path.
func (d *Document) Find(method, path string) (op Operation, ok bool) {
	for _, op := range d.operations { // those of fixed paths first: { comes after letters and digits
		if op.Method == method && op.matches(path) {
			return op, true
		}
	}
	return op, false
}

func (op Operation) matches(path string) bool {
	names, segments := strings.Split(op.Path, "/"), strings.Split(path, "/")
	return slices.EqualFunc(names, segments, func(name, segment string) bool {
		unescaped, err := url.PathUnescape(segment)
		return err == nil && (name == unescaped || strings.HasPrefix(name, "{") && segment != "")
	})
}

// Statuses returns those that are described, and default if the others are.
func (op Operation) Statuses() []string {
	responses, _ := op.described["responses"].(object)
	return slices.Sorted(maps.Keys(responses))
}

// CheckAnswer returns what in an answer to op is not as it is described. The body is
// not compressed.
func (d *Document) CheckAnswer(op Operation, status int, header http.Header, body []byte) error {
	response := d.at(op.described, "responses", strconv.Itoa(status))
	if response == nil {
		response = d.at(op.described, "responses", "default")
	}
	if response == nil {
		return errors.New("the status is not described")
	}
	headers, content := d.at(response, "headers"), d.at(response, "content")
	mediaType, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	if other := d.at(response, "x-content", mediaType); other != nil {
		headers, content = d.at(other, "headers"), d.at(response, "x-content")
	}
	if err := d.checkHeader(headers, header); err != nil {
		return err
	}
	if len(body) == 0 && (content == nil || op.Method == "HEAD") {
		return nil
	}
	return d.checkContent(content, header.Get("Content-Type"), body)
}

// CheckBody returns what in the body of a request for op is not as it is described.
func (d *Document) CheckBody(op Operation, contentType string, body []byte) error {
	return d.checkContent(d.at(op.described, "requestBody", "content"), contentType, body)
}

func (d *Document) checkContent(content object, contentType string, body []byte) error {
	mediaType, _, err := mime.ParseMediaType(contentType)
	described := d.at(content, mediaType)
	if err != nil || described == nil {
		return fmt.Errorf("content of type %q is not described", contentType)
	}
	value := any(string(body))
	if mediaType == "application/json" || strings.HasSuffix(mediaType, "+json") {
		if err := json.Unmarshal(body, &value); err != nil {
			return err
		}
	}
	return d.Validate(described["schema"], value)
}

// unsaid are the header fields of which descriptions say nothing: of the connection,
// and of content, which is described elsewhere.
var unsaid = []string{"Connection", "Content-Length", "Content-Type", "Date"}

func (d *Document) checkHeader(described object, header http.Header) error {
	fields := object{}
	for _, some := range []object{d.at(d.root, "x-headers"), described} {
		for name := range some {
			fields[http.CanonicalHeaderKey(name)] = d.at(some, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		if fields[name] == nil && !slices.Contains(unsaid, name) {
			return fmt.Errorf("the field %s is not described", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		field := d.at(fields, name)
		if field["required"] == true && header[name] == nil {
			return fmt.Errorf("the field %s is missing", name)
		}
		for _, line := range header[name] {
			value := any(line)
			if n, err := strconv.Atoi(line); err == nil && d.at(field, "schema")["type"] == "integer" {
				value = float64(n)
			}
			if err := d.Validate(field["schema"], value); err != nil {
				return fmt.Errorf("the field %s: %w", name, err)
			}
		}
	}
	return nil
}

// A Request is one that has a known answer.
type Request struct {
	Line   string   // method and target
	Header []string // lines such as Accept: text/html
	Body   string
	Server string // the command that starts the server for it; empty: any will do
	Times  int    // how often it is made, to be answered so in the end; 0: once
}

// An Example is a request with its answer.
type Example struct {
	Request
	Op     Operation
	Status string // as it is described
	Value  any    // of the body; nil if there is none
}

// Examples returns the examples of answers, each with the operation that its request
// is for. One that has no body is made with the example of the same name of the body
// of that operation. It is an error if there is one of those that no answer is of.
func (d *Document) Examples() (all []Example, err error) {
	for _, op := range d.operations {
		bodies := object{}
		for _, content := range d.at(op.described, "requestBody", "content") {
			maps.Copy(bodies, d.at(content, "examples"))
		}
		unused := maps.Clone(bodies)
		for status := range d.at(op.described, "responses") {
			response := d.at(op.described, "responses", status)
			add := func(from any, name string, value any) {
				var r Request
				encoded, _ := json.Marshal(from) // what was decoded can be encoded
				err = cmp.Or(err, json.Unmarshal(encoded, &r))
				method, target, _ := strings.Cut(r.Line, " ")
				path, _, _ := strings.Cut(target, "?")
				if found, _ := d.Find(method, path); found.Method != op.Method || found.Path != op.Path {
					return
				}
				if body := d.at(bodies, name); body != nil && r.Body == "" {
					delete(unused, name)
					encoded, _ := json.Marshal(body["value"])
					r.Body = string(encoded)
				}
				all = append(all, Example{r, op, status, value})
			}
			requests, _ := response["x-requests"].([]any)
			for _, request := range requests {
				add(request, "", nil)
			}
			for _, content := range d.at(response, "content") {
				for name := range d.at(content, "examples") {
					example := d.at(content, "examples", name)
					add(example["x-request"], name, example["value"])
				}
			}
		}
		for name := range unused {
			err = cmp.Or(err, fmt.Errorf("openapi: of the example %s of a body for %s %s there is no answer", name, op.Method, op.Path))
		}
	}
	return all, err
}
