package strict

import (
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"strings"
	"testing"
	"unsafe"

	"cars/internal/rest"
)

// A thing has a field of every kind, in objects in objects.
type thing struct {
	id, count, odd   int
	name, note, link string
}

func (t thing) String() string {
	return fmt.Sprintf("%d %s %d %s %s %d", t.id, t.name, t.count, t.note, t.link, t.odd)
}

var thingFields = Table{
	{Name: "id", Number: func(v any) *int { return &v.(*thing).id }, Least: 1, Most: 99},
	{Name: "name", Text: func(v any) *string { return &v.(*thing).name }, Least: 1, Most: 5},
	{Name: "count", Number: func(v any) *int { return &v.(*thing).count }, Most: 9},
	{Name: "more.note", Text: func(v any) *string { return &v.(*thing).note }, Most: 5, Shared: true},
	{Name: "more.in.odd", Number: func(v any) *int { return &v.(*thing).odd }, CheckNumber: func(n int) string { return strings.Repeat("must be odd", 1-n&1) }},
	{Name: "more.link", Text: func(v any) *string { return &v.(*thing).link }, Most: 5, CheckText: func(s string) string { return "must not be " + s }},
}

// outcome is what came of reading v.
func outcome(v any, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(v)
}

func TestDecodeAndPatch(t *testing.T) {
	for _, test := range []struct{ object, whole, patched string }{
		{`{"name":" a ","count":2e0,"more":{"note":"x","in":{"odd":7}}}`, "0 a 2 x  7", "4 a 2 x  7"},
		{` { "more" : { "in" : { "odd" : 7 } , "note" : "x" } , "count" : 2 , "name" : "\u0061" } `, "0 a 2 x  7", "4 a 2 x  7"},
		{`{}`, "name is required", "4 n 3 o  5"},
		{`{"name":"abcde","more":null}`, "0 abcde 0   0", "4 abcde 3   0"},
		{`{"name":"abcde","more":{}}`, "0 abcde 0   0", "4 abcde 3 o  5"},
		{`{"name":null,"count":null}`, "name is required", "name is required"},
		{`{"name":"ab","more":{"in":null,"note":null}}`, "0 ab 0   0", "4 ab 3   0"},
		{`{"name":"ab","more":{"in":{"odd":null}}}`, "0 ab 0   0", "4 ab 3 o  0"},
		{`{"id":9,"name":"ab"}`, "9 ab 0   0", "id must be 4, as in the path"},
		{`{"id":4,"name":"ab"}`, "4 ab 0   0", "4 ab 3 o  5"},
		{`{"name":5,"count":"5","more":[]}`, "count must be a number; more must be an object; name must be a string", ""},
		{`{"name":"ab","more":{"in":{"odd":4},"link":"l"}}`, "more.in.odd must be odd; more.link must not be l", ""},
		{`{"name":"abcdef","count":10,"more":{"note":"\u0007"}}`, "count must be at most 9; more.note must not contain control characters; name must be at most 5 characters", ""},
		{`{"name":"a","count":-1,"more":{"in":{"odd":0.5}}}`, "count must not be negative; more.in.odd must be a whole number", ""},
		{`{"name":"a","more.note":"x"}`, "more.note is not a known field", ""},
		{`{"name":"a","more":{"in.add":7}}`, "more.in.add is not a known field", ""},
		{`{"name":"a","count":1,"more.note":"x"}`, "more.note is not a known field", ""},
		{`{"name":"a","more.in":{}}`, "more.in is not a known field", ""},
		{`{"name":"a","more":{"in":{"":7,"o":1,"oddd":1}}}`, "more.in. is not a known field; more.in.o is not a known field; more.in.oddd is not a known field", ""},
		{`{"name":"a","note":1,"More":{},"IN":1,"x":[{"x":{}}]}`, "IN is not a known field; More is not a known field; did you mean more?; note is not a known field; did you mean more.note?; x is not a known field", ""},
	} {
		if test.patched == "" {
			test.patched = test.whole
		}
		var v thing
		_, err := thingFields.Decode([]byte(test.object), &v, 0)
		if got := outcome(v, err); got != test.whole {
			t.Errorf("Decode %s: got %s, want %s", test.object, got, test.whole)
		}
		if e, ok := err.(*rest.Error); err != nil && (!ok || e.Status != 422 || Problems(e.Fields).String() != e.Message) {
			t.Errorf("Decode %s: got %#v", test.object, err)
		}
		v = thing{4, 3, 5, "n", "o", ""}
		p, err := thingFields.DecodePatch([]byte(test.object), 4)
		p.Apply(&v)
		if got := outcome(v, err); got != test.patched {
			t.Errorf("DecodePatch %s: got %s, want %s", test.object, got, test.patched)
		}
	}
}

