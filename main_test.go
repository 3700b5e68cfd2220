// Behaviour from outside, over httptest, and the loop from inside, in
// synctest bubbles whose clocks make 100 ms exact and free.

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestMain keeps the log out of the tests' output; those that read it put a
// buffer in its place.
func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// captureLog returns where the log goes until the end of the test.
func captureLog(t *testing.T) *bytes.Buffer {
	var logged bytes.Buffer
	log.SetOutput(&logged)
	t.Cleanup(func() { log.SetOutput(io.Discard) })
	return &logged
}

// --- the card -------------------------------------------------------------

func TestRawRequestGetsExactlyOneAnswer(t *testing.T) {
	tests := []struct {
		name      string
		id        int
		response  chan CarResponse
		wantCar   string
		wantError string
	}{
		{"unbuffered", 1, make(chan CarResponse), "Audi A4", ""},
		{"buffered", 1, make(chan CarResponse, 1), "Audi A4", ""},
		{"unknown ID", 999, make(chan CarResponse), "", "car not found"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			carRequestChan <- CarRequest{ID: test.id, Response: test.response}
			resp := <-test.response
			if elapsed := time.Since(start); elapsed < defaultDelay {
				t.Errorf("answered after %v, want at least %v", elapsed, defaultDelay)
			}
			checkResponse(t, resp, test.wantCar, test.wantError)
			select {
			case second := <-test.response:
				t.Errorf("got a second answer: %+v", second)
			case <-time.After(2 * defaultDelay):
			}
		})
	}
}

func checkResponse(t *testing.T, resp CarResponse, wantCar, wantError string) {
	t.Helper()
	gotCar, gotError := "", ""
	if resp.Car != nil {
		gotCar = resp.Car.Name
	}
	if resp.Error != nil {
		gotError = resp.Error.Error()
	}
	if gotCar != wantCar || gotError != wantError {
		t.Errorf("got car %q and error %q, want %q and %q", gotCar, gotError, wantCar, wantError)
	}
}

func TestHandlersWorkWithoutMux(t *testing.T) {
	rec := httptest.NewRecorder()
	handleGetCarByID(rec, httptest.NewRequest("GET", "/api/cars/1", nil))
	if got := decode[Car](t, rec); rec.Code != 200 || got != cars[0] {
		t.Errorf("got %d %+v, want 200 %+v", rec.Code, got, cars[0])
	}
	rec = httptest.NewRecorder()
	handleGetCars(rec, httptest.NewRequest("GET", "/api/cars", nil))
	if got := decode[[]Car](t, rec); rec.Code != 200 || !slices.Equal(got, cars) {
		t.Errorf("got %d and %d cars, want 200 and the %d built in", rec.Code, len(got), len(cars))
	}
	for target, want := range map[string]int{"/api/cars/999": 404, "/api/cars/x": 400, "/api/cars/": 400} {
		rec = httptest.NewRecorder()
		handleGetCarByID(rec, httptest.NewRequest("GET", target, nil))
		checkError(t, rec, want)
	}
}

func TestLogLinesOfTheCard(t *testing.T) {
	simulationOff(t)
	logged := captureLog(t)
	get(t, "/api/cars/1")
	get(t, "/api/cars/999")
	get(t, "/api/cars")
	get(t, "/api/cars/999%0aforged")
	for line := range strings.SplitSeq(strings.TrimSpace(`
GET /api/cars/1 - Requesting car details asynchronously
Processing completed for car ID 1: Audi A4
GET /api/cars/999 - Requesting car details asynchronously
Processing completed for car ID 999: car not found
GET /api/cars - Requesting car list asynchronously
Processing completed for car list: 32 found`), "\n") {
		got, err := logged.ReadString('\n')
		if !strings.HasSuffix(got, "INFO "+line+"\n") || err != nil {
			t.Errorf("got %q, %v, want a line that ends in %q", got, err, line)
		}
	}
	if logged.Len() > 0 {
		t.Errorf("also logged %q", logged.String())
	}
}

