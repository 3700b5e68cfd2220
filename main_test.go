// Behaviour from outside, over httptest, and the loop from inside, in
// synctest bubbles whose clocks make 100 ms exact and free.

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"cars/internal/e2e/check"
	"cars/internal/e2e/conversation"
	"cars/internal/ops"
	"cars/internal/rest"
	"cars/internal/simulation"
	"cars/internal/sorted"
	"cars/internal/store"
	"cars/internal/strict"
)

// --- helpers ------------------------------------------------------------------
//
// Tests of the whole server start it with newTestServer and know it from outside. Tests
// of the loop start their own with startLoop, or with startLoopOn for a store that the
// test plays.

// TestMain keeps the log out of the tests' output; tests that read it call captureLog.
func TestMain(m *testing.M) {
	logTo(io.Discard)
	os.Exit(m.Run())
}

// logTo sends the log to w, in the form that run gives it.
func logTo(w io.Writer) { slog.SetDefault(slog.New(ops.NewTextHandler(w, slog.LevelInfo))) }

// captureLog returns where the log goes until the end of the test.
func captureLog(t *testing.T) *bytes.Buffer {
	var logged bytes.Buffer
	logTo(&logged)
	t.Cleanup(func() { logTo(io.Discard) })
	return &logged
}

// newTestServer returns the handler that run serves for these arguments, which may
// begin with lines of the environment such as CARS_TOKEN=secret. Its catalogue is in
// memory and has the built-in cars.
func newTestServer(t testing.TB, args ...string) http.Handler {
	t.Helper()
	return newTestServerOf(t, func(*setup) {}, args...)
}

// A setup is what newTestServerOf makes a server of.
type setup struct {
	config    config
	store     store.Store
	catalogue catalogue
	stopping  atomic.Bool
	panics    bool // when it is asked whether it is ready
}

// newTestServerOf is newTestServer, but has change make changes first.
func newTestServerOf(t testing.TB, change func(*setup), args ...string) http.Handler {
	t.Helper()
	env := map[string]string{}
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, value, _ := strings.Cut(args[0], "=")
		env[name] = value
		args = args[1:]
	}
	cfg, err := parseFlags(append([]string{"-data", ""}, args...), func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	s := &setup{config: cfg}
	if s.store, s.catalogue, err = openStore(cfg); err != nil {
		t.Fatal(err)
	}
	change(s)
	host, _, _ := net.SplitHostPort(cfg.addr)
	s.config.guard.Loopback = host != "" && host != "0.0.0.0"
	s.config.guard.Settle(cfg.tlsCert != "")
	stopping := &s.stopping
	if s.panics {
		stopping = nil
	}
	handler, err := newServerHandler(s.config, s.store, ops.NewConnections(), stopping)
	if err != nil {
		t.Fatal(err)
	}
	useStore(t, s.store, s.catalogue, cfg.maxCars, cfg.simulation)
	t.Cleanup(func() {
		useStore(t, store.NewMemory(), builtIn(), defaultMaxCars, simulation.Settings{Delay: defaultDelay})
		s.store.Close()
	})
	return handler
}

// useStore has the server's processor use a store, and simulate.
func useStore(t testing.TB, s store.Store, c catalogue, maxCars int, simulated simulation.Settings) {
	t.Helper()
	control(func(p *processor) {
		if err := p.open(s, c, maxCars); err != nil {
			t.Error(err)
		}
		p.simulate(simulated)
	})
}

// withFreshCatalogue puts the built-in cars into the place of what tests have made of
// them; the next ID is 33 again.
func withFreshCatalogue() { control(func(p *processor) { p.publish(builtIn()) }) }

// get is do for GET, without a body.
func get(t testing.TB, server http.Handler, target string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	return do(t, server, "GET", target, "", header...)
}

// do sends a request, whose body is JSON and whose header has lines in the form
// "Name: value", and returns the answer. The answer has been checked to be one that any
// request may get.
func do(t testing.TB, server http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "localhost:8080"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range header {
		switch name, value, _ := strings.Cut(line, ": "); name {
		case "Host":
			r.Host = value
		case "Content-Length":
			r.ContentLength, _ = strconv.ParseInt(value, 10, 64)
		default:
			r.Header.Set(name, value)
		}
	}
	return answerTo(t, server, r, body)
}

// answerTo has the server answer r, whose body is given once more, and checks the answer.
func answerTo(t testing.TB, server http.Handler, r *http.Request, body string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	server.ServeHTTP(rec, r)
	if err := check.Answer(r, []byte(body), rec.Result()); err != nil {
		t.Errorf("%s %s: %v", r.Method, r.URL, err)
	}
	return rec
}

// checkError wants an error with this status, in the form that clients rely on.
func checkError(t testing.TB, rec *httptest.ResponseRecorder, status int) {
	t.Helper()
	if err := check.Error(rec.Result(), status); err != nil {
		t.Error(err)
	}
}

