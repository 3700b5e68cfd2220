package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"cars/internal/e2e/check"
)

// TestHistoriesAreLinearizable has many clients at work on the catalogue in a file.
func TestHistoriesAreLinearizable(t *testing.T) {
	t.Parallel()
	s := serve(t, filepath.Join(t.TempDir(), "cars.jsonl"))
	s.skipLog()
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	defer transport.CloseIdleConnections()
	first, events, err := check.Histories(func(r *http.Request) (*http.Response, error) {
		r.URL.Host = s.addr
		return transport.RoundTrip(r)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := check.Linearizable(first, events); err != nil {
		t.Error(err)
	}
}

// TestListsAgreeWithTheObvious compares lists with what a plain reading of the dialect
// gives, on random catalogues and queries.
func TestListsAgreeWithTheObvious(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	s.skipLog()
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		catalogue := check.RandomCars(random, random.IntN(60))
		body, err := json.Marshal(catalogue)
		if err != nil {
			t.Fatal(err)
		}
		s.wantStatus(t, 200, "PUT", "/api/cars", string(body))
		for range 20 {
			values := check.RandomQuery(random)
			resp, err := http.Get(s.url + "/api/cars?" + values.Encode())
			if err != nil {
				t.Fatal(err)
			}
			var list []struct{ ID int }
			err = json.NewDecoder(resp.Body).Decode(&list)
			resp.Body.Close()
			got := []int{}
			for _, car := range list {
				got = append(got, car.ID)
			}
			want, wantTotal := check.ObviousList(catalogue, values)
			if gotTotal := resp.Header.Get("X-Total-Count"); err != nil || !slices.Equal(got, want) || gotTotal != strconv.Itoa(wantTotal) {
				t.Fatalf("%s: got %v of %s, %v, want %v of %d", values.Encode(), got, gotTotal, err, want, wantTotal)
			}
		}
	}
}

// BenchmarkCatalogue shows what grows with the size of the catalogue and what does not,
// over one connection.
func BenchmarkCatalogue(b *testing.B) {
	for _, size := range []int{24, 100_000, 1_000_000} {
		addr := freeAddr(b)
		cmd := cars("-data", catalogueOf(b, size), "-delay", "0", "-log-level", "warn")(b, addr)
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		stop := func() { cmd.Process.Kill(); cmd.Wait() }
		b.Cleanup(stop)
		waitForAnswer(b, addr)
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		r := bufio.NewReader(conn)
		for _, request := range []struct{ name, target string }{
			{"by-id", "/api/cars/" + strconv.Itoa(size/2)},
			{"first-page", "/api/cars?_page=1&_limit=25"},
			{"filter-sort-page", "/api/cars?category=SUV&price_lte=90000&_sort=-year,price&_page=2&_limit=25"},
			{"sort-page", "/api/cars?_sort=-id&_page=1&_limit=25"},
			{"like-page", "/api/cars?name_like=a7&_page=1&_limit=25"},
			{"q-page", "/api/cars?q=pickup&_page=1&_limit=25"},
		} {
			b.Run(fmt.Sprintf("%d/%s", size, request.name), func(b *testing.B) {
				text := header("GET", request.target, 0)
				for b.Loop() {
					io.WriteString(conn, text)
					if status, err := skipAnswer(r); status != 200 || err != nil {
						b.Fatal(status, err)
					}
				}
			})
		}
		conn.Close()
		stop()
	}
}
