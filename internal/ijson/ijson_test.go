package ijson

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestObject(t *testing.T) {
	tests := []struct {
		body string
		want map[string]any
	}{
		{`{}`, map[string]any{}},
		{" \t\r\n{ } \n", map[string]any{}},
		{`{"a":null,"b":true,"c":"x","d":-1.5e3,"e":[1,[]],"f":{"a":{}}}`, map[string]any{
			"a": nil, "b": true, "c": "x", "d": -1500.0,
			"e": []any{1.0, []any{}}, "f": map[string]any{"a": map[string]any{}},
		}},
		{`{"a":"é \u00e9 😀 \ud83d\ude00 \\ud83d \n\"\/"}`, map[string]any{"a": "é é 😀 😀 \\ud83d \n\"/"}},
		{`{"a":1,"A":2,"b":{"a":1}}`, map[string]any{"a": 1.0, "A": 2.0, "b": map[string]any{"a": 1.0}}},
		{`{"":0}`, map[string]any{"": 0.0}},
		{`{"\"::\"":1}`, map[string]any{`"::"`: 1.0}},
		{`{"a":1e-999,"b":123456789012345678901234567890}`, map[string]any{"a": 0.0, "b": 123456789012345678901234567890.0}},
		{`{"a:b":":","\":":{"c":"\\"}}`, map[string]any{"a:b": ":", `":`: map[string]any{"c": `\`}}},
	}
	for _, test := range tests {
		got, err := Object([]byte(test.body))
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %v, %v, want %v", test.body, got, err, test.want)
		}
	}
}

func TestRefusedDocuments(t *testing.T) {
	const (
		wrongKind = "The body must be a JSON object"
		syntax    = "The body cannot be read as JSON: error at offset "
		tooEarly  = "The body ends too early to be JSON, at offset "
		utf8Error = "The body is not valid UTF-8: error at offset "
		surrogate = "The body has half of a surrogate pair at offset "
	)
	deep := strings.Repeat(`{"a":[`, 10_000) + strings.Repeat("]}", 10_000)
	tests := []struct{ body, want string }{
		{"", "The body is empty; it must be a JSON object"},
		{" \t\r\n ", "The body is empty; it must be a JSON object"},
		{"null", wrongKind},
		{"[]", wrongKind},
		{`[{"a":1}]`, wrongKind},
		{`"{}"`, wrongKind},
		{"0", wrongKind},
		{" true ", wrongKind},

		{"{} {}", syntax + "3"},
		{"{}{}", syntax + "2"},
		{"{},", syntax + "2"},
		{"{}x", syntax + "2"},
		{"{}\x00", syntax + "2"},
		{"{}\u00a0", syntax + "2"},
		{`{"a":1}}`, syntax + "7"},
		{`{"a":x}`, syntax + "5"},
		{`{"a":1,}`, syntax + "7"},
		{`{"a":[1,]}`, syntax + "8"},
		{`{"a" 1}`, syntax + "5"},
		{`{a:1}`, syntax + "1"},
		{`{'a':1}`, syntax + "1"},
		{`{"a":01}`, syntax + "6"},
		{`{"a":+1}`, syntax + "5"},
		{`{"a":.5}`, syntax + "5"},
		{`{"a":1.}`, syntax + "7"},
		{`{"a":0x1}`, syntax + "6"},
		{`{"a":NaN}`, syntax + "5"},
		{`{"a":-Infinity}`, syntax + "6"},
		{`{"a":True}`, syntax + "5"},
		{"{\"a\":\"\n\"}", syntax + "6"},
		{`{"a":"\x41"}`, syntax + "7"},
		{`{"a":"\u12g4"}`, syntax + "10"},
		{"// no comment\n{}", syntax + "0"},
		{"{}/* nor here */", syntax + "2"},
		{"\u2028{}", syntax + "0"},
		{deep, syntax + "30000"},
		{strings.Repeat("[", 20_000), syntax + "10000"},

		{"{", tooEarly + "1"},
		{`{"a":1`, tooEarly + "6"},
		{`{"a":nul`, tooEarly + "8"},
		{`{"a":"x`, tooEarly + "7"},
		{`{"a":"\u00`, tooEarly + "10"},
		{`{"a":-`, tooEarly + "6"},

		{"\uFEFF{}", "The body must not begin with a byte order mark"},
		{"\xff\xfe{\x00}\x00", utf8Error + "0"},
		{"{\"a\":\"\xff\"}", utf8Error + "6"},
		{"{\"a\xc3\":1}", utf8Error + "3"},
		{"{\"é\":\"\xed\xa0\x80\"}", utf8Error + "7"}, // a surrogate, encoded as if it were a character
		{"{\"a\":\"\xc0\xaf\"}", utf8Error + "6"},     // overlong
		{"{\"a\":\"\ufffd\"\xff}", utf8Error + "10"},

		{`{"a":"\ud800"}`, surrogate + "6"},
		{`{"a":"\udc00"}`, surrogate + "6"},
		{`{"a":"\ude00\ud83d"}`, surrogate + "6"},
		{`{"a":"\ud83d\u0041"}`, surrogate + "6"},
		{`{"a":"\ud83d😀"}`, surrogate + "6"},
		{`{"a":"\ud83d\ude00\ud83d"}`, surrogate + "18"},
		{`{"a":"\\\uD83D\\ude00"}`, surrogate + "8"},
		{`{"\udfff":1}`, surrogate + "2"},

		{`{"a":1,"a":1}`, `The key "a" occurs twice in one object; the second ends at offset 10`},
		{`{"a":1,"\u0061":1}`, `The key "a" occurs twice in one object; the second ends at offset 15`},
		{`{"b":{"":1,"":1}}`, `The key "" occurs twice in one object; the second ends at offset 13`},
		{`{"a":[{"b":1,"b":1}]}`, `The key "b" occurs twice in one object; the second ends at offset 16`},
		{`{"` + strings.Repeat("é", 50) + `":1,"` + strings.Repeat("é", 50) + `":1}`,
			`The key "` + strings.Repeat("é", 40) + `…" occurs twice in one object; the second ends at offset 208`},
		{`{"a":1e999}`, "The number that ends at offset 10 is too large"},
		{`{"a":[-1e400]}`, "The number that ends at offset 12 is too large"},
	}
	for _, test := range tests {
		name := test.body[:min(len(test.body), 40)]
		_, err := Object([]byte(test.body))
		if err == nil || err.Error() != test.want {
			t.Errorf("%q: got %v, want %s", name, err, test.want)
		} else if status := err.(*Error).Status; status != 400 {
			t.Errorf("%q: got status %d, want 400", name, status)
		}
	}
}

// array reads a whole array.
func array(data string) (values []any, err error) {
	for value, err := range Array([]byte(data)) {
		if err != nil {
			return values, err
		}
		values = append(values, value)
	}
	return values, nil
}

func TestArray(t *testing.T) {
	got, err := array(` [ {"a":1} , null,[2], "x", -0.5 ] `)
	want := []any{map[string]any{"a": 1.0}, nil, []any{2.0}, "x", -0.5}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if got, err := array(" []\n"); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v, want nothing", got, err)
	}
	for range Array([]byte("[1,2,3]")) {
		break // which must not be called again
	}

	large := `"` + strings.Repeat("x", maxElement) + `"`
	for _, test := range []struct {
		body, want string
		before     int // values that come before the error
	}{
		{"{}", "The body must be a JSON array", 0},
		{"null", "The body must be a JSON array", 0},
		{"", "The body is empty; it must be a JSON array", 0},
		{"[1,2", "The body ends too early to be JSON, at offset 4", 0},
		{"[1,2]]", "The body cannot be read as JSON: error at offset 5", 0},
		{`[1,"\ud800"]`, "The body has half of a surrogate pair at offset 4", 0},
		{`[1, {"a":0,"a":0} ,2]`, `The key "a" occurs twice in one object; the second ends at offset 14`, 1},
		{`[1, 1e999 ,2]`, `The number that ends at offset 9 is too large`, 1},
		{`[1,` + large + `]`, "Element 1 is larger than 1048576 bytes", 1},
	} {
		got, err := array(test.body)
		if err == nil || err.Error() != test.want || len(got) != test.before {
			t.Errorf("%.40s: got %d values and %v, want %d and %s", test.body, len(got), err, test.before, test.want)
		}
	}
}

// FuzzObject wants every document that is accepted to be one that encoding/json
// accepts, with the same values, and to be accepted again as json.Marshal
// writes it.
func FuzzObject(f *testing.F) {
	for _, body := range []string{`{}`, `{"a":[1,{"b":"\ud83d\ude00"}],"c":null}`, `{"a":1,"a":2}`, `[{}]`, `{"\u0061":1e5}`, "{\"a\":\"\xff\"}"} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := slices.Clone(body)
		got, err := Object(body)
		if !slices.Equal(body, before) {
			t.Fatalf("the body was changed from %q to %q", before, body)
		}
		if err != nil {
			if _, ours := err.(*Error); !ours {
				t.Fatalf("got %T: %v", err, err)
			}
			return
		}
		var want map[string]any
		if err := json.Unmarshal(body, &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, want %v, %v", got, want, err)
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Object(again); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: got %v, %v the second time, want %v", again, got, err, want)
		}
	})
}