func encode(v any) string {
	encoded, err := json.Marshal(v)
	if err != nil {
		panic(err) // no test has such values
	}
	return string(encoded)
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

// A loop is a processor of the test's own, in the test's bubble.
type loop struct {
	requests chan CarRequest
	controls chan func(*processor)
}

// startLoop starts a loop on the built-in cars, with the default processing time.
func startLoop(t *testing.T) loop {
	l := loop{make(chan CarRequest), make(chan func(*processor))}
	stop := make(chan struct{})
	go newProcessor(l.requests, l.controls, stop).run()
	t.Cleanup(func() { close(stop) })
	return l
}

// send hands a request over and returns the channel its answer will be on.
func (l loop) send(req CarRequest) chan CarResponse {
	req.Response = make(chan CarResponse, 1)
	l.requests <- req
	return req.Response
}

// control has the processor run f between two requests, and returns what f returns.
func (l loop) control(f func(*processor) error) error {
	done := make(chan error)
	l.controls <- func(p *processor) { done <- f(p) }
	return <-done
}

func (l loop) simulate(s simulation.Settings) {
	l.control(func(p *processor) error { p.simulate(s); return nil })
}

// after asks for a processing time of n milliseconds.
func after(n int) simulation.Asked { return simulation.After(time.Duration(n) * time.Millisecond) }

// checkElapsed wants exactly so much time to have passed on the bubble's clock.
func checkElapsed(t *testing.T, start time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(start); got != want {
		t.Errorf("answered after %v, want exactly %v", got, want)
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

// A fakeStore is a store that the test plays: it receives from commits and confirms, and
// reports by committed, changed and confirmed, whenever it likes.
type fakeStore struct {
	commits  chan store.Commit // has room for the one commit under way
	confirms chan struct{}     // has room for the one confirmation under way
	events   chan store.Event
	shared   bool
	failed   atomic.Bool
}

func newFakeStore(shared bool) *fakeStore {
	return &fakeStore{commits: make(chan store.Commit, 1), confirms: make(chan struct{}, 1), events: make(chan store.Event), shared: shared}
}

func (f *fakeStore) Commit(c store.Commit)      { f.commits <- c }
func (f *fakeStore) Confirm()                   { f.confirms <- struct{}{} }
func (f *fakeStore) Confirms() bool             { return f.shared }
func (f *fakeStore) Age() time.Duration         { return 0 }
func (f *fakeStore) MaxWrites() int             { return 1000 }
func (f *fakeStore) Events() <-chan store.Event { return f.events }
func (f *fakeStore) Shared() bool               { return f.shared }
func (f *fakeStore) AddMetrics(r *ops.Registry) {}
func (f *fakeStore) Close() error               { return nil }
func (f *fakeStore) committed(err error)        { f.events <- store.Event{Kind: store.Committed, Err: err} }
func (f *fakeStore) changed(s store.State)      { f.events <- store.Event{Kind: store.Changed, State: s} }
func (f *fakeStore) confirmed(err error)        { f.events <- store.Event{Kind: store.Confirmed, Err: err} }
func (f *fakeStore) Failed() error {
	if f.failed.Load() {
		return errors.New("the store has failed")
	}
	return nil
}

// A storeLoop is a loop that does not simulate, on a store that the test plays.
type storeLoop struct {
	loop
	*fakeStore
}

func startLoopOn(t *testing.T, s *fakeStore) storeLoop {
	t.Helper()
	l := storeLoop{startLoop(t), s}
	err := l.control(func(p *processor) error { p.simulate(simulation.Settings{}); return p.open(s, p.catalogue, p.maxCars) })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// onDisk has every change of s made durable by calling sync.
func onDisk(t *testing.T, s *setup, sync func() error) {
	disk, stop := newFakeStore(false), make(chan struct{})
	s.store = disk
	go func() {
		for {
			select {
			case <-disk.commits:
				disk.committed(sync())
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop) })
}

// errDiskFull is what a store says when the disk has no room.
var errDiskFull = &rest.Error{Status: http.StatusInsufficientStorage, Message: "Nothing was changed: there is no room on the disk", Cause: errors.New("disk full")}

// checkNoAnswer wants none of the requests to have been answered yet.
func checkNoAnswer(t *testing.T, responses ...chan CarResponse) {
	t.Helper()
	synctest.Wait()
	for i, response := range responses {
		select {
		case resp := <-response:
			t.Errorf("request %d has been answered: %+v", i, resp)
		default:
		}
	}
}

// numberedCars returns n cars with the IDs from 1 on.
func numberedCars(n int) []Car {
	list := make([]Car, n)
	for i := range list {
		list[i] = cars[i%len(cars)]
		list[i].ID, list[i].Name = i+1, fmt.Sprint("Car ", i+1)
	}
	return list
}

// saab is a car as clients send it.
const saab = `{"name":" Saab 900 ","manufacturer":"Saab","category":"Coupe","year":1994,"price":20990,"imageUrl":"/images/coupe.svg",` +
	`"details":{"engine":"2.3L Inline-4","horsepower":150,"transmission":"5-speed Manual","drivetrain":"Front-Wheel Drive"}}`

// rename is a request that changes the name of a car.
func rename(id int, name string) CarRequest {
	return change(id, fmt.Sprintf(`{"name":%q}`, name), rest.Conditions{})
}

// change is a request that changes a car by a JSON Merge Patch.
func change(id int, body string, conditions rest.Conditions) CarRequest {
	changes, err := carFields.DecodePatch([]byte(body), id)
	if err != nil {
		panic(err)
	}
	return CarRequest{ID: id, write: patch(id, changes, conditions)}
}

// add is a request that puts in a new car.
func add(car Car) CarRequest { return CarRequest{write: create(newItem(car))} }

// deletion is a request that takes out a car.
func deletion(id int) CarRequest { return CarRequest{ID: id, write: remove(id, rest.Conditions{})} }

// replacing is a request that puts other cars in the place of all.
func replacing(list []Car) CarRequest {
	return CarRequest{write: replaceAll(newReplacement(list), rest.Conditions{})}
}

// ifMatch is the condition that a car is still as it was.
func ifMatch(car Car) rest.Conditions { return rest.Conditions{IfMatch: []string{newItem(car).ETag}} }

// preconditionFailed is the message of a write whose conditions do not hold.
const preconditionFailed = "If-Match does not hold (any longer): it has been changed since, or is another"

// statusOf returns the status of an error's answer, or 0 for nil.
func statusOf(err error) int {
	var answer *rest.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &answer):
		return answer.Status
	}
	return http.StatusInternalServerError
}

// newCatalogue returns a catalogue of cars, which are by ascending ID.
func newCatalogue(list []Car) catalogue {
	items := sorted.NewList(newItems(list))
	return catalogue{State: store.State{Items: items, NextID: items.LastID() + 1}}
}

// openFile opens the catalogue's file at path, and has the loop use it.
func (l loop) openFile(t *testing.T, path string) (kept store.Store, c catalogue) {
	t.Helper()
	kept, c, err := openStore(config{data: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.control(func(p *processor) error { return p.open(kept, c, defaultMaxCars) }); err != nil {
		t.Fatal(err)
	}
	return kept, c
}

// isSame reports whether two catalogues have the same cars and next ID.
func isSame(a, b catalogue) bool {
	return a.NextID == b.NextID && a.Items.Len() == b.Items.Len() && a.Items.Hash() == b.Items.Hash() && a.etag("") == b.etag("")
}

// checkSame wants two catalogues to be the same, bytes and entity tags included.
func checkSame(t *testing.T, got, want catalogue) {
	t.Helper()
	if !isSame(got, want) {
		t.Errorf("got next ID %d and hash %x, want %d and %x", got.NextID, got.Items.Hash(), want.NextID, want.Items.Hash())
	}
	gotItems, wantItems := slices.Collect(got.Items.All()), slices.Collect(want.Items.All())
	if len(gotItems) != len(wantItems) {
		t.Fatalf("got %d cars, want %d", len(gotItems), len(wantItems))
	}
	for i, got := range gotItems {
		if want := wantItems[i]; !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
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
	server := newTestServer(t, "-delay", "0")
	logged := captureLog(t)
	get(t, server, "/api/cars/1")
	get(t, server, "/api/cars/999")
	get(t, server, "/api/cars")
	get(t, server, "/api/cars/999%0aforged")
	for line := range strings.SplitSeq(strings.TrimSpace(`
GET /api/cars/1 - Requesting car details asynchronously
Processing completed for car ID 1: Audi A4
GET /api/cars/999 - Requesting car details asynchronously
Processing completed for car ID 999: car not found
Request refused method=GET path=/api/cars/999 status=404 error="Car not found" bytes=59
GET /api/cars - Requesting car list asynchronously
Processing completed for car list: snapshot of 32 cars
Request refused method=GET path=/api/cars/999%0aforged status=400 error="Invalid car ID" bytes=62`), "\n") {
		got, err := logged.ReadString('\n')
		if !strings.Contains(got, "INFO "+line) || err != nil {
			t.Errorf("got %q, %v, want a line with %q", got, err, line)
		}
	}
	if logged.Len() > 0 {
		t.Errorf("also logged %q", logged.String())
	}
}

func TestSendJSON(t *testing.T) {
	for _, test := range []struct {
		data         any
		status, want int
		body         string
	}{
		{map[string]string{"name": "Rolls & Royce <3"}, 201, 201, `{"name":"Rolls & Royce <3"}` + "\n"},
		{make(chan int), 200, 500, `{"error":"Internal Server Error","message":"Internal error","code":500}` + "\n"},
	} {
		rec := httptest.NewRecorder()
		sendJSON(rec, test.data, test.status)
		if got := rec.Body.String(); rec.Code != test.want || got != test.body {
			t.Errorf("got %d %s, want %d %s", rec.Code, got, test.want, test.body)
		}
		if h := rec.Header(); h.Get("Content-Type") != "application/json" || h.Get("Content-Length") != strconv.Itoa(rec.Body.Len()) {
			t.Errorf("got %v", h)
		}
	}
}

func TestSendError(t *testing.T) {
	rec := httptest.NewRecorder()
	sendError(rec, "Car not found", http.StatusNotFound)
	checkError(t, rec, 404)
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
	if got := string(newItem(cars[0]).Line); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// --- the loop, from inside ------------------------------------------------

func TestOneRequestTakesItsProcessingTime(t *testing.T) {
	tests := []struct {
		name       string
		simulation simulation.Settings
		asked      simulation.Asked
		want       time.Duration
	}{
		{"default", simulation.Settings{Delay: defaultDelay}, simulation.Asked{}, 100 * time.Millisecond},
		{"flag", simulation.Settings{Delay: 3 * time.Second}, simulation.Asked{}, 3 * time.Second},
		{"own", simulation.Settings{Delay: defaultDelay}, after(250), 250 * time.Millisecond},
		{"own, without jitter", simulation.Settings{Delay: defaultDelay, Jitter: time.Second}, after(1), time.Millisecond},
		{"own, none", simulation.Settings{Delay: defaultDelay}, after(0), 0},
		{"off", simulation.Settings{}, simulation.Asked{}, 0},
		{"off, whatever the request says", simulation.Settings{Jitter: time.Second}, after(250), 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := startLoop(t)
				l.simulate(test.simulation)
				start := time.Now()
				resp := <-l.send(CarRequest{ID: 1, asked: test.asked})
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
				resp, err := send(t.Context(), l.requests, CarRequest{ID: id})
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
		responses := make(chan CarResponse, 5) // one channel for all, so that it shows their order
		for id, delay := range []int{1: 300, 2: 100, 3: 200, 4: 100, 5: 400} {
			if id > 0 {
				l.requests <- CarRequest{ID: id, asked: after(delay), Response: responses}
			}
		}
		for _, want := range []struct {
			id int
			at time.Duration
		}{{2, 100}, {4, 100}, {3, 200}, {1, 300}, {5, 400}} {
			resp := <-responses
			checkElapsed(t, start, want.at*time.Millisecond)
			if resp.Car.ID != want.id {
				t.Errorf("got car %d, want %d", resp.Car.ID, want.id)
			}
		}
	})
}

func TestReceivedIsWhenTheRequestLeavesTheChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		requests := make(chan CarRequest)
		p := newProcessor(requests, nil, nil)
		sent := time.Now()
		go func() {
			time.Sleep(7 * time.Millisecond) // the processor is busy
			p.accept(<-requests)
			<-p.waiting.C()
			p.processDue()
		}()
		resp, err := send(t.Context(), requests, CarRequest{ID: 1})
		if got, want := resp.received.Sub(sent), 7*time.Millisecond; err != nil || got != want {
			t.Errorf("received %v after it was sent, %v, want %v", got, err, want)
		}
		checkElapsed(t, sent, 107*time.Millisecond)
	})
}

func TestCancelledRequestIsDroppedUnprocessed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := startLoop(t)
		done := make(chan struct{})
		dropped := l.send(CarRequest{ID: 1, done: done})
		kept := l.send(CarRequest{ID: 2, done: make(chan struct{})})
		close(done)
		checkResponse(t, <-kept, "Mercedes-Benz E-Class", "")
		checkNoAnswer(t, dropped)
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

func TestSendEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := send(ctx, make(chan CarRequest), CarRequest{ID: 1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with no processor: got %v, want %v", err, context.DeadlineExceeded)
		}
		checkElapsed(t, start, time.Second)
	})
	synctest.Test(t, func(t *testing.T) {
		l := startLoop(t)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(30*time.Millisecond, cancel)
		start := time.Now()
		if _, err := send(ctx, l.requests, CarRequest{ID: 1}); !errors.Is(err, context.Canceled) {
			t.Errorf("while waiting: got %v, want %v", err, context.Canceled)
		}
		checkElapsed(t, start, 30*time.Millisecond)
	})
	synctest.Test(t, func(t *testing.T) {
		d := startLoopOn(t, newFakeStore(false))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(30*time.Millisecond, cancel)
		_, err := send(ctx, d.requests, rename(1, "A"))
		if !errors.Is(err, errOutcomeUnknown) {
			t.Errorf("while a write is being committed: got %v, want %v", err, errOutcomeUnknown)
		}
		rec := httptest.NewRecorder()
		if rest.WriteError(rec, err); rec.Code != 503 || rec.Header().Get("Retry-After") != "" {
			t.Errorf("got %d and Retry-After %q; who tries again could do it twice", rec.Code, rec.Header().Get("Retry-After"))
		}
	})
}

func TestNobodyWaitsOnceTheSimulationIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := startLoop(t)
		start := time.Now()
		long := l.send(CarRequest{ID: 1, asked: after(60_000)})
		short := l.send(CarRequest{ID: 2, asked: after(30_000)})
		time.Sleep(time.Second)
		l.simulate(simulation.Settings{})
		<-short
		<-long
		<-l.send(CarRequest{ID: 3, asked: after(60_000)})
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
			p.accept(CarRequest{ID: car.ID, asked: after(59_000 - car.ID), Response: staying})
			for range 3 * minSweep {
				p.accept(CarRequest{ID: 1, asked: after(60_000), done: gone})
			}
		}
		if got := p.waiting.Len(); got > minSweep {
			t.Errorf("%d requests wait, want at most %d", got, minSweep)
		}
		time.Sleep(59 * time.Second)
		<-p.waiting.C()
		p.processDue()
		for _, want := range slices.Backward(cars) {
			if got := (<-staying).Car.ID; got != want.ID {
				t.Errorf("got car %d, want %d", got, want.ID)
			}
		}
	})
}

