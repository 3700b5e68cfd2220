package openapi

import (
	"net/http"
	"strings"
	"testing"
)

const described = `{
  "x-headers": {"Cache-Control": {"schema": {"const": "no-cache"}}},
  "paths": {
    "/": {"get": {"responses": {"200": {"description": "a page", "content": {"text/html": {"schema": {"type": "string", "minLength": 3}}}}}}},
    "/things": {
      "get": {"responses": {"200": {"$ref": "#/components/responses/Things"}}},
      "put": {
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}, "examples": {"some": {"value": {"id": 1}}}}}},
        "responses": {"200": {"content": {"application/json": {"examples": {"some": {"x-request": {"line": "PUT /things"}, "value": {"id": 1}}}}}}}
      }
    },
    "/things/{id}": {
      "head": {"responses": {"200": {"$ref": "#/components/responses/Things"}}},
      "get": {
        "responses": {
          "200": {"$ref": "#/components/responses/Things"},
          "304": {"headers": {"etag": {"required": true, "schema": {"pattern": "^\"[0-9]+\"$"}}}, "x-requests": [{"line": "GET /things/1?x", "times": 2}]},
          "default": {"content": {"application/problem+json": {"schema": {"type": "object", "additionalProperties": {"type": "string"}}}}}
        }
      }
    },
    "/things/all": {"get": {"responses": {}}},
    "/a~b/c": {"$ref": "#/paths/~1"},
    "/d": {"$ref": "#/paths/~1a~0b~1c"}
  },
  "components": {
    "examples": {"odd": {"value": {"schema": {"odd": 1}}}},
    "responses": {
      "Things": {
        "x-content": {"text/event-stream": {"schema": {"type": "string", "pattern": "^data: "}}},
        "headers": {"Total": {"schema": {"type": "integer", "minimum": 1}}},
        "content": {"application/json": {
          "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
          "examples": {"one": {"x-request": {"line": "GET /things", "header": ["A: b"]}, "value": [{"id": 1}]}}
        }}
      }
    },
    "schemas": {
      "Thing": {
        "description": "a thing", "type": "object", "required": ["id"], "additionalProperties": false,
        "properties": {
          "id": {"type": "integer", "minimum": 1, "maximum": 9},
          "name": {"type": ["string", "null"], "minLength": 2, "maxLength": 4, "pattern": "^[^x]*$", "format": "any"},
          "kind": {"enum": ["a", 1, null]},
          "exact": {"const": {"a": [1]}},
          "flag": {"type": "boolean"},
          "half": {"type": "number"},
          "either": {"oneOf": [{"type": "integer"}, {"type": "string", "maxLength": 2}, {"minimum": 5, "type": "number"}]},
          "both": {"allOf": [{"minimum": 1}, {"maximum": 2, "items": {"minimum": 3}}]}
        },
        "patternProperties": {"_gt$": {"type": "number"}, "^no": false}
      }
    }
  }
}`

