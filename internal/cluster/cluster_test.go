package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cars/internal/etcd"
	"cars/internal/etcd/etcdtest"
	"cars/internal/ops"
	"cars/internal/rest"
	"cars/internal/sorted"
	"cars/internal/store"
)

// quick is how long things may take in tests. hasty is for those of etcd that does not
// answer; a real one may be slow.
var quick = times{retry: 5 * time.Second, patience: 20 * time.Second, impatient: 300 * time.Millisecond, beat: 100 * time.Millisecond, tick: 10 * time.Millisecond, leftovers: 100 * time.Millisecond}

func hasty(o *Options) {
	hasty := quick
	hasty.patience = 3 * time.Second
	o.times = &hasty
}

// A member is an owner: it has a cluster open, and the newest state.
type member struct {
	*Store
	state    store.State
	versions []string // of all states there were
	reported *notices
}

func join(t *testing.T, members []string, change ...func(*Options)) *member {
	t.Helper()
	m, err := tryJoin(members, change...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func tryJoin(members []string, change ...func(*Options)) (*member, error) {
	m := &member{reported: new(notices)}
	options := Options{
		Etcd:    etcd.Options{Members: members},
		Prefix:  "test/notes",
		Initial: newState(newNote(1, "0"), newNote(2, "two")),
		Read:    readNote,
		Notify:  m.reported.notify,
		times:   &quick,
	}
	for _, f := range change {
		f(&options)
	}
	var err error
	m.Store, m.state, err = Open(options)
	m.versions = []string{m.state.Version}
	return m, err
}

// wait takes events up to one of a kind.
func (m *member) wait(kind store.Kind) error {
	for {
		e := <-m.Events()
		if e.Kind == store.Changed {
			m.state = e.State
			m.versions = append(m.versions, m.state.Version)
		}
		if e.Kind == kind {
			if kind == store.Committed && e.Err == nil {
				m.state.Version = e.Version
			}
			return e.Err
		}
	}
}

// try commits once what f makes of the state.
func (m *member) try(f func(s store.State) store.State) error {
	after := f(m.state)
	after.NextID = max(after.NextID, after.Items.LastID()+1)
	m.Commit(store.Commit{Before: m.state, After: after, Writes: 1})
	err := m.wait(store.Committed)
	if err == nil {
		version := m.state.Version
		m.state = after
		m.state.Version = version
		m.versions = append(m.versions, version)
	}
	return err
}

// change commits what f makes of the state, whoever else is first.
func (m *member) change(f func(s store.State) store.State) error {
	for {
		if err := m.try(f); err != store.ErrConflict {
			return err
		}
	}
}

// put returns a function that puts in a note.
func put(id int, text string) func(store.State) store.State {
	return func(s store.State) store.State {
		s.Items = s.Items.Put(newNote(id, text))
		return s
	}
}

func remove(id int) func(store.State) store.State {
	return func(s store.State) store.State {
		s.Items = s.Items.Delete(id)
		return s
	}
}

func replaceAll(list sorted.List) func(store.State) store.State {
	return func(s store.State) store.State {
		s.Items = list
		return s
	}
}

func notes(n int, text string) sorted.List {
	var items []*sorted.Item
	for i := range n {
		items = append(items, newNote(i+1, text))
	}
	return sorted.NewList(items)
}

// long returns so many notes of 1.5 kB.
func long(n int, text string) sorted.List { return notes(n, text+strings.Repeat(".", 1500)) }

// increment adds 1 to the number that note 1 is.
func increment(s store.State) store.State {
	n := 0
	fmt.Sscan(s.Items.Get(1).Value.(*note).Text, &n)
	return put(1, fmt.Sprint(n+1))(s)
}

func (m *member) must(t *testing.T, f func(s store.State) store.State) {
	t.Helper()
	if err := m.change(f); err != nil {
		t.Fatal(err)
	}
}

// read returns the state once it is confirmed.
func (m *member) read(t *testing.T) store.State {
	t.Helper()
	m.Confirm()
	if err := m.wait(store.Confirmed); err != nil {
		t.Fatal(err)
	}
	return m.state
}

func render(s store.State) string {
	var lines []string
	for item := range s.Items.All() {
		lines = append(lines, string(item.JSON()))
	}
	return fmt.Sprint(s.NextID, " ", s.Version, " ", strings.Join(lines, " "))
}

// wantSame wants all members to have the same state, and a program that loads it from etcd, too.
func wantSame(t *testing.T, members ...*member) {
	t.Helper()
	want := render(members[0].read(t))
	all := append(members[1:], join(t, members[0].options.Etcd.Members, func(o *Options) { o.Etcd = members[0].options.Etcd }))
	for i, m := range all {
		if got := render(m.read(t)); got != want {
			t.Errorf("member %d: got %.2000s, want %.2000s", i+1, got, want)
		}
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to pass: %s", what)
		}
	}
}

// onAll runs a test on every kind of etcd: two in memory, and a real one where there is one.
func onAll(t *testing.T, f func(t *testing.T, members []string)) {
	for _, version := range []string{"3.4", "3.6"} {
		t.Run("in memory as "+version, func(t *testing.T) { f(t, etcdtest.New(t, version, 2).Members) })
	}
	t.Run("real", func(t *testing.T) { f(t, []string{etcdtest.Start(t)}) })
}

func TestFollows(t *testing.T) {
	onAll(t, func(t *testing.T, members []string) {
		a := join(t, members)
		b := join(t, members)
		if got := render(b.state); got != render(a.state) || a.state.Items.Len() != 2 || a.state.NextID != 3 {
			t.Errorf("got %s and %s", render(a.state), got)
		}
		a.must(t, put(3, "three\u2028 <"))
		a.must(t, remove(2))
		if got := render(b.read(t)); got != render(a.state) || !strings.HasPrefix(got, "4 ") {
			t.Errorf("got %s, want %s", got, render(a.state))
		}
		if !reflect.DeepEqual(b.versions, a.versions) {
			t.Errorf("got versions %s, want %s: others learn of each", b.versions, a.versions)
		}
		a.must(t, remove(3))
		if err := b.try(put(3, "other")); err != store.ErrConflict {
			t.Errorf("got %v, want a conflict", err)
		}
		b.must(t, put(4, "four"))
		if got := b.state; got.NextID != 5 || got.Items.Len() != 2 {
			t.Errorf("got %s", render(got))
		}
		wantSame(t, a, b)
	})
}

func TestConfirmsRefusals(t *testing.T) {
	onAll(t, func(t *testing.T, members []string) {
		a, b := join(t, members), join(t, members)
		same := func(s store.State) store.State { return s }
		before := a.state.Version
		if err := a.try(same); err != nil || a.state.Version != before {
			t.Errorf("got %v, version %s, want %s", err, a.state.Version, before)
		}
		b.must(t, put(3, "three"))
		if err := a.try(same); err != store.ErrConflict {
			t.Errorf("got %v, want a conflict", err)
		}
		if err := a.try(same); err != nil {
			t.Errorf("got %v", err)
		}
		if a.state.Items.Get(3) == nil {
			t.Error("the refusal was judged by an old state")
		}
	})
}

// A refusal is judged by the newest state, whether the watch has brought it or not.
func TestRefusesByTheNewest(t *testing.T) {
	f := etcdtest.New(t, "3.4", 2)
	a, b := join(t, f.Members[:1]), join(t, f.Members[1:])
	eventually(t, "both watch", func() bool { return f.Watches() == 2 })
	var cut atomic.Bool
	cut.Store(true)
	f.Fault(func(r etcdtest.Request) etcdtest.Fault {
		if r.Member == 0 && r.Path == "/v3/watch" && cut.Load() {
			return etcdtest.Dropped
		}
		return etcdtest.None
	})
	f.EndWatches()
	eventually(t, "only b watches", func() bool { return f.Watches() == 1 })
	b.must(t, put(3, "three"))
	a.Commit(store.Commit{Before: a.state, After: a.state, Writes: 1})
	time.AfterFunc(100*time.Millisecond, func() { cut.Store(false) })
	if err := a.wait(store.Committed); err != store.ErrConflict || a.state.Items.Get(3) == nil {
		t.Errorf("got %v, want a conflict, and before it the newest state", err)
	}
}

func TestCompete(t *testing.T) {
	onAll(t, func(t *testing.T, members []string) {
		all := []*member{join(t, members), join(t, members), join(t, members)}
		const each = 40
		compete(t, all, each, nil)
		wantCount(t, all[0], len(all)*each)
		wantSame(t, all...)
		for _, m := range all[1:] {
			if !reflect.DeepEqual(m.versions, all[0].versions) {
				t.Errorf("got versions\n%s, want\n%s", m.versions, all[0].versions)
			}
		}
	})
}

// compete has all members increment so many times. unknown counts how often the outcome was
// not known; nil: it has to be.
func compete(t *testing.T, all []*member, each int, unknown *atomic.Int32) {
	var group sync.WaitGroup
	for _, m := range all {
		group.Go(func() {
			for range each {
				err := m.change(increment)
				var e *rest.Error
				switch {
				case err == nil:
				case errors.As(err, &e) && e.Status == http.StatusServiceUnavailable && e.RetryAfter == 0 && unknown != nil:
					unknown.Add(1)
				default:
					t.Errorf("got %v", err)
				}
				if rand.N(4) == 0 {
					m.read(t)
				}
			}
		})
	}
	group.Wait()
}

func wantCount(t *testing.T, m *member, want int) {
	t.Helper()
	if got := m.read(t).Items.Get(1).Value.(*note).Text; got != fmt.Sprint(want) {
		t.Errorf("got %s, want %d", got, want)
	}
}

func TestCreatesOnce(t *testing.T) {
	onAll(t, func(t *testing.T, members []string) {
		var group sync.WaitGroup
		all := make([]*member, 4)
		for i := range all {
			group.Go(func() {
				all[i] = join(t, members, func(o *Options) { o.Initial = newState(newNote(1, fmt.Sprint(i))) })
			})
		}
		group.Wait()
		for _, m := range all[1:] {
			if got, want := render(m.state), render(all[0].state); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	})
}

// More items have keys of their own than are read at once, and some are far away.
func TestLoadsManyItems(t *testing.T) {
	onAll(t, func(t *testing.T, members []string) {
		a := join(t, members)
		const count = 10_300
		for first := 1; first < count; first += a.MaxWrites() {
			a.must(t, func(s store.State) store.State {
				for id := first; id < first+a.MaxWrites(); id++ {
					s.Items = s.Items.Put(newNote(id, "x"))
				}
				return s
			})
		}
		a.must(t, put(1<<40, "far"))
		a.must(t, put(sorted.MaxID, "last"))
		if got := a.state; got.Items.Len() < count || got.NextID != sorted.MaxID+1 {
			t.Errorf("got %d items and next ID %d", got.Items.Len(), got.NextID)
		}
		wantSame(t, a)
		a.must(t, replaceAll(long(1000, "x"))) // in more packs than are read at once
		a.must(t, remove(500))
		wantSame(t, a)
	})
}

func TestReplacesAllInOneStep(t *testing.T) {
	for _, version := range []string{"3.4", "3.6"} {
		f := etcdtest.New(t, version, 2)
		replaceInOneStep(t, f.Members)
		eventually(t, "what is no longer in use is deleted", func() bool { return len(f.Keys("test/notes/")) == 4 })
	}
	t.Run("real", func(t *testing.T) { replaceInOneStep(t, []string{etcdtest.Start(t)}) })
}

func replaceInOneStep(t *testing.T, members []string) {
	a, b := join(t, members), join(t, members)
	a.must(t, replaceAll(notes(1000, "first")))
	b.must(t, remove(1000)) // from a pack that a has written
	wantSame(t, a, b)
	b.must(t, replaceAll(notes(500, "second")))
	a.must(t, put(501, "one more"))
	b.must(t, remove(7))
	a.must(t, put(7, "again"))
	for _, m := range []*member{a, b} {
		m.read(t)
		if len(m.versions) != 7 {
			t.Errorf("got versions %s, want 7: no step is seen in part", m.versions)
		}
	}
	wantSame(t, a, b)
	if a.reloads.Load()+b.reloads.Load() > 0 {
		t.Error("what the watch has brought was loaded")
	}
	a.must(t, replaceAll(notes(500, "second").Put(newNote(501, "another")))) // differs from what is there in 2 notes
	wantSame(t, a, b)
}

// stagings counts requests that write another generation.
func stagings(n *atomic.Int32, then func(int32) etcdtest.Fault) func(etcdtest.Request) etcdtest.Fault {
	return func(r etcdtest.Request) etcdtest.Fault {
		if r.Path == "/v3/kv/txn" && len(r.Body) > 50_000 {
			return then(n.Add(1))
		}
		return etcdtest.None
	}
}

// A replacement that others were faster than is not written once more.
func TestKeepsWhatIsWritten(t *testing.T) {
	f := etcdtest.New(t, "3.4", 1)
	a, b := join(t, f.Members), join(t, f.Members)
	var n atomic.Int32
	f.Fault(stagings(&n, func(n int32) etcdtest.Fault {
		if n == 3 {
			b.must(t, put(2, "of b"))
		}
		return etcdtest.None
	}))
	list := long(600, "new") // in 14 packs
	conflicts := 0
	for {
		err := a.try(replaceAll(list))
		if err == nil {
			break
		}
		if err != store.ErrConflict {
			t.Fatal(err)
		}
		conflicts++
	}
	if conflicts != 1 || n.Load() != 14 {
		t.Errorf("got %d conflicts and %d requests, want 1 and 14", conflicts, n.Load())
	}
	wantSame(t, a, b)
}

// A generation that was written in part is not used when the owner tries again.
func TestForgetsWhatIsWrittenInPart(t *testing.T) {
	f := etcdtest.New(t, "3.4", 1)
	a, b := join(t, f.Members, hasty), join(t, f.Members)
	var n atomic.Int32
	f.Fault(stagings(&n, func(n int32) etcdtest.Fault {
		if n > 3 {
			return etcdtest.Dropped
		}
		return etcdtest.None
	}))
	list := long(600, "new")
	wantError(t, a.try(replaceAll(list)), http.StatusServiceUnavailable, "Nothing was changed", 1)
	f.Fault(nil)
	eventually(t, "etcd answers again", func() bool { return a.Failed() == nil })
	a.must(t, replaceAll(list))
	wantSame(t, a, b)
}

// So many changes as there are operations in a transaction, and one more or less.
func TestLargestTransaction(t *testing.T) {
	onAll(t, func(t *testing.T, members []string) {
		a := join(t, members)
		a.must(t, replaceAll(notes(128, strings.Repeat("long", 2500)))) // more than etcd takes at once
		for n := 126; n <= 129; n++ {
			a.must(t, replaceAll(notes(n, "x")))
			a.must(t, replaceAll(notes(n, "y")))
		}
		wantSame(t, a)
	})
	// The same of a generation that is written already.
	f := etcdtest.New(t, "3.4", 1)
	a, b := join(t, f.Members), join(t, f.Members)
	for differences := 125; differences <= 128; differences++ {
		var n atomic.Int32
		f.Fault(stagings(&n, func(n int32) etcdtest.Fault {
			if n == 1 {
				b.must(t, increment)
			}
			return etcdtest.None
		}))
		if err := a.try(replaceAll(long(1000, fmt.Sprint(differences)))); err != store.ErrConflict {
			t.Errorf("got %v, want a conflict", err)
		}
		a.must(t, replaceAll(long(1000-differences, fmt.Sprint(differences))))
		if written := n.Load(); (written > 24) != (differences > 126) {
			t.Errorf("%d differences: got %d requests", differences, written)
		}
		f.Fault(nil)
		a.must(t, put(1000, "is in a pack, and not in the list"))
		a.must(t, remove(1000))
		wantSame(t, a, b)
	}
}

// What comes late or twice into a generation does not change it once it is in use.
func TestLateDuplicates(t *testing.T) {
	f := etcdtest.New(t, "3.6", 2)
	a := join(t, f.Members)
	var n atomic.Int32
	f.Fault(stagings(&n, func(n int32) etcdtest.Fault {
		if n%2 == 0 {
			return etcdtest.Twice
		}
		return etcdtest.Late
	}))
	a.must(t, replaceAll(long(300, "old")))
	f.Fault(nil)
	for i := range 300 {
		if i%3 == 0 {
			a.must(t, put(i+1, "new"))
		}
	}
	time.Sleep(600 * time.Millisecond) // as late as it gets
	wantSame(t, a)
}

func TestDiesWhileItReplaces(t *testing.T) {
	f := etcdtest.New(t, "3.4", 1)
	b := join(t, f.Members)
	a, err := tryJoin(f.Members)
	if err != nil {
		t.Fatal(err)
	}
	want := render(b.state)
	var n atomic.Int32
	reached := make(chan struct{})
	f.Fault(stagings(&n, func(n int32) etcdtest.Fault {
		if n == 4 {
			close(reached)
		}
		if n >= 4 {
			return etcdtest.Hanging
		}
		return etcdtest.None
	}))
	a.Commit(store.Commit{Before: a.state, After: newState(slices.Collect(long(1000, "never").All())...)})
	<-reached
	a.cancel() // as if it were killed
	eventually(t, "a part is written", func() bool { return len(f.Keys("test/notes/")) == 2+1+1+3 })
	if got := render(b.read(t)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	time.Sleep(5 * quick.leftovers) // while the lease holds, what is there may still be in the making
	if got := len(f.Keys("test/notes/")); got != 2+1+1+3 {
		t.Errorf("got %d keys before the lease is over", got)
	}
	f.EndLeases()
	eventually(t, "leftovers are deleted", func() bool { return len(f.Keys("test/notes/")) == 3 })
	wantSame(t, b)
}

// A generation whose lease is over before it is named is not named.
func TestTooSlow(t *testing.T) {
	for _, when := range []func(r etcdtest.Request) bool{
		func(r etcdtest.Request) bool { return len(r.Body) > 50_000 },                             // while it is written
		func(r etcdtest.Request) bool { return strings.Contains(r.Body, "request_delete_range") }, // when it is to be named
	} {
		f := etcdtest.New(t, "3.4", 1)
		a := join(t, f.Members)
		var n atomic.Int32
		f.Fault(func(r etcdtest.Request) etcdtest.Fault {
			if r.Path == "/v3/kv/txn" && when(r) && n.Add(1) == 1 {
				f.EndLeases()
			}
			return etcdtest.None
		})
		before := render(a.state)
		wantError(t, a.try(replaceAll(long(600, "slow"))), http.StatusServiceUnavailable, "Nothing was changed", 1)
		if got := render(a.read(t)); got != before {
			t.Errorf("got %.200s, want %s", got, before)
		}
		a.must(t, replaceAll(long(600, "again")))
		wantSame(t, a)
	}
}

// A generation that was written for a try that came too late is written anew once its lease
// is over.
func TestForgetsWhatItsLeaseHasLeft(t *testing.T) {
	f := etcdtest.New(t, "3.4", 1)
	a, b := join(t, f.Members), join(t, f.Members)
	var n atomic.Int32
	f.Fault(stagings(&n, func(n int32) etcdtest.Fault {
		if n == 3 {
			b.must(t, put(2, "of b"))
		}
		return etcdtest.None
	}))
	list := long(200, "new")
	if err := a.try(replaceAll(list)); err != store.ErrConflict {
		t.Fatalf("got %v, want a conflict", err)
	}
	f.EndLeases()
	if err := a.try(replaceAll(list)); err != nil {
		t.Errorf("got %v, want that it was made", err)
	}
	wantSame(t, a, b)
}

// A folder under the prefix is the place of another catalogue, unless it is named as a
// generation.
func TestLeavesOthersFolders(t *testing.T) {
	f := etcdtest.New(t, "3.4", 1)
	outer := join(t, f.Members)
	inner := join(t, f.Members, func(o *Options) { o.Prefix += "/dev" })
	outer.must(t, replaceAll(notes(200, "a")))
	inner.must(t, replaceAll(notes(200, "b")))
	outer.must(t, replaceAll(notes(200, "c")))
	kept := func() (n int) { return len(f.Keys("test/notes/dev/")) }
	eventually(t, "leftovers are deleted", func() bool { return len(f.Keys("test/notes/"))-kept() == 1+1 && kept() == 1+1 })
	if got := render(inner.read(t)); got != render(inner.state) || inner.state.Items.Len() != 200 {
		t.Errorf("got %.200s", got)
	}
}

func wantError(t *testing.T, err error, status int, text string, retry int) {
	t.Helper()
	var e *rest.Error
	if !errors.As(err, &e) || e.Status != status || !strings.Contains(e.Message, text) || e.RetryAfter != retry {
		t.Errorf("got %#v, want %d, %q, retry after %d", err, status, text, retry)
	}
}

func TestLostAnswers(t *testing.T) {
	for _, version := range []string{"3.4", "3.6"} {
		f := etcdtest.New(t, version, 3)
		all := []*member{join(t, f.Members), join(t, f.Members)}
		f.Fault(func(r etcdtest.Request) etcdtest.Fault {
			if rand.N(3) > 0 || r.Path == "/v3/watch" {
				return etcdtest.None
			}
			return []etcdtest.Fault{etcdtest.Lost, etcdtest.Dropped, etcdtest.Twice, etcdtest.Late}[rand.N(4)]
		})
		var unknown atomic.Int32
		compete(t, all, 40, &unknown)
		f.Fault(nil)
		if n := int(unknown.Load()); n > 0 {
			t.Logf("%d unknown", n)
			continue
		}
		wantCount(t, all[0], 80)
		wantSame(t, all...)
	}
}

// The watch tells that a commit was made, if nobody else does.
func TestAnswersNeverCome(t *testing.T) {
	f := etcdtest.New(t, "3.4", 2)
	a := join(t, f.Members)
	f.Fault(func(r etcdtest.Request) etcdtest.Fault {
		if r.Path == "/v3/kv/txn" {
			return etcdtest.Lost
		}
		return etcdtest.None
	})
	for range 5 {
		a.must(t, increment)
	}
	f.Fault(nil)
	wantCount(t, a, 5)
	wantSame(t, a)
}

// losing returns two members. The first commits a note once, without any answer, and asks
// again without an answer until release is called. Meanwhile it has no watch.
func losing(t *testing.T) (f *etcdtest.Cluster, a, b *member, release func()) {
	f = etcdtest.New(t, "3.4", 2)
	a, b = join(t, f.Members[:1]), join(t, f.Members[1:])
	eventually(t, "both watch", func() bool { return f.Watches() == 2 })
	var n atomic.Int32
	released := make(chan struct{})
	f.Fault(func(r etcdtest.Request) etcdtest.Fault {
		select {
		case <-released:
			return etcdtest.None
		default:
		}
		switch commits := strings.Contains(r.Body, `"compare"`); {
		case r.Member == 0 && r.Path == "/v3/watch":
			return etcdtest.Dropped
		case r.Member == 0 && commits && n.Add(1) == 1:
			return etcdtest.Lost
		case r.Member == 0 && commits:
			<-released
		}
		return etcdtest.None
	})
	f.EndWatches()
	a.Commit(store.Commit{Before: a.state, After: increment(a.state), Writes: 1})
	eventually(t, "a asks again", func() bool { return n.Load() == 2 })
	eventually(t, "only b watches", func() bool { return f.Watches() == 1 })
	return f, a, b, func() { close(released) }
}

// Another has committed after this program did, whose answer was lost.
func TestLostAndOvertaken(t *testing.T) {
	_, a, b, release := losing(t)
	b.must(t, increment)
	release()
	if err := a.wait(store.Committed); err != nil {
		t.Errorf("got %v, want that it was made", err)
	}
	wantCount(t, b, 2)
	wantSame(t, a, b)
}

// The same, when the watch cannot tell: its history is compacted.
func TestNobodyKnows(t *testing.T) {
	f, a, b, release := losing(t)
	b.must(t, increment)
	f.Compact()
	release()
	wantError(t, a.wait(store.Committed), http.StatusServiceUnavailable, "whether the change was made is not known", 0)
	wantCount(t, a, 2)
	wantSame(t, a, b)
}

// A commit is answered after the state was loaded anew, in which another commit followed it.
func TestAnsweredAfterANewerState(t *testing.T) {
	f := etcdtest.New(t, "3.4", 2)
	a, b := join(t, f.Members[:1]), join(t, f.Members[1:])
	eventually(t, "both watch", func() bool { return f.Watches() == 2 })
	var cut atomic.Bool
	cut.Store(true)
	f.Fault(func(r etcdtest.Request) etcdtest.Fault {
		switch {
		case r.Member == 0 && r.Path == "/v3/watch" && cut.Load():
			return etcdtest.Dropped
		case r.Member == 0 && strings.Contains(r.Body, `"compare"`):
			return etcdtest.Slow
		}
		return etcdtest.None
	})
	f.EndWatches()
	eventually(t, "only b watches", func() bool { return f.Watches() == 1 })
	a.Commit(store.Commit{Before: a.state, After: increment(a.state), Writes: 1})
	eventually(t, "the commit is made", func() bool { return b.read(t).Items.Get(1).Value.(*note).Text == "1" })
	b.must(t, increment)
	f.Compact()
	cut.Store(false)
	wantError(t, a.wait(store.Committed), http.StatusServiceUnavailable, "whether the change was made is not known", 0)
	if a.reloads.Load() != 1 {
		t.Errorf("got %d reloads, want 1 before the answer", a.reloads.Load())
	}
	wantCount(t, a, 2)
	a.must(t, increment)
	wantCount(t, b, 3)
	wantSame(t, a, b)
}

func TestWithoutQuorum(t *testing.T) {
	for _, version := range []string{"3.4", "3.6"} {
		f := etcdtest.New(t, version, 3)
		a := join(t, f.Members, hasty)
		local := join(t, f.Members, hasty, func(o *Options) { o.LocalReads = true })
		if !a.Confirms() || local.Confirms() || !a.Shared() || !local.Shared() {
			t.Error("reads are confirmed unless they are local")
		}
		f.Quorum(false)
		wantError(t, a.try(increment), http.StatusServiceUnavailable, "Nothing was changed", 1)
		began := time.Now()
		a.Confirm()
		wantError(t, a.wait(store.Confirmed), http.StatusServiceUnavailable, "not known whether the catalogue", 1)
		if took := time.Since(began); took >= a.options.times.patience {
			t.Errorf("the error takes %s, though it is known by then that etcd does not answer", took)
		}
		if a.Failed() == nil || !strings.Contains(a.Failed().Error(), "no leader") {
			t.Errorf("got failure %v", a.Failed())
		}
		if local.Failed() != nil {
			t.Errorf("got failure %v: local reads go on", local.Failed())
		}
		eventually(t, "the age grows", func() bool { return local.Age() > 500*time.Millisecond })
		f.Quorum(true)
		eventually(t, "it goes on by itself", func() bool { return a.Failed() == nil && local.Age() < 500*time.Millisecond })
		a.must(t, increment)
		wantSame(t, a, local)
		if n := a.reported.containing("etcd does not answer"); n != 1 {
			t.Errorf("got %d reports, want 1", n)
		}
	}
}

func TestHistoryIsCompacted(t *testing.T) {
	f := etcdtest.New(t, "3.6", 2)
	a := join(t, f.Members)
	local := join(t, f.Members, func(o *Options) { o.LocalReads = true })
	eventually(t, "both watch", func() bool { return f.Watches() == 2 })
	var cut atomic.Bool
	cut.Store(true)
	f.Fault(func(r etcdtest.Request) etcdtest.Fault {
		if r.Path == "/v3/watch" && cut.Load() {
			return etcdtest.Dropped
		}
		return etcdtest.None
	})
	f.EndWatches()
	eventually(t, "nobody watches", func() bool { return f.Watches() == 0 })
	two := local.state.Items.Get(2)
	for range 5 {
		a.must(t, increment) // without a watch
	}
	f.Compact()
	a.must(t, increment)
	cut.Store(false)
	if got := local.read(t); render(got) != render(a.state) || local.reloads.Load() != 1 {
		t.Errorf("got %s, want %s", render(got), render(a.state))
	}
	if local.state.Items.Get(2) != two {
		t.Error("what has not changed was made anew")
	}
	wantSame(t, a, local)
}

func TestRestoredFromABackup(t *testing.T) {
	// So many revisions follow in which something else changes, or the state: the last
	// revision seen is then no longer in the future, and newer states are.
	for _, further := range []int{0, 20} {
		for _, key := range []string{"another", "test/notes/state"} {
			f := etcdtest.New(t, "3.4", 2)
			a := join(t, f.Members)
			eventually(t, "it watches", func() bool { return f.Watches() == 1 })
			a.must(t, increment)
			backup, stored := f.Backup(), a.newest.Stored
			for range 5 {
				a.must(t, increment)
			}
			f.Restore(backup, func() {
				for i := range further {
					stored.Batch = fmt.Sprint("other-", i)
					text, _ := json.Marshal(stored)
					f.Change(key, string(text))
				}
			})
			if further == 0 && key == "another" { // it is found out whoever asks first
				wantCount(t, a, 1)
			} else if further == 0 {
				if err := a.try(increment); err != store.ErrConflict || a.state.Items.Get(1).Value.(*note).Text != "1" {
					t.Errorf("got %v, want a conflict, and before it the older state", err)
				}
			}
			eventually(t, "the older state is loaded", func() bool { return a.reported.containing("as from a backup") == 1 })
			wantCount(t, a, 1)
			a.must(t, increment)
			wantCount(t, a, 2)
			wantSame(t, a)
		}
	}
}

// After a backup was restored, the revisions that follow are given again. Versions are not: one
// that a client knows from before must not stand for another state.
func TestVersionsAreGivenOnce(t *testing.T) {
	f := etcdtest.New(t, "3.4", 1)
	a := join(t, f.Members)
	eventually(t, "it watches", func() bool { return f.Watches() == 1 })
	a.must(t, increment)
	backup := f.Backup()
	a.must(t, increment)
	version, revision := a.state.Version, a.newest.Revision
	f.Restore(backup, func() {})
	eventually(t, "the older state is loaded", func() bool { return a.reported.containing("as from a backup") == 1 })
	a.must(t, increment)
	if a.newest.Revision != revision || a.state.Version == version {
		t.Errorf("got version %s in revision %d, want another than %s in %d", a.state.Version, a.newest.Revision, version, revision)
	}
	wantSame(t, a, join(t, f.Members))
}

// A backup is noticed by a program, too, that knows of newer states only that they were
// there.
func TestRestoredBeforeItWatched(t *testing.T) {
	f := etcdtest.New(t, "3.4", 2)
	a, b := join(t, f.Members[:1], hasty), join(t, f.Members[1:])
	eventually(t, "both watch", func() bool { return f.Watches() == 2 })
	var cut atomic.Bool
	var questions atomic.Int32 // of a for the newest revision; a watch asks how it was in one
	cut.Store(true)
	f.Fault(func(r etcdtest.Request) etcdtest.Fault {
		if r.Member == 0 && r.Path == "/v3/kv/range" && !strings.Contains(r.Body, `"revision"`) {
			questions.Add(1)
		}
		if r.Member == 0 && r.Path == "/v3/watch" && cut.Load() {
			return etcdtest.Dropped
		}
		return etcdtest.None
	})
	f.EndWatches()
	eventually(t, "only b watches", func() bool { return f.Watches() == 1 })
	backup := f.Backup()
	b.must(t, increment)
	asked := questions.Load()
	eventually(t, "a has asked, and has had an answer", func() bool { return questions.Load() > asked+2 })
	f.Restore(backup, func() {})
	cut.Store(false)
	eventually(t, "the older state is loaded", func() bool { return a.reported.containing("as from a backup") == 1 })
	wantSame(t, a, b)
}

// A backup is restored while the state is being loaded for another reason.
func TestRestoredWhileItLoads(t *testing.T) {
	f := etcdtest.New(t, "3.4", 1)
	a := join(t, f.Members)
	eventually(t, "it watches", func() bool { return f.Watches() == 1 })
	backup := f.Backup()
	for range 5 {
		a.must(t, increment)
	}
	loading, restored := make(chan struct{}), make(chan struct{})
	var cut atomic.Bool
	var once sync.Once
	cut.Store(true)
	f.Fault(func(r etcdtest.Request) etcdtest.Fault {
		switch {
		case r.Path == "/v3/watch" && cut.Load():
			return etcdtest.Dropped
		case strings.Contains(r.Body, `"limit":8`): // of packs
			once.Do(func() { close(loading) })
			<-restored
		}
		return etcdtest.None
	})
	f.EndWatches()
	f.Put("test/notes/another", "so that the watch misses something")
	f.Compact()
	cut.Store(false)
	<-loading
	f.Restore(backup, func() {})
	a.Confirm()
	asked := f.Count("/v3/kv/range")
	eventually(t, "etcd has answered", func() bool { return f.Count("/v3/kv/range") > asked })
	close(restored)
	if err := a.wait(store.Confirmed); err != nil || a.state.Items.Get(1).Value.(*note).Text != "0" {
		t.Errorf("got %v and %s, want the older state", err, render(a.state))
	}
	wantSame(t, a)
}

func TestIsFull(t *testing.T) {
	for _, version := range []string{"3.4", "3.6"} {
		f := etcdtest.New(t, version, 1)
		a := join(t, f.Members)
		f.Full(true)
		wantError(t, a.try(increment), http.StatusInsufficientStorage, "no room", 0)
		wantError(t, a.try(remove(1)), http.StatusInsufficientStorage, "no room", 0)
		wantError(t, a.try(replaceAll(long(600, "more"))), http.StatusInsufficientStorage, "no room", 0)
		a.read(t)
		if a.Failed() != nil {
			t.Errorf("got failure %v: reads go on", a.Failed())
		}
		f.Full(false)
		a.must(t, increment)
		wantSame(t, a)
	}
}

func TestWithUsers(t *testing.T) {
	for _, version := range []string{"3.4", "3.6"} {
		f := etcdtest.New(t, version, 2)
		f.Users("cars", "secret")
		as := func(password string) func(*Options) {
			return func(o *Options) { o.Etcd.User, o.Etcd.Password = "cars", password }
		}
		a, b := join(t, f.Members, as("secret")), join(t, f.Members, as("secret"))
		for range 3 {
			a.must(t, increment)
			f.Expire()
			f.EndWatches()
			b.must(t, increment)
		}
		wantSame(t, a, b)
		began := time.Now()
		_, err := tryJoin(f.Members, as("wrong"))
		if err == nil || !strings.Contains(err.Error(), "invalid user ID or password") {
			t.Errorf("got %v", err)
		}
		if time.Since(began) > 4*time.Second {
			t.Error("a wrong password is tried again")
		}
	}
}

func TestCannotBeReached(t *testing.T) {
	f := etcdtest.New(t, "3.4", 2)
	f.Quorum(false)
	_, err := tryJoin(f.Members, func(o *Options) {
		short := quick
		short.retry = 500 * time.Millisecond
		o.times = &short
	})
	if err == nil || strings.Count(err.Error(), "no leader") != 2 || !strings.Contains(err.Error(), f.Members[0]) || !strings.Contains(err.Error(), f.Members[1]) {
		t.Errorf("got %v, want what each member said", err)
	}
	time.AfterFunc(time.Second, func() { f.Quorum(true) })
	m := join(t, f.Members)
	if n := m.reported.containing("etcd does not answer; it is tried for 5s"); n != 1 {
		t.Errorf("got %d reports, want 1", n)
	}
}

func TestWhatCannotBeRead(t *testing.T) {
	f := etcdtest.New(t, "3.4", 1)
	a := join(t, f.Members, hasty)
	f.Put("test/notes/"+a.newest.Stored.Generation+"/0000000000000002", `{"id":3,"text":"of another"}`)
	_, err := tryJoin(f.Members)
	if err == nil || !strings.Contains(err.Error(), "0000000000000002 has ID 3") {
		t.Errorf("got %v", err)
	}
	f.Put("test/notes/state", "")
	a.Confirm()
	wantError(t, a.wait(store.Confirmed), http.StatusServiceUnavailable, "not known whether the catalogue", 1)
	wantError(t, a.try(increment), http.StatusServiceUnavailable, "Nothing was changed", 1)
	eventually(t, "it says that it has failed", func() bool { return a.Failed() != nil })
}

func TestMetrics(t *testing.T) {
	f := etcdtest.New(t, "3.4", 1)
	a, b := join(t, f.Members), join(t, f.Members)
	registry := new(ops.Registry)
	a.AddMetrics(registry)
	b.must(t, increment)
	for a.try(increment) == store.ErrConflict {
	}
	a.read(t)
	var text strings.Builder
	if err := registry.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cars_etcd_commits_total 1\n", "cars_etcd_conflicts_total 1\n", "cars_etcd_commit_writes_count 1\n", "cars_etcd_commit_seconds_count 1\n",
		`cars_etcd_requests_total{member="` + f.Members[0] + `",answered="true"}`, "cars_etcd_age_seconds "} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("got %s, want %s in it", text.String(), want)
		}
	}
}

func TestCloses(t *testing.T) {
	f := etcdtest.New(t, "3.4", 1)
	a, err := tryJoin(f.Members)
	if err != nil {
		t.Fatal(err)
	}
	a.Commit(store.Commit{Before: a.state, After: increment(a.state), Writes: 1})
	a.Close()
	if err := a.wait(store.Committed); err != nil {
		t.Errorf("got %v: the last commit ends first", err)
	}
	eventually(t, "the watch has ended", func() bool { return f.Watches() == 0 })
}
