package conversation

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"cars/internal/e2e/check"
)

// A Server answers a request, which is given as it goes over a connection. The
// answer has its whole body.
type Server func(request []byte) (*http.Response, error)

// Handler is the server that h is the handler of, without a connection.
func Handler(h http.Handler) Server {
	return func(request []byte) (*http.Response, error) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
		if err != nil {
			return nil, err
		}
		r.RemoteAddr = "192.0.2.1:1234"
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if r.Method == "HEAD" { // as net/http does
			rec.Body.Reset()
		}
		return rec.Result(), nil
	}
}

// Dial is the server that listens on addr. Requests share a connection for as long as
// the server keeps it.
func Dial(addr string) Server {
	var conn net.Conn
	var r *bufio.Reader
	return func(request []byte) (resp *http.Response, err error) {
		if conn == nil {
			if conn, err = net.Dial("tcp", addr); err != nil {
				return nil, err
			}
			r = bufio.NewReader(conn)
		}
		go conn.Write(request) // of a body that is too large, the rest is never read
		method, _, _ := bytes.Cut(request, []byte(" "))
		var body []byte
		if resp, err = http.ReadResponse(r, &http.Request{Method: string(method)}); err == nil {
			body, err = io.ReadAll(resp.Body)
			resp.Body = io.NopCloser(bytes.NewReader(body))
		}
		if err != nil || resp.Close {
			conn.Close()
			conn = nil
		}
		return resp, err
	}
}

// Play holds the conversations of a file. start starts a server with a command such as
// CARS_TOKEN=secret cars -read-only; the server ends with t.
func (f File) Play(t *testing.T, start func(t *testing.T, command string) Server) {
	var server Server
	known := make(variables)
	for _, c := range f.conversations {
		if c.server != "" {
			server = start(t, c.server)
			known = make(variables)
		}
		t.Run(c.rule, func(t *testing.T) { c.play(t, server, known, c.names) })
	}
}

// play holds a conversation once with each combination of the values that names have.
func (c conversation) play(t *testing.T, server Server, known variables, names []string) {
	if len(names) > 0 {
		for _, value := range c.values[names[0]] {
			chosen := maps.Clone(known)
			chosen[names[0]] = value
			c.play(t, server, chosen, names[1:])
		}
		return
	}
	for _, e := range c.exchanges {
		if err := e.play(server, known); err != nil {
			chosen := ""
			for _, name := range c.names {
				chosen += fmt.Sprintf(" with %s = %s", name, known[name])
			}
			t.Errorf("%s: %s %s%.200s: %v", e.at, known.expand(e.method), known.expand(e.target), chosen, err)
		}
	}
}

// play sends the request and compares the answer. Whatever is asked, the answer must be
// as check wants all answers to be.
func (e exchange) play(server Server, known variables) error {
	request, sent, err := e.request(known)
	if err != nil {
		return err
	}
	resp, err := server(request)
	if err != nil {
		return err
	}
	body, err := check.Body(resp)
	if err != nil {
		return err
	}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
	if err != nil {
		return err
	}
	if err := check.Answer(r, sent, resp); err != nil {
		return err
	}
	if err := known.match(e.status, strconv.Itoa(resp.StatusCode)); err != nil {
		return fmt.Errorf("%w\nin %d %.500s", err, resp.StatusCode, body)
	}
	for _, line := range e.answerHeader {
		name, want, _ := strings.Cut(line, ":")
		values := resp.Header.Values(name)
		if err := known.match(strings.TrimSpace(want), strings.Join(values, ", ")); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if len(values) == 0 && strings.TrimSpace(want) != "" {
			return fmt.Errorf("%s is missing", name)
		}
	}
	want := strings.TrimSpace(e.answerBody)
	switch {
	case want == "":
		return nil
	case json.Valid(body) && placeholder.FindString(want) != want: // a name alone keeps the text as it is
		return known.matchJSON(want, string(body))
	}
	return known.match(want, strings.TrimSuffix(string(body), "\n"))
}
