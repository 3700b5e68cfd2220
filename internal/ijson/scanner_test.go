package ijson

import (
	"encoding/json"
	"fmt"
	"testing"
)

func TestScanner(t *testing.T) {
	for _, test := range []struct{ data, want string }{
		{`{"n":7,"s":"x"}`, `7 "x" dense`},
		{" { \"n\" :\t7 ,\n\"s\": \"x\" } \r\n", `7 "x"`},
		{`{"n":0,"s":""}`, `0 "" dense`},
		{`{"n":123456789012345678,"s":"é<>&"}`, `123456789012345678 "é<>&" dense`},
		{`{"n":7,"s":"\"\\\u2028\n"}`, `7 "\"\\\u2028\n" dense`},
		{`{"n":1234567890123456789,"s":"x"}`, "failed"},
		{`{"n":07,"s":"x"}`, "failed"},
		{`{"n":-7,"s":"x"}`, "failed"},
		{`{"n":7.0,"s":"x"}`, "failed"},
		{`{"n":7e1,"s":"x"}`, "failed"},
		{`{"n":"7","s":"x"}`, "failed"},
		{`{"n":7,"s":7}`, "failed"},
		{`{"n":7,"s":"\u0041"}`, "failed"}, // not as Encode writes it
		{`{"n":7,"s":"\ud800"}`, "failed"},
		{`{"n":7,"s":"\/"}`, "failed"},
		{"{\"n\":7,\"s\":\"\xff\"}", "failed"},
		{"{\"n\":7,\"s\":\"\n\"}", "failed"},
		{"{\"n\":7,\"s\":\"\u2028\"}", "failed"},
		{`{"s":"x","n":7}`, "failed"},
		{`{"n":7,"s":"x"}x`, "failed"},
		{`{"n":7,"s":"x`, "failed"},
		{`{"n":7,"s":"x\`, "failed"},
		{`{"n":7,"s":`, "failed"},
		{`{"n":7`, "failed"},
		{`{"n":`, "failed"},
		{``, "failed"},
	} {
		data := make([]byte, len(test.data)) // with nothing behind it
		copy(data, test.data)
		in := NewScanner(data[:len(data):len(data)])
		var n int
		var s string
		_, dense := in.Raw(func() {
			in.Expect(`{"n":`)
			n = in.Int()
			in.Expect(`,"s":`)
			s = in.Text()
			in.Expect(`}`)
		})
		got := "failed"
		if in.AtEnd() {
			text, _ := Encode(s)
			got = fmt.Sprintf("%d %s", n, text[:len(text)-1])
			if dense {
				got += " dense"
			}
		}
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.data, got, test.want)
		}
	}
}

// FuzzScanner reads strings and numbers, which must be what others read, and as
// Encode writes them.
func FuzzScanner(f *testing.F) {
	for _, seed := range []string{`"x"`, `"\u2028"`, `"é\\"`, `7`, `1e3`, `"\ud83d\ude00"`, `"\`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = data[:len(data):len(data)]
		in := NewScanner(data)
		raw, _ := in.Raw(func() { in.Text() })
		if in.AtEnd() {
			var want string
			if err := json.Unmarshal(raw, &want); err != nil || NewScanner(raw).Text() != want {
				t.Fatalf("%q: read, but should be %q, %v", data, want, err)
			}
			if again, err := Encode(want); err != nil || string(again) != string(raw)+"\n" {
				t.Fatalf("%q: is encoded as %q", raw, again)
			}
		}
		in = NewScanner(data)
		n := in.Int()
		if in.AtEnd() {
			var want int
			if err := json.Unmarshal(data, &want); err != nil || n != want {
				t.Fatalf("%q: got %d, want %d, %v", data, n, want, err)
			}
		}
	})
}

func TestMembers(t *testing.T) {
	members, err := Members([]byte(` {"a": [1, 2], "b":{"a":null}} `))
	if err != nil || len(members) != 2 || string(members["a"]) != "[1, 2]" || string(members["b"]) != `{"a":null}` {
		t.Errorf("got %q, %v", members, err)
	}
	for _, data := range []string{``, `[]`, `{"a":1,"a":2}`, `{"a":1}{}`, "\ufeff{}"} {
		if members, err := Members([]byte(data)); err == nil {
			t.Errorf("%s: got %q, want an error", data, members)
		}
	}
}
