package etcd

import "context"

// A Header comes with every answer.
type Header struct {
	Revision int64 `json:"revision,string"` // of the whole cluster, when the answer was made
}

// A KeyValue is a key and what stands there.
type KeyValue struct {
	Key            []byte `json:"key"`
	Value          []byte `json:"value"`
	CreateRevision int64  `json:"create_revision,string"` // that made the key
	ModRevision    int64  `json:"mod_revision,string"`    // that has changed it last
}

// A Range asks for a key or, with End, for all from Key up to but not including End. It is
// linearizable.
type Range struct {
	Key      []byte `json:"key"`
	End      []byte `json:"range_end,omitempty"`
	Limit    int    `json:"limit,omitempty"`
	Revision int64  `json:"revision,omitempty,string"` // as it was then; 0: as it is
	KeysOnly bool   `json:"keys_only,omitempty"`
}

// A RangeResult is the answer to a Range, by ascending keys. It is expensive to have keys
// counted, which etcd does up to the end of a range with a limit, so ends should be near.
type RangeResult struct {
	Header Header     `json:"header"`
	KVs    []KeyValue `json:"kvs"`
}

// A Put stores a value.
type Put struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
	Lease int64  `json:"lease,omitempty,string"` // with whose end the key goes; 0: none
}

// A Delete deletes a key or, with End, all from Key up to but not including End.
type Delete struct {
	Key []byte `json:"key"`
	End []byte `json:"range_end,omitempty"`
}

// An Op is one of its fields.
type Op struct {
	Range  *Range  `json:"request_range,omitempty"`
	Put    *Put    `json:"request_put,omitempty"`
	Delete *Delete `json:"request_delete_range,omitempty"`
}

// MaxOps is the most operations in each list of a transaction (etcd's --max-txn-ops).
const MaxOps = 128

// A Compare compares a revision of a key with that of the field that is named by Target. A
// key that does not exist has revisions 0.
type Compare struct {
	Key            []byte `json:"key"`
	Target         string `json:"target"` // "MOD" or "CREATE"
	ModRevision    int64  `json:"mod_revision,omitempty,string"`
	CreateRevision int64  `json:"create_revision,omitempty,string"`
}

// Modified compares the revision that has changed key last.
func Modified(key []byte, revision int64) Compare {
	return Compare{Key: key, Target: "MOD", ModRevision: revision}
}

// Created compares the revision that made key.
func Created(key []byte, revision int64) Compare {
	return Compare{Key: key, Target: "CREATE", CreateRevision: revision}
}

// A Txn does what is in Success if all comparisons hold, and else what is in Failure, in
// one step. In each of both, a key may be put or deleted once.
//
// Without a Range in the list that is done, the answer of a member that has lost
// its cluster may be old.
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

	// Repeated tells that the transaction may have been done before: an earlier request
	// for it had no answer.
	Repeated bool `json:"-"`
}

// Found returns what the Range that is operation i has found.
func (r TxnResult) Found(i int) []KeyValue {
	if i >= len(r.Responses) {
		return nil
	}
	return r.Responses[i].Range.KVs
}

// Range reads.
func (c *Client) Range(ctx context.Context, r Range) (RangeResult, error) {
	var result RangeResult
	_, err := c.post(ctx, "/v3/kv/range", r, &result)
	return result, err
}

// Txn carries out a transaction. It may be asked for more than once, of several members.
func (c *Client) Txn(ctx context.Context, t Txn) (TxnResult, error) {
	var result TxnResult
	repeated, err := c.post(ctx, "/v3/kv/txn", t, &result)
	result.Repeated = repeated
	return result, err
}

// Grant returns a lease that ends after so many seconds.
func (c *Client) Grant(ctx context.Context, seconds int) (lease int64, err error) {
	var result struct {
		ID int64 `json:",string"`
	}
	_, err = c.post(ctx, "/v3/lease/grant", map[string]int{"TTL": seconds}, &result)
	return result.ID, err
}
