package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"cars/internal/rest"
)

// iJSON reports whether data is what a Reader has to accept: JSON as encoding/json knows
// it, less invalid UTF-8, keys that occur twice in an object, surrogates that stand alone,
// and numbers beyond a double.
func iJSON(data []byte) bool {
	var v any
	return utf8.Valid(data) && json.Unmarshal(data, &v) == nil && !loneSurrogate(data) && uniqueKeys(json.NewDecoder(bytes.NewReader(data)))
}

// loneSurrogate reports whether encoding/json reads more U+FFFD from data than stand in
// it: it replaces surrogates that stand alone.
func loneSurrogate(data []byte) bool {
	read := 0
	decoder := json.NewDecoder(bytes.NewReader(data))
	for {
		token, err := decoder.Token()
		if err != nil {
			break
		}
		if s, ok := token.(string); ok {
			read += strings.Count(s, "\ufffd")
		}
	}
	text := strings.ReplaceAll(string(data), `\\`, "")
	return read > strings.Count(text, "\ufffd")+strings.Count(strings.ToLower(text), `\ufffd`)
}

// uniqueKeys reports whether no key occurs twice in an object of the next value.
func uniqueKeys(decoder *json.Decoder) bool {
	first, _ := decoder.Token()
	if _, ok := first.(json.Delim); !ok {
		return true
	}
	keys := make(map[json.Token]bool)
	for decoder.More() {
		if first == json.Delim('{') {
			key, _ := decoder.Token()
			if keys[key] {
				return false
			}
			keys[key] = true
		}
		if !uniqueKeys(decoder) {
			return false
		}
	}
	decoder.Token() // the end of what first began
	return true
}

// FuzzReader wants exactly those documents to be accepted that iJSON accepts, with the
// values that encoding/json reads; and a value that is skipped to be judged like one that
// is read.
func FuzzReader(f *testing.F) {
	for _, test := range refused {
		if len(test.data) < 1000 {
			f.Add([]byte(test.data))
		}
	}
	for _, data := range []string{audi, `{"a":[1,{"b":"\ud83d\ude00\\\""}],"c":null}`, `[{}]`, `{"\u0061":-1.5e5}`, `"\ufffd\\ud800"`, "[\"\ufffd\", true, false]"} {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = slices.Clip(slices.Clone(data)) // with nothing behind it
		before := slices.Clone(data)
		r := NewReader(data)
		got := value(r)
		err := r.End()
		if want := iJSON(data); (err == nil) != want {
			t.Fatalf("%q: got %v, want accepted: %v", data, err, want)
		}
		if err == nil {
			var want any
			if json.Unmarshal(data, &want); !reflect.DeepEqual(got, want) {
				t.Fatalf("%q: got %v, want %v", data, got, want)
			}
		}
		skipping := NewReader(data)
		raw := skipping.Skip()
		if other := skipping.End(); !reflect.DeepEqual(other, err) {
			t.Fatalf("%q: skipped with %v, read with %v", data, other, err)
		}
		if err == nil && string(raw) != strings.Trim(string(data), " \t\r\n") {
			t.Fatalf("%q: skipped %q", data, raw)
		}
		if !slices.Equal(data, before) {
			t.Fatalf("the document was changed from %q to %q", before, data)
		}
	})
}

// FuzzDecode wants objects to be read as encoding/json reads them, and again as they are
// encoded; those that are called canonical to be just what Encode writes; and a patch, or
// an array, to do the same as the object does.
func FuzzDecode(f *testing.F) {
	for _, body := range []string{audi, strings.Replace(audi, "Audi A4", `\"<é>\\`, 1), strings.Replace(audi, "Audi A4", "\u2028\x7f", 1),
		strings.Replace(audi, `"id":1,`, "", 1), strings.Replace(audi, "2024", "-0", 1), strings.Replace(audi, ":", ": ", 1),
		strings.Replace(audi, "42000", "4.2e4", 1), `{"name":"A","manufacturer":"B","details":null}`, `{"details":{"horsepower":201},"year":2001}`,
		strings.Replace(audi, `"engine"`, `"\u0065ngine"`, 1), strings.Replace(audi, `{"engine"`, `{"horsepower":0,"engine"`, 1),
		`{"id":"5"}`, `{"colour":1}`, `{"name":"A","name":"B"}`, strings.Replace(audi, "Audi", "Audi ", 2), audi + "x"} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		body = slices.Clip(slices.Clone(body))
		var v car
		members, err := carFields.Decode(body, &v, 0)
		var e *rest.Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("%q: got %v, which is no *rest.Error", body, err)
		}
		if wellFormed := iJSON(body) && bytes.Trim(body, " \t\r\n")[0] == '{'; wellFormed == (e != nil && e.Status == 400) {
			t.Fatalf("%q: got %v", body, err)
		}
		if err == nil {
			var want car
			if err := json.Unmarshal(body, &want); err != nil && !strings.ContainsAny(string(body), ".eE") {
				t.Fatalf("%q: read, but encoding/json says %v", body, err)
			} else if want.Name, want.Manufacturer = strings.TrimSpace(want.Name), strings.TrimSpace(want.Manufacturer); err == nil && v != want {
				t.Fatalf("%q: got %+v, want %+v", body, v, want)
			}
			encoded, _ := rest.Encode(v)
			if want := fmt.Sprintf(`{"id":%d,%s`+"\n", v.ID, members); members != nil && string(encoded) != want {
				t.Fatalf("%q: gave the members %q, but encoded it is %q", body, members, encoded)
			}
			var again car
			r := NewReader(encoded)
			if raw, canonical := carFields.Read(r, &again, nil); !canonical && v.ID != 0 && !strings.Contains(string(encoded), "\x7f") || string(raw)+"\n" != string(encoded) || v != again && v.ID != 0 {
				t.Fatalf("%q: read again as %+v from %q, canonical %v, %v", body, again, raw, canonical, r.err)
			}
		}
		for _, wrong := range []Problems{nil, {}} {
			var v car
			r := NewReader(body)
			raw, canonical := carFields.Read(r, &v, wrong)
			encoded, _ := rest.Encode(v)
			if canonical && string(raw)+"\n" != string(encoded) {
				t.Fatalf("%q is called canonical, but encoded it is %q", raw, encoded)
			}
			if got := r.End(); wrong != nil && got == nil && !reflect.DeepEqual(wrong.Err(), err) {
				t.Fatalf("%q: Decode says %v, Read %v", body, err, wrong)
			}
		}
		var one car
		inArray := carFields.DecodeArray(slices.Concat([]byte("["), body, []byte("]")), func() (any, error) { one = car{}; return &one, nil })
		if err == nil && (inArray != nil || one != v) {
			t.Fatalf("%q: read as %+v, and in an array as %+v, %v", body, v, one, inArray)
		}
		patch, patchErr := carFields.DecodePatch(body, v.ID)
		if err == nil && patchErr == nil {
			patched := car{ID: v.ID}
			if patch.Apply(&patched); patched != v {
				t.Fatalf("%q: read as %+v, and as a patch %+v", body, v, patched)
			}
		}
	})
}
