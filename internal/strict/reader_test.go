package strict

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"cars/internal/rest"
)

// value reads a value of any kind through the exported methods, as json.Unmarshal stores
// it in an any.
func value(r *Reader) (v any) {
	switch r.kind() {
	case '{':
		object := make(map[string]any)
		r.Object(func(name string) { object[name] = value(r) })
		return object
	case '[':
		array := []any{}
		r.Array(func(int) { array = append(array, value(r)) })
		return array
	case '"':
		return string(r.text())
	}
	json.Unmarshal(r.Skip(), &v)
	return v
}

func document(data string) (any, error) {
	r := NewReader([]byte(data))
	v := value(r)
	return v, r.End()
}

func TestDocuments(t *testing.T) {
	for _, test := range []struct {
		data string
		want any
	}{
		{`{}`, map[string]any{}},
		{" \t\r\n{ } \n", map[string]any{}},
		{` [ {"a":1} , null,[2], "x", -0.5 ] `, []any{map[string]any{"a": 1.0}, nil, []any{2.0}, "x", -0.5}},
		{`{"a":null,"b":true,"c":"x","d":-1.5e3,"e":[1,[]],"f":{"a":{}}}`, map[string]any{
			"a": nil, "b": true, "c": "x", "d": -1500.0,
			"e": []any{1.0, []any{}}, "f": map[string]any{"a": map[string]any{}},
		}},
		{`"é \u00e9 😀 \ud83d\ude00 \\ud83d \b\f\n\r\t\"\/\u007f\uFfFd` + "\ufffd\"", "é é 😀 😀 \\ud83d \b\f\n\r\t\"/\x7f\ufffd\ufffd"},
		{`{"a":1,"A":2,"b":{"a":1}}`, map[string]any{"a": 1.0, "A": 2.0, "b": map[string]any{"a": 1.0}}},
		{`{"":0}`, map[string]any{"": 0.0}},
		{`{"\"::\"":1}`, map[string]any{`"::"`: 1.0}},
		{`{"a":1e-999,"b":123456789012345678901234567890}`, map[string]any{"a": 0.0, "b": 123456789012345678901234567890.0}},
		{`{"a:b":":","\":":{"c":"\\"}}`, map[string]any{"a:b": ":", `":`: map[string]any{"c": `\`}}},
		{`false`, false},
		{` -0 `, 0.0},
		{`"` + "\ufeff" + `"`, "\ufeff"},
	} {
		if got, err := document(test.data); err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %v, %v, want %v", test.data, got, err, test.want)
		}
	}
	for _, data := range []string{
		strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth),
		"[" + strings.Repeat("[{}],", maxDepth) + "0]",
	} {
		if _, err := document(data); err != nil {
			t.Errorf("%.20s: got %v", data, err)
		}
	}
}

const (
	syntax    = "The body cannot be read as JSON: error at offset "
	tooEarly  = "The body ends too early to be JSON, at offset "
	utf8Error = "The body is not valid UTF-8: error at offset "
	surrogate = "The body has half of a surrogate pair at offset "
)

// refused are documents that no reader accepts.
var refused = []struct{ data, want string }{
	{"{} {}", syntax + "3"},
	{"{}{}", syntax + "2"},
	{"{},", syntax + "2"},
	{"{}x", syntax + "2"},
	{"{}\x00", syntax + "2"},
	{"{}\u00a0", syntax + "2"},
	{"{}\ufeff", syntax + "2"},
	{`{"a":1}}`, syntax + "7"},
	{`{"a":x}`, syntax + "5"},
	{`{"a":1,}`, syntax + "7"},
	{`{"a":[1,]}`, syntax + "8"},
	{`{"a":[1 2]}`, syntax + "8"},
	{`{"a":[1}`, syntax + "7"},
	{`{,"a":1}`, syntax + "1"},
	{`{"a" 1}`, syntax + "5"},
	{`{"a",1}`, syntax + "4"},
	{`{"a"}`, syntax + "4"},
	{`{a:1}`, syntax + "1"},
	{`{'a':1}`, syntax + "1"},
	{`{"a":01}`, syntax + "6"},
	{`{"a":-01}`, syntax + "7"},
	{`{"a":+1}`, syntax + "5"},
	{`{"a":.5}`, syntax + "5"},
	{`{"a":1.}`, syntax + "7"},
	{`{"a":1.e5}`, syntax + "7"},
	{`{"a":1e}`, syntax + "7"},
	{`{"a":1e+}`, syntax + "8"},
	{`{"a":0x1}`, syntax + "6"},
	{`{"a":NaN}`, syntax + "5"},
	{`{"a":-Infinity}`, syntax + "6"},
	{`{"a":True}`, syntax + "5"},
	{`{"a":nul}`, syntax + "8"},
	{`{"a":nulll}`, syntax + "9"},
	{"{\"a\":\"\n\"}", syntax + "6"},
	{`{"a":"\x41"}`, syntax + "7"},
	{`{"a":"\u12g4"}`, syntax + "10"},
	{`{"a":"\ud83d\u12g4"}`, syntax + "16"},
	{"// no comment\n{}", syntax + "0"},
	{"{}/* nor here */", syntax + "2"},
	{"\u2028{}", syntax + "0"},
	{strings.Repeat(`{"a":[`, 10_000) + strings.Repeat("]}", 10_000), syntax + "30000"},
	{strings.Repeat("[", 20_000), syntax + "10000"},
	{strings.Repeat("[", maxDepth+1), syntax + "10000"},

	{"{", tooEarly + "1"},
	{`{"`, tooEarly + "2"},
	{`{"a":1`, tooEarly + "6"},
	{`{"a":1,`, tooEarly + "7"},
	{`{"a":nul`, tooEarly + "8"},
	{`{"a":"x`, tooEarly + "7"},
	{`{"a":"\`, tooEarly + "7"},
	{`{"a":"\u00`, tooEarly + "10"},
	{`{"a":"\ud83d`, tooEarly + "12"},
	{`{"a":"\ud83d\`, tooEarly + "13"},
	{`{"a":"\ud83d\u`, tooEarly + "14"},
	{`{"a":-`, tooEarly + "6"},
	{`{"a":1.`, tooEarly + "7"},

	{"\uFEFF{}", "The body must not begin with a byte order mark"},
	{"\uFEFF", "The body must not begin with a byte order mark"},
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
	{`{"a":"\ud83d\ud83d"}`, surrogate + "6"},
	{`{"a":"\ud83d\n"}`, surrogate + "6"},
	{`{"a":"\ud83d😀"}`, surrogate + "6"},
	{`{"a":"\ud83d\ude00\ud83d"}`, surrogate + "18"},
	{`{"a":"\\\uD83D\\ude00"}`, surrogate + "8"},
	{`{"\udfff":1}`, surrogate + "2"},

	{`{"a":1,"a":1}`, `The key "a" occurs twice in one object; the second ends at offset 10`},
	{`{"a":1,"\u0061":1}`, `The key "a" occurs twice in one object; the second ends at offset 15`},
	{`{"b":{"":1,"":1}}`, `The key "" occurs twice in one object; the second ends at offset 13`},
	{`{"a":[{"b":1,"b":1}]}`, `The key "b" occurs twice in one object; the second ends at offset 16`},
	{`{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"10":0,"3":0}`, `The key "3" occurs twice in one object; the second ends at offset 65`},
	{`{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"10":0,"10":0}`, `The key "10" occurs twice in one object; the second ends at offset 66`},
	{`{"` + strings.Repeat("é", 50) + `":1,"` + strings.Repeat("é", 50) + `":1}`,
		`The key "` + strings.Repeat("é", 40) + `…" occurs twice in one object; the second ends at offset 208`},
	{`{"a":1e999}`, "The number that ends at offset 10 is too large"},
	{`{"a":[-1e400]}`, "The number that ends at offset 12 is too large"},
	{`{"a":1` + strings.Repeat("0", 400) + `}`, "The number that ends at offset 406 is too large"},

	// The first fault counts.
	{`{"a":1e999,"b":"\ud800"`, "The number that ends at offset 10 is too large"},
	{`{"a":"\ud800","b":1e999}`, surrogate + "6"},
	{"{\"a\":1,\"a\":\"\xff\"}", `The key "a" occurs twice in one object; the second ends at offset 10`},
}

// malformed returns the error of data as a car.
func malformed(data []byte) error {
	_, err := carFields.Decode(data, new(car), 0)
	return err
}

// checkMalformed checks that err is a 400 with the message wanted.
func checkMalformed(t *testing.T, data string, err error, want string) {
	t.Helper()
	var e *rest.Error
	if !errors.As(err, &e) || e.Status != 400 || e.Message != want || len(e.Fields) != 0 {
		t.Errorf("%.60q: got %v, want 400 %s", data, err, want)
	}
}

func TestRefusedDocuments(t *testing.T) {
	for _, test := range refused {
		_, err := document(test.data)
		checkMalformed(t, test.data, err, test.want)
		r := NewReader([]byte(test.data))
		r.Skip()
		checkMalformed(t, test.data, r.End(), test.want)
		checkMalformed(t, test.data, malformed([]byte(test.data)), test.want)
		_, err = carFields.DecodePatch([]byte(test.data), 7)
		checkMalformed(t, test.data, err, test.want)
	}
	_, err := document(" ")
	checkMalformed(t, " ", err, tooEarly+"1")
}

func TestReaderWantsAKind(t *testing.T) {
	r := func(data string) *Reader {
		r := NewReader([]byte(data))
		r.Subject = "it"
		return r
	}
	never := func(int) { t.Error("called") }
	for _, test := range []struct {
		data string
		read func(r *Reader)
		want string
	}{
		{` 7`, func(r *Reader) { r.Object(func(string) { t.Error("called") }) }, "it must have an object at offset 1"},
		{`{}`, func(r *Reader) { r.Array(never) }, "it must have an array at offset 0"},
		{`"7"`, func(r *Reader) { r.Int() }, "it must have a number at offset 0"},
		{`7.5`, func(r *Reader) { r.Int() }, "it must have a whole number at offset 0"},
		{`]`, func(r *Reader) { r.Array(never) }, "it cannot be read as JSON: error at offset 0"},
		{``, func(r *Reader) { r.Int() }, "it ends too early to be JSON, at offset 0"},
		{`[1,"x",2]`, func(r *Reader) {
			r.Array(func(i int) {
				if i > 1 {
					t.Error("read on after an error")
				}
				if got := r.Int(); got != 1-i {
					t.Errorf("[%d]: got %d", i, got)
				}
			})
		}, "it must have a number at offset 3"},
		{`[1,2]x`, func(r *Reader) { r.Array(func(int) { r.fail(errors.New("enough")); r.fail(errors.New("more")) }) }, "enough"},
	} {
		r := r(test.data)
		test.read(r)
		if err := r.End(); err == nil || err.Error() != test.want || err != r.err {
			t.Errorf("%s: got %v, want %s", test.data, err, test.want)
		}
	}
}

func TestReaderReadsALine(t *testing.T) {
	r := NewReader([]byte(`{"put": [{"a":[1]}, 2],"x":{"y":0},"delete":[7,2e3, -1],"no":0.5}`))
	var got []string
	r.Object(func(name string) {
		switch name {
		case "put":
			r.Array(func(i int) {
				start := r.offset
				got = append(got, fmt.Sprintf("%d %d %s", i, start, r.Skip()))
			})
		case "delete":
			r.Array(func(i int) { got = append(got, fmt.Sprint(i, r.Int())) })
		}
	})
	want := []string{`0 9 {"a":[1]}`, "1 20 2", "0 7", "1 2000", "2 -1"}
	if err := r.End(); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestInt(t *testing.T) {
	for data, want := range map[string]int{
		"0": 0, "-0": 0, "7": 7, "-7": -7, "2.0": 2, "2e3": 2000, "2E+3": 2000, "20e-1": 2, "0e5": 0, "0.0": 0,
		"9007199254740993": 9007199254740993, "999999999999999999": 999999999999999999,
		"9223372036854775807": 1 << 62, "-1e300": -1 << 62, "1e300": 1 << 62, "1e-999": 0,
	} {
		r := NewReader([]byte(data))
		if got := r.Int(); got != want || r.End() != nil {
			t.Errorf("%s: got %d, %v, want %d", data, got, r.err, want)
		}
	}
}
