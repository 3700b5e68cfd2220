package etcd

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// An Event tells that a key was put or deleted, in revision ModRevision.
type Event struct {
	Type string   `json:"type"` // "DELETE"; empty or "PUT": put
	KV   KeyValue `json:"kv"`
}

// Deleted reports whether the key was deleted.
func (e Event) Deleted() bool { return e.Type == "DELETE" }

// A Watch is a stream of what happens to keys. It belongs to one goroutine.
type Watch struct {
	Member string // the member that sends it
	cancel context.CancelFunc
	resp   *http.Response
	lines  *json.Decoder
}

// Watch begins to watch the keys from key up to but not including end, from revision on. It
// asks one member; if that fails, the next call asks the next one. If revision lies in the
// future, because a backup was restored, the watch is silent: the caller finds that out by
// reading.
func (c *Client) Watch(ctx context.Context, key, end []byte, revision int64) (*Watch, error) {
	w := &Watch{Member: c.Member()}
	err := c.watch(ctx, w, key, end, revision)
	if c.options.Observe != nil {
		c.options.Observe(w.Member, err == nil)
	}
	if err != nil {
		c.Leave(w.Member)
		return nil, err
	}
	return w, nil
}

// watchPatience is how long a member may take to say that it watches.
const watchPatience = 2 * time.Second

func (c *Client) watch(ctx context.Context, w *Watch, key, end []byte, revision int64) error {
	ctx, w.cancel = context.WithCancel(ctx)
	late := time.AfterFunc(watchPatience, w.cancel)
	type create struct {
		Key      []byte `json:"key"`
		End      []byte `json:"range_end"`
		Revision int64  `json:"start_revision,string"`
		Progress bool   `json:"progress_notify"`
	}
	body, err := json.Marshal(map[string]create{"create_request": {key, end, revision, true}})
	if err != nil {
		return err
	}
	resp, e := c.send(ctx, w.Member, "/v3/watch", body)
	if e != nil {
		w.cancel()
		return e
	}
	w.resp, w.lines = resp, json.NewDecoder(resp.Body)
	if _, err := w.Next(); err != nil { // the first line says that the watch is created
		w.Close()
		return err
	}
	if !late.Stop() {
		w.Close()
		return &Error{Message: "no answer in time", Member: w.Member}
	}
	return nil
}

// Next returns what has happened next: all events of one revision, or of several. If nothing
// has happened for a while, it returns none.
func (w *Watch) Next() (events []Event, err error) {
	var line struct {
		Result struct {
			Canceled        bool    `json:"canceled"`
			CompactRevision int64   `json:"compact_revision,string"`
			Reason          string  `json:"cancel_reason"`
			Events          []Event `json:"events"`
		} `json:"result"`
		Error json.RawMessage `json:"error"`
	}
	if err := w.lines.Decode(&line); err != nil {
		return nil, &Error{Message: reason(err), Member: w.Member}
	}
	switch {
	case line.Error != nil:
		e := &Error{Member: w.Member}
		e.Code, e.Message = streamError(line.Error)
		return nil, e
	case line.Result.CompactRevision > 0:
		return nil, &Error{Code: codeOutOfRange, Message: "the history was compacted", Member: w.Member}
	case line.Result.Canceled: // and the connection stays open
		return nil, &Error{Code: codeForbidden, Message: "the watch is refused: " + line.Result.Reason, Member: w.Member}
	}
	return line.Result.Events, nil
}

// Close ends the watch.
func (w *Watch) Close() {
	w.cancel()
	w.resp.Body.Close()
}
