package e2e

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cars/web"
)

// TestPageFiles wants every file of the page to have its type, to ask no other host for
// anything, and all together, pictures included, to be small.
func TestPageFiles(t *testing.T) {
	t.Parallel()
	s := start(t, "-delay", "0")
	s.skipLog()
	types := map[string]string{".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".json": "application/json"}
	size := 0
	var names []string
	err := fs.WalkDir(web.Files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		names = append(names, "/"+name)
		target := "/" + strings.TrimSuffix(name, "index.html")
		resp, err := http.Get(s.url + target)
		if err != nil {
			return err
		}
		resp.Body.Close()
		h := resp.Header
		if want := types[filepath.Ext(name)]; resp.StatusCode != 200 || h.Get("Content-Type") != want || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Cross-Origin-Opener-Policy") != "same-origin" {
			t.Errorf("%s: got %d %v, want type %s", target, resp.StatusCode, h, want)
		}
		if policy := h.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") || strings.Contains(strings.Replace(policy, " http://*.localhost:*", "", 1), "*") {
			t.Errorf("%s: got the policy %s", target, policy)
		}
		req, _ := http.NewRequest("GET", s.url+target, nil)
		req.Header.Set("If-None-Match", h.Get("ETag"))
		again, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		again.Body.Close()
		if again.StatusCode != 304 || again.Header.Get("ETag") != h.Get("ETag") {
			t.Errorf("%s: got %d and %v, want 304", target, again.StatusCode, again.Header)
		}
		if name == "openapi.json" {
			return nil
		}
		content, err := web.Files.ReadFile(name)
		size += len(content)
		for _, url := range regexp.MustCompile(`https?://[^"'\s<]+`).FindAllString(string(content), -1) {
			if url != "http://www.w3.org/2000/svg" { // a name, which nobody asks for
				t.Errorf("%s: refers to %s, and no other host is to be asked", name, url)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if size == 0 || size >= 75_000 {
		t.Errorf("the page has %d bytes, want under 75,000", size)
	}
	for _, c := range s.cars(t) { // or a picture would be missing on the page
		if !slices.Contains(names, c.ImageURL) {
			t.Errorf("%s has the picture %s, which is not there", c.Name, c.ImageURL)
		}
	}
}

// TestFollowingNextVisitsEachCarOnce goes from page to page as a client does that knows
// nothing but Link.
func TestFollowingNextVisitsEachCarOnce(t *testing.T) {
	t.Parallel()
	s := start(t, "-delay", "0")
	s.skipLog()
	list := func(url string) (list []car, next string) {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
			t.Fatal(err)
		}
		if match := regexp.MustCompile(`<([^>]*)>; rel="next"`).FindStringSubmatch(resp.Header.Get("Link")); match != nil {
			next = match[1]
		}
		return list, next
	}
	var visited []car
	pages := 0
	for target := s.url + "/api/cars?_page=1&_limit=7&_sort=-price&q=e"; target != ""; pages++ {
		var page []car
		page, target = list(target)
		visited = append(visited, page...)
	}
	if want, _ := list(s.url + "/api/cars?_sort=-price&q=e"); !slices.Equal(visited, want) || pages != 5 {
		t.Errorf("in %d pages got %v, want 5 with %v", pages, visited, want)
	}
}
