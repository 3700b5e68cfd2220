// Package etcd speaks to etcd through its HTTP/JSON gateway (etcd 3.4 to 3.6), with the
// standard library alone. It knows keys and values, and nothing of what they mean.
//
// A [Client] asks one member of the cluster. If that does not answer, it asks the next one.
// So etcd may carry out a transaction twice: callers put a comparison into it that holds
// only once.
//
// The gateway is gRPC in JSON: bytes are base64, integers of 64 bits are strings, and fields
// that are false, zero or empty are left out
// (https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/).
package etcd

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options say how to reach a cluster.
type Options struct {
	Members  []string    // host:port of each
	TLS      *tls.Config // nil: without TLS
	User     string      // empty: without authentication
	Password string

	// Observe is called after each request to a member, unless it is nil. ok reports whether
	// the member has answered. Any goroutine calls it.
	Observe func(member string, ok bool)
}

// A Client speaks to one cluster. Its methods may be called by any goroutine.
type Client struct {
	options   Options
	transport *http.Transport
	current   atomic.Int32 // index of the member that is asked first

	mu    sync.Mutex // guards token
	token string     // from etcd, for the user's password; valid at all members; "": none yet
}

// New returns a client. It does not connect to anything yet.
func New(options Options) *Client {
	dialer := net.Dialer{Timeout: time.Second, KeepAlive: 5 * time.Second}
	// Without HTTP/2, which this transport does not speak, each watch has a connection of
	// its own. On a shared one, it would be held up by answers that are being read.
	c := &Client{options: options, transport: &http.Transport{
		DialContext:         dialer.DialContext,
		TLSClientConfig:     options.TLS,
		TLSHandshakeTimeout: time.Second,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}}
	c.current.Store(rand.Int32N(int32(len(options.Members)))) // not all clients ask the same member
	return c
}

// Close closes the connections that are idle.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Member returns the member that is asked first.
func (c *Client) Member() string { return c.options.Members[c.current.Load()] }

// Leave says that member has failed. If member was asked first until now, the next one is.
func (c *Client) Leave(member string) {
	if i := c.current.Load(); c.options.Members[i] == member {
		c.current.CompareAndSwap(i, (i+1)%int32(len(c.options.Members)))
	}
}

// An Error is a failure of a request, or a refusal.
type Error struct {
	Code    int    // gRPC status code; 0 if there was no answer
	Message string // what etcd or the network has said
	Member  string // the member that has failed

	// Unknown reports that the outcome is not known: etcd may have done what it was asked
	// for, or may still do it.
	Unknown bool
}

func (e *Error) Error() string { return "etcd: " + e.Member + ": " + e.Message }

// gRPC status codes (https://grpc.github.io/grpc/core/md_doc_statuscodes.html), as etcd
// uses them.
const (
	codeInvalid    = 3  // the request makes no sense; password wrong
	codeNotFound   = 5  // no such lease
	codeForbidden  = 7  // the user may not do that
	codeExhausted  = 8  // request too large, quota full, too many requests
	codeState      = 9  // there are no users
	codeOutOfRange = 11 // revision compacted, or in the future
	codeUnready    = 14 // no leader, or none that answers
	codeToken      = 16 // no token, or one that has expired
)

// Full reports whether the quota of etcd is full.
func (e *Error) Full() bool {
	return e.Code == codeExhausted && strings.Contains(e.Message, "space exceeded")
}

// Lost reports whether etcd does not have the revision that was asked for: it was compacted,
// or lies in the future.
func (e *Error) Lost() bool { return e.Code == codeOutOfRange }

// Final reports whether asking again is of no use: every member would answer the same.
func (e *Error) Final() bool {
	switch e.Code {
	case codeInvalid, codeNotFound, codeForbidden, codeOutOfRange, codeToken:
		return true
	case codeExhausted:
		return !strings.Contains(e.Message, "too many requests")
	}
	return false
}

// staleToken reports whether the request may succeed with a new token.
func (e *Error) staleToken() bool {
	return e.Code == codeToken || e.Code == codeInvalid && strings.Contains(e.Message, "auth store is old")
}

// tries is how many members, one after the other, have time to answer a request. Each has
// a third of the time until the context ends, but at most 10 s.
const tries = 3

// post sends a request to one member after the other, until one answers or ctx is done, and
// reads the answer into answer. Errors are of type *Error, and say what each member has
// said last. repeated reports whether an earlier try may have been carried out.
func (c *Client) post(ctx context.Context, path string, request, answer any) (repeated bool, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return false, err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(time.Hour)
	}
	patience := min(time.Until(deadline)/tries, 10*time.Second)
	said := make(map[string]string)
	unknown := false
	for n := 1; ; n++ {
		member := c.Member()
		e := c.try(ctx, patience, member, path, body, answer)
		if e == nil {
			return unknown, nil
		}
		unknown = unknown || e.Unknown
		if e.Final() {
			e.Unknown = unknown
			return unknown, e
		}
		if said[member] == "" || ctx.Err() == nil {
			said[member] = e.Message
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			return unknown, c.nobody(said, unknown)
		}
		c.Leave(member)
		if n%len(c.options.Members) == 0 { // a round is over
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
		// Too little time is left. The outcome of a request that is cut off is not known, so
		// none is sent.
		if ctx.Err() != nil || time.Until(deadline) < patience/8 {
			return unknown, c.nobody(said, unknown)
		}
	}
}