func TestBuiltInCatalogue(t *testing.T) {
	seen := map[string]map[string]bool{"name": {}, "manufacturer": {}, "category": {}}
	for i, car := range cars {
		if car.ID != i+1 {
			t.Errorf("car %d has ID %d", i+1, car.ID)
		}
		if seen["name"][car.Name] {
			t.Errorf("%s is there twice", car.Name)
		}
		seen["name"][car.Name] = true
		seen["manufacturer"][car.Manufacturer] = true
		seen["category"][car.Category] = true
		if car.Year < 2015 || car.Year > 2025 || car.Price < 10_000 || car.Details.Horsepower < 100 {
			t.Errorf("unlikely figures: %+v", car)
		}
		image := "/images/" + strings.ReplaceAll(strings.ToLower(car.Category), " ", "-") + ".svg"
		if car.ImageURL != image {
			t.Errorf("%s: got image %s, want %s", car.Name, car.ImageURL, image)
		}
		for _, text := range []string{car.Details.Engine, car.Details.Transmission, car.Details.Drivetrain} {
			if text == "" {
				t.Errorf("%s lacks a detail: %+v", car.Name, car.Details)
			}
		}
	}
	for field, want := range map[string]int{"name": 32, "manufacturer": 20, "category": 9} {
		if got := len(seen[field]); got < want {
			t.Errorf("got %d different values for %s, want at least %d", got, field, want)
		}
	}
	want := `{"id":1,"name":"Audi A4","manufacturer":"Audi","category":"Sedan","year":2024,"price":42000,` +
		`"imageUrl":"/images/sedan.svg","details":{"engine":"2.0L Inline-4","horsepower":201,` +
		`"transmission":"7-speed Automatic","drivetrain":"All-Wheel Drive"}}` + "\n"
	if got := string(newRecord(cars[0]).json); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// --- the loop, from inside ------------------------------------------------

// A loop is a processor of the test's own, in the test's bubble.
type loop struct {
	requests    chan CarRequest
	simulations chan simulation
}

func startLoop(t *testing.T) loop {
	l := loop{requests: make(chan CarRequest), simulations: make(chan simulation)}
	stop := make(chan struct{})
	go newProcessor(l.requests, l.simulations, stop).run()
	t.Cleanup(func() { close(stop) })
	return l
}

// send hands a request over and returns the channel its answer will be on.
func (l loop) send(req CarRequest) chan CarResponse {
	req.Response = make(chan CarResponse, 1)
	l.requests <- req
	return req.Response
}

func milliseconds(n int) *time.Duration {
	d := time.Duration(n) * time.Millisecond
	return &d
}

// checkElapsed wants exactly so much time to have passed on the bubble's clock.
func checkElapsed(t *testing.T, start time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(start); got != want {
		t.Errorf("answered after %v, want exactly %v", got, want)
	}
}

func TestOneRequestTakesItsProcessingTime(t *testing.T) {
	tests := []struct {
		name       string
		simulation simulation
		delay      *time.Duration
		want       time.Duration
	}{
		{"default", simulation{delay: defaultDelay}, nil, 100 * time.Millisecond},
		{"flag", simulation{delay: 3 * time.Second}, nil, 3 * time.Second},
		{"own", simulation{delay: defaultDelay}, milliseconds(250), 250 * time.Millisecond},
		{"own, without jitter", simulation{delay: defaultDelay, jitter: time.Second}, milliseconds(1), time.Millisecond},
		{"own, none", simulation{delay: defaultDelay}, milliseconds(0), 0},
		{"off", simulation{}, nil, 0},
		{"off, whatever the request says", simulation{jitter: time.Second}, milliseconds(250), 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := startLoop(t)
				l.simulations <- test.simulation
				start := time.Now()
				resp := <-l.send(CarRequest{ID: 1, Delay: test.delay})
				checkElapsed(t, start, test.want)
				checkResponse(t, resp, "Audi A4", "")
			})
		})
	}
}

func TestThousandTogetherAreAnsweredTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := startLoop(t)
		start := time.Now()
		var callers sync.WaitGroup
		for i := range 1000 {
			callers.Go(func() {
				id := 1 + i%len(cars)
				resp, err := ask(t.Context(), l.requests, CarRequest{ID: id})
				checkElapsed(t, start, defaultDelay)
				if err != nil || resp.Car.ID != id {
					t.Errorf("got %+v, %v, want car %d", resp.Car, err, id)
				}
			})
		}
		callers.Wait()
	})
}

func TestRequestsAreProcessedInOrderOfWhenTheyAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := startLoop(t)
		start := time.Now()
		responses := make(chan CarResponse, 4) // one channel for all, so that it shows their order
		for id, delay := range []int{1: 300, 2: 100, 3: 200, 4: 100} {
			if id > 0 {
				l.requests <- CarRequest{ID: id, Delay: milliseconds(delay), Response: responses}
			}
		}
		for _, want := range []struct {
			id int
			at time.Duration
		}{{2, 100}, {4, 100}, {3, 200}, {1, 300}} {
			resp := <-responses
			checkElapsed(t, start, want.at*time.Millisecond)
			if resp.Car.ID != want.id {
				t.Errorf("got car %d, want %d", resp.Car.ID, want.id)
			}
		}
	})
}

func TestEqualDelaysKeepTheOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := startLoop(t)
		responses := make(chan CarResponse, len(cars))
		for _, car := range cars {
			l.requests <- CarRequest{ID: car.ID, Response: responses}
		}
		for _, car := range cars {
			if got := (<-responses).Car.ID; got != car.ID {
				t.Errorf("got car %d, want %d", got, car.ID)
			}
		}
	})
}

func TestJitterStaysWithinItsBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := startLoop(t)
		s := simulation{delay: 50 * time.Millisecond, jitter: 20 * time.Millisecond}
		l.simulations <- s
		shortest, longest := time.Hour, time.Duration(0)
		for range 1000 {
			start := time.Now()
			<-l.send(CarRequest{ID: 1})
			shortest = min(shortest, time.Since(start))
			longest = max(longest, time.Since(start))
		}
		if shortest < s.delay || longest > s.delay+s.jitter {
			t.Errorf("processing times were %v to %v, want %v to %v", shortest, longest, s.delay, s.delay+s.jitter)
		}
		if longest-shortest < s.jitter/2 {
			t.Errorf("processing times were %v to %v, want them spread over %v", shortest, longest, s.jitter)
		}
	})
}

func TestCancelledRequestIsDroppedUnprocessed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := startLoop(t)
		done := make(chan struct{})
		dropped := l.send(CarRequest{ID: 1, Done: done})
		kept := l.send(CarRequest{ID: 2, Done: make(chan struct{})})
		close(done)
		checkResponse(t, <-kept, "Mercedes-Benz E-Class", "")
		synctest.Wait()
		select {
		case resp := <-dropped:
			t.Errorf("a cancelled request was answered: %+v", resp)
		default:
		}
	})
}

func TestAbandonedRequestHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := startLoop(t)
		start := time.Now()
		l.requests <- CarRequest{ID: 1, Response: make(chan CarResponse)} // nobody will receive
		<-l.send(CarRequest{ID: 2})
		checkElapsed(t, start, defaultDelay)
		<-l.send(CarRequest{ID: 3})
		checkElapsed(t, start, 2*defaultDelay)
	})
}

func TestAskEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := ask(ctx, make(chan CarRequest), CarRequest{ID: 1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with no processor: got %v, want %v", err, context.DeadlineExceeded)
		}
		checkElapsed(t, start, time.Second)
	})
	synctest.Test(t, func(t *testing.T) {
		l := startLoop(t)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(30*time.Millisecond, cancel)
		start := time.Now()
		if _, err := ask(ctx, l.requests, CarRequest{ID: 1}); !errors.Is(err, context.Canceled) {
			t.Errorf("while waiting: got %v, want %v", err, context.Canceled)
		}
		checkElapsed(t, start, 30*time.Millisecond)
	})
}

func TestNobodyWaitsOnceTheSimulationIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := startLoop(t)
		start := time.Now()
		long := l.send(CarRequest{ID: 1, Delay: milliseconds(60_000)})
		short := l.send(CarRequest{ID: 2, Delay: milliseconds(30_000)})
		time.Sleep(time.Second)
		l.simulations <- simulation{}
		<-short
		<-long
		<-l.send(CarRequest{ID: 3, Delay: milliseconds(60_000)})
		checkElapsed(t, start, time.Second)
	})
}

func TestAbandonedRequestsDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcessor(nil, nil, nil) // not running: this test plays the loop
		gone := make(chan struct{})
		close(gone)
		staying := make(chan CarResponse, len(cars))
		for _, car := range cars { // the last to come is the first to be due
			p.accept(CarRequest{ID: car.ID, Delay: milliseconds(59_000 - car.ID), Response: staying})
			for range 3 * minSweep {
				p.accept(CarRequest{ID: 1, Delay: milliseconds(60_000), Done: gone})
			}
		}
		if got := len(p.waiting); got > minSweep {
			t.Errorf("%d requests wait, want at most %d", got, minSweep)
		}
		time.Sleep(59 * time.Second)
		<-p.timer.C
		p.processDue()
		for _, want := range slices.Backward(cars) {
			if got := (<-staying).Car.ID; got != want.ID {
				t.Errorf("got car %d, want %d", got, want.ID)
			}
		}
	})
}

// --- HTTP, from outside -----------------------------------------------------