func TestNullForAnObjectWithARequiredField(t *testing.T) {
	table := Table{thingFields[0], {Name: "in.name", Text: thingFields[1].Text, Least: 1, Most: 5}}
	for _, body := range []string{`{"in":null}`, `{"in":{"name":null}}`, `{"in":{"name":" "}}`} {
		if _, err := table.DecodePatch([]byte(body), 4); outcome(nil, err) != "in.name is required" {
			t.Errorf("%s: got %v", body, err)
		}
	}
}

func TestIDInTheAddress(t *testing.T) {
	const elsewhere = "id must be 5, as in the path"
	for id, want := range map[string]string{
		`5`: "", `5.0`: "", `0.5e1`: "", `"5"`: "", `"\u0035"`: "", `null`: "whole only",
		`6`: elsewhere, `0`: elsewhere, `-5`: elsewhere, `5.5`: elsewhere, `1e300`: elsewhere,
		`"05"`: elsewhere, `"5 "`: elsewhere, `""`: elsewhere, `"x"`: elsewhere,
		`true`: elsewhere, `[5]`: elsewhere, `{"id":5}`: elsewhere,
	} {
		body := fmt.Appendf(nil, `{"name":"a","id":%s}`, id)
		var v thing
		_, err := thingFields.Decode(body, &v, 5)
		if want := strings.TrimPrefix(want, "whole only"); err != nil && err.Error() != want || err == nil && (want != "" || v.id != 5) {
			t.Errorf("Decode %s: got %d, %v, want %s", body, v.id, err, want)
		}
		_, err = thingFields.DecodePatch(body, 5)
		if want == "whole only" {
			want = elsewhere
		}
		if err != nil && err.Error() != want || err == nil && want != "" {
			t.Errorf("DecodePatch %s: got %v, want %s", body, err, want)
		}
	}
	var v thing
	if _, err := thingFields.Decode([]byte(`{"name":"a"}`), &v, 5); err != nil || v.id != 5 {
		t.Errorf("got %d, %v, want 5", v.id, err)
	}
	if _, err := thingFields.Decode([]byte(`{"name":"a","id":"5"}`), &v, 0); outcome(v, err) != "id must be a number" {
		t.Errorf("a string without an address: got %v", err)
	}
}