func read(t *testing.T) *Document {
	d, err := Read([]byte(described))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCheckAnswer(t *testing.T) {
	d := read(t)
	const (
		list = "Content-Type: application/json"
		page = "Content-Type: text/html; charset=utf-8"
	)
	for _, test := range []struct {
		request string
		status  int
		header  string // lines
		body    string
		want    string // part of the error; empty if there is to be none
	}{
		{"GET /", 200, page, "abc", ""},
		{"GET /", 200, page, "ab", "minLength"},
		{"GET /", 200, list, "abc", "application/json"},
		{"GET /", 200, "", "abc", `""`},
		{"GET /", 404, page, "abc", "status"},
		{"GET /", 200, page + "\nX-New: 1", "abc", "X-New is not described"},
		{"GET /", 200, page + "\nCache-Control: no-cache\nDate: now\nContent-Length: 3", "abc", ""},
		{"GET /", 200, page + "\nCache-Control: public", "abc", "Cache-Control"},
		{"GET /d", 200, page, "ab", "minLength"},
		{"GET /things", 200, list + "\nTotal: 1", `[{"id":1}]`, ""},
		{"GET /things", 200, list + "\nTotal: 0", `[{"id":1}]`, "Total"},
		{"GET /things", 200, list + "\nTotal: x", `[{"id":1}]`, "Total"},
		{"GET /things", 200, list + "\nTotal: 1\nTotal: 0", `[{"id":1}]`, "Total"},
		{"GET /things", 200, list, `[{"id":1},{}]`, "[1]: id is missing"},
		{"GET /things", 200, list, `[{"id":1}`, "unexpected end"},
		{"GET /things", 200, list, ``, "unexpected end"},
		{"GET /things", 200, list, `{"id":1}`, "type"},
		{"GET /things", 200, "Content-Type: text/event-stream", "data: 7", ""},
		{"GET /things", 200, "Content-Type: text/event-stream", "7", "pattern"},
		{"HEAD /things/1", 200, "", ``, ""},
		{"GET /things/1", 304, `Etag: "7"`, "", ""},
		{"GET /things/1", 304, `Etag: 7`, "", "Etag"},
		{"GET /things/1", 304, "", "", "Etag is missing"},
		{"GET /things/1", 304, "Etag: \"7\"\n" + list, "{}", "application/json"},
		{"GET /things/1", 500, "Content-Type: application/problem+json", `{"a":"b"}`, ""},
		{"GET /things/1", 500, "Content-Type: application/problem+json", `{"a":1}`, "a: "},
	} {
		method, path, _ := strings.Cut(test.request, " ")
		op, ok := d.Find(method, path)
		if !ok {
			t.Fatalf("there is no %s", test.request)
		}
		header := http.Header{}
		for line := range strings.Lines(test.header) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			header.Add(name, value)
		}
		check(t, d.CheckAnswer(op, test.status, header, []byte(test.body)), test.want, test)
	}
}

// check wants an error with these words, or none.
func check(t *testing.T, err error, want string, test any) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%+v: got %v", test, err)
	}
}

func TestBodies(t *testing.T) {
	d := read(t)
	op, _ := d.Find("PUT", "/things")
	for body, want := range map[string]string{
		`{"id":1}`:                     "",
		`{"id":9.0}`:                   "",
		`{"id":1.5}`:                   "id: 1.5 is not as type",
		`{"id":"1"}`:                   "type",
		`{"id":0}`:                     "minimum",
		`{"id":10}`:                    "maximum",
		`{}`:                           "id is missing",
		`[]`:                           "type",
		`null`:                         "type",
		`{"id":1,"more":1}`:            "more: must not be there",
		`{"id":1,"name":"éé"}`:         "",
		`{"id":1,"name":null}`:         "",
		`{"id":1,"name":1}`:            "type",
		`{"id":1,"name":"é"}`:          "minLength",
		`{"id":1,"name":"ééééé"}`:      "maxLength",
		`{"id":1,"name":"axb"}`:        "pattern",
		`{"id":1,"kind":1}`:            "",
		`{"id":1,"kind":null}`:         "",
		`{"id":1,"kind":"b"}`:          "enum",
		`{"id":1,"exact":{"a":[1]}}`:   "",
		`{"id":1,"exact":{"a":[1,2]}}`: "const",
		`{"id":1,"flag":true}`:         "",
		`{"id":1,"flag":0}`:            "type",
		`{"id":1,"half":0.5}`:          "",
		`{"id":1,"half":{}}`:           "type",
		`{"id":1,"either":2}`:          "",
		`{"id":1,"either":"ab"}`:       "",
		`{"id":1,"either":5.5}`:        "",
		`{"id":1,"either":"abc"}`:      "0 schemas of oneOf fit",
		`{"id":1,"either":7}`:          "2 schemas of oneOf fit",
		`{"id":1,"both":2}`:            "",
		`{"id":1,"both":0}`:            "minimum",
		`{"id":1,"both":3}`:            "maximum",
		`{"id":1,"x_gt":3}`:            "",
		`{"id":1,"x_gt":"3"}`:          "type",
		`{"id":1,"no":3}`:              "must not be there",
		`{"id":1`:                      "unexpected end",
	} {
		check(t, d.CheckBody(op, "application/json", []byte(body)), want, body)
	}
	check(t, d.CheckBody(op, "text/plain", []byte(`{"id":1}`)), "text/plain", "another type")
}