// --- commits, from inside -----------------------------------------------------

func TestNothingIsVisibleBeforeItIsCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startLoopOn(t, newFakeStore(false))
		before := *(<-d.send(CarRequest{list: true})).catalogue
		write := d.send(rename(1, "A"))
		if item := (<-d.commits).After.Items.Get(1); carOf(item).Name != "A" {
			t.Errorf("what is being committed has the name %q, want A", carOf(item).Name)
		}
		// The disk hangs; reads go on, and see nothing of it.
		for range 3 {
			time.Sleep(time.Second)
			checkResponse(t, <-d.send(CarRequest{ID: 1}), "Audi A4", "")
			if list := <-d.send(CarRequest{list: true}); !isSame(*list.catalogue, before) {
				t.Error("a list shows what is not committed")
			}
		}
		checkNoAnswer(t, write)
		d.committed(nil)
		checkResponse(t, <-write, "A", "")
		checkResponse(t, <-d.send(CarRequest{ID: 1}), "A", "")
	})
}

// TestHungDisk: writes that wait for the disk are answered after 10 s, and leave room for
// others. The writes of the batch under way may happen, the other writes do not.
func TestHungDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startLoopOn(t, newFakeStore(false))
		look := func(wantHangs bool, wantInHands int) {
			t.Helper()
			d.control(func(p *processor) error {
				if hangs := p.underWay() > writePatience/2; hangs != wantHangs || p.inHands() != wantInHands {
					t.Errorf("hangs: %v, %d in its hands; want %v and %d", hangs, p.inHands(), wantHangs, wantInHands)
				}
				return nil
			})
		}
		start := time.Now()
		inBatch := d.send(rename(1, "A"))
		<-d.commits
		time.Sleep(4500 * time.Millisecond)
		queued := d.send(rename(2, "B"))
		look(false, 2)
		time.Sleep(time.Second)
		look(true, 2)
		checkNoAnswer(t, inBatch, queued)
		checkResponse(t, <-inBatch, "", errNoOutcome.Error())
		checkElapsed(t, start, writePatience)
		checkResponse(t, <-queued, "", errHangs.Error())
		checkResponse(t, <-d.send(rename(2, "C")), "", errHangs.Error()) // at once
		checkElapsed(t, start, writePatience)
		look(true, 0)
		checkResponse(t, <-d.send(CarRequest{ID: 1}), "Audi A4", "")

		d.committed(nil)
		checkResponse(t, <-d.send(CarRequest{ID: 1}), "A", "")
		checkResponse(t, <-d.send(CarRequest{ID: 2}), "Mercedes-Benz E-Class", "")
		look(false, 0)
		last := d.send(rename(3, "C"))
		<-d.commits
		d.committed(nil)
		checkResponse(t, <-last, "C", "")
	})
}

func TestWritesGatherWhileABatchIsCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startLoopOn(t, newFakeStore(false))
		first := d.send(rename(1, "A"))
		<-d.commits
		// All of these are one batch, judged by what the first leaves and by those before them.
		inSecond := []chan CarResponse{
			d.send(CarRequest{ID: 1, write: remove(1, ifMatch(cars[0]))}),
			d.send(rename(1, "B")),
			d.send(deletion(1)),
			d.send(rename(1, "C")),
			d.send(add(Car{Name: "D"})),
			d.send(rename(33, "E")),
			d.send(add(Car{ID: 33, Name: "F"})),
		}
		checkNoAnswer(t, append(inSecond, first)...)
		d.committed(nil)
		checkResponse(t, <-first, "A", "")
		<-d.commits
		checkResponse(t, <-d.send(CarRequest{ID: 1}), "A", "")
		checkNoAnswer(t, inSecond...)
		d.committed(nil)
		for i, want := range []struct{ car, error string }{
			{"", preconditionFailed}, {"B", ""}, {"B", ""}, {"", "car not found"}, {"D", ""}, {"E", ""}, {"", "car ID is taken"},
		} {
			checkResponse(t, <-inSecond[i], want.car, want.error)
		}
		if len(d.commits) > 0 {
			t.Error("there is a third batch")
		}
	})
}

func TestFailedCommitChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startLoopOn(t, newFakeStore(false))
		broken := errors.New("disk on fire")
		before := *(<-d.send(CarRequest{list: true})).catalogue
		first := d.send(add(Car{Name: "A"}))
		<-d.commits
		second := []chan CarResponse{d.send(rename(33, "B")), d.send(rename(1, "C")), d.send(add(Car{Name: "D"}))}
		d.committed(broken)
		if resp := <-first; resp.Error != broken || resp.Car != nil {
			t.Errorf("got %+v, want %v", resp, broken)
		}
		// The next batch finds nothing of the first, but for its ID.
		<-d.commits
		after := *(<-d.send(CarRequest{list: true})).catalogue
		if !slices.Equal(after.Items.Blocks()[0], before.Items.Blocks()[0]) || after.Items.Hash() != before.Items.Hash() {
			t.Error("a failed commit has changed the catalogue")
		}
		d.committed(nil)
		checkResponse(t, <-second[0], "", "car not found")
		checkResponse(t, <-second[1], "C", "")
		if resp := <-second[2]; resp.Car == nil || resp.Car.ID != 34 {
			t.Errorf("got %+v, want a car with the ID 34: 33 may be on the disk", resp)
		}
	})
}

// TestRefusalsWaitForTheStore since only the store knows whether what they were judged by
// is the newest state.
func TestRefusalsWaitForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startLoopOn(t, newFakeStore(false))
		refused := d.send(rename(999, "A"))
		if c := <-d.commits; !isSame(catalogue{State: c.After}, catalogue{State: c.Before}) || c.Writes != 1 {
			t.Errorf("got %+v, want a commit that changes nothing", c)
		}
		checkNoAnswer(t, refused)
		d.committed(nil)
		checkResponse(t, <-refused, "", "car not found")
	})
}

func TestFullCatalogue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := startLoop(t)
		limit := func(n int) {
			l.control(func(p *processor) error { p.maxCars = n; p.simulate(simulation.Settings{}); return nil })
		}
		limit(len(cars) + 1)
		one := add(Car{Name: "A"})
		for i, step := range []struct {
			req  CarRequest
			want error
		}{
			{one, nil}, {one, errFull}, {rename(1, "B"), nil}, {replacing(numberedCars(len(cars) + 2)), errFull},
			{deletion(1), nil}, {one, nil}, {one, errFull},
			{replacing(numberedCars(len(cars) + 1)), nil}, {one, errFull}, {replacing(nil), nil}, {one, nil},
		} {
			if resp := <-l.send(step.req); resp.Error != step.want {
				t.Errorf("step %d: got %v, want %v", i, resp.Error, step.want)
			}
		}
		// A file may have more cars than are allowed now; they can be changed, and
		// become fewer.
		<-l.send(replacing(nil))
		<-l.send(add(Car{ID: 1, Name: "A"}))
		<-l.send(add(Car{ID: 2, Name: "B"}))
		limit(1)
		checkResponse(t, <-l.send(rename(1, "C")), "C", "")
		checkResponse(t, <-l.send(deletion(1)), "C", "")
	})
}

func TestCallerOfAWriteGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startLoopOn(t, newFakeStore(false))
		gone := make([]chan struct{}, 4)
		leave := func(i int, req CarRequest) CarRequest {
			gone[i] = make(chan struct{})
			req.done = gone[i]
			return req
		}
		// While its processing time passes: nothing happens.
		d.simulate(simulation.Settings{Delay: defaultDelay})
		early := d.send(leave(0, rename(1, "early")))
		close(gone[0])
		time.Sleep(defaultDelay)
		synctest.Wait()
		d.simulate(simulation.Settings{})

		// While its batch is being committed: it happens wholly.
		late := d.send(leave(1, rename(2, "late")))
		<-d.commits
		close(gone[1])

		// While it waits for the batch before: nothing happens.
		queued := d.send(leave(2, rename(3, "queued")))
		staying := d.send(leave(3, rename(4, "staying")))
		close(gone[2])
		d.committed(nil)
		<-d.commits
		d.committed(nil)
		checkResponse(t, <-staying, "staying", "")
		<-late // which made room for its answer
		checkNoAnswer(t, early, queued)
		for id, want := range []string{1: "Audi A4", "late", "BMW 3 Series", "staying"} {
			if id > 0 {
				checkResponse(t, <-d.send(CarRequest{ID: id}), want, "")
			}
		}
	})
}

func TestAbandonedRequestsDoNotPileUpAtAStoreThatHangs(t *testing.T) {
	for _, req := range []CarRequest{rename(1, "A"), {ID: 1}} {
		synctest.Test(t, func(t *testing.T) {
			p := newProcessor(nil, nil, nil)
			p.store, p.simulation = newFakeStore(true), simulation.Settings{}
			gone := make(chan struct{})
			close(gone)
			for range 10 * minSweep {
				p.accept(req)
				p.judge()
				p.confirm()
				req.done = gone // all but the first
			}
			if got := p.inHands(); got > minSweep+1 {
				t.Errorf("%d abandoned requests are kept, want at most %d", got, minSweep)
			}
		})
	}
}

// --- a store that others write to -----------------------------------------------

// TestPublishingIsOneClose: a catalogue's channel closes when another catalogue takes its
// place. Each has a version of its own, and a stream can go on from all earlier ones.
func TestPublishingIsOneClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startLoopOn(t, newFakeStore(true))
		list := func(since string) CarResponse { return d.readConfirmed(CarRequest{list: true, since: since}) }
		write := func(req CarRequest, err error) { response := d.send(req); <-d.commits; d.committed(err); <-response }
		last, seen := *list("").catalogue, map[string]sorted.List{}
		for i, step := range []func(){ // from 4 on, nothing changes
			func() { write(rename(1, "A"), nil) }, func() { write(replacing(cars), nil) },
			func() { others := theirs(last.State, 2, "B"); others.Version = ""; d.changed(others) },
			func() { d.control(func(p *processor) error { p.publish(builtIn()); return nil }) },
			func() { write(deletion(999), nil) }, func() { write(rename(1, "C"), errDiskFull) },
		} {
			seen[last.Version] = last.Items
			step()
			now, closed := *list("").catalogue, turn{CarRequest: CarRequest{done: last.changed}}.abandoned()
			if _, again := seen[now.Version]; closed != (i < 4) || again != (i >= 4) {
				t.Errorf("step %d: published: %v, and version %q has been before: %v", i, closed, now.Version, again)
			}
			for version, want := range seen {
				if resp := list(version); resp.before == nil || resp.before.Hash() != want.Hash() || list(version+"0").before != nil {
					t.Errorf("step %d: version %q is not known, or is another, or one that never was is known", i, version)
				}
			}
			last = now
		}
	})
}

// theirs returns the state that others make of s by giving a car another name.
func theirs(s store.State, id int, name string) store.State {
	car := *carOf(s.Items.Get(id))
	car.Name = name
	return catalogue{State: s}.put(newItem(car)).State
}

func (l storeLoop) readConfirmed(req CarRequest) CarResponse {
	response := l.send(req)
	<-l.confirms
	l.confirmed(nil)
	return <-response
}

func TestConflictIsJudgedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startLoopOn(t, newFakeStore(true))
		first := d.send(rename(3, "first"))
		before := (<-d.commits).After
		responses := []chan CarResponse{
			d.send(CarRequest{ID: 1, write: replace(newItem(Car{ID: 1, Name: "A"}), ifMatch(cars[0]))}),
			d.send(rename(2, "B")),
			d.send(add(Car{Name: "C"})),
		}
		d.committed(nil)
		checkResponse(t, <-first, "first", "")
		if c := <-d.commits; c.Writes != 3 || carOf(c.After.Items.Get(1)).Name != "A" {
			t.Errorf("got a commit of %d writes, want one of 3 that renames car 1", c.Writes)
		}
		responses = append(responses, d.send(rename(2, "late")))

		// Others have renamed car 1, and created one.
		others := catalogue{State: theirs(before, 1, "theirs")}.put(newItem(Car{ID: 33, Name: "theirs, too"})).State
		d.changed(others)
		d.committed(store.ErrConflict)
		if c := <-d.commits; c.Writes != 4 || !isSame(catalogue{State: c.Before}, catalogue{State: others}) || carOf(c.After.Items.Get(2)).Name != "late" {
			t.Errorf("got a commit of %d writes, want all 4, in their order, judged by what others have made", c.Writes)
		}
		checkNoAnswer(t, responses...)
		checkResponse(t, d.readConfirmed(CarRequest{ID: 1}), "theirs", "")
		d.committed(nil)
		for i, want := range []struct{ car, error string }{{"", preconditionFailed}, {"B", ""}, {"C", ""}, {"late", ""}} {
			resp := <-responses[i]
			checkResponse(t, resp, want.car, want.error)
			if want.car == "C" && resp.Car.ID != 34 {
				t.Errorf("got ID %d for a new car, want 34", resp.Car.ID)
			}
		}
		checkNoAnswer(t, responses...) // a second one
	})
}

// TestReadsWaitUntilTheStoreHasConfirmed the catalogue, and see all changes by others until
// then. Reads that come meanwhile wait for the next confirmation.
func TestReadsWaitUntilTheStoreHasConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startLoopOn(t, newFakeStore(true))
		first := d.send(CarRequest{ID: 1})
		<-d.confirms
		second := []chan CarResponse{d.send(CarRequest{ID: 2}), d.send(CarRequest{list: true}), d.send(CarRequest{ID: 999})}
		others := theirs(theirs(builtIn().State, 1, "theirs"), 2, "theirs, too")
		d.changed(others)
		checkNoAnswer(t, append(second, first)...)
		if len(d.confirms) > 0 {
			t.Error("the store is asked while it is being asked")
		}
		d.confirmed(nil)
		checkResponse(t, <-first, "theirs", "")
		checkNoAnswer(t, second...)

		<-d.confirms // one for all
		d.confirmed(nil)
		checkResponse(t, <-second[0], "theirs, too", "")
		if list := <-second[1]; !isSame(*list.catalogue, catalogue{State: others}) {
			t.Error("the list is not that of the others")
		}
		checkResponse(t, <-second[2], "", "car not found")

		// If the store cannot tell, nobody is told anything.
		failed := []chan CarResponse{d.send(CarRequest{ID: 1})}
		<-d.confirms
		failed = append(failed, d.send(CarRequest{ID: 2}))
		d.confirmed(errDiskFull)
		<-d.confirms
		d.confirmed(errDiskFull)
		for _, response := range failed {
			if resp := <-response; resp.Error != errDiskFull || resp.Car != nil {
				t.Errorf("got %+v, want %v", resp, errDiskFull)
			}
		}
		checkResponse(t, d.readConfirmed(CarRequest{ID: 1}), "theirs", "")
		if len(d.confirms) > 0 {
			t.Error("the store is asked for nobody")
		}
	})
}

func TestStoreCannotBeChangedWhileItIsAtWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startLoopOn(t, newFakeStore(true))
		open := func() error {
			return d.control(func(p *processor) error { return p.open(store.NewMemory(), builtIn(), defaultMaxCars) })
		}
		for _, name := range []string{"A", "B"} {
			response := d.send(rename(1, name))
			<-d.commits
			if open() == nil {
				t.Error("the store was changed while a batch is under way")
			}
			d.committed(nil)
			checkResponse(t, <-response, name, "")
		}
		response := d.send(CarRequest{ID: 1})
		<-d.confirms
		if open() == nil {
			t.Error("the store was changed while a confirmation is under way")
		}
		d.confirmed(nil)
		checkResponse(t, <-response, "B", "")
		if err := open(); err != nil {
			t.Error(err)
		}
		checkResponse(t, <-d.send(CarRequest{ID: 1}), "Audi A4", "")
	})
}

func TestBatchesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startLoopOn(t, newFakeStore(false))
		first := d.send(rename(1, "first"))
		<-d.commits
		var waiting []chan CarResponse
		maxBatch := d.MaxWrites()
		for i := range 5 * maxBatch / 2 {
			waiting = append(waiting, d.send(rename(1, fmt.Sprint("Car ", i))))
		}
		d.committed(nil)
		checkResponse(t, <-first, "first", "")
		last := -1 // that was judged
		for _, want := range []int{maxBatch, maxBatch, maxBatch / 2} {
			c := <-d.commits
			last += want
			if got := carOf(c.After.Items.Get(1)).Name; c.Writes != want || got != fmt.Sprint("Car ", last) {
				t.Errorf("got a batch of %d that ends with %s, want %d, up to car %d", c.Writes, got, want, last)
			}
			checkNoAnswer(t, waiting[last])
			d.committed(nil)
		}
		for i, response := range waiting {
			checkResponse(t, <-response, fmt.Sprint("Car ", i), "")
		}
		if synctest.Wait(); len(d.commits) > 0 {
			t.Error("there is a fourth batch")
		}
	})
}

// TestReplacementIsGivenIDs for its cars without ID: in one trip to the processor if the
// handler has guessed the IDs, and otherwise in two. Only the first trip takes the
// processing time, and may be made to fail.
func TestReplacementIsGivenIDs(t *testing.T) {
	control(func(*processor) {}) // the server's processor has its channel by now
	const without = `{"name":"A","manufacturer":"B"}`
	for _, test := range []struct {
		bodies []string // of requests that come together
		ids    [][]int
		trips  int
	}{
		{[]string{`[{"id":40,"name":"A","manufacturer":"B"},` + without + `,` + without + `]`}, [][]int{{40, 41, 42}}, 1},
		{[]string{`[]`}, [][]int{nil}, 1},
		{[]string{`[` + without + `,` + without + `]`}, [][]int{{33, 34}}, 2},
		{[]string{`[` + without + `,{"id":7,"name":"A","manufacturer":"B"}]`}, [][]int{{7, 33}}, 2},
		// These are one after the other.
		{[]string{`[` + without + `]`, `[` + without + `]`}, [][]int{{33}, {34}}, 4},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := startLoop(t)
			trips := countTrips(t, l)
			start := time.Now()
			answers := make([]*httptest.ResponseRecorder, len(test.bodies))
			replace := replaceCars(defaultMaxCars)
			var clients sync.WaitGroup
			for i, body := range test.bodies {
				clients.Go(func() {
					r := httptest.NewRequest("PUT", "/api/cars", strings.NewReader(body))
					r.Header.Set("Content-Type", "application/json")
					answers[i] = httptest.NewRecorder()
					replace(answers[i], r)
				})
			}
			clients.Wait()
			checkElapsed(t, start, time.Duration(len(test.bodies))*defaultDelay) // one after the other
			var got [][]int
			for _, rec := range answers {
				if got := rec.Header().Get("Server-Timing"); got != "queue;dur=0.000, process;dur=100.000" {
					t.Errorf("%s: got Server-Timing %s", test.bodies, got)
				}
				var ids []int
				for _, car := range decode[[]Car](t, rec) {
					ids = append(ids, car.ID)
				}
				got = append(got, ids)
			}
			slices.SortFunc(got, slices.Compare)
			if !reflect.DeepEqual(got, test.ids) || *trips != test.trips {
				t.Errorf("%s: got %v in %d trips, want %v in %d", test.bodies, got, *trips, test.ids, test.trips)
			}
		})
	}
	s := simulation.Settings{Delay: time.Minute, Fail: 1}
	if first, second := s.Failure(simulation.Asked{}), s.Failure(simulation.Asked{Never: true}); first == nil || second != nil {
		t.Errorf("the first trip fails with %v, the second with %v; want only the first to fail", first, second)
	}
}

// countTrips has the handlers reach l instead of the server's processor until the end of
// the test, and counts what they send.
func countTrips(t *testing.T, l loop) *int {
	shared, counted := carRequestChan, make(chan CarRequest)
	carRequestChan = counted
	t.Cleanup(func() { carRequestChan = shared; close(counted) })
	trips := new(int)
	go func() {
		for req := range counted {
			*trips++
			l.requests <- req
		}
	}()
	return trips
}

// --- the catalogue ----------------------------------------------------------

// TestCatalogueAgreesWithTheObvious does the same to catalogues and to maps, at
// random.
func TestCatalogueAgreesWithTheObvious(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var some []Car
	if err := json.Unmarshal([]byte(encode(check.RandomCars(random, 500))), &some); err != nil {
		t.Fatal(err)
	}
	c, want, nextID := newCatalogue(nil), map[int]Car{}, 1
	for step := range 20_000 {
		id := 1 + random.IntN(60)
		car := some[random.IntN(len(some))]
		old, found := want[id]
		car.ID = id
		var w write
		after, ok, status := &car, found, 404 // what becomes of the car, if it does, and else the status
		switch random.IntN(6) {
		case 0: // with the next ID
			if len(want) > 40 {
				continue
			}
			car.ID = 0
			w, ok = create(newItem(car)), true
			car.ID = nextID
		case 1:
			w, ok, status = create(newItem(car)), !found, 409
		case 2:
			w = replace(newItem(car), rest.Conditions{})
		case 3:
			engine, _ := json.Marshal(car.Details.Engine)
			w = change(id, fmt.Sprintf(`{"year":%d,"details":{"engine":%s}}`, car.Year, engine), rest.Conditions{}).write
			old.Year, old.Details.Engine = car.Year, car.Details.Engine
			after = &old
		case 4:
			w, after = remove(id, rest.Conditions{}), nil
		case 5:
			w, ok = replace(newItem(car), rest.Conditions{IfNoneMatch: []string{"*"}}), false
			if found {
				status = 412
			}
		}
		switch {
		case !ok:
		case after == nil:
			delete(want, id)
		default:
			want[after.ID] = *after
		}
		for id := range want {
			nextID = max(nextID, id+1)
		}
		before, list := c, slices.Collect(c.Items.All())
		made, item, err := w(c)
		if ok != (err == nil) || !ok && (statusOf(err) != status || !isSame(made, c)) {
			t.Fatalf("step %d, ID %d: got %v, want it to succeed: %t, or else %d", step, id, err, ok, status)
		}
		if ok && after != nil && *carOf(item) != *after {
			t.Fatalf("step %d, ID %d: got %+v, want %+v", step, id, *carOf(item), *after)
		}
		if !isSame(c, before) || !slices.Equal(slices.Collect(c.Items.All()), list) {
			t.Fatalf("step %d, ID %d: the old catalogue was changed", step, id)
		}
		if c = made; c.NextID != nextID || c.Items.Len() != len(want) {
			t.Fatalf("step %d, ID %d: got next ID %d and %d cars, want %d and %d", step, id, c.NextID, c.Items.Len(), nextID, len(want))
		}
	}
	items := slices.Collect(c.Items.All())
	if fresh := sorted.NewList(items); fresh.Hash() != c.Items.Hash() {
		t.Error("the hash is not that of the cars")
	}
	for i, id := range slices.Sorted(maps.Keys(want)) {
		if got := carOf(items[i]); *got != want[id] {
			t.Errorf("got %+v, want %+v", *got, want[id])
		}
	}
}

// --- the file ---------------------------------------------------------------

func TestReplayedStateEqualsTheStateBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cars.jsonl")
	if _, _, err := openStore(config{data: filepath.Dir(path)}); err == nil {
		t.Error("opened a folder")
	}
	l := startLoop(t)
	l.simulate(simulation.Settings{})
	kept, opened := l.openFile(t, path)
	checkSame(t, opened, newCatalogue(cars))
	must := func(req CarRequest) CarResponse {
		t.Helper()
		resp := <-l.send(req)
		if resp.Error != nil {
			t.Fatal(resp.Error)
		}
		return resp
	}
	reopen := func() {
		t.Helper()
		before := *(<-l.send(CarRequest{list: true})).catalogue
		if err := kept.Close(); err != nil {
			t.Fatal(err)
		}
		kept, opened = l.openFile(t, path)
		checkSame(t, opened, before)
	}
	odd := Car{Name: "<\u2028> & \"\\😀é\ufffd", Manufacturer: "B", Category: strings.Repeat("é", 50)}
	must(add(odd))
	reopen()
	must(deletion(33))
	reopen()
	if resp := must(add(odd)); resp.Car.ID != 34 {
		t.Errorf("got the ID %d of a deleted car", resp.Car.ID)
	}
	odd.ID = 5000
	must(add(odd))
	must(change(1, `{"details":{"engine":"é"}}`, rest.Conditions{}))
	reopen()
	must(deletion(34))
	must(replacing(numberedCars(3000)))
	reopen()
	must(replacing(nil))
	must(add(odd))
	reopen()
	must(deletion(5000))
	reopen()
	if resp := must(add(Car{Name: "A", Manufacturer: "B"})); resp.Car.ID != 5001 {
		t.Errorf("got ID %d, want 5001", resp.Car.ID)
	}
	kept.Close()
}

