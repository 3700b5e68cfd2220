package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What the page shows, in a real browser.
const (
	cards    = `document.querySelectorAll("#list [data-id]").length`
	statuses = `document.querySelector("#status").innerText`
)

// shop starts a server and leads a browser to its page, once that shows the catalogue.
func shop(t *testing.T, args ...string) (*server, *browser) {
	t.Helper()
	b := startBrowser(t) // may skip
	s := start(t, append([]string{"-delay", "20ms"}, args...)...)
	s.skipLog()
	b.open(s.url)
	b.until(cards + ` === 12`)
	return s, b
}

func TestPageFindsCars(t *testing.T) {
	s, b := shop(t)
	b.untilText("#status", "Cars 1 to 12 of 32")
	b.write("#search", "electric")
	b.until(cards + ` === 5 && location.search === "?q=electric"`)
	b.choose("#category", "SUV")
	b.until(cards + ` === 2 && location.search === "?q=electric&category=SUV"`)
	b.click("#clear")
	b.until(cards + ` === 12 && location.search === ""`)
	b.write("#year_gte", "2018")
	b.write("#price_lte", "30000")
	b.until(`location.search.includes("year_gte=2018") && location.search.includes("price_lte=30000") && !document.querySelector("[data-id='1']")`)
	b.untilText("#status", "10 cars")
	b.click("#clear")
	b.choose("#sort", "Highest price")
	b.until(`document.querySelector("#list [data-id] h3").innerText === "Bugatti Chiron"`)
	b.click("#next")
	b.untilText("#page", "Page 2 of 3")
	b.until(`document.querySelector("#list [data-id] h3").innerText !== "Bugatti Chiron"`)
	b.call("POST", "/back", nil, nil)
	b.until(`document.querySelector("#list [data-id] h3").innerText === "Bugatti Chiron"`)
	b.call("POST", "/back", nil, nil)
	b.until(`document.querySelector("#list [data-id] h3").innerText === "Audi A4" && document.querySelector("#sort").value === ""`)

	b.open(s.url + "/?manufacturer=Toyota&_sort=-year") // as somebody else has sent it
	b.until(cards + ` === 4 && document.querySelector("#manufacturer").value === "Toyota" && document.querySelector("#sort").value === "-year"`)
	b.open(s.url + "/?_sort=price&_order=desc") // what has no control of its own shows, too
	b.until(`document.querySelector("#sort").value === "price desc" && document.querySelector("#list [data-id] h3").innerText === "Bugatti Chiron"`)
	b.choose("#sort", "Oldest")
	b.until(`location.search === "?_sort=year" && document.querySelector("#list [data-id] h3").innerText === "Ford Mustang"`)
	b.open(s.url + "/?manufacturer=Audi&manufacturer=Bugatti")
	b.until(cards + ` === 3 && document.querySelector("#manufacturer").value === "Audi, Bugatti"`)
	b.choose("#manufacturer", "Bugatti")
	b.until(cards + ` === 1 && location.search === "?manufacturer=Bugatti"`)
	b.open(s.url + "/?q=no+such+car")
	b.untilText("#status", "No car matches")
	b.open(s.url + "/?year_gte=new")
	b.untilText("#trouble", "Year from must be a number")
	b.checkConsole("Failed to load resource")
}

// TestPageByKeyboard opens a car and closes it, and is back where it was, also when the
// list has been read anew meanwhile.
func TestPageByKeyboard(t *testing.T) {
	_, b := shop(t)
	b.press(keyTab)
	b.until(`document.activeElement.matches(".skip")`)
	for range 30 { // controls before the second car, at most
		if b.eval(`document.activeElement.closest("[data-id]")?.dataset.id`) == "2" {
			break
		}
		b.press(keyTab)
	}
	b.press(keyEnter)
	b.until(`document.querySelector("dialog[open]").id === "car" && location.hash === "#car-2"`)
	b.untilText("#car", "2.0L Turbo Inline-4")
	b.until(`document.querySelector("#car").contains(document.activeElement)`)
	const back = `!document.querySelector("dialog[open]") && location.hash === "" && document.activeElement.closest("[data-id]")?.dataset.id === "2"`
	b.press(keyEscape)
	b.until(back)
	b.press(keyEnter)
	b.untilText("#car", "2.0L Turbo Inline-4")
	b.press(keyTab)
	b.press(keyEnter) // Edit
	b.until(`document.querySelector("#editor").open`)
	b.press(keyEnter) // Save
	b.untilText("#toast", "was saved")
	b.until(`document.querySelector("#list").ariaBusy === "false"`)
	b.press(keyEscape)
	b.until(back)
	b.checkConsole()
}