// simulationOff lets requests to the processor that init started take no time,
// until the end of the test.
func simulationOff(t testing.TB) {
	simulationChan <- simulation{}
	t.Cleanup(func() { simulationChan <- simulation{delay: defaultDelay} })
}

// do sends a request, header lines in the form "Name: value", to the whole
// server and returns its answer, which has been checked to be one that any
// request may get.
func do(t testing.TB, method, target string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	rec := httptest.NewRecorder()
	newHandler().ServeHTTP(rec, r)
	checkAnswer(t, rec)
	return rec
}

func get(t testing.TB, target string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	return do(t, "GET", target, header...)
}

// checkAnswer wants what holds for every answer of the server.
func checkAnswer(t testing.TB, rec *httptest.ResponseRecorder) {
	t.Helper()
	want := map[string]string{
		"Access-Control-Allow-Origin":   "*",
		"Access-Control-Expose-Headers": "X-Total-Count, Link, ETag, Location, Server-Timing",
		"Cache-Control":                 "no-cache",
		"X-Content-Type-Options":        "nosniff",
		"Location":                      "",
	}
	if rec.Code == http.StatusNoContent || rec.Code == http.StatusNotModified {
		if rec.Body.Len() > 0 {
			t.Errorf("a %d has a body: %q", rec.Code, rec.Body)
		}
	} else {
		want["Content-Type"] = "application/json"
		want["Content-Length"] = strconv.Itoa(rec.Body.Len())
		if !json.Valid(rec.Body.Bytes()) {
			t.Errorf("body is not JSON: %q", rec.Body)
		}
	}
	for name, value := range want {
		if got := rec.Header().Get(name); got != value {
			t.Errorf("%s: got %q, want %q", name, got, value)
		}
	}
	if rec.Code >= 400 {
		checkError(t, rec, rec.Code)
	}
}

// checkError wants an error in the form that clients rely on.
func checkError(t testing.TB, rec *httptest.ResponseRecorder, want int) {
	t.Helper()
	body := decode[struct {
		Error, Message string
		Code           int
	}](t, rec)
	if rec.Code != want || body.Code != want || body.Error != http.StatusText(want) || body.Message == "" {
		t.Errorf("got status %d and body %+v, want %d in both", rec.Code, body, want)
	}
}

func decode[T any](t testing.TB, rec *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	decoder := json.NewDecoder(bytes.NewReader(rec.Body.Bytes()))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&v); err != nil {
		t.Errorf("%v in %q", err, rec.Body)
	}
	return v
}

