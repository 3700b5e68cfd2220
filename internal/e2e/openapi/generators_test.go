package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"cars/web"
)

// TestGeneratorsUnderstandIt: the description that the server hands out has nothing in it
// that programs are known to stumble over which generate clients. Each kind of fault had one
// of them fail: oapi-codegen, ogen, openapi-typescript, orval, @hey-api/openapi-ts and
// swagger-parser.
func TestGeneratorsUnderstandIt(t *testing.T) {
	text, err := web.Files.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range faults(t, string(text)) {
		t.Error(fault)
	}
	// All kinds of faults are found.
	for _, test := range []struct{ old, new, want string }{
		{`"schema": {"type": "string", "const": "gzip"}`, `"schema": {"const": "gzip"}`, "#/components/headers/Content-Encoding/schema has no type"},
		{`{"type": "string", "enum": ["alive", "ready"]}`, `{"enum": ["alive", "ready"]}`, "#/components/responses/Status/content/application/json/schema/properties/status has no type"},
		{`"items": {"type": "string"}`, `"items": {}`, "#/components/schemas/Texts/items has no type"},
		{`"additionalProperties": {"type": "string"}`, `"additionalProperties": {"minLength": 1}`, "/additionalProperties has no type"},
		{`{"type": "string", "pattern": "^[1-9][0-9]*$"}`, `{"pattern": "^[1-9][0-9]*$"}`, "/properties/id/oneOf/1 has no type"},
		{`"maxLength": 50}`, `"maxLength": 50, "type": ["integer", "string", "null"]}`, "/properties/category has 2 types"},
		{`"OneCar": {`, `"Car": {`, "Car is the name of a response and of a schema"},
		{`"WebPage": {`, `"_page": {`, "_page is the name of a parameter and of a response"},
		{`"http://localhost:8080"`, `"http://{address}"`, "the server http://{address} is not plain"},
		{`"description": "The server as`, `"variables": {}, "description": "The server as`, "the server http://localhost:8080 is not plain"},
		{`"operationId": "getCar"`, `"operationId": "get_cars"`, "two operations are called getcars"},
		{`"operationId": "getCar"`, `"operationId": ""`, "GET /api/cars/{id} has no operationId"},
		{`"title": "Cars API"`, `"title": "cars"`, "an operation is called as a client of cars is"},
		{`"image/svg+xml": {`, `"image/png": {}, "image/svg+xml": {`, "#/components/responses/Image has content of 2 types"},
		{`"license": {"name": "MIT", "identifier": "MIT"}`, `"x": 1`, "the license is not MIT"},
		{`"schema": {"type": "string", "format": "uri-reference"}`, `"schema": {"type": "string", "pattern": "^/api"}`, "#/components/headers/Location: a client would not take what a proxy makes of it"},
	} {
		changed := strings.ReplaceAll(string(text), test.old, test.new)
		if changed == string(text) {
			t.Errorf("the description lacks %s", test.old)
		}
		if found := faults(t, changed); !slices.ContainsFunc(found, func(fault string) bool { return strings.Contains(fault, test.want) }) {
			t.Errorf("with %s: got %q, want %q", test.new, found, test.want)
		}
	}
}

