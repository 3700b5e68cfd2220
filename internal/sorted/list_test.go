package sorted

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func items(l List) []*Item { return slices.Concat(l.Blocks()...) }

// newItem returns an item with a hash that no other has.
func newItem(id int) *Item { return &Item{ID: id, Hash: rand.Uint64()} }

func checkHash(t *testing.T, l List) {
	t.Helper()
	var want uint64
	for item := range l.All() {
		want += item.Hash
	}
	if got := l.Hash(); got != want {
		t.Fatalf("got hash %x, want the sum of the items', %x", got, want)
	}
}

// TestListIsAMapInOrder does the same to lists and to maps, at random, and
// keeps some of the lists it passes through to see that they never change.
func TestListIsAMapInOrder(t *testing.T) {
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 0))
		keys := []int{5, 100, 3000, 1 << 53}[seed%4]
		var start []*Item
		for i := range random.IntN(1500) {
			start = append(start, newItem(i*keys/1500+1))
		}
		start = slices.CompactFunc(start, func(a, b *Item) bool { return a.ID == b.ID })
		list, want := NewList(start), map[int]*Item{}
		for _, i := range start {
			want[i.ID] = i
		}
		type instant struct {
			list  List
			items []*Item
		}
		var past []instant
		for step := range 4000 {
			key := random.IntN(keys) + 1
			if step%4 == 0 && len(want) > 0 { // one that is there
				key = items(list)[random.IntN(len(want))].ID
			}
			switch {
			case random.IntN(2000) == 0:
				for key := range want {
					list = list.Delete(key)
				}
				clear(want)
			case random.IntN(5) < 2:
				list = list.Delete(key)
				delete(want, key)
			case random.IntN(3) == 0: // behind all others
				key = slices.Max(append(slices.Collect(maps.Keys(want)), 0)) + 1
				fallthrough
			default:
				i := newItem(key)
				list = list.Put(i)
				want[key] = i
			}
			if got := list.Get(key); got != want[key] {
				t.Fatalf("seed %d, step %d: got %v for ID %d, want %v", seed, step, got, key, want[key])
			}
			if list.Len() != len(want) {
				t.Fatalf("seed %d, step %d: got length %d, want %d", seed, step, list.Len(), len(want))
			}
			if step%200 == 0 {
				checkHash(t, list)
				past = append(past, instant{list, items(list)})
			}
			for _, block := range list.blocks {
				if len(block) == 0 || len(block) > blockSize {
					t.Fatalf("seed %d, step %d: a block of %d", seed, step, len(block))
				}
			}
		}
		sorted := slices.SortedFunc(maps.Values(want), func(a, b *Item) int { return a.ID - b.ID })
		if got := items(list); !slices.Equal(got, sorted) {
			t.Errorf("seed %d: got %d items, not the %d of the map in order", seed, len(got), len(sorted))
		}
		for i, then := range past {
			if !slices.Equal(items(then.list), then.items) {
				t.Errorf("seed %d: the list of step %d has changed since", seed, i*200)
			}
		}
	}
}

func TestAscendingKeysFillTheirBlocks(t *testing.T) {
	list := NewList(nil)
	for key := range 10 * blockSize {
		list = list.Put(newItem(key))
	}
	if got := len(list.Blocks()); got != 10 {
		t.Errorf("got %d blocks, want 10", got)
	}
}

func BenchmarkList(b *testing.B) {
	for _, size := range []int{24, 100_000, 1_000_000} {
		all := make([]*Item, size)
		for i := range all {
			all[i] = newItem(i + 1)
		}
		list := NewList(all)
		key := 0
		b.Run(fmt.Sprintf("%d/get", size), func(b *testing.B) {
			for b.Loop() {
				key = key*7919%size + 1
				if list.Get(key) == nil {
					b.Fatal("not found")
				}
			}
		})
		b.Run(fmt.Sprintf("%d/put", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				key = key*7919%size + 1
				list.Put(all[key-1])
			}
		})
	}
}