func TestPageAddsACar(t *testing.T) {
	s, b := shop(t)
	b.click("#add")
	b.write(`#editor [name="manufacturer"]`, "Saab")
	b.write(`#editor [name="year"]`, "1850")
	b.write(`#editor [name="details.horsepower"]`, "many")
	b.click("#save")
	for field, problem := range map[string]string{"name": "is required", "year": "must be 0 or between 1886 and", "details.horsepower": "must be a"} {
		input := fmt.Sprintf(`document.querySelector("#editor [name='%s']")`, field)
		b.until(fmt.Sprintf(`%s.ariaInvalid === "true" && document.getElementById(%s.getAttribute("aria-describedby")).innerText.includes(%q)`, input, input, problem))
	}
	b.until(`document.activeElement.name === "name"`)
	b.write(`#editor [name="name"]`, "900 Turbo")
	b.write(`#editor [name="year"]`, "1984")
	b.write(`#editor [name="details.horsepower"]`, "175")
	b.press(keyEnter)
	b.until(`document.querySelector("#toast a").hash === "#car-33"`)
	b.until(`!document.querySelector("dialog[open]")`)
	if got := parse(t, s.wantStatus(t, 200, "GET", "/api/cars/33", "")); got.Name != "900 Turbo" || got.Year != 1984 || got.Details.Horsepower != 175 {
		t.Errorf("got %v, want the 900 Turbo", got)
	}
	b.untilText("#status", "of 33")
	b.checkConsole("422 (Unprocessable Entity)")
}

// TestPageInTwoWindows has the second of two editors told what the first has done.
func TestPageInTwoWindows(t *testing.T) {
	s, b := shop(t)
	edit := func(field, value string) {
		b.open(s.url + "/#car-1")
		b.untilText("#car", "2.0L Inline-4")
		b.click("#edit")
		b.write(`#editor [name="`+field+`"]`, value)
	}
	edit("price", "1000")
	toFirst, _ := b.newWindow()
	edit("year", "2020")
	b.click("#save")
	b.until(`!document.querySelector("#editor").open`)
	toFirst()
	b.click("#save")
	b.until(`document.querySelector("#conflict").open`)
	b.untilText("#conflict", "2020") // what it is now
	b.untilText("#conflict", "$1,000")
	if got := parse(t, s.wantStatus(t, 200, "GET", "/api/cars/1", "")); got.Year != 2020 || got.Price != 42000 {
		t.Errorf("got %v, want nothing of the second", got)
	}
	b.click("#keep-mine")
	b.until(`!document.querySelector("#conflict").open && !document.querySelector("#editor").open`)
	if got := parse(t, s.wantStatus(t, 200, "GET", "/api/cars/1", "")); got.Year != 2020 || got.Price != 1000 {
		t.Errorf("got %v, want what both have changed", got)
	}

	edit("price", "2000") // and the other way out
	s.wantStatus(t, 200, "PATCH", "/api/cars/1", `{"price":3000}`)
	b.click("#save")
	b.click("#take-theirs")
	b.until(`document.querySelector("#editor [name=price]").value === "3000"`)
	b.checkConsole("412 (Precondition Failed)")
}

func TestPageDeletesAndUndoes(t *testing.T) {
	s, b := shop(t)
	b.click(`[data-id="3"] a`)
	b.untilText("#car", "Rear-Wheel Drive")
	b.click("#delete")
	b.untilText("#toast", "BMW 3 Series was deleted")
	b.until(`!document.querySelector("[data-id='3']") && !document.querySelector("dialog[open]")`)
	s.wantStatus(t, 404, "GET", "/api/cars/3", "")
	b.eval(`document.querySelector("#undo").click() || document.querySelector("#undo").click()`) // a double click
	b.untilText("#toast", "BMW 3 Series is back")
	b.until(`document.querySelector("[data-id='3']").innerText.includes("BMW 3 Series")`)
	if got := parse(t, s.wantStatus(t, 200, "GET", "/api/cars/3", "")); got.Name != "BMW 3 Series" || got.Price != 40250 {
		t.Errorf("got %v, want the car that was deleted", got)
	}
	b.checkConsole()
}

