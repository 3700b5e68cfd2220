package etcdtest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// A history is what stands at each key, and stood there.
type history struct {
	revision  int64
	compacted int64              // before which nothing is known
	log       map[int64][]*entry // what each revision has changed
	keys      map[string][]*entry
}

// An entry is what a revision has put at a key, or that it deleted it.
type entry struct {
	key          string
	value        []byte
	created, mod int64
	lease        int64
	deleted      bool
}

func newHistory() *history {
	return &history{revision: 1, log: map[int64][]*entry{}, keys: map[string][]*entry{}}
}

func (h *history) clone() *history {
	c := &history{h.revision, h.compacted, maps.Clone(h.log), maps.Clone(h.keys)}
	for key, entries := range c.keys {
		c.keys[key] = slices.Clone(entries)
	}
	return c
}

func (h *history) header() any {
	return map[string]any{"cluster_id": "1", "member_id": "2", "raft_term": "3", "revision": strconv.FormatInt(h.revision, 10)}
}

func (e *entry) json() map[string]any {
	kv := map[string]any{"key": []byte(e.key), "mod_revision": strconv.FormatInt(e.mod, 10)}
	if !e.deleted {
		kv["create_revision"], kv["version"] = strconv.FormatInt(e.created, 10), "1"
	}
	if len(e.value) > 0 {
		kv["value"] = e.value
	}
	return kv
}

func (e *entry) event() any {
	if e.deleted {
		return map[string]any{"type": "DELETE", "kv": e.json()}
	}
	return map[string]any{"kv": e.json()}
}

// within reports whether key is in a range as etcd has them.
func within(key, from, end string) bool {
	return key == from || end != "" && from <= key && key < end
}

// at returns what stood at a key in a revision (0: stands), or nil.
func (h *history) at(key string, revision int64) *entry {
	entries := h.keys[key]
	for i := len(entries) - 1; i >= 0; i-- {
		if e := entries[i]; revision == 0 || e.mod <= revision {
			if e.deleted {
				return nil
			}
			return e
		}
	}
	return nil
}

// read returns what stood in a range. Without from and end, that is everything.
func (h *history) read(from, end string, revision int64) (found []*entry) {
	if end == "" && from != "" {
		if e := h.at(from, revision); e != nil {
			return []*entry{e}
		}
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(h.keys)) {
		if e := h.at(key, revision); e != nil && (from == "" || within(key, from, end)) {
			found = append(found, e)
		}
	}
	return found
}

type span struct {
	Key      []byte `json:"key"`
	End      []byte `json:"range_end"`
	Limit    int    `json:"limit"`
	Revision int64  `json:"revision,string"`
	KeysOnly bool   `json:"keys_only"`
}

type put struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
	Lease int64  `json:"lease,string"`
}

type op struct {
	Range  *span `json:"request_range"`
	Put    *put  `json:"request_put"`
	Delete *span `json:"request_delete_range"`
}

type txn struct {
	Compare []struct {
		Key     []byte `json:"key"`
		Target  string `json:"target"`
		Mod     int64  `json:"mod_revision,string"`
		Created int64  `json:"create_revision,string"`
	} `json:"compare"`
	Success []op `json:"success"`
	Failure []op `json:"failure"`
}

func (h *history) answerRange(r span) (any, *refusal) {
	switch {
	case r.Revision > h.revision:
		return nil, &refusal{11, "etcdserver: mvcc: required revision is a future revision"}
	case r.Revision > 0 && r.Revision < h.compacted:
		return nil, &refusal{11, "etcdserver: mvcc: required revision has been compacted"}
	}
	found := h.read(string(r.Key), string(r.End), r.Revision)
	answer := map[string]any{"header": h.header()}
	if len(found) > 0 {
		answer["count"] = strconv.Itoa(len(found))
	}
	if r.Limit > 0 && len(found) > r.Limit {
		found = found[:r.Limit]
		answer["more"] = true
	}
	var kvs []any
	for _, e := range found {
		kv := e.json()
		if r.KeysOnly {
			delete(kv, "value")
		}
		kvs = append(kvs, kv)
	}
	if kvs != nil {
		answer["kvs"] = kvs
	}
	return answer, nil
}

func (h *history) answerTxn(t txn, full bool) (any, *refusal) {
	if max(len(t.Compare), len(t.Success), len(t.Failure)) > 128 {
		return nil, &refusal{3, "etcdserver: too many operations in txn request"}
	}
	size := 0
	keys := map[string]bool{}
	for _, o := range t.Success {
		if o.Put == nil {
			continue
		}
		if full {
			return nil, &refusal{8, "etcdserver: mvcc: database space exceeded"}
		}
		if size += len(o.Put.Key) + len(o.Put.Value); size > 1536<<10 {
			return nil, &refusal{8, "etcdserver: request is too large"}
		}
		if keys[string(o.Put.Key)] {
			return nil, &refusal{3, "etcdserver: duplicate key given in txn request"}
		}
		keys[string(o.Put.Key)] = true
	}
	succeeded := true
	for _, c := range t.Compare {
		var created, mod int64
		if e := h.at(string(c.Key), 0); e != nil {
			created, mod = e.created, e.mod
		}
		switch c.Target {
		case "MOD":
			succeeded = succeeded && mod == c.Mod
		case "CREATE":
			succeeded = succeeded && created == c.Created
		default:
			return nil, &refusal{3, fmt.Sprintf("unknown target %q", c.Target)}
		}
	}
	ops := t.Success
	if !succeeded {
		ops = t.Failure
	}
	responses, refused := h.apply(ops)
	if refused != nil {
		return nil, refused
	}
	answer := map[string]any{"header": h.header()}
	if succeeded {
		answer["succeeded"] = true
	}
	if len(responses) > 0 {
		answer["responses"] = responses
	}
	return answer, nil
}

// apply does operations in one step.
func (h *history) apply(ops []op) (responses []any, refused *refusal) {
	next := h.revision + 1
	change := func(e *entry) {
		e.mod = next
		h.revision = next
		h.keys[e.key] = append(h.keys[e.key], e)
		h.log[next] = append(h.log[next], e)
	}
	for _, o := range ops {
		switch {
		case o.Put != nil:
			e := &entry{key: string(o.Put.Key), value: o.Put.Value, lease: o.Put.Lease, created: next}
			if old := h.at(e.key, 0); old != nil {
				e.created = old.created
			}
			change(e)
			responses = append(responses, map[string]any{"response_put": map[string]any{"header": h.header()}})
		case o.Delete != nil:
			for _, e := range h.read(string(o.Delete.Key), string(o.Delete.End), 0) {
				change(&entry{key: e.key, deleted: true})
			}
			responses = append(responses, map[string]any{"response_delete_range": map[string]any{"header": h.header()}})
		case o.Range != nil:
			found, refused := h.answerRange(*o.Range)
			if refused != nil {
				return nil, refused
			}
			responses = append(responses, map[string]any{"response_range": found})
		}
	}
	return responses, nil
}