// TestIDsOfABatchAreNotGivenAgain has a car that lived for no longer than a batch,
// deleted by itself or with all others.
func TestIDsOfABatchAreNotGivenAgain(t *testing.T) {
	for _, end := range []CarRequest{deletion(33), replacing(nil)} {
		cfg := config{data: filepath.Join(t.TempDir(), "cars.jsonl")}
		kept, c, err := openStore(cfg)
		if err != nil {
			t.Fatal(err)
		}
		p := newProcessor(nil, nil, nil)
		p.simulation = simulation.Settings{}
		if err := p.open(kept, c, defaultMaxCars); err != nil {
			t.Fatal(err)
		}
		for _, req := range []CarRequest{add(Car{}), end} {
			req.Response = make(chan CarResponse, 1)
			p.accept(req)
		}
		p.judge()
		p.stored(<-kept.Events())
		kept.Close()
		kept, c, err = openStore(cfg)
		if err != nil {
			t.Fatal(err)
		}
		kept.Close()
		checkSame(t, c, p.catalogue)
		if c.NextID != 34 {
			t.Errorf("got next ID %d, want 34", c.NextID)
		}
	}
}

func TestHandWrittenCars(t *testing.T) {
	const audi = `{"id":1,"name":"Audi A4","manufacturer":"Audi","category":"Sedan","year":2024,"price":42000,"imageUrl":"/images/sedan.svg","details":{"engine":"2.0L Inline-4","horsepower":201,"transmission":"7-speed Automatic","drivetrain":"All-Wheel Drive"}}`
	for _, test := range []struct{ cars, want string }{
		{audi, "1"},
		{strings.Replace(audi, `"id":1,`, `"id":4503599627370496,`, 1), "4503599627370496"},
		{strings.Replace(audi, `"id":1,`, `"id":4503599627370497,`, 1), "4503599627370497"},
		{strings.NewReplacer(",", ", ", ":", ": ", "{", "{ ").Replace(audi), "1"},
		{`{"id":5,"name":"A","manufacturer":"B"},{"manufacturer":"B","name":" C ","id":4,"details":{"horsepower":1e2}}`, "4 5"},
		{strings.Replace(audi, "2024", "1850", 1), "put[0].year must be 0 or between 1886 and"},
		{audi + `,` + audi, "put[1].id is also that of [0]"},
		{strings.Replace(audi, `"id":1,`, "", 1), "put[0].id is required"},
		{strings.Replace(audi, `"id":1,`, `"id":0,`, 1), "put[0].id must be at least 1"},
		{strings.Replace(audi, `"id":1,`, `"id":9007199254740992,`, 1), "put[0].id must be at most"},
		{strings.Replace(audi, `"year"`, `"Year"`, 1), "put[0].Year is not a known field; did you mean year?"},
		{strings.Replace(audi, `"name":"Audi A4"`, `"name":"\ud800"`, 1), "It has half of a surrogate pair at offset 24"},
		{strings.Replace(audi, `"name":`, `"name":"x","name":`, 1), `The key "name" occurs twice`},
		{strings.Replace(audi, "Audi A4", "\xff", 1), "It is not valid UTF-8"},
		{`7`, "put[0] must be an object"},
	} {
		path := filepath.Join(t.TempDir(), "cars.jsonl")
		if err := os.WriteFile(path, []byte(`{"put":[`+test.cars+"]}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		kept, c, err := openStore(config{data: path})
		if err != nil {
			if want := "line 1 (offset 0): " + test.want; !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %s", test.cars, err, want)
			}
			continue
		}
		kept.Close()
		var ids []string
		for item := range c.Items.All() {
			ids = append(ids, strconv.Itoa(item.ID))
			if want := newItem(*carOf(item)); !reflect.DeepEqual(item, want) {
				t.Errorf("%s: got %+v, want %+v", test.cars, item, want)
			}
		}
		if got := strings.Join(ids, " "); got != test.want {
			t.Errorf("%s: got %s, want %s", test.cars, got, test.want)
		}
	}
	// What is checked was valid when it was written, though no more today.
	path := filepath.Join(t.TempDir(), "cars.jsonl")
	old := newCatalogue([]Car{{ID: maxChosenID + 1, Name: "A", Manufacturer: "B", Year: 2999}})
	for range 2 { // writes it, and reads it
		kept, state, err := store.OpenFile(path, store.FileOptions{Initial: old.State, Read: readItem})
		if err != nil {
			t.Fatal(err)
		}
		kept.Close()
		checkSame(t, catalogue{State: state}, old)
	}
	if err := os.WriteFile(path, fmt.Appendf(nil, "{\"put\":[%s]}", old.Items.Get(maxChosenID+1).JSON()), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openStore(config{data: path}); err == nil {
		t.Error("a car of 2999 was accepted from a person")
	}
}

// FuzzCar reads a car as a person could have written it. A car that is accepted is
// encoded and read again unchanged. However it is read, its item is the one that newItem
// makes.
func FuzzCar(f *testing.F) {
	f.Add(newItem(cars[0]).JSON())
	f.Add(newItem(Car{ID: 1, Name: "<\u2028\"\\", Manufacturer: "é"}).JSON())
	f.Add([]byte(`{"id":5,"name":"A","manufacturer":"B"}`))
	f.Add([]byte(`{"id":1,"name":"a\`))
	read := func(body []byte, wrong strict.Problems) (*sorted.Item, error) {
		r := strict.NewReader(slices.Clip(bytes.Clone(body))) // with nothing behind it, as at the end of a file
		item := readItem(r, wrong)
		return item, cmp.Or(r.End(), wrong.Err())
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		checked, err := read(body, strict.Problems{})
		if err == nil {
			again, err := read(checked.JSON(), nil)
			if err != nil || !reflect.DeepEqual(again, checked) {
				t.Fatalf("%s: read as %+v, and encoded and read again as %+v, %v", body, checked, again, err)
			}
		}
		unchecked, unreadable := read(body, nil)
		if err == nil && unreadable != nil {
			t.Fatalf("%s: %v, though it was accepted from a person", body, unreadable)
		}
		for item, err := range map[*sorted.Item]error{checked: err, unchecked: unreadable} {
			if err == nil && !reflect.DeepEqual(item, newItem(*carOf(item))) {
				t.Fatalf("%s: read as %+v, which newItem would not make", body, item)
			}
		}
	})
}

// --- HTTP, from outside -------------------------------------------------------

// TestConversations holds the conversations in internal/e2e/testdata with the handler.
func TestConversations(t *testing.T) {
	files, err := conversation.Read("internal/e2e/testdata/*.http")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(file.Name, func(t *testing.T) {
			file.Play(t, func(t *testing.T, command string) conversation.Server {
				return conversation.Handler(newTestServer(t, strings.Fields(strings.Replace(command, "cars", "", 1))...))
			})
		})
	}
}

// TestServerTimingSaysWhereTheTimeWent at least in that processing takes its time.
func TestServerTimingSaysWhereTheTimeWent(t *testing.T) {
	server := newTestServer(t)
	for _, target := range []string{"/api/cars/1?_delay=30", "/api/cars/999?_delay=30", "/api/cars?_delay=30"} {
		header := get(t, server, target).Header().Get("Server-Timing")
		match := regexp.MustCompile(`^queue;dur=(\d+\.\d{3}), process;dur=(\d+\.\d{3})$`).FindStringSubmatch(header)
		if match == nil {
			t.Fatalf("%s: Server-Timing is %q", target, header)
		}
		if ms, err := strconv.ParseFloat(match[2], 64); err != nil || ms < 30 {
			t.Errorf("%s: processing took %s ms, want at least 30", target, match[2])
		}
	}
}

// TestHealth has a server that is full of other requests, loses its store and stops.
func TestHealth(t *testing.T) {
	var s *setup
	disk := newFakeStore(false)
	server := newTestServerOf(t, func(setup *setup) {
		s = setup
		s.store = disk
		s.config.guard.MaxInFlight = 0
	})
	wantHealth := func(target string, status int, want string) {
		t.Helper()
		rec := get(t, server, target)
		if rec.Code != status || !strings.Contains(rec.Body.String(), want) || (status == 503) != (rec.Header().Get("Retry-After") != "") {
			t.Errorf("%s: got %d %s %v, want %d %s", target, rec.Code, rec.Body, rec.Header(), status, want)
		}
	}
	wantHealth("/api/cars/1", 503, "-max-in-flight")
	wantHealth("/healthz", 200, `"status":"alive"`)
	wantHealth("/readyz", 200, `"status":"ready"`)
	wantHealth("/metrics", 200, "cars_requests_in_flight 0")
	disk.failed.Store(true)
	wantHealth("/readyz", 503, "Storage has failed")
	s.stopping.Store(true)
	wantHealth("/readyz", 503, "The server is stopping")
	wantHealth("/healthz", 200, `"status":"alive"`)
}

func TestCancelledRequestIsNotCalledNotFound(t *testing.T) {
	server := newTestServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for ctx, want := range map[context.Context]int{ctx: 503, context.WithValue(ctx, promptly{}, true): 200} {
		if rec := answerTo(t, server, httptest.NewRequest("GET", "http://localhost/api/cars/1", nil).WithContext(ctx), ""); rec.Code != want || (rec.Header().Get("Retry-After") != "") != (want == 503) {
			t.Errorf("got %d with Retry-After %q, want %d", rec.Code, rec.Header().Get("Retry-After"), want)
		}
	}
}

func TestPanicInHandlerIsAnswered(t *testing.T) {
	server := newTestServerOf(t, func(s *setup) { s.panics = true })
	logged := captureLog(t)
	rec := get(t, server, "/readyz")
	if rec.Code != 500 || strings.Contains(rec.Body.String(), "nil") {
		t.Errorf("got %d %s, want 500 without the cause", rec.Code, rec.Body)
	}
	for _, want := range []string{`ERROR Panic method=GET path=/readyz error="runtime error`, "main.go"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("the log lacks %q: %s", want, logged.String())
		}
	}
}

// TestFailedCommitIsAnswered with the outcome of the change, and without the text of the
// disk's error.
func TestFailedCommitIsAnswered(t *testing.T) {
	for _, test := range []struct {
		outcome    error
		status     int
		message    string
		retryAfter string
	}{
		{&rest.Error{Status: 503, Message: "It could not be stored", RetryAfter: 1, Cause: errors.New("/tmp/secret: disk on fire")}, 503, "It could not be stored", "1"},
		{errDiskFull, 507, errDiskFull.Message, ""},
		{errors.New("/tmp/secret: disk on fire"), 500, "Internal error", ""}, // which no store says
	} {
		server := newTestServerOf(t, func(s *setup) { onDisk(t, s, func() error { return test.outcome }) }, "-delay", "0")
		rec := do(t, server, "PATCH", "/api/cars/1", `{"year":2000}`)
		got := decode[check.ErrorBody](t, rec)
		if rec.Code != test.status || got.Message != test.message || rec.Header().Get("Retry-After") != test.retryAfter {
			t.Errorf("%v: got %d %+v %v, want %d %q", test.outcome, rec.Code, got, rec.Header(), test.status, test.message)
		}
		if got := decode[Car](t, get(t, server, "/api/cars/1")); got != cars[0] {
			t.Errorf("%v: got %+v, want the car as it was", test.outcome, got)
		}
	}
}

// TestBlanksAroundANameAreNotCounted although the description, which cannot say so, counts
// them.
func TestBlanksAroundANameAreNotCounted(t *testing.T) {
	server := newTestServer(t, "-delay", "0")
	name := strings.Repeat("é", 200)
	r := httptest.NewRequest("PUT", "http://localhost/api/cars/1", strings.NewReader(`{"name":"  `+name+` ","manufacturer":"B"}`))
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	if server.ServeHTTP(rec, r); rec.Code != 200 || decode[Car](t, rec).Name != name {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
}

// TestHistoriesAreLinearizable has many clients at work, in memory and on a disk that is
// slow and full now and then.
func TestHistoriesAreLinearizable(t *testing.T) {
	for name, change := range map[string]func(*setup){
		"memory": func(*setup) {},
		"slow disk": func(s *setup) {
			onDisk(t, s, func() (err error) {
				time.Sleep(rand.N(300 * time.Microsecond)) // as disks do
				if rand.IntN(10) == 0 {
					err = errDiskFull
				}
				return err
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := newTestServerOf(t, change, "-delay", "0")
			first, events, err := check.Histories(func(r *http.Request) (*http.Response, error) {
				rec := httptest.NewRecorder()
				server.ServeHTTP(rec, r)
				return rec.Result(), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := check.Linearizable(first, events); err != nil {
				t.Error(err)
			}
		})
	}
}

// FuzzListQuery sends every query string: it is answered with a list or refused.
func FuzzListQuery(f *testing.F) {
	server := newTestServer(f, "-delay", "0")
	for _, q := range []string{"", "_page=2&_limit=3", "name_like=^a(", "q=%zz", "_sort=-year,name&_order=asc,desc",
		"year_gte=1e5&year_ne=.5", "_start=1;_end=2", "id=1&id=2&_per_page=0", "details.horsepower_lt=0x10"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		r := httptest.NewRequest("GET", "/api/cars", nil)
		r.URL.RawQuery = q
		r.Host = "localhost"
		rec := answerTo(t, server, r, "")
		if rec.Code != 200 && rec.Code != 400 {
			t.Errorf("%q: got %d", q, rec.Code)
		}
	})
}

// FuzzTarget sends every request target that net/http lets through.
func FuzzTarget(f *testing.F) {
	server := newTestServer(f, "-delay", "0")
	for _, target := range []string{"/", "*", "//", "/api/cars", "/api/cars/1", "/api/cars/1%2F2", "/api/cars/../x",
		"/api/cars?_delay=5", "/api/cars?_delay=-1&_delay=x;", "http://localhost/api/cars/2?%"} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: localhost\r\n\r\n")))
		if err != nil {
			return
		}
		rec := answerTo(t, server, r, "")
		otherHost := rec.Code == 403 && r.Host != "localhost"
		if rec.Code != 200 && rec.Code != 400 && rec.Code != 404 && !otherHost {
			t.Errorf("%q: got %d", target, rec.Code)
		}
	})
}

// FuzzBody wants no body to be answered with a 5xx, and the car of one that is
// accepted to read back as it was answered, and to be accepted again unchanged.
func FuzzBody(f *testing.F) {
	for _, body := range []string{saab, `{"name":"A","manufacturer":"B"}`, `{"details":null,"year":null}`, `{"id":7,"name":"\ud83d\ude00"}`,
		`{"name":"A","name":"B"}`, `{"year":1e999}`, `[{"name":"A","manufacturer":"B"}]`, `[]`, "{\"name\":\"\xff\"}", `{"price":1e9,"details":{"horsepower":-0}}`} {
		for kind := range 4 {
			f.Add(body, kind)
		}
	}
	server := newTestServer(f, "-delay", "0")
	f.Fuzz(func(t *testing.T, body string, kind int) {
		withFreshCatalogue()
		kinds := []struct{ method, target string }{{"POST", "/api/cars"}, {"PUT", "/api/cars/7"}, {"PATCH", "/api/cars/7"}, {"PUT", "/api/cars"}}
		to := kinds[uint(kind)%4]
		before := get(t, server, "/api/cars").Body.String()
		rec := do(t, server, to.method, to.target, body, "Content-Type: application/json")
		switch {
		case rec.Code >= 500:
			t.Fatalf("%s %s %q: got %d %s", to.method, to.target, body, rec.Code, rec.Body)
		case rec.Code >= 400:
			if after := get(t, server, "/api/cars").Body.String(); after != before {
				t.Fatalf("%s %s %q: refused, and yet something has changed", to.method, to.target, body)
			}
		case to.target == "/api/cars" && to.method == "PUT":
			if after := get(t, server, "/api/cars").Body.String(); after != rec.Body.String() {
				t.Fatalf("%q: answered %s, read %s", body, rec.Body, after)
			}
		default:
			target, etag := fmt.Sprint("/api/cars/", decode[Car](t, rec).ID), rec.Header().Get("ETag")
			again := do(t, server, "PUT", target, rec.Body.String(), "If-Match: "+etag)
			for _, same := range []*httptest.ResponseRecorder{again, get(t, server, target)} {
				if same.Code != 200 || same.Body.String() != rec.Body.String() || same.Header().Get("ETag") != etag {
					t.Fatalf("%q: answered %s with %s, and then %d %s with %s", body, rec.Body, etag, same.Code, same.Body, same.Header().Get("ETag"))
				}
			}
		}
	})
}

// --- the description ----------------------------------------------------------

// An attempt is a request to a server of its own, with the built-in catalogue.
type attempt struct {
	method, target, body string
	header               []string
	times                int    // how often, 0 for once
	server               string // a command as in the description's examples

	slow     bool // the body does not arrive in time
	crowded  bool // the server is full of other requests
	stopping bool // the server is
	diskFull bool
}

// answer returns the last answer, which has been checked.
func (a attempt) answer(t *testing.T) *httptest.ResponseRecorder {
	t.Helper()
	args := strings.Fields(strings.Replace(a.server, "cars", "", 1))
	server := newTestServerOf(t, func(s *setup) {
		s.stopping.Store(a.stopping)
		if a.crowded {
			s.config.guard.MaxInFlight = 0
		}
		if a.diskFull {
			onDisk(t, s, func() error { return errDiskFull })
		}
	}, append(args, "-delay", "1ms")...)
	var rec *httptest.ResponseRecorder
	for range max(a.times, 1) {
		if a.slow {
			r := httptest.NewRequest(a.method, a.target, iotest.ErrReader(os.ErrDeadlineExceeded))
			r.Host = "localhost"
			r.Header.Set("Content-Type", "application/json")
			rec = answerTo(t, server, r, "")
		} else {
			rec = do(t, server, a.method, a.target, a.body, a.header...)
		}
	}
	return rec
}

// TestDocumentDescribesEveryRoute: all paths and methods are in the document, but what
// the page loads, and nothing else is.
func TestDocumentDescribesEveryRoute(t *testing.T) {
	registered := map[string]bool{}
	for pattern := range newRoutes(nil, 0, nil) {
		path := strings.TrimSuffix(pattern, "{$}")
		registered[path] = !check.OfThePage(path)
	}
	methods := map[string][]string{} // by path
	for _, op := range check.Description.Operations() {
		methods[op.Path] = append(methods[op.Path], op.Method)
		if !registered[op.Path] {
			t.Errorf("the document has %s, which is registered nowhere", op.Path)
		}
	}
	for path, want := range registered {
		if want && methods[path] == nil {
			t.Errorf("the document lacks %s", path)
		}
	}
	for path, documented := range methods {
		target := strings.NewReplacer("{id}", "1", "{name}", "car.svg").Replace(path)
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} {
			rec := attempt{method: method, target: target}.answer(t)
			if got, want := rec.Code != 405, slices.Contains(documented, method); got != want {
				t.Errorf("%s %s: got %d, and documented is %v", method, path, rec.Code, want)
			}
			if got, want := rec.Header().Get("Allow"), strings.Join(documented, ", "); rec.Code == 405 && got != want {
				t.Errorf("%s %s: Allow: got %s, want %s", method, path, got, want)
			}
		}
	}
}

// TestEveryStatusIsDescribed tries to get every status from every operation. What it
// gets must be in the document, and what is there it must get.
func TestEveryStatusIsDescribed(t *testing.T) {
	bodies := map[string]string{"POST /api/cars": saab, "PUT /api/cars": "[" + saab + "]", "PUT /api/cars/{id}": saab, "PATCH /api/cars/{id}": `{"year":1994}`}
	tries := []func(a *attempt){
		func(a *attempt) {}, // 200, 201, 204
		func(a *attempt) { a.header = append(a.header, "Access-Control-Request-Method: PUT") },              // 204
		func(a *attempt) { a.header = append(a.header, "If-None-Match: *") },                                // 304, 412
		func(a *attempt) { a.target += "?_delay=x" },                                                        // 400
		func(a *attempt) { a.server = "CARS_TOKEN=secret cars" },                                            // 401
		func(a *attempt) { a.header = append(a.header, "Host: evil.example") },                              // 403
		func(a *attempt) { a.target = strings.NewReplacer("/1", "/999", ".svg", ".png").Replace(a.target) }, // 404
		func(a *attempt) { a.slow = true },                                                                  // 408
		func(a *attempt) { a.body = strings.Replace(a.body, "{", `{"id":1,`, 1) },                           // 409
		func(a *attempt) { a.header = append(a.header, `If-Match: "x"`) },                                   // 412
		func(a *attempt) { a.header = append(a.header, fmt.Sprint("Content-Length: ", maxCarsBody+1)) },     // 413
		func(a *attempt) { a.header = append(a.header, "Content-Type: text/plain") },                        // 415
		func(a *attempt) { a.header = append(a.header, "Content-Encoding: gzip") },                          // 415
		func(a *attempt) { a.body = strings.ReplaceAll(a.body, "}", `,"colour":"red"}`) },                   // 422
		func(a *attempt) { a.server, a.times = "cars -rate 0.001", 2 },                                      // 429
		func(a *attempt) { a.crowded = true },                                                               // 503
		func(a *attempt) { a.stopping = true },                                                              // 503
		func(a *attempt) { a.diskFull = true },                                                              // 507
		func(a *attempt) { a.target += "?_fail=418" },                                                       // default
	}
	for _, op := range check.Description.Operations() {
		given := map[string]bool{"500": true} // which nothing should give
		for _, try := range tries {
			a := attempt{method: op.Method, target: strings.NewReplacer("{id}", "1", "{name}", "car.svg").Replace(op.Path), body: bodies[op.Method+" "+op.Path]}
			a.header = []string{"Content-Type: application/json"}
			try(&a)
			status := strconv.Itoa(a.answer(t).Code)
			if !slices.Contains(op.Statuses(), status) {
				status = "default"
			}
			given[status] = true
		}
		for _, status := range op.Statuses() {
			if !given[status] {
				t.Errorf("%s %s: the document has %s, which no request gets", op.Method, op.Path, status)
			}
		}
	}
}

// TestExamplesAreRealAnswers makes the request of every example, and gets the answer
// that it has. Values that are examples of header fields are among theirs.
func TestExamplesAreRealAnswers(t *testing.T) {
	examples, err := check.Description.Examples()
	if err != nil {
		t.Fatal(err)
	}
	if want := bytes.Count(check.DescriptionText, []byte(`"line":`)); len(examples) != want {
		t.Errorf("the document has %d requests, and %d of them are for the operation whose answer they explain", want, len(examples))
	}
	seen := map[string]bool{}
	for _, e := range examples {
		method, target, _ := strings.Cut(e.Line, " ")
		rec := attempt{method: method, target: target, body: e.Body, header: e.Header, times: e.Times, server: e.Server}.answer(t)
		if status := strconv.Itoa(rec.Code); status != e.Status && (e.Status != "default" || slices.Contains(e.Op.Statuses(), status)) {
			t.Errorf("%s: got %d, want %s", e.Line, rec.Code, e.Status)
		}
		if e.Value != nil {
			if got := decode[any](t, rec); !reflect.DeepEqual(got, e.Value) {
				t.Errorf("%s:\ngot  %v\nwant %v", e.Line, got, e.Value)
			}
		}
		for _, values := range rec.Result().Header {
			seen[values[0]] = true
		}
	}
	var text struct {
		Components struct {
			Headers map[string]struct{ Example any }
		}
	}
	if err := json.Unmarshal(check.DescriptionText, &text); err != nil {
		t.Fatal(err)
	}
	for name, header := range text.Components.Headers {
		if header.Example != nil && !seen[fmt.Sprint(header.Example)] {
			t.Errorf("no example was answered with %s: %v", name, header.Example)
		}
	}
}

// --- flags --------------------------------------------------------------------

func TestParseFlags(t *testing.T) {
	tests := []struct {
		args, port string
		addr       string
		simulation simulation.Settings
		err        string
	}{
		{"", "", "localhost:8080", simulation.Settings{Delay: defaultDelay}, ""},
		{"", "3000", "localhost:3000", simulation.Settings{Delay: defaultDelay}, ""},
		{"-addr :9000", "3000", ":9000", simulation.Settings{Delay: defaultDelay}, ""},
		{"-addr [::1]:0", "", "[::1]:0", simulation.Settings{Delay: defaultDelay}, ""},
		{"-delay 0", "", "localhost:8080", simulation.Settings{}, ""},
		{"-delay 1.5s -jitter 20ms", "", "localhost:8080", simulation.Settings{Delay: 1500 * time.Millisecond, Jitter: 20 * time.Millisecond}, ""},
		{"-delay 1m", "", "localhost:8080", simulation.Settings{Delay: time.Minute}, ""},
		{"-delay 61s", "", "", simulation.Settings{}, `invalid value "1m1s" for flag -delay: must be from 0 to 1m`},
		{"-delay 100", "", "", simulation.Settings{}, `invalid value "100" for flag -delay: must be a time with its unit, such as 300ms or 2s`},
		{"-jitter -1ms", "", "", simulation.Settings{}, `invalid value "-1ms" for flag -jitter: must be from 0 to 1m`},
		{"-log-level loud", "", "", simulation.Settings{}, `invalid value "loud" for flag -log-level: must be debug, info, warn or error`},
		{"-addr localhost", "", "", simulation.Settings{}, `invalid value "localhost" for flag -addr: must be host:port, such as localhost:8080 or :8080`},
		{"-addr localhost:", "", "", simulation.Settings{}, `invalid value "localhost:" for flag -addr: must be host:port, such as localhost:8080 or :8080`},
		{"-addr localhost:65536", "", "", simulation.Settings{}, `invalid value "localhost:65536" for flag -addr: must be host:port, such as localhost:8080 or :8080`},
		{"-delay", "", "", simulation.Settings{}, "flag needs an argument: -delay"},
		{"-h", "", "", simulation.Settings{}, flag.ErrHelp.Error()},
	}
	for _, test := range tests {
		t.Run(test.args+" PORT="+test.port, func(t *testing.T) {
			cfg, err := parseFlags(strings.Fields(test.args), func(name string) string {
				return map[string]string{"PORT": test.port}[name]
			})
			switch {
			case err != nil && err.Error() != test.err, err == nil && test.err != "":
				t.Errorf("got error %v, want %q", err, test.err)
			case err == nil && (cfg.addr != test.addr || cfg.simulation != test.simulation):
				t.Errorf("got %s and %+v, want %s and %+v", cfg.addr, cfg.simulation, test.addr, test.simulation)
			}
		})
	}
}

// --- what things cost ----------------------------------------------------------

// discard is a ResponseWriter that costs nothing.
type discard http.Header

func (d discard) Header() http.Header         { return http.Header(d) }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// BenchmarkRequest is the way of a request through our own code alone, the
// channel and the loop included.
func BenchmarkRequest(b *testing.B) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	server := newTestServer(b, "-delay", "0")
	for _, request := range []struct{ method, target, body string }{
		{"GET", "/api/cars/1", ""},
		{"GET", "/api/cars", ""},
		{"PUT", "/api/cars/1", saab},
		{"PATCH", "/api/cars/1", `{"price":20990}`},
	} {
		b.Run(request.method+request.target, func(b *testing.B) {
			b.ReportAllocs()
			r := httptest.NewRequest(request.method, request.target, nil)
			r.Host = "localhost"
			r.Header.Set("Content-Type", "application/json")
			for b.Loop() {
				if r.Body = http.NoBody; request.body != "" {
					r.Body = io.NopCloser(strings.NewReader(request.body))
				}
				server.ServeHTTP(discard{}, r)
			}
		})
	}
}
