package fields

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
)

// A thing has a field of every kind, in two objects.
type thing struct {
	name, note, link string
	count, odd       int
}

var schema = Schema[thing]{
	"name":        Text(func(t *thing) *string { return &t.name }, 1, 5, nil),
	"count":       Number(func(t *thing) *int { return &t.count }, Between(0, 9)),
	"more.note":   Text(func(t *thing) *string { return &t.note }, 0, 5, nil),
	"more.link":   Text(func(t *thing) *string { return &t.link }, 0, 5, func(s string) string { return "must not be " + s }),
	"more.in.odd": Number(func(t *thing) *int { return &t.odd }, func(n int) string { return strings.Repeat("must be odd", 1-n&1) }),
}

func TestFillAndMerge(t *testing.T) {
	before := thing{"n", "o", "", 3, 5}
	for _, test := range []struct {
		object       string
		fill, merge  string // the thing, or the errors
		whatIsFilled thing
	}{
		{object: `{"name":" a ","count":2e0,"more":{"note":"x","in":{"odd":7}}}`, fill: "{a x  2 7}", merge: "{a x  2 7}"},
		{object: `{}`, fill: "name is required", merge: "{n o  3 5}"},
		{object: `{"name":"abcde","more":null}`, fill: "{abcde   0 0}", merge: "{abcde   3 0}"},
		{object: `{"name":null,"count":null}`, fill: "name is required", merge: "name is required"},
		{object: `{"name":"ab","more":{"in":null,"note":null}}`, fill: "{ab   0 0}", merge: "{ab   3 0}"},
		{object: `{"name":5,"count":"5","more":[]}`, fill: "count must be a number; more must be an object; name must be a string"},
		{object: `{"name":"ab","more":{"in":{"odd":4},"link":"l"}}`, fill: "more.in.odd must be odd; more.link must not be l"},
		{object: `{"name":"abcdef","count":10,"more":{"note":"\u0007"}}`, fill: "count must be at most 9; more.note must not contain control characters; name must be at most 5 characters"},
		{object: `{"name":"a","count":-1,"more":{"in":{"odd":0.5}}}`, fill: "count must not be negative; more.in.odd must be a whole number"},
		{object: `{"name":"a","more.note":"x"}`, fill: "more.note is not a known field"},
		{object: `{"name":"a","note":1,"More":{},"IN":1,"x":1}`, fill: "IN is not a known field; More is not a known field; did you mean more?; note is not a known field; did you mean more.note?; x is not a known field"},
	} {
		var object map[string]any
		if err := json.Unmarshal([]byte(test.object), &object); err != nil {
			t.Fatal(err)
		}
		check := func(what string, v thing, wrong Errors, want string) {
			got := wrong.Error()
			if got == "" {
				got = fmt.Sprint(v)
			}
			if got != want {
				t.Errorf("%s %s: got %s, want %s", what, test.object, got, want)
			}
		}
		var filled thing
		wrong := Errors{}
		schema.Fill(&filled, object, wrong)
		check("Fill", filled, wrong, test.fill)
		if copy := filled; len(wrong) == 0 && (!schema.Check(&copy) || copy != filled) {
			t.Errorf("%s: what was filled is not right, or %v", test.object, copy)
		}
		if test.merge == "" {
			test.merge = test.fill
		}
		merged := before
		wrong = Errors{}
		schema.Merge(&merged, object, wrong)
		check("Merge", merged, wrong, test.merge)
	}
}

func TestCheck(t *testing.T) {
	for v, want := range map[thing]bool{
		{name: "a"}: true, {}: false, {name: "abcdef"}: false, {name: "a", count: 10}: false, {name: "a", odd: 2}: false,
	} {
		if got := schema.Check(&v); got != want {
			t.Errorf("%+v: got %v, want %v", v, got, want)
		}
	}
	if v := (thing{name: " a "}); !schema.Check(&v) || v.name != "a" {
		t.Errorf("got %+v, want the space to be gone", v)
	}
}

func TestErrorsHaveAnEnd(t *testing.T) {
	wrong := Errors{}
	for i := range 2 * MaxErrors {
		wrong.Note(fmt.Sprintf("%03d", i), "is wrong")
	}
	wrong.Note("000", "is right")
	if want := "000 is wrong; 001 is wrong; 002 is wrong; 003 is wrong; 004 is wrong; and 95 more"; len(wrong) != MaxErrors || wrong.Error() != want {
		t.Errorf("got %d errors, and %s", len(wrong), wrong)
	}
	long := Errors{}
	long.Note(strings.Repeat("é", 101), "is long")
	if want := (Errors{strings.Repeat("é", 100) + "…": "is long"}); !maps.Equal(long, want) {
		t.Errorf("got %v, want %v", long, want)
	}
}