// numbers runs what is chosen at "Watch the goroutine" and returns the table of what was
// measured.
func (b *browser) numbers() [][]float64 {
	b.t.Helper()
	b.click("#send")
	b.until(`document.querySelectorAll("#numbers tbody tr").length === 50 && document.querySelector("#send").innerText === "Send"`)
	var rows [][]float64
	for _, row := range b.eval(`[...document.querySelectorAll("#numbers tbody tr")].map((row) => [...row.cells].map((cell) => Number(cell.textContent)))`).([]any) {
		var cells []float64
		for _, cell := range row.([]any) {
			cells = append(cells, cell.(float64))
		}
		rows = append(rows, cells)
	}
	return rows
}

// TestPageWatchesTheGoroutine compares what the page says with what it is made of: over
// HTTP/1.1 to many names of the machine, to one, where a browser holds back all but a few
// requests, and over HTTP/2.
func TestPageWatchesTheGoroutine(t *testing.T) {
	cert, key, _ := selfSigned(t)
	took := make(map[string]float64) // ms, by way
	for _, test := range []struct {
		way     string
		args    []string
		browser string
		says    string
		atLeast float64 // inside at once
	}{
		{"many names", nil, "--no-pings", "over HTTP/1.1, to 34 names of this machine", 20},
		{"one name", nil, "--host-resolver-rules=MAP *.localhost ^NOTFOUND", "The browser limits this picture: over HTTP/1.1", 2},
		{"HTTP/2", []string{"-tls-cert", cert, "-tls-key", key}, "--no-pings", "over HTTP/2, and up to", 7},
	} {
		t.Run(test.way, func(t *testing.T) {
			b := startBrowser(t, "--ignore-certificate-errors", test.browser)
			s := start(t, test.args...)
			s.skipLog()
			b.open(s.url)
			steps := make(map[float64]int)
			for i, cells := range b.numbers() {
				n, status, held, queue, process, rest, end := cells[0], cells[1], cells[2], cells[3], cells[4], cells[5], cells[6]
				if sum := held + queue + process + rest; n != float64(i+1) || status != 200 || process < 100 || sum < end-0.1 || sum > end+0.1 {
					t.Errorf("request %d: got %v, want parts that make the whole, and processing of 100 ms or more", i+1, cells)
				}
				steps[held+queue]++
				steps[held+queue+process]--
				took[test.way] = max(took[test.way], end)
			}
			inside, most := 0, 0
			for _, at := range slices.Sorted(maps.Keys(steps)) {
				inside += steps[at]
				most = max(most, inside)
			}
			if float64(most) < test.atLeast {
				t.Errorf("at most %d requests were inside at once, want %v", most, test.atLeast)
			}
			b.untilText("#explanation", test.says)
			b.untilText("#explanation", fmt.Sprintf("%d in hand", most))
			b.until(`document.querySelectorAll("#picture rect.process").length >= 50 && document.querySelectorAll("#picture .hands").length === 1`)
			b.checkConsole("r0.localhost") // which one of them does not find
		})
	}
	// Six at a time take nine times 100 ms. All at once take it once.
	if many, one := took["many names"], took["one name"]; many > one/2 {
		t.Errorf("by many names 50 requests took %.0f ms and by one %.0f ms, want at most half", many, one)
	}
}