func TestValuesOfFields(t *testing.T) {
	const (
		control  = "must not contain control characters"
		isText   = "must be a string"
		isNumber = "must be a number"
		isWhole  = "must be a whole number"
		isYear   = "must be 0 or between 1886 and 2028"
	)
	invisible := func(char string) string { return "must not contain the invisible character " + char }
	for _, test := range []struct{ field, value, want string }{
		{"name", `"x"`, ""},
		{"name", `"` + strings.Repeat("é", 200) + `"`, ""},
		{"name", `"  ` + strings.Repeat("é", 200) + ` "`, ""},
		{"name", `"` + strings.Repeat("é", 201) + `"`, "must be at most 200 characters"},
		{"name", `"` + strings.Repeat("x", 201) + `"`, "must be at most 200 characters"},
		{"name", `""`, "is required"},
		{"name", `" \t\u00a0"`, "is required"},
		{"name", `null`, "is required"},
		{"name", `"a\u0000b"`, control},
		{"name", `"a\nb"`, control},
		{"name", `"a\u007fb"`, control},
		{"name", "\"a\x7fb\"", control},
		{"name", `"a\u0085b"`, control},
		{"name", `"<img src=x onerror=alert(1)>"`, ""},
		{"name", `"😀"`, ""},
		{"name", `"👩\u200d🚀 می\u200cخواهم \u200e\u200f"`, ""},
		{"name", `"a\u202eb"`, invisible("U+202E")},
		{"name", "\"a\u202ab\"", invisible("U+202A")},
		{"name", `"a\u2066b"`, invisible("U+2066")},
		{"name", `"a\u2069b"`, invisible("U+2069")},
		{"name", `"\u2065a\u206ab"`, ""},
		{"name", `"a\u200bb"`, invisible("U+200B")},
		{"name", `"\ufeffb"`, invisible("U+FEFF")},
		{"name", `"a\u2028b"`, invisible("U+2028")},
		{"name", "\"a\u2029b\"", invisible("U+2029")},
		{"name", `5`, isText},
		{"name", `true`, isText},
		{"name", `{}`, isText},
		{"category", `""`, ""},
		{"category", `null`, ""},
		{"category", `" "`, ""},
		{"category", `"` + strings.Repeat("x", 51) + `"`, "must be at most 50 characters"},
		{"year", `0`, ""},
		{"year", `null`, ""},
		{"year", `-0`, ""},
		{"year", `1886`, ""},
		{"year", `2.024e3`, ""},
		{"year", `1885`, isYear},
		{"year", `-1`, isYear},
		{"year", `1e30`, isYear},
		{"year", `2020.5`, isWhole},
		{"year", `"2020"`, isNumber},
		{"year", `[2020]`, isNumber},
		{"price", `1000000000`, ""},
		{"price", `1000000001`, "must be at most 1000000000"},
		{"price", `-1`, "must not be negative"},
		{"price", `-1e300`, "must not be negative"},
		{"price", `9223372036854775808`, "must be at most 1000000000"},
		{"price", `18446744073709551617`, "must be at most 1000000000"},
		{"price", `0.1`, isWhole},
		{"price", `1.0`, ""},
		{"price", `false`, isNumber},
		{"id", `1`, ""},
		{"id", `9007199254740991`, ""},
		{"id", `9007199254740992`, "must be at most 9007199254740991"},
		{"id", `1e300`, "must be at most 9007199254740991"},
		{"id", `0`, "must be at least 1"},
		{"id", `-1`, "must be at least 1"},
		{"id", `"1"`, isNumber},
		{"id", `null`, ""},
		{"imageUrl", `""`, ""},
		{"imageUrl", `"/x"`, ""},
		{"imageUrl", `"x"`, "must be a path"},
		{"imageUrl", `"/` + strings.Repeat("x", 2048) + `"`, "must be at most 2048 characters"},
		{"imageUrl", `"java\nscript:alert(1)"`, control},
		{"imageUrl", `1`, isText},
		{"details", `{}`, ""},
		{"details", `null`, ""},
		{"details", `[]`, "must be an object"},
		{"details", `"x"`, "must be an object"},
		{"details.engine", `"\u001b[31m"`, control},
		{"details.horsepower", `5001`, "must be at most 5000"},
		{"details.horsepower", `1.5`, isWhole},
		{"details.drivetrain", `0`, isText},
		{"Name", `"x"`, "is not a known field; did you mean name?"},
		{"Details", `{}`, "is not a known field; did you mean details?"},
		{"imageURL", `"x"`, "is not a known field; did you mean imageUrl?"},
		{"horsepower", `1`, "is not a known field; did you mean details.horsepower?"},
		{"details.Engine", `"x"`, "is not a known field; did you mean details.engine?"},
		{"details.year", `2020`, "is not a known field; did you mean year?"},
		{"colour", `"red"`, "is not a known field"},
		{"details.", `1`, "is not a known field"},
		{"", `1`, "is not a known field"},
		{"__proto__", `{}`, "is not a known field"},
		{strings.Repeat("x", 101), `1`, "is not a known field"},
	} {
		body := `{"manufacturer":"B"`
		if test.field != "name" {
			body += `,"name":"A"`
		}
		if member, inner := strings.CutPrefix(test.field, "details."); inner {
			body += fmt.Sprintf(`,"details":{"%s":%s}}`, member, test.value)
		} else {
			body += fmt.Sprintf(`,"%s":%s}`, test.field, test.value)
		}
		_, err := carFields.Decode([]byte(body), new(car), 0)
		if test.want == "" {
			if err != nil {
				t.Errorf("%.60s: got %v", body, err)
			}
			continue
		}
		path := test.field
		if len(path) > 100 {
			path = path[:100] + "…"
		}
		var e *rest.Error
		if want := map[string]string{path: test.want}; !errors.As(err, &e) || e.Status != 422 || !maps.Equal(e.Fields, want) {
			t.Errorf("%.60s: got %v, want %v", body, err, want)
		}
	}
}