func TestStatusAndMessage(t *testing.T) {
	simulationOff(t)
	const (
		noCar    = "Car not found"
		badID    = "Invalid car ID"
		noPath   = "No such path; the cars are at /api/cars"
		notGet   = "Method not allowed; this path knows GET, HEAD, OPTIONS"
		badDelay = "_delay must be a whole number of milliseconds, 0 to 60000"
		badQuery = "Invalid query: parameters are separated by &, and % stands before two hexadecimal digits"
	)
	tests := []struct {
		method, target string
		status         int
		message        string // of an error
	}{
		{"GET", "/api/cars", 200, ""},
		{"GET", "/api/cars/1", 200, ""},
		{"GET", "/api/cars/32", 200, ""},
		{"GET", "/api/cars/%31", 200, ""}, // the same as 1 (RFC 3986, section 6.2.2.2)
		{"GET", "/api/cars/33", 404, noCar},
		{"GET", "/api/cars/9223372036854775807", 404, noCar},

		{"GET", "/api/cars/0", 400, badID},
		{"GET", "/api/cars/-1", 400, badID},
		{"GET", "/api/cars/+1", 400, badID},
		{"GET", "/api/cars/01", 400, badID},
		{"GET", "/api/cars/1e3", 400, badID},
		{"GET", "/api/cars/1.0", 400, badID},
		{"GET", "/api/cars/1_0", 400, badID},
		{"GET", "/api/cars/0x1", 400, badID},
		{"GET", "/api/cars/١", 400, badID},
		{"GET", "/api/cars/%D9%A1", 400, badID},
		{"GET", "/api/cars/1%2F2", 400, badID},
		{"GET", "/api/cars/%20", 400, badID},
		{"GET", "/api/cars/1%00", 400, badID},
		{"GET", "/api/cars/audi", 400, badID},
		{"GET", "/api/cars/9223372036854775808", 400, badID},
		{"GET", "/api/cars/" + strings.Repeat("9", 40), 400, badID},

		{"GET", "/", 404, noPath},
		{"GET", "/api", 404, noPath},
		{"GET", "/api/", 404, noPath},
		{"GET", "/API/cars", 404, noPath},
		{"GET", "/api/cars/", 404, noPath},
		{"GET", "/api/cars/1/", 404, noPath},
		{"GET", "/api/cars/1/2", 404, noPath},
		{"GET", "//api/cars", 404, noPath},
		{"GET", "//", 404, noPath},
		{"GET", "/api//cars", 404, noPath},
		{"GET", "/api/../x", 404, noPath},
		{"GET", "/api/../api/cars", 404, noPath},
		{"GET", "/./api/cars", 404, noPath},
		{"GET", "/api/cars/.", 404, noPath},
		{"GET", "/api/cars/..", 404, noPath},
		{"GET", "/api%2Fcars", 404, noPath},
		{"GET", "*", 404, noPath},
		{"POST", "/nowhere", 404, noPath},
		{"OPTIONS", "/nowhere", 404, noPath},

		{"POST", "/api/cars", 405, notGet},
		{"PUT", "/api/cars/1", 405, notGet},
		{"PATCH", "/api/cars/1", 405, notGet},
		{"DELETE", "/api/cars/999", 405, notGet},
		{"TRACE", "/api/cars", 405, notGet},
		{"get", "/api/cars", 405, notGet}, // methods are case-sensitive (RFC 9110, section 9.1)
		{"BREW", "/api/cars/1", 405, notGet},

		{"GET", "/api/cars?_delay=0", 200, ""},
		{"GET", "/api/cars?_delay=60000", 200, ""},
		{"GET", "/api/cars?_delay", 200, ""},
		{"GET", "/api/cars/1?_delay=&unknown=x", 200, ""},
		{"GET", "/api/cars/1?_delay=60001", 400, badDelay},
		{"GET", "/api/cars/1?_delay=-1", 400, badDelay},
		{"GET", "/api/cars/1?_delay=1.5", 400, badDelay},
		{"GET", "/api/cars/1?_delay=100ms", 400, badDelay},
		{"GET", "/api/cars/1?_delay=99999999999999999999", 400, badDelay},
		{"GET", "/api/cars?_delay=1&_delay=2", 400, "_delay is given more than once"},
		{"GET", "/api/cars?a=1;b=2", 400, badQuery},
		{"GET", "/api/cars?a=%zz", 400, badQuery},
	}
	for _, test := range tests {
		t.Run(test.method+" "+test.target, func(t *testing.T) {
			rec := do(t, test.method, test.target)
			message := ""
			if rec.Code >= 400 {
				message = decode[map[string]any](t, rec)["message"].(string)
			}
			if rec.Code != test.status || message != test.message {
				t.Errorf("got %d %q, want %d %q", rec.Code, message, test.status, test.message)
			}
			wantAllow := ""
			if test.status == http.StatusMethodNotAllowed {
				wantAllow = "GET, HEAD, OPTIONS"
			}
			if got := rec.Header().Get("Allow"); got != wantAllow {
				t.Errorf("Allow: got %q, want %q", got, wantAllow)
			}
		})
	}
}

func TestBodies(t *testing.T) {
	simulationOff(t)
	if got := decode[Car](t, get(t, "/api/cars/5")); got != cars[4] {
		t.Errorf("got %+v, want %+v", got, cars[4])
	}
	list := get(t, "/api/cars")
	if got := decode[[]Car](t, list); !slices.Equal(got, cars) {
		t.Errorf("got %+v, want %+v", got, cars)
	}
	if got, want := list.Header().Get("X-Total-Count"), strconv.Itoa(len(cars)); got != want {
		t.Errorf("X-Total-Count: got %q, want %q", got, want)
	}
	want := `{"error":"Not Found","message":"Car not found","code":404}` + "\n"
	if got := get(t, "/api/cars/999").Body.String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	fewer := newSnapshot([]*record{newRecord(cars[0]), newRecord(cars[1])})
	other := newSnapshot([]*record{newRecord(cars[0]), newRecord(cars[2])})
	if fewer.etag == other.etag {
		t.Errorf("two lists have the same ETag %s", fewer.etag)
	}
	empty := newSnapshot(nil)
	if got, want := string(empty.json()), "[]\n"; got != want {
		t.Errorf("empty list: got %q, want %q", got, want)
	}
}