func TestBuilderAgreesWithAMap(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	var b Builder
	want := map[int]*Item{}
	for range 5000 {
		key := random.IntN(300)
		if random.IntN(10) == 0 {
			key = random.IntN(math.MaxInt)
		}
		if random.IntN(3) == 0 {
			b.Delete(key)
			delete(want, key)
		} else {
			want[key] = newItem(key)
			b.Put(want[key])
		}
	}
	got := items(b.List())
	for i, key := range slices.Sorted(maps.Keys(want)) {
		if got[i] != want[key] {
			t.Fatalf("item %d is %d, want %d", i, got[i].ID, key)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d items, want %d", len(got), len(want))
	}
	if got := new(Builder).List().Len(); got != 0 {
		t.Errorf("an empty builder has %d items", got)
	}
}

// TestListsThatGrowFromOne has several lists put different items behind those of one,
// and of each other.
func TestListsThatGrowFromOne(t *testing.T) {
	lists := []List{NewList([]*Item{newItem(1)})}
	want := [][]*Item{items(lists[0])}
	for step := range 3 * blockSize {
		from := len(lists) - 1 - step%3 // the last, and those it has come from
		from = max(from, 0)
		added := newItem(1 << 20 * (step + 1))
		lists = append(lists, lists[from].Put(added))
		want = append(want, slices.Concat(want[from], []*Item{added}))
	}
	for i, list := range lists {
		if !slices.Equal(items(list), want[i]) {
			t.Fatalf("list %d of %d has changed", i, len(lists))
		}
	}
}

func BenchmarkPutLast(b *testing.B) {
	list := NewList([]*Item{newItem(1)})
	b.ReportAllocs()
	for key := 2; b.Loop(); key++ {
		list = list.Put(newItem(key))
	}
}

// TestChangesAgreeWithTheObvious compares lists that have come from one another, and
// lists that have nothing in common.
func TestChangesAgreeWithTheObvious(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	lists := []List{{}}
	for range 300 {
		list := lists[random.IntN(len(lists))]
		switch random.IntN(20) {
		case 0:
			var all []*Item
			for id := range random.IntN(5000) {
				all = append(all, newItem(2*id+1))
			}
			list = NewList(all)
		case 1:
			for item := range list.All() {
				if item.ID%3 > 0 {
					list = list.Delete(item.ID)
				}
			}
		default:
			for range random.IntN(30) {
				if id := 1 + random.IntN(10_000); random.IntN(3) > 0 {
					list = list.Put(newItem(id))
				} else {
					list = list.Delete(id)
				}
			}
		}
		lists = append(lists, list)
	}
	for range 300 {
		before, after := lists[random.IntN(len(lists))], lists[random.IntN(len(lists))]
		list, last := before, 0
		for old, now := range Changes(before, after) {
			id := 0
			if old != nil {
				id = old.ID
			} else {
				id = now.ID
			}
			if id <= last || old == now || old != before.Get(id) || now != after.Get(id) {
				t.Fatalf("after ID %d, got %v and %v for ID %d", last, old, now, id)
			}
			if last = id; now == nil {
				list = list.Delete(id)
			} else {
				list = list.Put(now)
			}
		}
		if !slices.Equal(items(list), items(after)) {
			t.Fatalf("the changes from %d items to %d make %d others", before.Len(), after.Len(), list.Len())
		}
	}
}

// TestChangesStop looks no further than the caller.
func TestChangesStop(t *testing.T) {
	after := NewList([]*Item{newItem(1), newItem(2)})
	n := 0
	for range Changes(List{}, after) {
		n++
		break
	}
	if n != 1 {
		t.Errorf("got %d changes after the first was enough", n)
	}
}

func BenchmarkChanges(b *testing.B) {
	all := make([]*Item, 1_000_000)
	for i := range all {
		all[i] = newItem(i + 1)
	}
	before := NewList(all)
	after := before.Put(newItem(500_000))
	for b.Loop() {
		n := 0
		for range Changes(before, after) {
			n++
		}
		if n != 1 {
			b.Fatalf("got %d changes, want 1", n)
		}
	}
}

// TestSameContentIsNoChange: a client that puts what is there already leaves no trace in a
// file, and no event.
func TestSameContentIsNoChange(t *testing.T) {
	old := &Item{ID: 1, Hash: 7, Line: []byte("{}\n")}
	again := &Item{ID: 1, Hash: 7, Line: []byte("{}\n")}
	other := &Item{ID: 1, Hash: 7, Line: []byte("[]\n")} // which has the same hash by chance
	for _, test := range []struct {
		now  *Item
		want int
	}{{again, 0}, {other, 1}} {
		n := 0
		for range Changes(NewList([]*Item{old}), NewList([]*Item{test.now})) {
			n++
		}
		if n != test.want {
			t.Errorf("%s: got %d changes, want %d", test.now.Line, n, test.want)
		}
	}
}
