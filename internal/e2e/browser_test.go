package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
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
	b.choose("#sort", "Dearest")
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
	b.untilText("#trouble", "year_gte must be a number")
	b.checkConsole("Failed to load resource")
}

// TestPageByKeyboard opens a car and closes it, and is back where it was.
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
	b.press(keyEscape)
	b.until(`!document.querySelector("dialog[open]") && location.hash === "" && document.activeElement.closest("[data-id]").dataset.id === "2"`)
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
	b.untilText("#toast", "33")
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

// TestPageWatchesTheGoroutine compares what the page says with what it is made of: over
// HTTP/1.1, where a browser holds back all but a few requests, and over HTTP/2.
func TestPageWatchesTheGoroutine(t *testing.T) {
	cert, key, _ := selfSigned(t)
	for _, test := range []struct {
		protocol string
		args     []string
		atLeast  float64 // inside at once
	}{{"HTTP/1.1", nil, 2}, {"HTTP/2", []string{"-tls-cert", cert, "-tls-key", key}, 7}} {
		t.Run(test.protocol, func(t *testing.T) {
			b := startBrowser(t, "--ignore-certificate-errors")
			s := start(t, test.args...)
			s.skipLog()
			b.open(s.url)
			b.click("#send")
			b.until(`document.querySelectorAll("#numbers tbody tr").length === 50`)
			b.untilText("#explanation", test.protocol)
			rows := b.eval(`[...document.querySelectorAll("#numbers tbody tr")].map((row) => [...row.cells].map((cell) => Number(cell.textContent)))`)
			steps := make(map[float64]int)
			for i, row := range rows.([]any) {
				var cells []float64
				for _, cell := range row.([]any) {
					cells = append(cells, cell.(float64))
				}
				n, status, held, queue, process, rest, end := cells[0], cells[1], cells[2], cells[3], cells[4], cells[5], cells[6]
				if sum := held + queue + process + rest; n != float64(i+1) || status != 200 || process < 100 || sum < end-0.1 || sum > end+0.1 {
					t.Errorf("request %d: got %v, want parts that make the whole, and processing of 100 ms or more", i+1, cells)
				}
				steps[held+queue]++
				steps[held+queue+process]--
			}
			inside, most := 0, 0
			for _, at := range slices.Sorted(maps.Keys(steps)) {
				inside += steps[at]
				most = max(most, inside)
			}
			if float64(most) < test.atLeast {
				t.Errorf("at most %d requests were inside at once, want %v", most, test.atLeast)
			}
			b.untilText("#explanation", fmt.Sprintf("%d in hand", most))
			b.until(`document.querySelectorAll("#picture rect.process").length >= 50`)
			b.checkConsole()
		})
	}
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
	b.choose("#sort", "Dearest")
	b.untilText("#status", "does not answer")
	b.untilText("#status", "Trying again")
	s = run()
	b.until(`document.querySelector("#list [data-id] h3").innerText === "Bugatti Chiron" && ` + statuses + `.includes("of 32")`)
	b.checkConsole("Failed to load resource")
}

func TestPageSaysWhenTheServerIsBusy(t *testing.T) {
	s, b := shop(t, "-max-in-flight", "1")
	b.until(`document.querySelector("#manufacturer").options.length > 10`) // the page is done with the server
	inside := s.dial(t, header("GET", "/api/cars/1?_delay=60000", 0))
	for s.metric(t, "cars_requests_in_flight") < 1 {
	}
	b.choose("#sort", "Dearest")
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