func TestServerTimingSaysWhereTheTimeWent(t *testing.T) {
	for _, target := range []string{"/api/cars/1?_delay=30", "/api/cars/999?_delay=30", "/api/cars?_delay=30"} {
		header := get(t, target).Header().Get("Server-Timing")
		match := regexp.MustCompile(`^queue;dur=(\d+\.\d{3}), process;dur=(\d+\.\d{3})$`).FindStringSubmatch(header)
		if match == nil {
			t.Fatalf("%s: Server-Timing is %q", target, header)
		}
		if ms, err := strconv.ParseFloat(match[2], 64); err != nil || ms < 30 {
			t.Errorf("%s: processing took %s ms, want at least 30", target, match[2])
		}
	}
	if got, want := serverTiming(1_234_567, 100_000_999), "queue;dur=1.234, process;dur=100.000"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestConditionalRequests(t *testing.T) {
	simulationOff(t)
	car := get(t, "/api/cars/1").Header().Get("ETag")
	list := get(t, "/api/cars").Header().Get("ETag")
	if !regexp.MustCompile(`^"[0-9a-f]{16}"$`).MatchString(car) {
		t.Errorf("a car's ETag is %s, want a strong one", car)
	}
	if !regexp.MustCompile(`^W/"[0-9a-f]{16}"$`).MatchString(list) {
		t.Errorf("a list's ETag is %s, want a weak one", list)
	}
	if other := get(t, "/api/cars/2").Header().Get("ETag"); other == car {
		t.Errorf("two cars have the same ETag %s", car)
	}
	tests := []struct {
		target, header string
		status         int
	}{
		{"/api/cars/1", "If-None-Match: " + car, 304},
		{"/api/cars/1", "If-None-Match: W/" + car, 304},
		{"/api/cars/1", "If-None-Match: *", 304},
		{"/api/cars/1", `If-None-Match: "x", ` + car + `,"y"`, 304},
		{"/api/cars/1", `If-None-Match: "x"`, 200},
		{"/api/cars/1", "If-None-Match: " + strings.Trim(car, `"`), 200},
		{"/api/cars/1", "If-None-Match: ", 200},
		{"/api/cars", "If-None-Match: " + list, 304},
		{"/api/cars", "If-None-Match: " + strings.TrimPrefix(list, "W/"), 304},
		{"/api/cars", "If-None-Match: " + car, 200},
		{"/api/cars/999", "If-None-Match: *", 404},
	}
	for _, test := range tests {
		for _, method := range []string{"GET", "HEAD"} {
			rec := do(t, method, test.target, test.header)
			if rec.Code != test.status {
				t.Errorf("%s %s with %s: got %d, want %d", method, test.target, test.header, rec.Code, test.status)
			}
			if rec.Code == 304 && rec.Header().Get("ETag") == "" {
				t.Errorf("%s %s: 304 without ETag (RFC 9110, section 15.4.5)", method, test.target)
			}
		}
	}
}

func TestOptionsAndPreflight(t *testing.T) {
	for _, target := range []string{"/api/cars", "/api/cars/1"} {
		rec := do(t, "OPTIONS", target, "Origin: http://localhost:5173", "Access-Control-Request-Method: GET",
			"Access-Control-Request-Headers: if-none-match,authorization")
		want := map[string]string{
			"Allow":                        "GET, HEAD, OPTIONS",
			"Access-Control-Allow-Methods": "GET, HEAD",
			"Access-Control-Allow-Headers": "*, Authorization",
			"Access-Control-Max-Age":       "600",
		}
		if rec.Code != 204 {
			t.Errorf("got %d, want 204", rec.Code)
		}
		for name, value := range want {
			if got := rec.Header().Get(name); got != value {
				t.Errorf("%s: got %q, want %q", name, got, value)
			}
		}
	}
}

func TestHeadIsGetWithoutTheBody(t *testing.T) {
	simulationOff(t)
	server := httptest.NewServer(newHandler())
	defer server.Close()
	for _, path := range []string{"/api/cars", "/api/cars/1", "/api/cars/999", "/nowhere"} {
		var header [2]http.Header
		for i, method := range []string{"GET", "HEAD"} {
			req, _ := http.NewRequest(method, server.URL+path, nil)
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			var body bytes.Buffer
			body.ReadFrom(resp.Body)
			resp.Body.Close()
			if method == "HEAD" && body.Len() > 0 {
				t.Errorf("HEAD %s has a body", path)
			}
			header[i] = resp.Header
			header[i].Del("Date")
			header[i].Del("Server-Timing")
		}
		if !reflect.DeepEqual(header[0], header[1]) {
			t.Errorf("%s: HEAD answers %v, GET %v", path, header[1], header[0])
		}
	}
}

func TestCancelledRequestIsNotCalledNotFound(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	rec := httptest.NewRecorder()
	newHandler().ServeHTTP(rec, httptest.NewRequest("GET", "/api/cars/1", nil).WithContext(ctx))
	checkAnswer(t, rec)
	if rec.Code != 503 || rec.Header().Get("Retry-After") == "" {
		t.Errorf("got %d with Retry-After %q, want 503 with one", rec.Code, rec.Header().Get("Retry-After"))
	}
}

func TestPanicInHandlerIsAnswered(t *testing.T) {
	logged := captureLog(t)
	rec := httptest.NewRecorder()
	panicking := func(http.ResponseWriter, *http.Request) { panic("secret") }
	recoverPanics(http.HandlerFunc(panicking)).ServeHTTP(rec, httptest.NewRequest("GET", "/x%0ay", nil))
	checkAnswer(t, rec)
	if rec.Code != 500 || strings.Contains(rec.Body.String(), "secret") {
		t.Errorf("got %d %s, want 500 without the cause", rec.Code, rec.Body)
	}
	for _, want := range []string{`ERROR GET "/x\ny" - Panic: secret`, "main_test.go"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("the log lacks %q: %s", want, logged.String())
		}
	}

	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("recovered %v, want http.ErrAbortHandler passed on", v)
		}
	}()
	aborting := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	recoverPanics(http.HandlerFunc(aborting)).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
}

