package etcd

import "context"

// A Header comes with every answer.
type Header struct {
	Revision int64 `json:"revision,string"` // the revision of the whole cluster, when the answer was made
}

// A KeyValue is a key and what stands there.
type KeyValue struct {
	Key            []byte `json:"key"`
	Value          []byte `json:"value"`
	CreateRevision int64  `json:"create_revision,string"` // the revision that has made the key
	ModRevision    int64  `json:"mod_revision,string"`    // the revision that has changed it last
}

// A Range asks for a key or, with End, for all keys from Key up to but not including End. It
// is linearizable.
type Range struct {
	Key      []byte `json:"key"`
	End      []byte `json:"range_end,omitempty"`
	Limit    int    `json:"limit,omitempty"`
	Revision int64  `json:"revision,omitempty,string"` // reads the keys as they were then; 0: as they are
	KeysOnly bool   `json:"keys_only,omitempty"`
}

// A RangeResult is the answer to a Range, by ascending keys. Whatever the Limit, etcd counts
// all keys up to the range's end, which takes time if there are many.
type RangeResult struct {
	Header Header     `json:"header"`
	KVs    []KeyValue `json:"kvs"`
}

// A Put stores a value.
type Put struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
	Lease int64  `json:"lease,omitempty,string"` // the key goes when this lease ends; 0: no lease
}

// A Delete deletes a key or, with End, all keys from Key up to but not including End.
type Delete struct {
	Key []byte `json:"key"`
	End []byte `json:"range_end,omitempty"`
}

// An Op is one operation: one of the fields is set.
type Op struct {
	Range  *Range  `json:"request_range,omitempty"`
	Put    *Put    `json:"request_put,omitempty"`
	Delete *Delete `json:"request_delete_range,omitempty"`
}

// MaxOps is the most operations in each list of a transaction (etcd's --max-txn-ops).
const MaxOps = 128

// A Compare holds if a key has this revision: ModRevision if Target is MOD, CreateRevision
// if it is CREATE. The revisions of a key that does not exist are 0.
type Compare struct {
	Key            []byte `json:"key"`
	Target         string `json:"target"` // "MOD" or "CREATE"
	ModRevision    int64  `json:"mod_revision,omitempty,string"`
	CreateRevision int64  `json:"create_revision,omitempty,string"`
}

// Modified returns a comparison that holds if revision has changed key last.
func Modified(key []byte, revision int64) Compare {
	return Compare{Key: key, Target: "MOD", ModRevision: revision}
}

// Created returns a comparison that holds if revision has made key.
func Created(key []byte, revision int64) Compare {
	return Compare{Key: key, Target: "CREATE", CreateRevision: revision}
}

// A Txn is carried out in one step: the list Success if all comparisons hold, otherwise the
// list Failure. Each list may put or delete a key once.
//
// A list that changes nothing must have a Range. Without one, a member that has lost its
// cluster answers by itself, and its answer may be old.
type Txn struct {
	Compare []Compare `json:"compare,omitempty"`
	Success []Op      `json:"success,omitempty"`
	Failure []Op      `json:"failure,omitempty"`
}

// A TxnResult is the answer to a Txn.
type TxnResult struct {
	Header    Header `json:"header"`
	Succeeded bool   `json:"succeeded"`
	Responses []struct {
		Range RangeResult `json:"response_range"`
	} `json:"responses"` // one for each operation

	// Repeated reports whether the transaction may have been carried out before: an earlier
	// request for it had no answer.
	Repeated bool `json:"-"`
}

// Found returns the keys that operation i, a Range, has found.
func (r TxnResult) Found(i int) []KeyValue {
	if i >= len(r.Responses) {
		return nil
	}
	return r.Responses[i].Range.KVs
}

// Range reads keys.
func (c *Client) Range(ctx context.Context, r Range) (RangeResult, error) {
	var result RangeResult
	_, err := c.post(ctx, "/v3/kv/range", r, &result)
	return result, err
}

// Txn carries out a transaction. If one member does not answer, the next one is asked, so
// the transaction may be carried out twice.
func (c *Client) Txn(ctx context.Context, t Txn) (TxnResult, error) {
	var result TxnResult
	repeated, err := c.post(ctx, "/v3/kv/txn", t, &result)
	result.Repeated = repeated
	return result, err
}

// Grant makes a lease that ends after that many seconds, and returns its ID.
func (c *Client) Grant(ctx context.Context, seconds int) (lease int64, err error) {
	var result struct {
		ID int64 `json:",string"`
	}
	_, err = c.post(ctx, "/v3/lease/grant", map[string]int{"TTL": seconds}, &result)
	return result.ID, err
}