// TestPageWatchesWrites compares the batches that the page shows with the lines of the file,
// each of which is one.
func TestPageWatchesWrites(t *testing.T) {
	data := filepath.Join(t.TempDir(), "cars.jsonl")
	s, b := shop(t, "-data", data)
	b.choose("#what", "Writes")
	batches := make(map[int][]int) // numbers of the writes
	for _, cells := range b.numbers() {
		batches[int(cells[7])] = append(batches[int(cells[7])], int(cells[0]))
	}
	text, err := os.ReadFile(data)
	if err != nil {
		t.Fatal(err)
	}
	var want [][]int
	for line := range strings.Lines(string(text)) {
		var batch []int
		for _, match := range regexp.MustCompile(`"Write (\d+) of 50"`).FindAllStringSubmatch(line, -1) {
			n, _ := strconv.Atoi(match[1])
			batch = append(batch, n)
		}
		if slices.Sort(batch); batch != nil {
			want = append(want, batch)
		}
	}
	if got := slices.SortedFunc(maps.Values(batches), slices.Compare); !reflect.DeepEqual(got, slices.SortedFunc(slices.Values(want), slices.Compare)) {
		t.Errorf("got the batches %v, want %v", got, want)
	}
	b.until(fmt.Sprintf(`document.querySelectorAll("#picture .batches li").length === %d && document.querySelectorAll("#picture .batches i").length === 50`, len(want)))
	syncs := fmt.Sprintf("synced %d times", len(want))
	if len(want) == 1 {
		syncs = "synced once"
	}
	b.untilText("#explanation", syncs)
	if n := len(s.cars(t)); n != 32 {
		t.Errorf("%d cars are left, want 32", n)
	}
	b.until(`document.querySelector("#new").hidden`)
	b.checkConsole()
}

// TestPageWatchesWritesInMemory has no disk to speak of.
func TestPageWatchesWritesInMemory(t *testing.T) {
	_, b := shop(t, "-data", "")
	b.choose("#what", "Writes")
	b.numbers()
	b.untilText("#explanation", "success before the batch was done")
	b.checkConsole()
}

// TestPageFollows has a page show what others do, without moving what is being read.
func TestPageFollows(t *testing.T) {
	s, b := shop(t)
	b.until(`!document.querySelector("#live").hidden`)
	b.eval(`document.querySelector("[data-id='2'] a").focus()`)
	s.wantStatus(t, 200, "PATCH", "/api/cars/2", `{"price":12345}`)
	b.until(`document.querySelector("[data-id='2'].changed .price").innerText === "$12,345" && document.activeElement.closest("[data-id='2']")`)
	b.untilText("#news", "Mercedes-Benz E-Class was changed.")
	s.wantStatus(t, 200, "DELETE", "/api/cars/2", "")
	b.until(`!document.querySelector("[data-id='2']") && document.activeElement.closest("[data-id='3']")`)
	b.untilText("#status", "Cars 1 to 12 of 31") // one has come from the next page
	s.wantStatus(t, 201, "POST", "/api/cars", `{"name":"900 Turbo","manufacturer":"Saab"}`)
	b.untilText("#new", "1 new car")
	b.untilText("#status", "Cars 1 to 12 of 32")
	b.until(`!document.querySelector("[data-id='33']") && [...document.querySelector("#manufacturer").options].some((option) => option.value === "Saab")`)
	b.click("#new")
	b.until(cards + ` === 1 && document.querySelector("[data-id='33'] h3").innerText === "900 Turbo" && location.search === "?id=33" && document.querySelector("#new").hidden`)

	b.open(s.url + "/?category=SUV#car-4")
	b.untilText("#car", "$41,500")
	b.until(`!document.querySelector("#live").hidden`)
	s.wantStatus(t, 200, "PATCH", "/api/cars/4", `{"price":1,"details":{"engine":"Steam"}}`)
	b.untilText("#car .news", "price, engine")
	b.until(`document.querySelector("#car dd.changed").innerText === "$1"`)
	b.click("#edit")
	s.wantStatus(t, 200, "PATCH", "/api/cars/4", `{"year":1999}`)
	b.untilText("#editor .news", "year")
	b.press(keyEscape)
	b.untilText("#car dl", "1999")
	s.wantStatus(t, 200, "PATCH", "/api/cars/4", `{"category":"Wagon"}`) // it leaves the list, but is still there
	b.untilText("#car dl", "Wagon")
	b.until(`!document.querySelector("[data-id='4']")`)
	s.wantStatus(t, 200, "PATCH", "/api/cars/4", `{"category":"SUV"}`)
	b.untilText("#car dl", "SUV")
	s.wantStatus(t, 200, "DELETE", "/api/cars/4", "")
	b.untilText("#car .message", "deleted meanwhile")
	b.until(`document.querySelector("#car dl").innerText.includes("Steam") && getComputedStyle(document.querySelector("#edit")).display === "none"`)
	b.checkConsole("404 (Not Found)")
}