func TestDocumentsThatAreNoObject(t *testing.T) {
	for body, want := range map[string]string{
		"": "The body is empty; it must be a JSON object", " \t\r\n ": "The body is empty; it must be a JSON object",
		"null": "The body must be a JSON object", "[]": "The body must be a JSON object", `[{"a":1}]`: "The body must be a JSON object",
		`"{}"`: "The body must be a JSON object", " true ": "The body must be a JSON object",
		"[1,": tooEarly + "3", "0 0": syntax + "2",
	} {
		checkMalformed(t, body, malformed([]byte(body)), want)
		_, err := carFields.DecodePatch([]byte(body), 7)
		checkMalformed(t, body, err, want)
	}
}

// What is malformed is a 400, whatever is wrong with the fields before it.
func TestMalformedCountsMoreThanWrong(t *testing.T) {
	for body, want := range map[string]string{
		`{"name":5,"x":[{"a":1,"a":2}]}`:            `The key "a" occurs twice in one object; the second ends at offset 25`,
		`{"name":{"a":1,"a":2}}`:                    `The key "a" occurs twice in one object; the second ends at offset 18`,
		`{"colour":1,"year":1,"colour":1}`:          `The key "colour" occurs twice in one object; the second ends at offset 29`,
		`{"year":1,"id":2,"name":"","year":1}`:      `The key "year" occurs twice in one object; the second ends at offset 33`,
		`{"id":2,"id":2}`:                           `The key "id" occurs twice in one object; the second ends at offset 12`,
		`{"details":{},"details":null}`:             `The key "details" occurs twice in one object; the second ends at offset 23`,
		`{"details":{"engine":1,"\u0065ngine":1}}`:  `The key "engine" occurs twice in one object; the second ends at offset 36`,
		`{"details":[{"engine":1,"engine":1}]}`:     `The key "engine" occurs twice in one object; the second ends at offset 32`,
		`{"year":1e999}`:                            "The number that ends at offset 13 is too large",
		`{"colour":[1e999]}`:                        "The number that ends at offset 16 is too large",
		`{"name":"\ud800"}`:                         surrogate + "9",
		`{"colour":"\ud800"}`:                       surrogate + "11",
		`{"name":5} {}`:                             syntax + "11",
		`{"details":` + strings.Repeat("[", 10_000): syntax + "10010",
	} {
		checkMalformed(t, body, malformed([]byte(body)), want)
		_, err := carFields.DecodePatch([]byte(body), 7)
		checkMalformed(t, body, err, want)
	}
}

// things reads an array, of which it takes up to most.
func things(body string, most int) (list []*thing, err error) {
	err = thingFields.DecodeArray([]byte(body), func() (any, error) {
		if len(list) == most {
			return nil, errors.New("full")
		}
		list = append(list, new(thing))
		return list[len(list)-1], nil
	})
	return list, err
}

func TestDecodeArray(t *testing.T) {
	list, err := things(` [ {"name":"a"} , {"id":7,"name":" b "},{"id":3,"name":"c","more":{"note":"d"}},{"name":"e"}] `, 4)
	if got, want := fmt.Sprint(list), "[0 a 0   0 7 b 0   0 3 c 0 d  0 0 e 0   0]"; err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	if list, err := things(" []\n", 0); err != nil || len(list) != 0 {
		t.Errorf("got %v, %v, want nothing", list, err)
	}
	large := strings.Repeat("x", maxElement)
	for _, test := range []struct{ body, want string }{
		{`{}`, "The body must be a JSON array"},
		{`null`, "The body must be a JSON array"},
		{``, "The body is empty; it must be a JSON array"},
		{`[1,2`, tooEarly + "4"},
		{`[1,2]]`, syntax + "5"},
		{`[1,"\ud800"]`, surrogate + "4"},
		{`[1, {"a":0,"a":0} ,2]`, `The key "a" occurs twice in one object; the second ends at offset 14`},
		{`[{"name":"A","id":1},{"name":"A","name":"B"}]`, `The key "name" occurs twice in one object; the second ends at offset 39`},
		{`[1, 1e999 ,2]`, `The number that ends at offset 9 is too large`},
		{`[1,"` + large + `"]`, "Element 1 is larger than 1048576 bytes"},
		{`[{"name":"` + large + `"}]`, "Element 0 is larger than 1048576 bytes"},
		{`[{"name":"a","x":["` + large[:maxElement/2] + `","` + large[:maxElement/2] + `",7,x`, "Element 0 is larger than 1048576 bytes"},
		{`[{"name":"a"},{"name":"a"},{"name":"a"},{"name":"a"},x`, "full"},

		{`[{"name":"a"},null]`, "[1] must be an object"},
		{`[{"id":4,"name":"a"},{"id":4,"name":"a","count":10},[],{"id":4,"name":"a"}]`,
			"[1].count must be at most 9; [1].id is also that of [0]; [2] must be an object; [3].id is also that of [1]"},
		{`[{"id":"4","name":"a"},{"id":0,"name":"b"},{"name":"c"}]`, "[0].id must be a number; [1].id must be at least 1"},
		{`[{"name":"a"},{"more":{"in":{"odd":2,"even":2}}}]`, "[1].more.in.even is not a known field; [1].more.in.odd must be odd; [1].name is required"},
	} {
		_, err := things(test.body, 3)
		if err == nil || err.Error() != test.want {
			t.Errorf("%.60s: got %v, want %s", test.body, err, test.want)
		}
	}
	exact := `[{"name":"a","x":"` + large[:maxElement-len(`{"name":"a","x":""}`)] + `"},1]`
	if _, err := things(exact, 1); outcome(nil, err) != "[0].x is not a known field; [1] must be an object" {
		t.Errorf("1 MiB: got %v", err)
	}
}

