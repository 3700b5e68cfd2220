package e2e

import (
	"encoding/json"
	"math/rand/v2"
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