func TestSendJSON(t *testing.T) {
	rec := httptest.NewRecorder()
	sendJSON(rec, map[string]string{"name": "Rolls & Royce <3"}, http.StatusCreated)
	checkAnswer(t, rec)
	if got, want := rec.Body.String(), `{"name":"Rolls & Royce <3"}`+"\n"; rec.Code != 201 || got != want {
		t.Errorf("got %d %s, want 201 %s", rec.Code, got, want)
	}
	rec = httptest.NewRecorder()
	sendJSON(rec, make(chan int), http.StatusOK)
	checkAnswer(t, rec)
	if rec.Code != 500 || strings.Contains(rec.Body.String(), "chan") {
		t.Errorf("got %d %s, want 500 without a Go type", rec.Code, rec.Body)
	}
}

// FuzzTarget sends every request target that net/http lets through.
func FuzzTarget(f *testing.F) {
	simulationOff(f)
	for _, target := range []string{"/", "*", "//", "/api/cars", "/api/cars/1", "/api/cars/1%2F2", "/api/cars/../x",
		"/api/cars?_delay=5", "/api/cars?_delay=-1&_delay=x;", "http://localhost/api/cars/2?%"} {
		f.Add(target)
	}
	handler := newHandler()
	f.Fuzz(func(t *testing.T, target string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: localhost\r\n\r\n")))
		if err != nil {
			return
		}
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		checkAnswer(t, rec)
		if rec.Code != 200 && rec.Code != 400 && rec.Code != 404 {
			t.Errorf("%q: got %d", target, rec.Code)
		}
	})
}

// --- flags --------------------------------------------------------------------

func TestParseFlags(t *testing.T) {
	tests := []struct {
		args, port string
		addr       string
		simulation simulation
		err        string
	}{
		{"", "", "localhost:8080", simulation{delay: defaultDelay}, ""},
		{"", "3000", "localhost:3000", simulation{delay: defaultDelay}, ""},
		{"-addr :9000", "3000", ":9000", simulation{delay: defaultDelay}, ""},
		{"-addr [::1]:0", "", "[::1]:0", simulation{delay: defaultDelay}, ""},
		{"-delay 0", "", "localhost:8080", simulation{}, ""},
		{"-delay 1.5s -jitter 20ms", "", "localhost:8080", simulation{1500 * time.Millisecond, 20 * time.Millisecond}, ""},
		{"-delay 1m", "", "localhost:8080", simulation{delay: time.Minute}, ""},
		{"-delay 61s", "", "", simulation{}, `invalid value "61s" for flag -delay: must be a duration such as 100ms or 1.5s, from 0 to 1m`},
		{"-delay 100", "", "", simulation{}, `invalid value "100" for flag -delay: must be a duration such as 100ms or 1.5s, from 0 to 1m`},
		{"-jitter -1ms", "", "", simulation{}, `invalid value "-1ms" for flag -jitter: must be a duration such as 100ms or 1.5s, from 0 to 1m`},
		{"-log-level loud", "", "", simulation{}, `invalid value "loud" for flag -log-level: must be debug, info, warn or error`},
		{"-addr localhost", "", "", simulation{}, `invalid value "localhost" for flag -addr: must be host:port, such as localhost:8080 or :8080`},
		{"-addr localhost:", "", "", simulation{}, `invalid value "localhost:" for flag -addr: must be host:port, such as localhost:8080 or :8080`},
		{"-addr localhost:65536", "", "", simulation{}, `invalid value "localhost:65536" for flag -addr: must be host:port, such as localhost:8080 or :8080`},
		{"", "http", "", simulation{}, `invalid value "http" for PORT in the environment: must be 0 to 65535`},
		{"-colour red", "", "", simulation{}, "flag provided but not defined: -colour"},
		{"-delay", "", "", simulation{}, "flag needs an argument: -delay"},
		{"serve", "", "", simulation{}, `unexpected argument "serve"`},
		{"-h", "", "", simulation{}, flag.ErrHelp.Error()},
	}
	for _, test := range tests {
		t.Run(test.args+" PORT="+test.port, func(t *testing.T) {
			cfg, err := parseFlags(strings.Fields(test.args), test.port)
			switch {
			case err != nil && err.Error() != test.err, err == nil && test.err != "":
				t.Errorf("got error %v, want %q", err, test.err)
			case err == nil && (cfg.addr != test.addr || cfg.simulation != test.simulation):
				t.Errorf("got %s and %+v, want %s and %+v", cfg.addr, cfg.simulation, test.addr, test.simulation)
			}
		})
	}
}