// faults returns all that generators are known to stumble over.
func faults(t *testing.T, text string) (found []string) {
	var root struct {
		Info struct {
			Title   string
			License struct{ Name string }
		}
		Servers []struct {
			URL       string
			Variables object
		}
		Paths      map[string]map[string]json.RawMessage
		Components map[string]map[string]json.RawMessage
	}
	var all any
	for _, v := range []any{&root, &all} {
		if err := json.Unmarshal([]byte(text), v); err != nil {
			t.Fatal(err)
		}
	}
	fault := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if root.Info.License.Name != "MIT" {
		fault("the license is not MIT")
	}
	for _, server := range root.Servers { // swagger-parser refuses variables
		if strings.Contains(server.URL, "{") || server.Variables != nil {
			fault("the server %s is not plain", server.URL)
		}
	}

	// Of names, generators make types and functions, in whatever case.
	names := map[string]string{} // to the kind of component
	for _, kind := range slices.Sorted(maps.Keys(root.Components)) {
		for _, name := range slices.Sorted(maps.Keys(root.Components[kind])) {
			if other, taken := names[plainName(name)]; taken {
				fault("%s is the name of a %s and of a %s", name, strings.TrimSuffix(min(kind, other), "s"), strings.TrimSuffix(max(kind, other), "s"))
			}
			names[plainName(name)] = kind
		}
	}
	operations := map[string]bool{}
	for _, path := range slices.Sorted(maps.Keys(root.Paths)) {
		for _, verb := range verbs {
			if root.Paths[path][verb] == nil {
				continue
			}
			var op struct{ OperationID string }
			json.Unmarshal(root.Paths[path][verb], &op) // which has been read before
			name := plainName(op.OperationID)
			switch {
			case name == "":
				fault("%s %s has no operationId", strings.ToUpper(verb), path)
			case operations[name]:
				fault("two operations are called %s", name)
			}
			operations[name] = true
		}
	}
	if operations["get"+plainName(root.Info.Title)] { // orval has a function of this name that makes a client
		fault("an operation is called as a client of %s is", root.Info.Title)
	}

	var look func(at string, v any)
	look = func(at string, v any) {
		switch v := v.(type) {
		case []any:
			for i, member := range v {
				look(fmt.Sprint(at, "/", i), member)
			}
		case object:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				if content, ok := v["content"].(object); ok && name == "content" && len(content) > 1 && strings.Contains(at, "/responses/") {
					// Clients in TypeScript would have to find out what they have read.
					fault("%s has content of %d types; others than the first belong in x-content", at, len(content))
				}
				switch member := v[name]; {
				case name == "value" || name == "example": // which may look like anything
				case name == "schema":
					found = append(found, schemaFaults(at+"/schema", member)...)
				case at == "#/components/schemas":
					found = append(found, schemaFaults(at+"/"+name, member)...)
				default:
					look(at+"/"+name, member)
				}
			}
		}
	}
	look("#", all)

	// Proxies weaken tags, make locations absolute and add to Vary.
	for _, name := range []string{"ETag", "StrongETag", "ListETag", "Location", "Content-Location", "Vary", "ListVary", "Link"} {
		var header struct{ Schema object }
		json.Unmarshal(root.Components["headers"][name], &header)
		for keyword := range header.Schema {
			if keyword != "type" && keyword != "format" {
				fault("#/components/headers/%s: a client would not take what a proxy makes of it", name)
			}
		}
	}
	return found
}

// schemaFaults returns those of a schema and of all within it. Each has to have one type,
// and may allow null beside it; one with const or enum has no other.
func schemaFaults(at string, schema any) (found []string) {
	s, ok := schema.(object)
	if !ok { // true or false
		return nil
	}
	types, several := s["type"].([]any)
	types = slices.DeleteFunc(slices.Clone(types), func(one any) bool { return one == "null" })
	switch {
	case several && len(types) != 1:
		found = append(found, fmt.Sprintf("%s has %d types", at, len(types)))
	case s["type"] == nil && s["$ref"] == nil && s["oneOf"] == nil && s["allOf"] == nil:
		found = append(found, at+" has no type")
	}
	for _, keyword := range []string{"properties", "patternProperties"} {
		below, _ := s[keyword].(object)
		for _, name := range slices.Sorted(maps.Keys(below)) {
			found = append(found, schemaFaults(at+"/"+keyword+"/"+name, below[name])...)
		}
	}
	for _, keyword := range []string{"items", "additionalProperties"} {
		found = append(found, schemaFaults(at+"/"+keyword, s[keyword])...)
	}
	for _, keyword := range []string{"oneOf", "allOf"} {
		below, _ := s[keyword].([]any)
		for i, schema := range below {
			found = append(found, schemaFaults(fmt.Sprint(at, "/", keyword, "/", i), schema)...)
		}
	}
	return found
}

// plainName returns the letters and digits of a name, in small letters.
func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(name))
}