func TestWhatCannotBeUsedIsNotRead(t *testing.T) {
	for _, test := range []struct{ old, new, want string }{
		{`"minimum"`, `"exclusiveMinimum"`, "exclusiveMinimum is not a known keyword"},
		{`"const": {"a"`, `"not": {"a"`, "#/components/schemas/Thing/properties/exact: "},
		{`"_gt$": {"type"`, `"_gt$": {"title"`, "title"},
		{`"maxLength": 2}, {`, `"maxLength": 2, "not": 1}, {`, "not is"},
		{`[{"minimum": 1}`, `[{"multipleOf": 1}`, "multipleOf"},
		{`"items": {"minimum": 3}`, `"items": {"uniqueItems": true}`, "uniqueItems"},
		{`additionalProperties": {"type"`, `additionalProperties": {"if"`, "if is"},
		{`"items": {"$ref": "#/components/schemas/Thing"}`, `"items": {"anyOf": []}`, "anyOf"},
		{`"$ref": "#/components/schemas/Thing"`, `"$ref": "#/components/schemas/Nothing"`, "Nothing leads nowhere"},
		{`"$ref": "#/components/responses/Things"`, `"$ref": "#/components/responses/Nothing"`, "Nothing leads nowhere"},
		{`"$ref": "#/paths/~1"`, `"$ref": "#/paths/~1d"`, "leads nowhere"},
		{`}`, ``, "invalid character"},
	} {
		_, err := Read([]byte(strings.ReplaceAll(described, test.old, test.new)))
		check(t, err, test.want, test)
	}
}

func TestFind(t *testing.T) {
	d := read(t)
	for request, want := range map[string]string{
		"GET /":              "/",
		"GET /things":        "/things",
		"GET /%74hings":      "/things",
		"GET /things/7":      "/things/{id}",
		"GET /things/a%2Fb":  "/things/{id}",
		"GET /things/all":    "/things/all",
		"GET /things/":       "",
		"GET /things/7/8":    "",
		"GET things":         "",
		"GET *":              "",
		"get /":              "",
		"POST /":             "",
		"HEAD /things/all":   "/things/{id}",
		"RESPONSES /things":  "",
		"PARAMETERS /things": "",
	} {
		method, path, _ := strings.Cut(request, " ")
		if op, ok := d.Find(method, path); op.Path != want || ok != (want != "") {
			t.Errorf("%s: got %s, want %s", request, op.Path, want)
		}
	}
	op, _ := d.Find("GET", "/things/7")
	if got := strings.Join(op.Statuses(), " "); got != "200 304 default" {
		t.Errorf("got %s", got)
	}
	if got := len(d.Operations()); got != 8 {
		t.Errorf("got %d operations, want 8", got)
	}
}

func TestExamples(t *testing.T) {
	d := read(t)
	examples, err := d.Examples()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Example{}
	for _, e := range examples {
		got[e.Op.Path+" "+e.Status+" "+e.Line] = e
	}
	one, again, some := got["/things 200 GET /things"], got["/things/{id} 304 GET /things/1?x"], got["/things 200 PUT /things"]
	if len(examples) != 3 || one.Header[0] != "A: b" || one.Value == nil || again.Times != 2 || again.Value != nil || some.Body != `{"id":1}` {
		t.Errorf("got %+v", examples)
	}
	d, err = Read([]byte(strings.Replace(described, `"some": {"x-request"`, `"other": {"x-request"`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Examples()
	check(t, err, "the example some of a body for PUT /things", "an example that has no answer")
}