// --- what the pattern is worth -----------------------------------------------

// BenchmarkLoops compares three ways to let every request take 100 ms, under
// 1,000 clients over loopback HTTP: a loop that sleeps, five of those, and the
// processor. One operation is two seconds of load.
func BenchmarkLoops(b *testing.B) {
	sleepingLoop := func(requests <-chan CarRequest, stop <-chan struct{}) {
		for {
			select {
			case req := <-requests:
				time.Sleep(defaultDelay)
				i := slices.IndexFunc(cars, func(car Car) bool { return car.ID == req.ID })
				req.Response <- CarResponse{Car: &cars[i], record: newRecord(cars[i])}
			case <-stop:
				return
			}
		}
	}
	processorLoop := func(requests <-chan CarRequest, stop <-chan struct{}) {
		newProcessor(requests, nil, stop).run()
	}
	for _, variant := range []struct {
		name  string
		loop  func(<-chan CarRequest, <-chan struct{})
		loops int
	}{{"sleeping", sleepingLoop, 1}, {"pool-of-5", sleepingLoop, 5}, {"processor", processorLoop, 1}} {
		b.Run(variant.name, func(b *testing.B) {
			requests := make(chan CarRequest)
			stop := make(chan struct{})
			defer close(stop)
			for range variant.loops {
				go variant.loop(requests, stop)
			}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if resp, err := ask(r.Context(), requests, CarRequest{ID: 1}); err == nil {
					writeJSON(w, resp.record.json, http.StatusOK)
				}
			}))
			defer server.Close()
			answers := 0
			for b.Loop() {
				answers += load(b, server.URL, 1000, 2*time.Second)
			}
			b.ReportMetric(float64(answers)/b.Elapsed().Seconds(), "answers/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// load lets clients ask url over and over for a time, and returns the number
// of answers they got.
func load(b *testing.B, url string, clients int, time time.Duration) int {
	ctx, cancel := context.WithTimeout(b.Context(), time)
	defer cancel()
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	var answers atomic.Int64
	var running sync.WaitGroup
	for range clients {
		running.Go(func() {
			for {
				req, _ := http.NewRequestWithContext(ctx, "GET", url, nil)
				resp, err := transport.RoundTrip(req)
				if err != nil {
					if ctx.Err() == nil {
						b.Error(err)
					}
					return
				}
				if resp.StatusCode == http.StatusOK {
					answers.Add(1)
				}
				resp.Body.Close()
			}
		})
	}
	running.Wait()
	return int(answers.Load())
}

// discard is a ResponseWriter that costs nothing.
type discard http.Header

func (d discard) Header() http.Header         { return http.Header(d) }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// BenchmarkGet is the way of a request through our own code alone, the channel
// and the loop included.
func BenchmarkGet(b *testing.B) {
	simulationOff(b)
	handler := newHandler()
	for _, target := range []string{"/api/cars/1", "/api/cars"} {
		b.Run(target, func(b *testing.B) {
			b.ReportAllocs()
			r := httptest.NewRequest("GET", target, nil)
			for b.Loop() {
				handler.ServeHTTP(discard{}, r)
			}
		})
	}
}