// TestMembersAsTheyWereSent: what a client sends in the form in which it is stored need not
// be encoded anew. The ID may be missing, since it stands in the address, or is yet to come.
func TestMembersAsTheyWereSent(t *testing.T) {
	without := strings.Replace(audi, `"id":1,`, "", 1)
	members := without[1:]
	replace := func(from, to string) string { return strings.Replace(audi, from, to, 1) }
	for _, test := range []struct {
		body string
		id   int // in the address
		want string
	}{
		{audi, 0, members}, {audi, 1, members}, {without, 0, members}, {without, 1, members}, {" " + without + "\r\n", 0, members},
		{replace(`"id":1`, `"id":"1"`), 1, ""},
		{replace(`"id":1`, `"id":1.0`), 1, ""},
		{replace(`"id":1`, `"id":null`), 1, ""},
		{replace(`"id":1`, `"id": 1`), 1, ""},
		{replace(`"id":1,"name":"Audi A4",`, ""), 0, ""}, // a 422
		{replace(`"category":"Sedan",`, ""), 0, ""},
		{replace(`"Audi A4"`, `"Audi A4 "`), 0, ""},
		{without[:len(without)-1] + `,"id":1}`, 1, ""},
	} {
		var c car
		if got, err := carFields.Decode([]byte(test.body), &c, test.id); string(got) != test.want {
			t.Errorf("%s, ID %d: got %q, %v, want %q", test.body, test.id, got, err, test.want)
		}
	}
}

func TestCanonical(t *testing.T) {
	replace := func(from, to string) string { return strings.Replace(audi, from, to, 1) }
	for _, test := range []struct {
		object    string
		canonical bool
	}{
		{audi, true},
		{replace("Audi A4", `é😀<>&\"\\`), true},
		{replace("42000", "-42000"), true}, // the sign is no matter of form
		{replace("42000", "999999999999999999"), true},
		{replace("{", "{ "), false},
		{replace("}}", "}\t}"), false},
		{replace(`:{`, `: {`), false},
		{replace("2024", "-0"), false},
		{replace("2024", "2024.0"), false},
		{replace("2024", "2e3"), false},
		{replace("42000", "1234567890123456789"), false},
		{replace("Audi", "\\u0041udi"), false},
		{replace("Audi", "\\/udi"), false},
		{replace("Audi", "\\nudi"), false},
		{replace("Audi", "\u2028udi"), false},
		{replace(`"name"`, `"nam\u0065"`), false},
		{replace(`"Sedan"`, `null`), false},
		{replace(`"price":42000,`, ""), false},
		{replace(`"id":1,`, ""), false},
		{replace(`,"drivetrain":"All-Wheel Drive"`, ""), false},
		{replace(`"year":2024,"price":42000`, `"price":42000,"year":2024`), false},
		{replace(`"engine":"2.0L Inline-4",`, ""), false},
		{audi[:strings.Index(audi, `,"details"`)] + "}", false},
		{audi[:strings.Index(audi, `{"engine"`)] + "{}}", false},
	} {
		var c car
		r := NewReader([]byte(" " + test.object + " "))
		raw, canonical := carFields.Read(r, &c, nil)
		if err := r.End(); err != nil || string(raw) != test.object || canonical != test.canonical {
			t.Errorf("%s: got %s, %v, %v, want %v", test.object, raw, canonical, err, test.canonical)
		}
		encoded, _ := rest.Encode(c)
		if canonical && string(encoded) != test.object+"\n" {
			t.Errorf("%s: is encoded as %s", test.object, encoded)
		}
	}
	unknown := audi[:len(audi)-1] + `,"x":1}`
	if _, canonical := carFields.Read(NewReader([]byte(unknown)), new(car), Problems{}); canonical {
		t.Errorf("%s is called canonical", unknown)
	}
	// What is trimmed is not stored as it stands there.
	body := []byte(replace("Audi A4", "Audi A4 "))
	for _, wrong := range []Problems{nil, {}} {
		var c car
		_, canonical := carFields.Read(NewReader(body), &c, wrong)
		if trimmed := c.Name == "Audi A4"; trimmed == canonical || trimmed != (wrong != nil) {
			t.Errorf("checked %v: got %q, canonical %v", wrong != nil, c.Name, canonical)
		}
	}
}