// TestPageFollowsOnlyWhileItIsSeen counts streams: a browser has six connections to a server,
// for all its tabs.
func TestPageFollowsOnlyWhileItIsSeen(t *testing.T) {
	s, b := shop(t)
	b.until(`!document.querySelector("#live").hidden`)
	toFirst, _ := b.newWindow() // the first is behind it now
	b.open(s.url)
	b.until(cards + ` === 12 && !document.querySelector("#live").hidden`)
	for s.metric(t, "cars_streams_open") != 1 {
	}
	s.wantStatus(t, 200, "PATCH", "/api/cars/1", `{"price":777}`)
	b.until(`document.querySelector("[data-id='1'].changed .price").innerText === "$777"`)
	toFirst()
	b.until(`document.querySelector("[data-id='1'].changed .price").innerText === "$777"`) // it catches up
	b.checkConsole()
}

// TestPageWithoutStream has a server refuse the page its stream. All else works.
func TestPageWithoutStream(t *testing.T) {
	s, b := shop(t, "-max-streams", "0")
	b.until(`performance.getEntriesByType("resource").some(({ name }) => name.includes("_since"))`)
	s.wantStatus(t, 200, "PATCH", "/api/cars/2", `{"price":12345}`)
	b.choose("#sort", "Lowest price")
	b.until(`document.querySelector("#list [data-id] .price").innerText === "$12,345" && document.querySelector("#live").hidden`)
	b.click(`[data-id="2"] a`)
	b.untilText("#car", "9-speed Automatic")
	b.click("#delete")
	b.until(`!document.querySelector("[data-id='2']") && !document.querySelector("dialog[open]")`)
	b.checkConsole("503 (Service Unavailable)")
}

// TestPageShowsSignsOfLife has a slow server. Every button says at once what is under way.
func TestPageShowsSignsOfLife(t *testing.T) {
	b := startBrowser(t)
	s := start(t, "-delay", "1500ms")
	s.skipLog()
	b.open(s.url)
	b.until(cards + ` === 12`)
	b.eval(`location.hash = "#car-20"`)
	// Nothing is known of it yet.
	b.until(`document.querySelector("#car").innerText.includes("Reading …") && getComputedStyle(document.querySelector("#car dl")).display === "none"`)
	b.untilText("#car dl", "Fiat")
	b.click("#edit")
	b.write(`#editor [name="price"]`, "1")
	b.click("#save")
	b.untilText("#save", "Saving …")
	b.until(`!document.querySelector("#editor").open`)
	b.untilText("#car", "$1")
	b.click("#delete")
	b.untilText("#delete", "Deleting …")
	b.until(`!document.querySelector("dialog[open]")`)
	b.click("#undo")
	b.untilText("#toast", "is being put back …")
	b.untilText("#toast", "is back.")
	b.choose("#sort", "Lowest price")
	b.untilText("#status", "Loading …")
	b.until(`document.querySelector("#list [data-id]").dataset.id === "20"`)
	b.open(s.url + "/#car-999")
	b.open(s.url + "/?_sort=price#car-999")
	b.untilText("#car", "There is no such car")
	b.checkConsole("404 (Not Found)")
}

// TestPageBelowAPath serves the page through a proxy that keeps other things beside it.
func TestPageBelowAPath(t *testing.T) {
	b := startBrowser(t)
	s := start(t, "-delay", "20ms")
	s.skipLog()
	target, _ := url.Parse(s.url)
	proxy := httptest.NewServer(http.StripPrefix("/shop", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.SetXForwarded()
		r.Out.Header.Set("X-Forwarded-Prefix", "/shop")
	}}))
	defer func() { proxy.CloseClientConnections(); proxy.Close() }() // a stream does not end by itself
	b.open(proxy.URL + "/shop/?category=SUV")
	b.until(`document.querySelector("[data-id='4'] img").naturalWidth > 0 && !document.querySelector("#live").hidden`)
	s.wantStatus(t, 200, "PATCH", "/api/cars/4", `{"price":1}`)
	b.until(`document.querySelector("[data-id='4'] .price").innerText === "$1"`)
	b.click(`[data-id="4"] a`)
	b.untilText("#car", "$1")
	b.checkConsole()
}

