package conversation

import (
	"maps"
	"net/http"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
		kept          string // for x
	}{
		{"a", "a", true, ""},
		{"a", "ab", false, ""},
		{"a.", "ab", false, ""},
		{"…", "", true, ""},
		{"a…c", "a\nbc", true, ""},
		{"a…c", "ab", false, ""},
		{`W/"{{x}}"`, `W/"12"`, true, "12"},
		{`"{{x}}"`, `12`, false, ""},
		{"{{known}}", "(", true, ""},
		{"{{known}}", ")", false, ""},
		{`{{3 * "é"}}`, "ééé", true, ""},
		{`{{2 * "\x22"}}`, `""`, true, ""},
	} {
		v := variables{"known": "("}
		if err := v.match(test.pattern, test.text); (err == nil) != test.want || v["x"] != test.kept {
			t.Errorf("%s and %s: got %v and kept %q, want a match: %t, and kept %q", test.pattern, test.text, err, v["x"], test.want, test.kept)
		}
	}
}

func TestMatchJSON(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{`{"a":1,"b":[true,null]}`, `{"b": [true, null], "a": 1}`, true},
		{`{"a":1}`, `{"a":1,"b":2}`, false},
		{`{"a":1,…}`, `{"a":1,"b":2}`, true},
		{`{"a":1,…}`, `{"a":2,"b":2}`, false},
		{`{"a":1,"b":2}`, `{"a":1}`, false},
		{`{…}`, `[]`, false},
		{`{"a":9007199254740993}`, `{"a":9007199254740992}`, false},
		{`{"a":"x…"}`, `{"a":"xyz"}`, true},
		{`{"a":"x…"}`, `{"a":"y"}`, false},
		{`{"a":…}`, `{"a":1}`, false}, // it is for members
		{`{"a":"1"}`, `{"a":1}`, false},
		{`[1,2]`, `[1,2]`, true},
		{`[1,2]`, `[2,1]`, false},
		{`[1,…]`, `[1,2,3]`, true},
		{`[1,…]`, `[1]`, true},
		{`[1,…]`, `[]`, false},
		{`[1,…,3]`, `[1,2,2,3]`, true},
		{`[1,…,3]`, `[1,2,2]`, false},
		{`[{"a":1,…},…]`, `[{"a":1,"b":"}"},5]`, true},
		{`{"a":"\"…"}`, `{"a":"\"b"}`, true},
		{`[]`, `{}`, false},
	} {
		if err := (variables{}).matchJSON(test.pattern, test.text); (err == nil) != test.want {
			t.Errorf("%s and %s: got %v, want a match: %t", test.pattern, test.text, err, test.want)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "",
		"# comment\n\n### Rule\n# comment": "",
		"GET /\n":                          "x:1: there is no ### with a rule above",
		"### Rule\nGET /\n\nbody\n":        "x:2: the answer, which begins with a line such as HTTP 200, is missing",
		"### Rule\nHTTP 200\n":             "x:2: here a request such as GET /api/cars is to stand",
		"### Rule\n@a\n":                   "x:2: a line with @ is to look like @name = value | value",
	} {
		_, err := parse("x", text)
		if got := ""; err != nil {
			got = err.Error()
			if got != want {
				t.Errorf("%q: got %s, want %s", text, got, want)
			}
		} else if want != "" {
			t.Errorf("%q: got no error, want %s", text, want)
		}
	}
	all, err := parse("x", `
### Rule
@id = 1 | |
@id = {{2 * "3"}}
PUT /a/{{id}}
If-Match: {{tag}}

{"a":1}

HTTP 200
ETag: "…"

{"a":1}

GET /a

HTTP 404
# server: cars -read-only
### Other
DELETE /a
Content-Type: text/plain
Host: x

HTTP 403

GET /a HTTP/1.0

HTTP 200
`)
	if err != nil || len(all) != 2 || len(all[0].exchanges) != 2 || all[0].server != defaultServer || all[1].server != "cars -read-only" {
		t.Fatalf("got %+v, %v", all, err)
	}
	if got := strings.Join(all[0].values["id"], ","); got != `1,,,{{2 * "3"}}` {
		t.Errorf("got the values %s", got)
	}
	known := variables{"id": all[0].values["id"][3], "tag": `"t"`}
	whole, body, err := all[0].exchanges[0].request(known)
	if want := "PUT /a/33 HTTP/1.1\r\nIf-Match: \"t\"\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}"; string(whole) != want || string(body) != `{"a":1}` || err != nil {
		t.Errorf("got %q, %q, %v, want %q", whole, body, err, want)
	}
	if _, _, err := all[0].exchanges[0].request(variables{"id": "1"}); err == nil {
		t.Error("a request was made of a name that stands for nothing")
	}
	whole, _, _ = all[1].exchanges[0].request(nil)
	if want := "DELETE /a HTTP/1.1\r\nContent-Type: text/plain\r\nHost: x\r\nContent-Length: 0\r\n\r\n"; string(whole) != want {
		t.Errorf("got %q, want %q", whole, want)
	}
	whole, _, _ = all[1].exchanges[1].request(nil)
	if want := "GET /a HTTP/1.0\r\nContent-Length: 0\r\n\r\n"; string(whole) != want {
		t.Errorf("got %q, want %q", whole, want)
	}
}

// TestPlay has a small server, of which each conversation but the first expects something
// else than it does.
func TestPlay(t *testing.T) {
	server := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		maps.Copy(w.Header(), http.Header{
			"Access-Control-Allow-Origin":   {"*"},
			"Access-Control-Expose-Headers": {"X-Total-Count, Catalogue-Version, Link, ETag, Location, Server-Timing, Retry-After, RateLimit, RateLimit-Policy"},
			"Cache-Control":                 {"no-cache"},
			"Timing-Allow-Origin":           {"*"},
			"X-Content-Type-Options":        {"nosniff"},
			"Content-Type":                  {"application/json"},
			"Content-Length":                {"19"},
		})
		w.Write([]byte(`{"status":"alive"}` + "\n"))
	}))
	const request = "### Rule\nGET /healthz\n\n"
	for text, want := range map[string]string{
		request + "HTTP 200\nContent-Type: application/json\nETag:\n\n{\"status\":\"alive\"}": "",
		request + "HTTP 201":                                  "got 200",
		request + "HTTP 200\nETag: …":                         "ETag is missing",
		request + "HTTP 200\nContent-Type: text/html":         "Content-Type: got application/json",
		request + "HTTP 200\nContent-Type:":                   "Content-Type: got application/json",
		request + "HTTP 200\n\n{}":                            "there is a member status",
		"### Rule\nGET /api/cars\n\nHTTP 200":                 "not as the description says",
		"### Rule\nGET /nowhere\n\nHTTP 200":                  "which the description does not know",
		"### Rule\nGET /healthz\nIf-Match: {{x}}\n\nHTTP 200": "nothing is known for {{x}}",
	} {
		all, err := parse("x", text)
		if err != nil {
			t.Fatal(err)
		}
		err = all[0].exchanges[0].play(server, make(variables))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}