// Objects that were checked when they were written have only to be of the right types.
func TestReadWithoutChecking(t *testing.T) {
	for object, want := range map[string]string{
		`{"id":999,"name":"","count":-5,"more":{"note":"much too long\u202e","in":{"odd":2},"link":"l"}}`: "999  -5 much too long\u202e l 2",
		`{}`:                         "0  0   0",
		`{"id":"5"}`:                 "id must be a number",
		`{"name":5,"more":7}`:        "more must be an object; name must be a string",
		`{"count":0.5,"colour":"x"}`: "colour is not a known field; count must be a whole number",
		`{"count":1,"count":1}`:      `The key "count" occurs twice in one object; the second ends at offset 18`,
		`[]`:                         "The body must have an object at offset 0",
	} {
		var v thing
		r := NewReader([]byte(object))
		thingFields.Read(r, &v, nil)
		if got := outcome(v, r.End()); got != want {
			t.Errorf("%s: got %s, want %s", object, got, want)
		}
	}
}

func TestTextsAreShared(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // package unique forgets texts at a collection
	var a, b car
	for _, c := range []*car{&a, &b} {
		r := NewReader([]byte(audi))
		if carFields.Read(r, c, nil); r.End() != nil || a != *c {
			t.Errorf("got %+v, %v", c, r.err)
		}
	}
	if unsafe.StringData(a.Category) != unsafe.StringData(b.Category) || unsafe.StringData(a.Name) == unsafe.StringData(b.Name) {
		t.Error("want the category in memory once, and the name twice")
	}
}

func TestProblemsHaveAnEnd(t *testing.T) {
	many := "[" + strings.Repeat("{},", 1000) + `{}]`
	list, err := things(many, 2000)
	want := "[0].name is required; [10].name is required; [11].name is required; [12].name is required; [13].name is required; and 95 more"
	if e := (*rest.Error)(nil); !errors.As(err, &e) || e.Message != want || len(e.Fields) != MaxProblems {
		t.Errorf("got %v, want %s", err, want)
	}
	if len(list) != MaxProblems {
		t.Errorf("%d were read, want %d", len(list), MaxProblems)
	}
	if _, err := things(many[:len(many)-1]+`,{"a":0,"a":0}]`, 2000); !strings.HasPrefix(outcome(nil, err), `The key "a" occurs twice`) {
		t.Errorf("malformed at its end: got %v", err)
	}

	wrong := Problems{}
	for i := range 2 * MaxProblems {
		wrong.Note(fmt.Sprintf("%03d", i), "is wrong")
	}
	wrong.Note("000", "is right")
	if want := "000 is wrong; 001 is wrong; 002 is wrong; 003 is wrong; 004 is wrong; and 95 more"; len(wrong) != MaxProblems || wrong.String() != want {
		t.Errorf("got %d problems, and %s", len(wrong), wrong)
	}
	long := Problems{}
	long.Note(strings.Repeat("é", 101), "is long")
	if want := (Problems{strings.Repeat("é", 100) + "…": "is long"}); !maps.Equal(long, want) {
		t.Errorf("got %v, want %v", long, want)
	}
	if err := (Problems{}).Err(); err != nil {
		t.Errorf("no problems: got %v", err)
	}
}
