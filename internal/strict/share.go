package strict

import (
	"hash/maphash"
	"sync/atomic"
	"unique"
)

// recent holds shared texts that were read lately, by a hash. Most objects have the texts
// of others: to find them here takes a quarter of the time that package unique takes, and
// makes no garbage.
var (
	recent [1024]atomic.Pointer[string]
	seed   = maphash.MakeSeed()
)

// share returns text as a string. Nearly always that is in memory already, if the text
// was read before: package unique forgets a text that is not among the recent ones at
// the next garbage collection.
func share(text []byte) string {
	const long = 256 // bytes, so that nobody can fill the memory with recent texts
	if len(text) > long {
		return string(text)
	}
	place := &recent[maphash.Bytes(seed, text)%uint64(len(recent))]
	if s := place.Load(); s != nil && *s == string(text) {
		return *s
	}
	s := unique.Make(string(text)).Value()
	place.Store(&s)
	return s
}