// nobody returns the error for a request that no member has answered.
func (c *Client) nobody(said map[string]string, unknown bool) *Error {
	e := &Error{Unknown: unknown}
	var members, messages []string
	for _, member := range c.options.Members {
		if said[member] != "" {
			members, messages = append(members, member), append(messages, said[member])
		}
	}
	e.Member, e.Message = members[0], messages[0]
	for i := range members[1:] {
		e.Message += "; " + members[i+1] + ": " + messages[i+1]
	}
	return e
}

// try sends a request to one member, which has patience to answer.
func (c *Client) try(ctx context.Context, patience time.Duration, member, path string, body []byte, answer any) *Error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	resp, e := c.send(ctx, member, path, body)
	if e == nil {
		data, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil {
			err = json.Unmarshal(data, answer)
		}
		if err != nil {
			e = &Error{Message: reason(err), Member: member, Unknown: true}
		}
	}
	if c.options.Observe != nil && !errors.Is(ctx.Err(), context.Canceled) {
		c.options.Observe(member, e == nil || e.Final())
	}
	return e
}

// send sends a request to one member, and returns its answer with status 200. If the token
// has expired, send gets another one and asks again.
func (c *Client) send(ctx context.Context, member, path string, body []byte) (*http.Response, *Error) {
	for again := false; ; again = true {
		token, e := c.authenticate(ctx, member)
		if e != nil {
			return nil, e
		}
		resp, e := c.roundTrip(ctx, member, path, token, body)
		if e == nil || !e.staleToken() || token == "" || again {
			return resp, e
		}
		c.mu.Lock()
		if c.token == token {
			c.token = ""
		}
		c.mu.Unlock()
	}
}

// authenticate returns the token to send, or "" without a user.
func (c *Client) authenticate(ctx context.Context, member string) (token string, e *Error) {
	if c.options.User == "" {
		return "", nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != "" {
		return c.token, nil
	}
	body, _ := json.Marshal(map[string]string{"name": c.options.User, "password": c.options.Password})
	resp, e := c.roundTrip(ctx, member, "/v3/auth/authenticate", "", body)
	switch {
	case e != nil && e.Code == codeState:
		return "", nil // the cluster has no users, and would refuse a token
	case e != nil:
		e.Unknown = false
		return "", e
	}
	defer resp.Body.Close()
	var answer struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return "", &Error{Message: reason(err), Member: member}
	}
	c.token = answer.Token
	return c.token, nil
}

// roundTrip sends one request, once.
func (c *Client) roundTrip(ctx context.Context, member, path, token string, body []byte) (*http.Response, *Error) {
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	scheme := "http://"
	if c.options.TLS != nil {
		scheme = "https://"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, scheme+member+path, bytes.NewReader(body))
	if err != nil {
		return nil, &Error{Message: err.Error(), Member: member}
	}
	req.Header.Set("Content-Type", "application/json")
	// A member that has lost its leader then says so at once, instead of waiting for one.
	req.Header.Set("Grpc-Metadata-Hasleader", "true")
	if token != "" {
		req.Header.Set("Authorization", token) // without "Bearer"
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, &Error{Message: reason(err), Member: member, Unknown: sent.Load()}
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, readError(resp, member)
	}
	return resp, nil
}

// reason returns what err says, without the addresses that the caller knows.
func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		err = op.Err
	}
	return err.Error()
}

// readError returns the error that is in an answer. etcd 3.4 says {"error":text,"code":n},
// etcd 3.6 {"code":n,"message":text}. A server that is not etcd says something else.
func readError(resp *http.Response, member string) *Error {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	e := &Error{Member: member, Unknown: true}
	var said struct {
		Code    int
		Message string
		Error   json.RawMessage
	}
	if err := json.Unmarshal(data, &said); err != nil || said.Code == 0 && said.Error == nil {
		e.Message = fmt.Sprintf("status %d, and no answer of etcd", resp.StatusCode)
		return e
	}
	e.Code, e.Message = said.Code, cmp.Or(said.Message, fmt.Sprint("code ", said.Code))
	if len(said.Error) > 0 && said.Error[0] == '{' { // as in a watch
		e.Code, e.Message = streamError(said.Error)
	}
	// A member that has no leader, or too much to do, has not done anything.
	e.Unknown = !e.Final() && e.Message != "etcdserver: no leader" && !strings.Contains(e.Message, "too many requests")
	return e
}

// streamError returns what an error in a stream says. etcd 3.4 has the code in grpc_code,
// etcd 3.6 in code.
func streamError(data json.RawMessage) (code int, message string) {
	var said struct {
		GRPCCode int `json:"grpc_code"`
		Code     int
		Message  string
	}
	json.Unmarshal(data, &said)
	if said.GRPCCode != 0 {
		return said.GRPCCode, said.Message
	}
	return said.Code, said.Message
}