// TestPageAsksForTheToken has a server that wants one for writes.
func TestPageAsksForTheToken(t *testing.T) {
	b := startBrowser(t)
	addr := freeAddr(t)
	s := launch(t, "CARS_TOKEN=sesame", "-addr", addr, "-delay", "20ms")
	s.url = "http://" + addr
	s.waitForLine(t, "Listening on ")
	s.skipLog()
	b.open(s.url + "/#car-3")
	b.untilText("#car", "Rear-Wheel Drive")
	b.click("#delete")
	b.answer("CARS_TOKEN", "open")
	b.answer("refuses", "sesame")
	b.untilText("#toast", "BMW 3 Series was deleted")
	b.checkConsole("401 (Unauthorized)")
}

func TestPageOutlivesTheServer(t *testing.T) {
	b := startBrowser(t)
	addr := freeAddr(t)
	run := func() *server {
		s := launch(t, "", "-addr", addr, "-delay", "20ms")
		s.url = "http://" + addr
		s.waitForLine(t, "Listening on ")
		return s
	}
	s := run()
	b.open(s.url)
	b.until(cards + ` === 12`)
	s.cmd.Process.Kill()
	s.cmd.Wait()
	b.choose("#sort", "Highest price")
	b.untilText("#status", "does not answer")
	b.untilText("#status", "Trying again")
	s = run()
	b.until(`!document.querySelector("#live").hidden`)
	b.until(`document.querySelector("#list [data-id] h3").innerText === "Bugatti Chiron" && ` + statuses + `.includes("of 32")`)
	s.cmd.Process.Kill() // while the page only listens
	s.cmd.Wait()
	b.until(`document.querySelector("#live").hidden`)
	s = run()
	b.until(`!document.querySelector("#live").hidden`)
	s.wantStatus(t, 200, "PATCH", "/api/cars/21", `{"price":3000000}`)
	b.until(`document.querySelector("#list [data-id] .price").innerText === "$3,000,000"`)
	b.checkConsole("Failed to load resource")
}

func TestPageSaysWhenTheServerIsBusy(t *testing.T) {
	s, b := shop(t, "-max-in-flight", "1")
	b.until(`document.querySelector("#manufacturer").options.length > 10`) // the page is done with the server
	inside := s.dial(t, header("GET", "/api/cars/1?_delay=60000", 0))
	for s.metric(t, "cars_requests_in_flight") < 1 {
	}
	b.choose("#sort", "Highest price")
	b.untilText("#status", "as many as -max-in-flight allows")
	inside.Close()
	b.until(`document.querySelector("#list [data-id] h3").innerText === "Bugatti Chiron"`)
	b.checkConsole("503 (Service Unavailable)")
}

// TestPageShowsTextAsText has a car of which every text would be a script if it were
// taken for HTML.
func TestPageShowsTextAsText(t *testing.T) {
	s, b := shop(t)
	const evil = `<img src=x onerror=alert(1)>`
	c := car{Name: evil, Manufacturer: evil, Category: evil, ImageURL: "/<img src=x onerror=alert(1)>", Details: details{Engine: evil, Transmission: evil, Drivetrain: evil}}
	s.wantStatus(t, 201, "POST", "/api/cars", encode(c))
	text, _ := json.Marshal(evil)
	b.open(s.url + "/?_sort=-id")
	b.until(fmt.Sprintf(`document.querySelector("[data-id='33'] h3").innerText === %s`, text))
	b.until(fmt.Sprintf(`[...document.querySelector("#manufacturer").options].some((option) => option.innerText === %s)`, text))
	b.click(`[data-id="33"] a`)
	b.until(fmt.Sprintf(`document.querySelector("#car dl").innerText.split(%s).length === 7`, text)) // five, and in the path of its picture
	b.click("#edit")
	b.until(fmt.Sprintf(`document.querySelector("#editor [name='details.engine']").value === %s`, text))
	b.press(keyEscape)
	b.click("#delete")
	b.untilText("#toast", evil)
	if n := b.eval(`document.querySelectorAll("img[src=x], img[onerror]").length`); n != 0.0 {
		t.Errorf("%v pictures were made of text", n)
	}
	b.checkConsole("Failed to load resource") // its picture
}
