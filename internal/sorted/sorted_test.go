package sorted

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

type item struct{ key, value int }

func keyOf(i *item) int { return i.key }

func items(l List[*item]) []*item { return slices.Concat(l.Blocks()...) }

// TestListIsAMapInOrder does the same to lists and to maps, at random, and
// keeps some of the lists it passes through to see that they never change.
func TestListIsAMapInOrder(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		keys := []int{5, 100, 3000, 1 << 53}[seed%4]
		var start []*item
		for i := range random.IntN(1500) {
			start = append(start, &item{i * keys / 1500, -1})
		}
		start = slices.CompactFunc(start, func(a, b *item) bool { return a.key == b.key })
		list, want := New(keyOf, start), map[int]*item{}
		for _, i := range start {
			want[i.key] = i
		}
		type instant struct {
			list  List[*item]
			items []*item
		}
		var past []instant
		for step := range 4000 {
			key := random.IntN(keys) + 1
			if step%4 == 0 && len(want) > 0 { // one that is there
				key = items(list)[random.IntN(len(want))].key
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
				i := &item{key, step}
				list = list.Put(i)
				want[key] = i
			}
			if got, found := list.Get(key); got != want[key] || found != (want[key] != nil) {
				t.Fatalf("seed %d, step %d: got %v, %v for key %d, want %v", seed, step, got, found, key, want[key])
			}
			if list.Len() != len(want) {
				t.Fatalf("seed %d, step %d: got length %d, want %d", seed, step, list.Len(), len(want))
			}
			if step%200 == 0 {
				past = append(past, instant{list, items(list)})
			}
			for _, block := range list.blocks {
				if len(block) == 0 || len(block) > blockSize {
					t.Fatalf("seed %d, step %d: a block of %d", seed, step, len(block))
				}
			}
		}
		sorted := slices.SortedFunc(maps.Values(want), func(a, b *item) int { return a.key - b.key })
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
	list := New(keyOf, nil)
	for key := range 10 * blockSize {
		list = list.Put(&item{key: key})
	}
	if got := len(list.Blocks()); got != 10 {
		t.Errorf("got %d blocks, want 10", got)
	}
}

func BenchmarkList(b *testing.B) {
	for _, size := range []int{24, 100_000, 1_000_000} {
		all := make([]*item, size)
		for i := range all {
			all[i] = &item{key: i + 1}
		}
		list := New(keyOf, all)
		key := 0
		b.Run(fmt.Sprintf("%d/get", size), func(b *testing.B) {
			for b.Loop() {
				key = key*7919%size + 1
				if _, found := list.Get(key); !found {
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
	var b Builder[int]
	want := map[int]*int{}
	for range 5000 {
		key := random.IntN(300)
		if random.IntN(10) == 0 {
			key = random.IntN(math.MaxInt)
		}
		if random.IntN(3) == 0 {
			b.Put(key, nil)
			delete(want, key)
		} else {
			item := key
			b.Put(key, &item)
			want[key] = &item
		}
	}
	got := b.Items()
	for i, key := range slices.Sorted(maps.Keys(want)) {
		if got[i] != want[key] {
			t.Fatalf("item %d is %d, want %d", i, *got[i], key)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d items, want %d", len(got), len(want))
	}
	if items := new(Builder[int]).Items(); len(items) != 0 {
		t.Errorf("an empty builder has %d items", len(items))
	}
}

// TestListsThatGrowFromOne has several lists put different items behind those of one,
// and of each other.
func TestListsThatGrowFromOne(t *testing.T) {
	lists := []List[*item]{New(keyOf, []*item{{1, 0}})}
	want := [][]*item{items(lists[0])}
	for step := range 3 * blockSize {
		from := len(lists) - 1 - step%3 // the last, and those it has come from
		from = max(from, 0)
		added := &item{1 << 20 * (step + 1), step}
		lists = append(lists, lists[from].Put(added))
		want = append(want, slices.Concat(want[from], []*item{added}))
	}
	for i, list := range lists {
		if !slices.Equal(items(list), want[i]) {
			t.Fatalf("list %d of %d has changed", i, len(lists))
		}
	}
}

func BenchmarkPutLast(b *testing.B) {
	list := New(keyOf, []*item{{0, 0}})
	b.ReportAllocs()
	for key := 1; b.Loop(); key++ {
		list = list.Put(&item{key, 0})
	}
}
