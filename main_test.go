// Behaviour from outside, over httptest, and the loop from inside, in
// synctest bubbles whose clocks make 100 ms exact and free.

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"cars/internal/answer"
	"cars/internal/fields"
	"cars/internal/header"
	"cars/internal/ijson"
	"cars/internal/items"
	"cars/internal/journal"
	"cars/internal/openapitest"
	"cars/internal/query"
	"cars/internal/watch"
	"cars/web"
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
GET /api/cars/999 - 404, 59 bytes
GET /api/cars - Requesting car list asynchronously
Processing completed for car list: snapshot of 32 cars
GET /api/cars/999%0aforged - 400, 62 bytes`), "\n") {
		got, err := logged.ReadString('\n')
		if !strings.Contains(got, "INFO "+line) || err != nil {
			t.Errorf("got %q, %v, want a line with %q", got, err, line)
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

func TestALaterRequestDoesNotPostponeAnEarlierOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := startLoop(t)
		start := time.Now()
		first := l.send(CarRequest{ID: 1})
		time.Sleep(60 * time.Millisecond)
		second := l.send(CarRequest{ID: 2})
		<-first
		checkElapsed(t, start, 100*time.Millisecond)
		<-second
		checkElapsed(t, start, 160*time.Millisecond)
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

func TestReceivedIsWhenTheRequestLeavesTheChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		requests := make(chan CarRequest)
		p := newProcessor(requests, nil, nil)
		sent := time.Now()
		go func() {
			time.Sleep(7 * time.Millisecond) // the processor is busy
			p.accept(<-requests)
			<-p.timer.C
			p.processDue()
		}()
		resp, err := ask(t.Context(), requests, CarRequest{ID: 1})
		if got, want := resp.received.Sub(sent), 7*time.Millisecond; err != nil || got != want {
			t.Errorf("received %v after it was sent, %v, want %v", got, err, want)
		}
		checkElapsed(t, sent, 107*time.Millisecond)
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
	synctest.Test(t, func(t *testing.T) {
		d := startLoopOnDisk(t)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(30*time.Millisecond, cancel)
		_, err := ask(ctx, d.requests, rename(1, "A"))
		if !errors.Is(err, errOutcomeUnknown) {
			t.Errorf("while a write is being committed: got %v, want %v", err, errOutcomeUnknown)
		}
		rec := httptest.NewRecorder()
		if fail(rec, err); rec.Code != 503 || rec.Header().Get("Retry-After") != "" {
			t.Errorf("got %d and Retry-After %q; who tries again could do it twice", rec.Code, rec.Header().Get("Retry-After"))
		}
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
		if got := p.waiting.Len(); got > minSweep {
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

// --- commits, from inside -----------------------------------------------------

// A disk is what the processor has its changes made durable by. The test plays
// it: it receives from commits and sends to committed, whenever it likes.
type disk struct {
	loop
	commits   chan items.Commit[record]
	committed chan error
}

// startLoopOnDisk starts a loop that does not simulate.
func startLoopOnDisk(t *testing.T) disk {
	d := disk{loop{make(chan CarRequest), make(chan simulation)}, make(chan items.Commit[record], 1), make(chan error)}
	stop := make(chan struct{})
	p := newProcessor(d.requests, d.simulations, stop)
	p.commits, p.committed = d.commits, d.committed
	go p.run()
	t.Cleanup(func() { close(stop) })
	d.simulations <- simulation{}
	return d
}

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

// rename is a request that changes the name of a car.
func rename(id int, name string) CarRequest {
	return CarRequest{ID: id, Op: patchCar, Write: &write{patch: map[string]any{"name": name}}}
}

func TestNothingIsVisibleBeforeItIsCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startLoopOnDisk(t)
		before := (<-d.send(CarRequest{Op: listCars})).catalogue
		write := d.send(rename(1, "A"))
		if rec, _ := (<-d.commits).Items.Get(1); rec.car.Name != "A" {
			t.Errorf("what is being committed has the name %q, want A", rec.car.Name)
		}
		// The disk hangs; reads go on, and see nothing of it.
		for range 3 {
			time.Sleep(time.Hour)
			checkResponse(t, <-d.send(CarRequest{ID: 1}), "Audi A4", "")
			if list := <-d.send(CarRequest{Op: listCars}); list.catalogue != before {
				t.Error("a list shows what is not committed")
			}
		}
		checkNoAnswer(t, write)
		d.committed <- nil
		checkResponse(t, <-write, "A", "")
		checkResponse(t, <-d.send(CarRequest{ID: 1}), "A", "")
	})
}

func TestWritesGatherWhileABatchIsCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startLoopOnDisk(t)
		first := d.send(rename(1, "A"))
		<-d.commits
		// All of these are one batch, judged by what the first leaves and by those before them.
		inSecond := []chan CarResponse{
			d.send(CarRequest{ID: 1, Op: deleteCar, Write: &write{conditions: header.Conditions{IfMatch: []string{newRecord(cars[0]).etag}}}}),
			d.send(rename(1, "B")),
			d.send(CarRequest{ID: 1, Op: deleteCar, Write: &write{}}),
			d.send(rename(1, "C")),
			d.send(CarRequest{Op: createCar, Write: &write{car: Car{Name: "D"}}}),
			d.send(rename(33, "E")),
			d.send(CarRequest{Op: createCar, Write: &write{car: Car{ID: 33, Name: "F"}}}),
		}
		checkNoAnswer(t, append(inSecond, first)...)
		d.committed <- nil
		checkResponse(t, <-first, "A", "")
		<-d.commits
		checkResponse(t, <-d.send(CarRequest{ID: 1}), "A", "")
		checkNoAnswer(t, inSecond...)
		d.committed <- nil
		for i, want := range []struct{ car, error string }{
			{"", "precondition failed"}, {"B", ""}, {"B", ""}, {"", "car not found"}, {"D", ""}, {"E", ""}, {"", "car ID is taken"},
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
		d := startLoopOnDisk(t)
		broken := errors.New("disk on fire")
		before := (<-d.send(CarRequest{Op: listCars})).catalogue
		first := d.send(CarRequest{Op: createCar, Write: &write{car: Car{Name: "A"}}})
		<-d.commits
		second := []chan CarResponse{d.send(rename(33, "B")), d.send(rename(1, "C")), d.send(CarRequest{Op: createCar, Write: &write{car: Car{Name: "D"}}})}
		d.committed <- broken
		if resp := <-first; !errors.Is(resp.Error, errNotCommitted) || !errors.Is(resp.Error, broken) || resp.Car != nil {
			t.Errorf("got %+v, want %v because of %v", resp, errNotCommitted, broken)
		}
		// The next batch finds nothing of the first, but for its ID.
		<-d.commits
		after := (<-d.send(CarRequest{Op: listCars})).catalogue
		if !slices.Equal(after.cars.Blocks()[0], before.cars.Blocks()[0]) || after.hash != before.hash {
			t.Error("a failed commit has changed the catalogue")
		}
		d.committed <- nil
		checkResponse(t, <-second[0], "", "car not found")
		checkResponse(t, <-second[1], "C", "")
		if resp := <-second[2]; resp.Car == nil || resp.Car.ID != 34 {
			t.Errorf("got %+v, want a car with the ID 34: 33 may be on the disk", resp)
		}
	})
}

func TestWhatChangesNothingIsNotCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startLoopOnDisk(t)
		checkResponse(t, <-d.send(rename(999, "A")), "", "car not found")
		checkResponse(t, <-d.send(CarRequest{Op: createCar, Write: &write{car: Car{ID: 1}}}), "", "car ID is taken")
		if resp := <-d.send(CarRequest{ID: 50, Op: reserveIDs, Write: &write{count: 3}}); resp.firstID != 50 {
			t.Errorf("got %+v, want the IDs from 50 on", resp)
		}
		create := d.send(CarRequest{Op: createCar, Write: &write{car: Car{Name: "A"}}})
		<-d.commits
		d.committed <- nil
		if resp := <-create; resp.Car == nil || resp.Car.ID != 53 {
			t.Errorf("got %+v, want a car with the ID 53", resp)
		}
	})
}

func TestFullCatalogue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := loop{make(chan CarRequest), make(chan simulation)}
		p := newProcessor(l.requests, l.simulations, t.Context().Done())
		p.maxCars = len(cars) + 1
		go p.run()
		l.simulations <- simulation{}
		create := CarRequest{Op: createCar, Write: &write{car: Car{Name: "A"}}}
		replace := func(n int) CarRequest {
			return CarRequest{Op: replaceCars, Write: &write{catalogue: newCatalogue(newRecords(generateCars(n)))}}
		}
		for i, step := range []struct {
			req  CarRequest
			want error
		}{
			{create, nil}, {create, errFull}, {rename(1, "B"), nil}, {replace(len(cars) + 2), errFull},
			{CarRequest{ID: 1, Op: deleteCar, Write: &write{}}, nil}, {create, nil}, {create, errFull},
			{replace(len(cars) + 1), nil}, {create, errFull}, {replace(0), nil}, {create, nil},
		} {
			if resp := <-l.send(step.req); resp.Error != step.want {
				t.Errorf("step %d: got %v, want %v", i, resp.Error, step.want)
			}
		}
		// A file may have more cars than are allowed now; they can be changed, and
		// become fewer.
		l = loop{make(chan CarRequest), make(chan simulation)}
		p = newProcessor(l.requests, l.simulations, t.Context().Done())
		p.maxCars = 1
		go p.run()
		l.simulations <- simulation{}
		checkResponse(t, <-l.send(rename(1, "B")), "B", "")
		checkResponse(t, <-l.send(CarRequest{ID: 1, Op: deleteCar, Write: &write{}}), "B", "")
	})
}

func TestCallerOfAWriteGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startLoopOnDisk(t)
		gone := make([]chan struct{}, 4)
		leave := func(i int, req CarRequest) CarRequest {
			gone[i] = make(chan struct{})
			req.Done = gone[i]
			return req
		}
		// While its processing time passes: nothing happens.
		d.simulations <- simulation{delay: defaultDelay}
		early := d.send(leave(0, rename(1, "early")))
		close(gone[0])
		time.Sleep(defaultDelay)
		synctest.Wait()
		d.simulations <- simulation{}

		// While its batch is being committed: it happens wholly.
		late := d.send(leave(1, rename(2, "late")))
		<-d.commits
		close(gone[1])

		// While it waits for the batch before: nothing happens.
		queued := d.send(leave(2, rename(3, "queued")))
		staying := d.send(leave(3, rename(4, "staying")))
		close(gone[2])
		d.committed <- nil
		<-d.commits
		d.committed <- nil
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

func TestAbandonedWritesDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		commits := make(chan items.Commit[record], 1)
		p := newProcessor(nil, nil, nil)
		p.commits, p.simulation = commits, simulation{}
		gone := make(chan struct{})
		close(gone)
		p.accept(rename(1, "A"))
		p.judge() // and the disk hangs
		for range 10 * minSweep {
			req := rename(1, "B")
			req.Done = gone
			p.accept(req)
			p.judge()
		}
		if got := len(p.turns); got > minSweep {
			t.Errorf("%d abandoned writes are kept, want at most %d", got, minSweep)
		}
	})
}

// TestCatalogueAgreesWithTheObvious does the same to catalogues and to maps, at
// random.
func TestCatalogueAgreesWithTheObvious(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	c, want, nextID := newCatalogue(nil), map[int]Car{}, 1
	for step := range 20_000 {
		id := 1 + random.IntN(60)
		car := randomCars(random, 1)[0]
		req := CarRequest{ID: id, Write: &write{car: car}}
		old, found := want[id]
		wantError := error(nil)
		if !found {
			wantError = errCarNotFound
		}
		switch random.IntN(6) {
		case 0: // with the next ID
			if len(want) > 40 {
				continue
			}
			req.Op, req.ID, req.Write.car.ID, wantError = createCar, 0, 0, nil
			car.ID = nextID
			want[nextID] = car
		case 1:
			req.Op, req.Write.car.ID, car.ID = createCar, id, id
			if wantError = errIDTaken; !found {
				wantError, want[id] = nil, car
			}
		case 2:
			req.Op, req.Write.car.ID, car.ID = replaceCar, id, id
			if found {
				want[id] = car
			}
		case 3:
			req.Op, req.Write.patch = patchCar, map[string]any{"year": float64(car.Year), "details": map[string]any{"engine": car.Details.Engine}}
			if found {
				old.Year, old.Details.Engine = car.Year, car.Details.Engine
				want[id] = old
			}
		case 4:
			req.Op = deleteCar
			delete(want, id)
		case 5:
			req.Op = replaceCar
			req.Write.conditions.IfNoneMatch = []string{"*"}
			if found {
				wantError = errPrecondition
			}
		}
		for id := range want {
			nextID = max(nextID, id+1)
		}
		before := *c
		after, resp := c.write(req)
		if resp.Error != wantError || (resp.Error != nil) != (after == c) {
			t.Fatalf("step %d, %v %d: got %v, want %v", step, req.Op, id, resp.Error, wantError)
		}
		if resp.Error == nil && req.Op != deleteCar && *resp.Car != want[resp.Car.ID] {
			t.Fatalf("step %d, %v %d: got %+v, want %+v", step, req.Op, id, *resp.Car, want[resp.Car.ID])
		}
		if c.hash != before.hash || c.nextID != before.nextID {
			t.Fatalf("step %d, %v %d: the old catalogue was changed", step, req.Op, id)
		}
		c = after
		if c.nextID != nextID || c.cars.Len() != len(want) {
			t.Fatalf("step %d, %v %d: got next ID %d and %d cars, want %d and %d", step, req.Op, id, c.nextID, c.cars.Len(), nextID, len(want))
		}
	}
	records := slices.Concat(c.cars.Blocks()...)
	if fresh := newCatalogue(records); fresh.hash != c.hash {
		t.Error("the hash is not that of the cars")
	}
	for i, id := range slices.Sorted(maps.Keys(want)) {
		if records[i].car != want[id] {
			t.Errorf("got %+v, want %+v", records[i].car, want[id])
		}
	}
}

// --- the file ---------------------------------------------------------------

// checkSame wants two catalogues to be the same, bytes, entity tags and next ID
// included.
func checkSame(t *testing.T, got, want *catalogue) {
	t.Helper()
	if got.nextID != want.nextID || got.hash != want.hash || got.etag("") != want.etag("") {
		t.Errorf("got next ID %d and hash %x, want %d and %x", got.nextID, got.hash, want.nextID, want.hash)
	}
	gotRecords, wantRecords := slices.Concat(got.cars.Blocks()...), slices.Concat(want.cars.Blocks()...)
	if len(gotRecords) != len(wantRecords) {
		t.Fatalf("got %d cars, want %d", len(gotRecords), len(wantRecords))
	}
	for i, got := range gotRecords {
		if want := wantRecords[i]; !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
}

// openTest opens the catalogue's file at path, and starts a loop on it.
func openTest(t *testing.T, path string) (l loop, s store, closeStore func() error) {
	t.Helper()
	s, file, err := openStore(path, defaultMaxCars)
	if err != nil {
		t.Fatal(err)
	}
	l = loop{make(chan CarRequest), make(chan simulation)}
	p := newProcessor(l.requests, l.simulations, t.Context().Done())
	p.store = s
	go p.run()
	l.simulations <- simulation{}
	return l, s, file.Close
}

func TestReplayedStateEqualsTheStateBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cars.jsonl")
	if _, _, err := openStore(filepath.Dir(path), defaultMaxCars); err == nil {
		t.Error("opened a folder")
	}
	l, s, closeStore := openTest(t, path)
	checkSame(t, s.catalogue, newCatalogue(newRecords(cars)))
	do := func(op operation, id int, w write) CarResponse {
		resp := <-l.send(CarRequest{ID: id, Op: op, Write: &w})
		if resp.Error != nil {
			t.Fatal(resp.Error)
		}
		return resp
	}
	reopen := func() {
		t.Helper()
		before := (<-l.send(CarRequest{Op: listCars})).catalogue
		closeStore()
		if resp := <-l.send(CarRequest{Op: createCar, Write: &write{}}); !errors.Is(resp.Error, errNotCommitted) {
			t.Errorf("written to a file that is closed: %+v", resp)
		}
		l, s, closeStore = openTest(t, path)
		checkSame(t, s.catalogue, before)
	}
	odd := Car{Name: "<\u2028> & \"\\😀é\ufffd", Manufacturer: "B", Category: strings.Repeat("é", 50)}
	do(createCar, 0, write{car: odd})
	reopen()
	do(deleteCar, 33, write{})
	reopen()
	if resp := do(createCar, 0, write{car: odd}); resp.Car.ID != 34 {
		t.Errorf("got the ID %d of a deleted car", resp.Car.ID)
	}
	odd.ID = 5000
	do(createCar, 0, write{car: odd})
	do(patchCar, 1, write{patch: map[string]any{"details": map[string]any{"engine": "\u2029"}}})
	reopen()
	do(deleteCar, 34, write{})
	do(replaceCars, 0, write{catalogue: newCatalogue(newRecords(generateCars(3000)))})
	reopen()
	do(replaceCars, 0, write{catalogue: newCatalogue(nil)})
	do(createCar, 0, write{car: odd})
	reopen()
	do(deleteCar, 5000, write{})
	reopen()
	if resp := do(createCar, 0, write{car: Car{Name: "A", Manufacturer: "B"}}); resp.Car.ID != 5001 {
		t.Errorf("got ID %d, want 5001", resp.Car.ID)
	}
	closeStore()
}

// TestIDsOfABatchAreNotGivenAgain has a car that lived for no longer than a batch,
// deleted by itself or with all others.
func TestIDsOfABatchAreNotGivenAgain(t *testing.T) {
	for _, end := range []CarRequest{
		{ID: 33, Op: deleteCar, Write: &write{}},
		{Op: replaceCars, Write: &write{catalogue: newCatalogue(nil)}},
	} {
		path := filepath.Join(t.TempDir(), "cars.jsonl")
		s, file, err := openStore(path, defaultMaxCars)
		if err != nil {
			t.Fatal(err)
		}
		p := newProcessor(nil, nil, nil)
		p.store, p.simulation = s, simulation{}
		for _, req := range []CarRequest{{Op: createCar, Write: &write{}}, end} {
			req.Response = make(chan CarResponse, 1)
			p.accept(req)
		}
		p.judge()
		p.finish(<-p.committed)
		file.Close()
		s, file, err = openStore(path, defaultMaxCars)
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		checkSame(t, s.catalogue, p.catalogue)
		if s.catalogue.nextID != 34 {
			t.Errorf("got next ID %d, want 34", s.catalogue.nextID)
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
		{strings.Replace(audi, "2024", "1850", 1), "put: [0].year must be 0 or between 1886 and"},
		{audi + `,` + audi, "put: [1].id is also that of [0]"},
		{strings.Replace(audi, `"id":1,`, "", 1), "put: [0].id is required"},
		{strings.Replace(audi, `"id":1,`, `"id":0,`, 1), "put: [0].id must be at least 1"},
		{strings.Replace(audi, `"id":1,`, `"id":9007199254740992,`, 1), "put: [0].id must be at most"},
		{strings.Replace(audi, `"year"`, `"Year"`, 1), "put: [0].Year is not a known field; did you mean year?"},
		{strings.Replace(audi, `"name":"Audi A4"`, `"name":"\ud800"`, 1), "it has half of a surrogate pair at offset 24"},
		{strings.Replace(audi, `"name":`, `"name":"x","name":`, 1), `put: The key "name" occurs twice`},
		{strings.Replace(audi, "Audi A4", "\xff", 1), "it is not valid UTF-8"},
		{`7`, "put: [0] must be an object"},
	} {
		path := filepath.Join(t.TempDir(), "cars.jsonl")
		if err := os.WriteFile(path, []byte(`{"put":[`+test.cars+"]}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		s, file, err := openStore(path, defaultMaxCars)
		if err != nil {
			if want := "line 1 (offset 0): " + test.want; !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %s", test.cars, err, want)
			}
			continue
		}
		file.Close()
		var list []Car
		for _, rec := range slices.Concat(s.catalogue.cars.Blocks()...) {
			list = append(list, rec.car)
			if want := newRecord(rec.car); !reflect.DeepEqual(rec, want) {
				t.Errorf("%s: got %+v, want %+v", test.cars, rec, want)
			}
		}
		if got := joinIDs(list); got != test.want {
			t.Errorf("%s: got %s, want %s", test.cars, got, test.want)
		}
	}
	// What is checked was valid when it was written, though no more today.
	path := filepath.Join(t.TempDir(), "cars.jsonl")
	old := newRecord(Car{ID: maxChosenID + 1, Name: "A", Manufacturer: "B", Year: 2999})
	for range 2 { // writes it, and reads it
		file, list, _, err := items.Open(path, recordFormat, []*record{old})
		if err != nil || len(list) != 1 || !reflect.DeepEqual(list[0], old) {
			t.Fatalf("got %+v, %v", list, err)
		}
		file.Close()
	}
	if err := os.WriteFile(path, fmt.Appendf(nil, "{\"put\":[%s]}", old.body()), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openStore(path, defaultMaxCars); err == nil {
		t.Error("a car of 2999 was accepted from a person")
	}
}

// FuzzCar reads a car as a person could have written it: what is accepted is encoded
// and read again unchanged, and the fast reader says nothing that the other does not
// say.
func FuzzCar(f *testing.F) {
	f.Add(newRecord(cars[0]).body())
	f.Add(newRecord(Car{ID: 1, Name: "<\u2028\"\\", Manufacturer: "é"}).body())
	f.Add([]byte(`{"id":5,"name":"A","manufacturer":"B"}`))
	f.Add([]byte(`{"id":1,"name":"a\`))
	scan := func(body []byte, checked bool) (*record, bool) {
		in := ijson.NewScanner(slices.Clip(bytes.Clone(body))) // with nothing behind it, as at the end of a file
		rec, ok := scanRecord(in, checked)
		return rec, ok && in.AtEnd()
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fast, ok := scan(body, false)
		list, err := parseRecords(ijson.Array(fmt.Appendf(nil, "[%s]", body)))
		if ok && (err != nil || len(list) != 1 || !reflect.DeepEqual(fast, list[0])) {
			t.Fatalf("%s: read as %+v, and as %+v, %v", body, fast, list, err)
		}
		if err != nil {
			return
		}
		for _, rec := range list {
			if again, ok := scan(rec.body(), true); !ok || !reflect.DeepEqual(again, rec) {
				t.Fatalf("%s: read as %+v, and encoded and read again as %+v", body, rec, again)
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
	return send(t, method, target, "", header...)
}

// send is do with a body, which is JSON unless header says otherwise.
func send(t testing.TB, method, target, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" && !slices.ContainsFunc(header, func(line string) bool { return strings.HasPrefix(line, "Content-Type:") }) {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	rec := httptest.NewRecorder()
	house(t).ServeHTTP(rec, r)
	checkDescribed(t, r, body, rec)
	checkAnswer(t, rec)
	return rec
}

// house is the whole server, for tests that call it by any name.
func house(t testing.TB) http.Handler {
	cfg, err := parseFlags([]string{"-hosts", "example.com"}, "")
	if err != nil {
		t.Fatal(err)
	}
	handler, err := newHouse(cfg, &net.TCPAddr{IP: net.IPv6loopback}, nil, new(watch.Connections), new(atomic.Bool))
	if err != nil {
		t.Fatal(err)
	}
	return handler
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
		"Access-Control-Expose-Headers": "X-Total-Count, Link, ETag, Location, Server-Timing, Retry-After, RateLimit, RateLimit-Policy",
		"Cache-Control":                 "no-cache",
		"X-Content-Type-Options":        "nosniff",
	}
	if rec.Code != http.StatusCreated {
		want["Location"] = ""
	}
	if rec.Header().Get("Access-Control-Max-Age") != "" { // a preflight, which is not about content
		want = map[string]string{"Access-Control-Allow-Origin": "*", "Vary": "Origin"}
	}
	if rec.Code == http.StatusNoContent || rec.Code == http.StatusNotModified {
		if rec.Body.Len() > 0 {
			t.Errorf("a %d has a body: %q", rec.Code, rec.Body)
		}
	} else if rec.Header().Get("Content-Security-Policy") != "" { // of the page
		want["Content-Length"] = strconv.Itoa(rec.Body.Len())
	} else {
		want["Content-Type"] = "application/json"
		want["Content-Length"] = strconv.Itoa(rec.Body.Len())
		body := rec.Body.Bytes()
		if rec.Header().Get("Content-Encoding") == "gzip" {
			zr, err := gzip.NewReader(rec.Body)
			if err != nil {
				t.Fatal(err)
			}
			if body, err = io.ReadAll(zr); err != nil {
				t.Error(err)
			}
		}
		if !json.Valid(body) {
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
	body := decode[errorAnswer](t, rec)
	if rec.Code != want || body.Code != want || body.Error != http.StatusText(want) || body.Message == "" {
		t.Errorf("got status %d and body %+v, want %d in both", rec.Code, body, want)
	}
	if got := len(body.Errors) > 0; got != (want == http.StatusUnprocessableEntity) {
		t.Errorf("a %d has errors for fields: %v", want, body.Errors)
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
		notCars  = "Method not allowed; this path knows GET, HEAD, OPTIONS, POST, PUT"
		notCar   = "Method not allowed; this path knows DELETE, GET, HEAD, OPTIONS, PATCH, PUT"
		badDelay = "_delay must be a whole number, 0 to 60000"
		badQuery = ": parameters must be separated by & (write ; as %3B), and % must stand before two hexadecimal digits"
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

		{"GET", "/%2F", 404, noPath},
		{"GET", "/index.html", 404, noPath},
		{"GET", "/images/sedan.png", 404, noPath},
		{"GET", "/images/sedan/svg", 404, noPath},
		{"GET", "/web.go", 404, noPath},
		{"POST", "/", 405, "Method not allowed; this path knows GET, HEAD, OPTIONS"},
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

		{"PATCH", "/api/cars", 405, notCars},
		{"DELETE", "/api/cars", 405, notCars},
		{"TRACE", "/api/cars", 405, notCars},
		{"get", "/api/cars", 405, notCars}, // methods are case-sensitive (RFC 9110, section 9.1)
		{"POST", "/api/cars/1", 405, notCar},
		{"BREW", "/api/cars/1", 405, notCar},

		{"GET", "/api/cars?_delay=0", 200, ""},
		{"GET", "/api/cars?_delay=60000", 200, ""},
		{"GET", "/api/cars?_delay", 200, ""},
		{"GET", "/api/cars/1?_delay=&unknown=x", 200, ""},
		{"GET", "/api/cars/1?_delay=60001", 400, badDelay},
		{"GET", "/api/cars/1?_delay=-1", 400, badDelay},
		{"GET", "/api/cars/1?_delay=1.5", 400, badDelay},
		{"GET", "/api/cars/1?_delay=100ms", 400, badDelay},
		{"GET", "/api/cars/1?_delay=99999999999999999999", 400, badDelay},
		{"GET", "/api/cars?_delay=1&_delay=2", 400, "_delay must be given only once"},
		{"GET", "/api/cars/1?a=1;b=2", 400, "a" + badQuery},
		{"GET", "/api/cars/1?x=1&b=%zz", 400, "b" + badQuery},
		{"GET", "/api/cars/1?year_gte=abc", 200, ""}, // which asks nothing of one car
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
				_, wantAllow, _ = strings.Cut(test.message, "knows ")
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
	h := make(http.Header)
	answer.SetTiming(h, 1_234_567, 100_000_999)
	if got, want := h.Get("Server-Timing"), "queue;dur=1.234, process;dur=100.000"; got != want {
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
		{"/api/cars/1", `If-None-Match: "x,*,y"`, 200},
		{"/api/cars/1", `If-None-Match: "x", *`, 200},
		{"/api/cars/1", "If-None-Match: " + strings.Trim(car, `"`), 200},
		{"/api/cars/1", "If-None-Match: ", 200},
		{"/api/cars", "If-None-Match: " + list, 304},
		{"/api/cars", "If-None-Match: " + strings.TrimPrefix(list, "W/"), 304},
		{"/api/cars", "If-None-Match: " + car, 200},
		{"/api/cars?_limit=3", "If-None-Match: " + get(t, "/api/cars?_limit=2").Header().Get("ETag"), 200},
		{"/api/cars?_limit=2", "If-None-Match: " + get(t, "/api/cars?_limit=2").Header().Get("ETag"), 304},
		{"/api/cars/999", "If-None-Match: *", 404},
	}
	for _, test := range tests {
		for _, method := range []string{"GET", "HEAD"} {
			rec := do(t, method, test.target, test.header)
			if rec.Code != test.status {
				t.Errorf("%s %s with %s: got %d, want %d", method, test.target, test.header, rec.Code, test.status)
			}
			sent := rec.Result().Header // without what was set too late
			if isList := !strings.HasPrefix(test.target, "/api/cars/"); rec.Code == 304 &&
				(sent.Get("ETag") == "" || isList && sent.Get("Vary") == "") {
				t.Errorf("%s %s: 304 lacks ETag or Vary (RFC 9110, section 15.4.5): %v", method, test.target, sent)
			}
		}
	}
}

func TestOptions(t *testing.T) {
	for target, want := range map[string]struct{ allow, patch string }{
		"/api/cars":   {"GET, HEAD, OPTIONS, POST, PUT", ""},
		"/api/cars/1": {"DELETE, GET, HEAD, OPTIONS, PATCH, PUT", "application/json, application/merge-patch+json"},
		"/healthz":    {"GET, HEAD, OPTIONS", ""},
		"/metrics":    {"GET, HEAD, OPTIONS", ""},
	} {
		rec := do(t, "OPTIONS", target)
		if got := rec.Header(); rec.Code != 204 || got.Get("Allow") != want.allow || got.Get("Accept-Patch") != want.patch {
			t.Errorf("%s: got %d %v, want %v", target, rec.Code, got, want)
		}
	}
	checkError(t, do(t, "OPTIONS", "/nowhere"), 404)
	// Preflights pass also for what is not there, or a page would see a failure of
	// CORS and never the 404.
	for _, target := range []string{"/api/cars", "/api/cars/1", "/nowhere"} {
		rec := do(t, "OPTIONS", target, "Origin: http://localhost:5173", "Access-Control-Request-Method: PUT")
		if methods := rec.Header().Get("Access-Control-Allow-Methods"); rec.Code != 204 || methods != "GET, HEAD, POST, PUT, PATCH, DELETE" {
			t.Errorf("%s: got %d and methods %q", target, rec.Code, methods)
		}
	}
}

// TestRefusedRequests has one request for each reason that the guard has; its own
// tests have the rest.
func TestRefusedRequests(t *testing.T) {
	simulationOff(t)
	logged := captureLog(t)
	for _, test := range []struct {
		flags          string
		token          string
		public         bool
		method, header string
		status         int
		message        string
	}{
		{"", "", false, "GET", "Host: evil.example", 403, "-hosts evil.example"},
		{"", "", false, "DELETE", "Origin: https://evil.example", 403, "-origins https://evil.example:443"},
		{"", "t", false, "DELETE", "", 401, "Authorization: Bearer"},
		{"-read-only", "", false, "DELETE", "", 403, "-read-only"},
		{"", "", true, "DELETE", "Host: evil.example", 403, "CARS_TOKEN"},
		{"-max-in-flight 0", "", false, "GET", "", 503, "-max-in-flight"},
		{"-rate 0.001", "", false, "GET", "", 200, ""},
	} {
		cfg, err := parseFlags(strings.Fields(strings.Replace(test.flags, "-max-in-flight 0", "", 1)), "")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(test.flags, "-max-in-flight") {
			cfg.guard.MaxInFlight = 0
		}
		cfg.guard.Token = test.token
		addr := &net.TCPAddr{IP: net.IPv6loopback}
		if test.public {
			addr.IP = net.IPv4(192, 0, 2, 1)
		}
		handler, err := newHouse(cfg, addr, nil, new(watch.Connections), new(atomic.Bool))
		if err != nil {
			t.Fatal(err)
		}
		request := func() *httptest.ResponseRecorder {
			r := httptest.NewRequest(test.method, "/api/cars/1", nil)
			r.Host = "localhost"
			name, value, _ := strings.Cut(test.header, ": ")
			if name == "Host" {
				r.Host = value
			} else if name != "" {
				r.Header.Set(name, value)
			}
			rec := httptest.NewRecorder()
			handler.ServeHTTP(rec, r)
			checkDescribed(t, r, "", rec)
			checkAnswer(t, rec)
			return rec
		}
		logged.Reset()
		rec := request()
		if strings.HasPrefix(test.flags, "-rate") {
			if rec.Code != 200 || rec.Header().Get("RateLimit") == "" {
				t.Errorf("the first request within the rate: got %d %v", rec.Code, rec.Header())
			}
			rec = request()
			test.status, test.message = 429, "-rate"
		}
		if rec.Code != test.status || !strings.Contains(rec.Body.String(), test.message) {
			t.Errorf("%+v: got %d %s", test, rec.Code, rec.Body)
		}
		if line := logged.String(); !strings.Contains(line, " WARN "+test.method+" /api/cars/1 - "+strconv.Itoa(test.status)) || !strings.Contains(line, test.message) {
			t.Errorf("%+v: logged %q", test, line)
		}
		if again := rec.Header().Get("Retry-After"); (again != "") != (rec.Code == 429 || rec.Code == 503) {
			t.Errorf("%+v: got Retry-After %q", test, again)
		}
	}
	if rec := get(t, "/api/cars/1"); rec.Code != 200 {
		t.Errorf("got %d", rec.Code)
	}
}

func TestHealth(t *testing.T) {
	cfg, _ := parseFlags(nil, "")
	cfg.guard.MaxInFlight = 0 // there is room for health in a house that is full
	path := filepath.Join(t.TempDir(), "cars.jsonl")
	_, file, err := openStore(path, defaultMaxCars)
	if err != nil {
		t.Fatal(err)
	}
	var stopping atomic.Bool
	handler, err := newHouse(cfg, &net.TCPAddr{IP: net.IPv6loopback}, file, new(watch.Connections), &stopping)
	if err != nil {
		t.Fatal(err)
	}
	check := func(target string, status int, want string) {
		t.Helper()
		r := httptest.NewRequest("GET", target, nil)
		r.Host = "localhost"
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		checkDescribed(t, r, "", rec)
		checkAnswer(t, rec)
		if rec.Code != status || !strings.Contains(rec.Body.String(), want) || (status == 503) != (rec.Header().Get("Retry-After") != "") {
			t.Errorf("%s: got %d %s %v, want %d %s", target, rec.Code, rec.Body, rec.Header(), status, want)
		}
	}
	check("/healthz", 200, `"status":"alive"`)
	check("/readyz", 200, `"status":"ready"`)
	file.Close()
	check("/readyz", 503, "Storage has failed")
	stopping.Store(true)
	check("/readyz", 503, "The server is stopping")
	check("/healthz", 200, `"status":"alive"`)
}

func TestMetrics(t *testing.T) {
	simulationOff(t)
	handler := house(t)
	for _, request := range []string{"GET /api/cars/1", "GET /api/cars/1", "GET /api/cars/999", "GET /nowhere/1", "HEAD /api/cars", "BREW /api/cars", "OPTIONS /api/cars", "GET /metrics", "GET /", "POST /"} {
		method, target, _ := strings.Cut(request, " ")
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, target, nil))
	}
	r, rec := httptest.NewRequest("GET", "/metrics", nil), httptest.NewRecorder()
	handler.ServeHTTP(rec, r)
	checkDescribed(t, r, "", rec)
	if got := rec.Header().Get("Content-Type"); rec.Code != 200 || got != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("got %d, %s", rec.Code, got)
	}
	for _, want := range []string{
		`http_requests_total{method="GET",route="/api/cars/{id}",code="200"} 2`,
		`http_requests_total{method="GET",route="/api/cars/{id}",code="404"} 1`,
		`http_requests_total{method="GET",route="other",code="404"} 1`,
		`http_requests_total{method="HEAD",route="/api/cars",code="200"} 1`,
		`http_requests_total{method="other",route="/api/cars",code="405"} 1`,
		`http_requests_total{method="OPTIONS",route="/api/cars",code="204"} 1`,
		`http_requests_total{method="GET",route="/metrics",code="200"} 1`,
		`http_requests_total{method="GET",route="/",code="200"} 1`,
		`http_requests_total{method="POST",route="/",code="405"} 1`,
		`http_request_duration_seconds_count 10`,
		`cars_requests_in_flight 0`,
		`cars_processor_waiting 0`,
		fmt.Sprintf(`cars_catalogue_cars %d`, len(cars)),
	} {
		if !strings.Contains(rec.Body.String(), "\n"+want+"\n") {
			t.Errorf("lacks %s: %s", want, rec.Body)
		}
	}
	if !regexp.MustCompile(`\ncars_processor_busy_seconds_total [0-9.e-]*[1-9]`).MatchString(rec.Body.String()) {
		t.Errorf("the processor has never been busy: %s", rec.Body)
	}
}

func TestSimulatedFailures(t *testing.T) {
	changing(t)
	simulationChan <- simulation{delay: time.Millisecond}
	for _, test := range []struct {
		method, target, body string
		status               int
	}{
		{"GET", "/api/cars/1?_fail=503", "", 503},
		{"GET", "/api/cars?_fail=404", "", 404},
		{"GET", "/api/cars/999?_fail=429", "", 429},
		{"POST", "/api/cars?_fail=500", saab, 500},
		{"DELETE", "/api/cars/1?_fail=599", "", 599},
		{"PUT", "/api/cars?_fail=418", "[]", 418},
	} {
		rec := httptest.NewRecorder()
		r := httptest.NewRequest(test.method, test.target, strings.NewReader(test.body))
		r.Header.Set("Content-Type", "application/json")
		house(t).ServeHTTP(rec, r)
		checkDescribed(t, r, test.body, rec)
		answer := decode[errorAnswer](t, rec)
		if rec.Code != test.status || answer.Message != "Simulated failure" || answer.Error == "" || rec.Header().Get("Server-Timing") == "" {
			t.Errorf("%s %s: got %d %+v", test.method, test.target, rec.Code, answer)
		}
		if again := rec.Header().Get("Retry-After"); (again != "") != (rec.Code == 429 || rec.Code == 503) {
			t.Errorf("%s %s: got Retry-After %q", test.method, test.target, again)
		}
	}
	for _, value := range []string{"399", "600", "x"} {
		checkError(t, get(t, "/api/cars/1?_fail="+value), 400)
	}
	simulationChan <- simulation{delay: time.Millisecond, fail: 1}
	if rec := send(t, "DELETE", "/api/cars/1", ""); rec.Code != 503 || rec.Header().Get("Retry-After") == "" {
		t.Errorf("with -fail 1: got %d", rec.Code)
	}
	simulationChan <- simulation{}
	if rec := get(t, "/api/cars/1?_fail=503"); rec.Code != 200 {
		t.Errorf("without simulation: got %d", rec.Code)
	}
	if rec := get(t, "/api/cars"); len(decode[[]Car](t, rec)) != len(cars) {
		t.Errorf("something has changed: %s", rec.Body)
	}
	synctest.Test(t, func(t *testing.T) {
		l := startLoop(t)
		l.simulations <- simulation{delay: defaultDelay, fail: 0.3}
		failed := 0
		start := time.Now()
		for range 1000 {
			if resp := <-l.send(CarRequest{ID: 1}); resp.Error == errSimulated {
				failed++
			}
		}
		checkElapsed(t, start, 1000*defaultDelay)
		if failed < 230 || failed > 370 {
			t.Errorf("%d of 1000 failed, want about 300", failed)
		}
	})
}

func TestHeadIsGetWithoutTheBody(t *testing.T) {
	simulationOff(t)
	server := httptest.NewServer(house(t))
	defer server.Close()
	for _, path := range []string{"/api/cars", "/api/cars/1", "/api/cars/999", "/nowhere"} {
		var header [2]http.Header
		for i, method := range []string{"GET", "HEAD"} {
			req, _ := http.NewRequest(method, server.URL+path, nil)
			req.Header.Set("Accept-Encoding", "identity") // or the transport unpacks the body of a GET behind our back
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
	r, rec := httptest.NewRequest("GET", "/api/cars/1", nil).WithContext(ctx), httptest.NewRecorder()
	house(t).ServeHTTP(rec, r)
	checkDescribed(t, r, "", rec)
	checkAnswer(t, rec)
	if rec.Code != 503 || rec.Header().Get("Retry-After") == "" {
		t.Errorf("got %d with Retry-After %q, want 503 with one", rec.Code, rec.Header().Get("Retry-After"))
	}
}

func TestPanicInHandlerIsAnswered(t *testing.T) {
	logged := captureLog(t)
	cfg, _ := parseFlags(nil, "")
	handler, err := newHouse(cfg, &net.TCPAddr{IP: net.IPv6loopback}, nil, new(watch.Connections), nil) // which /readyz looks into
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/readyz", nil)
	r.Host = "localhost"
	handler.ServeHTTP(rec, r)
	checkAnswer(t, rec)
	if rec.Code != 500 || strings.Contains(rec.Body.String(), "nil") {
		t.Errorf("got %d %s, want 500 without the cause", rec.Code, rec.Body)
	}
	for _, want := range []string{`ERROR GET "/readyz" - Panic: runtime error`, "main.go"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("the log lacks %q: %s", want, logged.String())
		}
	}
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

// --- lists ----------------------------------------------------------------

func TestListQueries(t *testing.T) {
	simulationOff(t)
	all := len(cars)
	tests := []struct {
		query string
		want  string // IDs
		total int
	}{
		{"id=3", "3", 1},
		{"name=Audi+A4", "1", 1},
		{"name=audi+a4", "", 0},
		{"manufacturer=BMW", "3 6", 2},
		{"manufacturer=BMW&category=SUV", "6", 1},
		{"category=Wagon&category=Coupe", "11 13 24 26", 4},
		{"year=2024", "1 31", 2},
		{"price_gte=90000&_sort=price", "9 29 21", 3},
		{"imageUrl=/images/wagon.svg", "11 24", 2},
		{"details.engine=8.0L+Quad-Turbo+W16", "21", 1},
		{"details.horsepower_gte=490&_sort=-details.horsepower", "21 29 16", 3},
		{"details.horsepower_gte=95&details.horsepower_lt=155", "19", 1}, // as texts, all but a few would be less than 95
		{"details.transmission=1-speed+Direct+Drive&_sort=year,name&_order=desc,asc", "32 10 15 19 27", 5},
		{"details.drivetrain=Four-Wheel+Drive", "18", 1},
		{"name_like=^toyota.*s$", "23", 1},
		{"q=miata", "8", 1},
		{"_sort=name&_order=DESC&_limit=2", "11 32", all},
		{"_sort=manufacturer&_end=4", "29 30 1 4", all},
		{"_start=29", "30 31 32", all},
		{"_start=30&_limit=5", "31 32", all},
		{"_page=4", "31 32", all},
		{"_page=7&_per_page=5", "31 32", all},
		{"_page=9", "", all},
		{"category=Boat", "", 0},
		{"colour=red&_embed=dealers&_page", joinIDs(cars), all},
	}
	for _, test := range tests {
		rec := get(t, "/api/cars?"+test.query)
		if rec.Code != 200 {
			t.Errorf("%s: got %d %s", test.query, rec.Code, rec.Body)
			continue
		}
		if got := joinIDs(decode[[]Car](t, rec)); got != test.want {
			t.Errorf("%s: got cars %s, want %s", test.query, got, test.want)
		}
		if got := rec.Header().Get("X-Total-Count"); got != strconv.Itoa(test.total) {
			t.Errorf("%s: X-Total-Count is %s, want %d", test.query, got, test.total)
		}
	}
	if got, want := get(t, "/api/cars?category=Boat").Body.String(), "[]\n"; got != want {
		t.Errorf("empty list: got %q, want %q", got, want)
	}
}

func joinIDs(cars []Car) string {
	var ids []string
	for _, car := range cars {
		ids = append(ids, strconv.Itoa(car.ID))
	}
	return strings.Join(ids, " ")
}

// TestFollowingNextVisitsEachCarOnce goes from page to page as a client does
// that knows nothing but Link.
func TestFollowingNextVisitsEachCarOnce(t *testing.T) {
	simulationOff(t)
	server := httptest.NewServer(house(t))
	defer server.Close()
	next := regexp.MustCompile(`<([^>]*)>; rel="next"`)
	var visited []Car
	pages := 0
	for target := server.URL + "/api/cars?_page=1&_limit=7&_sort=-price&q=e"; target != ""; pages++ {
		resp, err := http.Get(target)
		if err != nil {
			t.Fatal(err)
		}
		var page []Car
		err = json.NewDecoder(resp.Body).Decode(&page)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		visited = append(visited, page...)
		target = ""
		if match := next.FindStringSubmatch(resp.Header.Get("Link")); match != nil {
			target = match[1]
		}
	}
	if want := decode[[]Car](t, get(t, "/api/cars?_sort=-price&q=e")); !slices.Equal(visited, want) || pages != 5 {
		t.Errorf("in %d pages got %s, want 5 with %s", pages, joinIDs(visited), joinIDs(want))
	}
}

func TestListErrorsNameTheParameter(t *testing.T) {
	for target, want := range map[string]string{
		"/api/cars?year_gte=abc": "year_gte must be a number",
		"/api/cars?_page=0":      "_page must be a whole number, 1 to 1000000000",
		"/api/cars?_delay=x":     "_delay must be a whole number, 0 to 60000",
		"/api/cars?name=a&b=1;c": "b: parameters must be separated by & (write ; as %3B), and % must stand before two hexadecimal digits",
		"/api/cars?_sort=colour": `_sort must name fields, and "colour" is none; there are id, name, manufacturer, category, year, price, imageUrl, details.engine, details.horsepower, details.transmission, details.drivetrain`,
		"/api/cars?name_like=(":  "name_like must be a regular expression (RE2 syntax)",
		"/api/cars?q=a&q=b":      "q must be given only once",
	} {
		rec := get(t, target)
		if got := decode[map[string]any](t, rec)["message"]; rec.Code != 400 || got != want {
			t.Errorf("%s: got %d %q, want 400 %q", target, rec.Code, got, want)
		}
	}
}

func TestListETagFollowsContentAndQuery(t *testing.T) {
	records := []*record{newRecord(cars[0]), newRecord(cars[1]), newRecord(cars[2])}
	changed := cars[2]
	changed.Price++
	seen := map[string]string{}
	for name, etag := range map[string]string{
		"all":           newCatalogue(records).etag(""),
		"fewer":         newCatalogue(records[:2]).etag(""),
		"other":         newCatalogue(records[1:]).etag(""),
		"changed":       newCatalogue([]*record{records[0], records[1], newRecord(changed)}).etag(""),
		"query":         newCatalogue(records).etag("q=a"),
		"another query": newCatalogue(records).etag("q=b"),
	} {
		if other, ok := seen[etag]; ok {
			t.Errorf("%s and %s have the same ETag %s", name, other, etag)
		}
		seen[etag] = name
	}
	if a, b := newCatalogue(records).etag("q=a"), newCatalogue(slices.Clone(records)).etag("q=a"); a != b {
		t.Errorf("the same list has ETags %s and %s", a, b)
	}
}

func TestListsAreCompressedForWhoAccepts(t *testing.T) {
	simulationOff(t)
	tests := []struct {
		query, accept string
		gzip          bool
	}{
		{"", "gzip", true},
		{"", "deflate, gzip;q=0.5, br", true},
		{"", "*", true},
		{"", "X-GZIP", true},
		{"", "gzip;q=0", false},
		{"", "gzip;q=0, *", false},
		{"", "br", false},
		{"", "", false},
		{"", "identity;q=1, *;q=0", false},
		{"", "gzip;q=abc", false},
		{"?_limit=5", "gzip", true},  // 1.2 KiB
		{"?_limit=4", "gzip", false}, // 1,023 bytes, too short to be worth it
	}
	for _, test := range tests {
		for _, method := range []string{"GET", "HEAD"} {
			rec := do(t, method, "/api/cars"+test.query, "Accept-Encoding: "+test.accept)
			if got := rec.Header().Get("Content-Encoding") == "gzip"; got != test.gzip {
				t.Errorf("%s with Accept-Encoding %q: compressed is %v, want %v", method, test.accept, got, test.gzip)
			}
			if got := rec.Header()["Link"]; got != nil {
				t.Errorf("Link: got %q without pages", got)
			}
			if got := rec.Header().Get("Vary"); got != "Accept-Encoding" {
				t.Errorf("Vary: got %q, want Accept-Encoding", got)
			}
		}
	}
	plain, packed := get(t, "/api/cars"), get(t, "/api/cars", "Accept-Encoding: br", "Accept-Encoding: gzip")
	if packed.Header().Get("Content-Encoding") != "gzip" {
		t.Error("the second Accept-Encoding line was not read")
	}
	if plain.Header().Get("ETag") != packed.Header().Get("ETag") {
		t.Error("compression changes the weak ETag")
	}
	if get(t, "/api/cars/1", "Accept-Encoding: gzip").Header().Get("Content-Encoding") != "" {
		t.Error("a single car is compressed")
	}
}

// TestListsAgreeWithTheObvious compares lists with what a plain reading of the
// dialect gives, on random catalogues and queries: decode every car's JSON,
// filter, sort everything, slice.
func TestListsAgreeWithTheObvious(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		catalogue := newCatalogue(newRecords(randomCars(random, random.IntN(60))))
		values := randomQuery(random)
		list, err := listSchema.Parse(values)
		if err != nil {
			t.Fatalf("%s: %v", values.Encode(), err)
		}
		records, gotTotal, err := list.Run(t.Context(), catalogue.cars.Blocks())
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, rec := range records {
			got = append(got, rec.car.ID)
		}
		want, wantTotal := obviousList(slices.Concat(catalogue.cars.Blocks()...), values)
		if !slices.Equal(got, want) || gotTotal != wantTotal {
			t.Fatalf("%s: got %v of %d, want %v of %d", values.Encode(), got, gotTotal, want, wantTotal)
		}
	}
}

// randomCars have few different values, so that queries find some and ties are
// common.
func randomCars(random *rand.Rand, n int) []Car {
	pick := func(values ...string) string { return values[random.IntN(len(values))] }
	list := make([]Car, n)
	for i := range list {
		list[i] = Car{
			ID:           i*2 + 1,
			Name:         pick("a", "B", "ab", "Ab", "é", "É", "a.b", "Zoë"),
			Manufacturer: pick("Audi", "BMW", "audi", "Škoda"),
			Category:     pick("", "SUV", "Sedan"),
			Year:         random.IntN(4),
			Price:        random.IntN(30) * 5,
			ImageURL:     "/images/" + pick("suv", "sedan") + ".svg",
			Details:      Details{pick("V6", "V8", "v8"), random.IntN(12), pick("CVT", "eCVT"), pick("FWD", "RWD")},
		}
	}
	return list
}

func randomQuery(random *rand.Rand) url.Values {
	pick := func(values ...string) string { return values[random.IntN(len(values))] }
	values := url.Values{}
	for range random.IntN(4) {
		f := listSchema.Fields[random.IntN(len(listSchema.Fields))]
		operator := pick("", "", "_ne", "_gt", "_gte", "_lt", "_lte", "_like")
		value := pick("a", "B", "Audi", "SUV", "V8", "e", "eCVT", "RWD", "ö")
		if operator == "_like" {
			value = pick("a", "^a", "b$", "a.b", "d|v", "É", "2", "[0-5]$")
		} else if f.Number != nil {
			value = pick("0", "1", "2", "3", "7", "10", "50", "-1", "1.5", "1e1", "1e30")
		}
		values.Add(f.Name+operator, value)
	}
	if random.IntN(3) == 0 {
		values.Set("q", pick("a", "É", "v8", "10", "SEDAN.SVG", "fwd"))
	}
	if random.IntN(2) == 0 {
		names := pick("name", "-year", "price,name", "year,-manufacturer,price", "details.horsepower,-details.engine", "-id")
		values.Set("_sort", names)
		if random.IntN(2) == 0 {
			values.Set("_order", pick("asc", "desc", "DESC"))
		}
	}
	number := func(least int) string { return strconv.Itoa(least + random.IntN(25)) }
	switch random.IntN(6) {
	case 0:
		values.Set("_start", number(0))
	case 1:
		values.Set("_end", number(0))
	case 2:
		values.Set("_start", number(0))
		values.Set("_end", number(25))
	case 3:
		values.Set("_limit", number(0))
		values.Set("_start", number(0))
	case 4:
		values.Set("_page", number(1))
		if random.IntN(2) == 0 {
			values.Set("_limit", number(1))
		}
	}
	return values
}

// obviousList is the list's definition, without regard for time.
func obviousList(records []*record, values url.Values) (ids []int, total int) {
	type item = map[string]any
	at := func(car item, path string) any {
		for name := range strings.SplitSeq(path, ".") {
			value := car[name]
			if nested, ok := value.(item); ok {
				car = nested
				continue
			}
			return value
		}
		return nil
	}
	compare := func(a, b any) int {
		if x, ok := a.(float64); ok {
			return cmp.Compare(x, b.(float64))
		}
		return cmp.Compare(a.(string), b.(string))
	}
	matches := func(value any, operator, want string) bool {
		if operator == "like" {
			return regexp.MustCompile("(?i)" + want).MatchString(fmt.Sprint(value))
		}
		var other any = want
		if _, ok := value.(float64); ok {
			other, _ = strconv.ParseFloat(want, 64)
		}
		c := compare(value, other)
		return map[string]bool{"": c == 0, "ne": c != 0, "gt": c > 0, "gte": c >= 0, "lt": c < 0, "lte": c <= 0}[operator]
	}
	var contains func(value any, text string) bool
	contains = func(value any, text string) bool {
		if nested, ok := value.(item); ok {
			return slices.ContainsFunc(slices.Collect(maps.Values(nested)), func(v any) bool { return contains(v, text) })
		}
		return strings.Contains(strings.ToLower(fmt.Sprint(value)), strings.ToLower(text))
	}
	var list []item
	for _, rec := range records {
		var car item
		json.Unmarshal(rec.json, &car)
		keep := contains(car, values.Get("q"))
		for param, wanted := range values {
			path, operator, _ := strings.Cut(param, "_")
			value := at(car, path)
			if value == nil {
				continue
			}
			holding := 0
			for _, want := range wanted {
				if matches(value, operator, want) {
					holding++
				}
			}
			any := operator == "" || operator == "like"
			keep = keep && (holding == len(wanted) || any && holding > 0)
		}
		if keep {
			list = append(list, car)
		}
	}
	orders := strings.Split(strings.ToLower(values.Get("_order")), ",")
	slices.SortStableFunc(list, func(a, b item) int {
		if values.Get("_sort") == "" {
			return 0
		}
		for i, path := range strings.Split(values.Get("_sort"), ",") {
			path, descending := strings.CutPrefix(path, "-")
			if c := compare(at(a, path), at(b, path)); c != 0 {
				if descending || i < len(orders) && orders[i] == "desc" {
					return -c
				}
				return c
			}
		}
		return 0
	})
	number := func(param string, otherwise int) int {
		if n, err := strconv.Atoi(values.Get(param)); err == nil {
			return n
		}
		return otherwise
	}
	start := number("_start", 0)
	end := number("_end", start+number("_limit", len(list)))
	if page := number("_page", 0); page > 0 {
		start = (page - 1) * number("_limit", 10)
		end = start + number("_limit", 10)
	}
	for _, car := range list[min(start, len(list)):min(end, len(list))] {
		ids = append(ids, int(car["id"].(float64)))
	}
	return ids, len(list)
}

// FuzzListQuery sends every query string: it is answered with a list or refused.
func FuzzListQuery(f *testing.F) {
	simulationOff(f)
	for _, q := range []string{"", "_page=2&_limit=3", "name_like=^a(", "q=%zz", "_sort=-year,name&_order=asc,desc",
		"year_gte=1e5&year_ne=.5", "_start=1;_end=2", "id=1&id=2&_per_page=0", "details.horsepower_lt=0x10"} {
		f.Add(q)
	}
	handler := house(f)
	f.Fuzz(func(t *testing.T, q string) {
		r := httptest.NewRequest("GET", "/api/cars", nil)
		r.URL.RawQuery = q
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		checkDescribed(t, r, "", rec)
		checkAnswer(t, rec)
		if rec.Code != 200 && rec.Code != 400 {
			t.Errorf("%q: got %d", q, rec.Code)
		}
	})
}

// FuzzTarget sends every request target that net/http lets through.
func FuzzTarget(f *testing.F) {
	simulationOff(f)
	for _, target := range []string{"/", "*", "//", "/api/cars", "/api/cars/1", "/api/cars/1%2F2", "/api/cars/../x",
		"/api/cars?_delay=5", "/api/cars?_delay=-1&_delay=x;", "http://localhost/api/cars/2?%"} {
		f.Add(target)
	}
	handler := house(f)
	f.Fuzz(func(t *testing.T, target string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: localhost\r\n\r\n")))
		if err != nil {
			return
		}
		if r.URL.Path == "/metrics" { // which is not JSON
			return
		}
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		checkDescribed(t, r, "", rec)
		checkAnswer(t, rec)
		otherHost := rec.Code == 403 && r.Host != "localhost"
		if rec.Code != 200 && rec.Code != 400 && rec.Code != 404 && !otherHost {
			t.Errorf("%q: got %d", target, rec.Code)
		}
	})
}

// --- the page ---------------------------------------------------------------

func TestPage(t *testing.T) {
	simulationOff(t)
	size := 0
	for name := range pageFiles {
		target := "/" + strings.TrimSuffix(name, "index.html")
		rec := get(t, target)
		wantType := map[string]string{".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
			".svg": "image/svg+xml", ".json": "application/json"}[filepath.Ext(name)]
		h := rec.Header()
		if rec.Code != 200 || h.Get("Content-Type") != wantType || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Cross-Origin-Opener-Policy") != "same-origin" {
			t.Errorf("%s: got %d %v", target, rec.Code, h)
		}
		if policy := h.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
			t.Errorf("%s: got the policy %s", target, policy)
		}
		if again := get(t, target, "If-None-Match: "+h.Get("ETag")); again.Code != 304 || again.Header().Get("ETag") != h.Get("ETag") {
			t.Errorf("%s: got %d and %v, want 304", target, again.Code, again.Header())
		}
		if name != "openapi.json" {
			size += rec.Body.Len()
			for _, url := range regexp.MustCompile(`https?://[^"'\s<]+`).FindAllString(rec.Body.String(), -1) {
				if url != "http://www.w3.org/2000/svg" { // a name, which nobody asks for
					t.Errorf("%s: refers to %s, and no other host is to be asked", name, url)
				}
			}
		}
	}
	if size == 0 || size >= 60_000 {
		t.Errorf("the page has %d bytes, want under 60,000", size)
	}
	if got, want := get(t, "/images/flying-car.svg"), get(t, "/images/car.svg"); !bytes.Equal(got.Body.Bytes(), want.Body.Bytes()) {
		t.Errorf("a category without a picture: got %s, want the picture of a car", got.Body)
	}
	for _, car := range cars { // or a picture would be missing on the page
		if _, found := pageFiles[strings.TrimPrefix(car.ImageURL, "/")]; !found {
			t.Errorf("%s has the picture %s, which is not there", car.Name, car.ImageURL)
		}
	}
}

// --- writes -----------------------------------------------------------------

// changing is simulationOff for tests that change the catalogue: it starts with
// the built-in cars, and they are back at the end.
func changing(t testing.TB) {
	simulationOff(t)
	restore := func() {
		req := CarRequest{Op: replaceCars, Write: &write{catalogue: newCatalogue(newRecords(cars))}}
		if _, err := ask(context.Background(), carRequestChan, req); err != nil {
			t.Error(err)
		}
	}
	restore()
	t.Cleanup(restore)
}

// saab is a car as clients send it, and stored is what becomes of it.
const saab = `{"name":" Saab 900 ","manufacturer":"Saab","category":"Coupe","year":1994,"price":20990,"imageUrl":"/images/coupe.svg",` +
	`"details":{"engine":"2.3L Inline-4","horsepower":150,"transmission":"5-speed Manual","drivetrain":"Front-Wheel Drive"}}`

var stored = Car{0, "Saab 900", "Saab", "Coupe", 1994, 20990, "/images/coupe.svg", Details{"2.3L Inline-4", 150, "5-speed Manual", "Front-Wheel Drive"}}

// checkCar wants an answer with this car, and what reads it to find the same.
func checkCar(t *testing.T, rec *httptest.ResponseRecorder, status int, want Car) {
	t.Helper()
	if got := decode[Car](t, rec); rec.Code != status || got != want {
		t.Errorf("got %d %+v, want %d %+v", rec.Code, got, status, want)
	}
	read := get(t, "/api/cars/"+strconv.Itoa(want.ID))
	if !bytes.Equal(read.Body.Bytes(), rec.Body.Bytes()) || read.Header().Get("ETag") != rec.Header().Get("ETag") {
		t.Errorf("read %s with %s, but was answered %s with %s", read.Body, read.Header().Get("ETag"), rec.Body, rec.Header().Get("ETag"))
	}
}

func TestCreate(t *testing.T) {
	changing(t)
	rec := send(t, "POST", "/api/cars", saab)
	want := stored
	want.ID = decode[Car](t, rec).ID
	checkCar(t, rec, 201, want)
	if want.ID <= len(cars) {
		t.Errorf("got ID %d, which is taken", want.ID)
	}
	if got, want := rec.Header().Get("Location"), fmt.Sprintf("/api/cars/%d", want.ID); got != want {
		t.Errorf("Location: got %q, want %q", got, want)
	}
	want.ID++
	checkCar(t, send(t, "POST", "/api/cars", saab), 201, want)

	// With an ID of its own, a car gets that, and the next one a higher.
	want = Car{ID: want.ID + 10, Name: "A", Manufacturer: "B"}
	body := fmt.Sprintf(`{"id":%d,"name":"A","manufacturer":"B"}`, want.ID)
	checkCar(t, send(t, "POST", "/api/cars", body), 201, want)
	checkError(t, send(t, "POST", "/api/cars", body), 409)
	checkError(t, send(t, "POST", "/api/cars", `{"id":1,"name":"A","manufacturer":"B"}`), 409)
	want.ID++
	checkCar(t, send(t, "POST", "/api/cars", `{"id":null,"name":"A","manufacturer":"B"}`), 201, want)

	// The ID of a deleted car is given to nobody who does not ask for it.
	target := "/api/cars/" + strconv.Itoa(want.ID)
	do(t, "DELETE", target)
	want.ID++
	checkCar(t, send(t, "POST", "/api/cars", `{"name":"A","manufacturer":"B"}`), 201, want)
	want.ID--
	checkCar(t, send(t, "POST", "/api/cars", fmt.Sprintf(`{"id":%d,"name":"A","manufacturer":"B"}`, want.ID)), 201, want)
	if got, want := decode[[]Car](t, get(t, "/api/cars")), len(cars)+5; len(got) != want {
		t.Errorf("got %d cars, want %d", len(got), want)
	}
}

func TestReplace(t *testing.T) {
	changing(t)
	want := stored
	want.ID = 7
	rec := send(t, "PUT", "/api/cars/7", saab)
	checkCar(t, rec, 200, want)
	if got := rec.Header().Get("Content-Location"); got != "/api/cars/7" {
		t.Errorf("Content-Location: got %q, want /api/cars/7", got)
	}
	// Whole: what is not there is as good as null.
	want = Car{ID: 7, Name: "A", Manufacturer: "B"}
	checkCar(t, send(t, "PUT", "/api/cars/7", `{"manufacturer":"B","id":7,"name":"A"}`), 200, want)
	checkCar(t, send(t, "PUT", "/api/cars/7", `{"name":"A","manufacturer":"B","category":null,"year":null,"details":null}`), 200, want)
	checkCar(t, send(t, "PUT", "/api/cars/7", `{"name":"A","manufacturer":"B","details":{"engine":null,"horsepower":null}}`), 200, want)

	checkError(t, send(t, "PUT", "/api/cars/999", saab), 404)
	checkError(t, send(t, "PUT", "/api/cars/0", saab), 400)
	checkError(t, get(t, "/api/cars/999"), 404)
	for _, id := range []string{"8", "null", "0", `"7"`} {
		rec := send(t, "PUT", "/api/cars/7", `{"name":"C","manufacturer":"D","id":`+id+`}`)
		if got := decode[errorAnswer](t, rec).Errors; rec.Code != 422 || len(got) != 1 || got["id"] == "" {
			t.Errorf("id %s: got %d %v", id, rec.Code, got)
		}
	}
	checkCar(t, get(t, "/api/cars/7"), 200, want)
}

func TestDelete(t *testing.T) {
	changing(t)
	before := decode[[]Car](t, get(t, "/api/cars"))
	rec := do(t, "DELETE", "/api/cars/5")
	if got := decode[Car](t, rec); rec.Code != 200 || got != cars[4] {
		t.Errorf("got %d %+v, want 200 and the car", rec.Code, got)
	}
	if got := rec.Header().Get("ETag"); got != "" {
		t.Errorf("what is gone has the ETag %s", got)
	}
	checkError(t, get(t, "/api/cars/5"), 404)
	checkError(t, do(t, "DELETE", "/api/cars/5"), 404)
	checkError(t, send(t, "PATCH", "/api/cars/5", `{"year":2000}`), 404)
	if got, want := decode[[]Car](t, get(t, "/api/cars")), slices.Delete(before, 4, 5); !slices.Equal(got, want) {
		t.Errorf("got %d cars, want the %d others", len(got), len(want))
	}
	if rec := send(t, "DELETE", "/api/cars/6", `{"id":6}`); rec.Code != 200 { // as some clients do
		t.Errorf("with a body: got %d", rec.Code)
	}
}

// TestPatch has the test cases of RFC 7396, appendix A, as far as they make
// sense for an object with fixed fields: a is name or category, and b, which may
// be an object, is details. Its other cases are about arrays, or replace an
// object by something else, which is refused.
func TestPatch(t *testing.T) {
	changing(t)
	full := stored
	full.ID = 7
	change := func(f func(*Car)) Car {
		car := full
		f(&car)
		return car
	}
	tests := []struct {
		patch string
		want  Car
	}{
		{`{}`, full},
		{`{"name":"b"}`, change(func(c *Car) { c.Name = "b" })},                                                                     // {"a":"b"} {"a":"c"}
		{`{"category":null}`, change(func(c *Car) { c.Category = "" })},                                                             // {"a":"b"} {"a":null}
		{`{"year":null,"price":null}`, change(func(c *Car) { c.Year, c.Price = 0, 0 })},                                             // {"a":"b","b":"c"} {"a":null}
		{`{"details":{"engine":"d","drivetrain":null}}`, change(func(c *Car) { c.Details.Engine, c.Details.Drivetrain = "d", "" })}, // {"a":{"b":"c"}} {"a":{"b":"d","c":null}}
		{`{"details":{"horsepower":null}}`, change(func(c *Car) { c.Details.Horsepower = 0 })},                                      // {} {"a":{"bb":{"ccc":null}}}
		{`{"details":{}}`, full},
		{`{"details":null}`, change(func(c *Car) { c.Details = Details{} })},
		{`{"details":null,"year":1990}`, change(func(c *Car) { c.Details, c.Year = Details{}, 1990 })},
		{`{"id":7,"name":"  b\u2003","imageUrl":null}`, change(func(c *Car) { c.Name, c.ImageURL = "b", "" })},
	}
	for _, test := range tests {
		for _, contentType := range []string{"application/json", "application/merge-patch+json"} {
			send(t, "PUT", "/api/cars/7", saab)
			rec := send(t, "PATCH", "/api/cars/7", test.patch, "Content-Type: "+contentType)
			t.Log(test.patch)
			checkCar(t, rec, 200, test.want)
		}
	}
	send(t, "PUT", "/api/cars/7", saab)
	for patch, wrong := range map[string]string{
		`{"name":null}`:                     "name is required",
		`{"name":" "}`:                      "name is required",
		`{"manufacturer":null,"year":1990}`: "manufacturer is required",
		`{"id":8}`:                          "id must be 7, as in the path",
		`{"id":null}`:                       "id must be 7, as in the path",
		`{"name":["b"]}`:                    "name must be a string",
		`{"details":"c"}`:                   "details must be an object",
		`{"details":["c"]}`:                 "details must be an object",
		`{"details":{"engine":{"a":1}}}`:    "details.engine must be a string",
		`{"details.engine":"c"}`:            "details.engine is not a known field",
		`{"e":null,"a":1}`:                  "a is not a known field; e is not a known field",
	} {
		rec := send(t, "PATCH", "/api/cars/7", patch)
		if got := decode[errorAnswer](t, rec).Message; rec.Code != 422 || got != wrong {
			t.Errorf("%s: got %d %q, want 422 %q", patch, rec.Code, got, wrong)
		}
	}
	for _, patch := range []string{`["c"]`, `null`, `"bar"`, `7`} { // which would replace the car by them
		checkError(t, send(t, "PATCH", "/api/cars/7", patch), 400)
	}
	checkCar(t, get(t, "/api/cars/7"), 200, full)
}

func TestReplaceAll(t *testing.T) {
	changing(t)
	next := decode[Car](t, send(t, "POST", "/api/cars", saab)).ID + 1
	body := fmt.Sprintf(`[{"name":"C","manufacturer":"M"},{"id":9,"name":"B","manufacturer":"M"},{"id":3,"name":"A","manufacturer":"M"},
		{"id":%d,"name":"D","manufacturer":"M"},{"name":"E","manufacturer":"M"}]`, next)
	rec := send(t, "PUT", "/api/cars", body)
	want := []Car{
		{ID: 3, Name: "A", Manufacturer: "M"},
		{ID: 9, Name: "B", Manufacturer: "M"},
		{ID: next, Name: "D", Manufacturer: "M"},
		{ID: next + 1, Name: "C", Manufacturer: "M"},
		{ID: next + 2, Name: "E", Manufacturer: "M"},
	}
	if got := decode[[]Car](t, rec); rec.Code != 200 || !slices.Equal(got, want) || rec.Header().Get("X-Total-Count") != "5" {
		t.Errorf("got %d %+v, want %+v", rec.Code, got, want)
	}
	if got := decode[[]Car](t, get(t, "/api/cars")); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	checkCar(t, send(t, "POST", "/api/cars", saab), 201, func() Car { c := stored; c.ID = next + 3; return c }())
	want = decode[[]Car](t, get(t, "/api/cars"))

	for body, message := range map[string]string{
		`{}`: "The body must be a JSON array",
		`[{"name":"A","manufacturer":"M"},{"name":"A","name":"B"}]`: `The key "name" occurs twice in one object; the second ends at offset 51`,
		`[{"name":"A","manufacturer":"M"},null]`:                    "[1] must be an object",
		`[{"id":4,"name":"A","manufacturer":"M"},{"id":4,"name":"A","manufacturer":"M","year":1},[]]`: fmt.Sprintf(
			"[1].id is also that of [0]; [1].year must be 0 or between 1886 and %d; [2] must be an object", time.Now().Year()+2),
		"[" + strings.Repeat("{},", 1000) + "{}]": "[0].manufacturer is required; [0].name is required; [10].manufacturer is required; [10].name is required; [11].manufacturer is required; and 95 more",
	} {
		rec := send(t, "PUT", "/api/cars", body)
		if got := decode[errorAnswer](t, rec).Message; rec.Code/100 != 4 || got != message {
			t.Errorf("%.80s: got %d %q, want %q", body, rec.Code, got, message)
		}
	}
	if got := decode[[]Car](t, get(t, "/api/cars")); !slices.Equal(got, want) {
		t.Errorf("after refusals: got %+v, want %+v", got, want)
	}

	// The next ID never goes back, and is above whatever was put in.
	if rec := send(t, "PUT", "/api/cars", "[]"); rec.Code != 200 || rec.Body.String() != "[]\n" {
		t.Errorf("got %d %q, want 200 and an empty list", rec.Code, rec.Body)
	}
	put := func(id int) {
		send(t, "PUT", "/api/cars", fmt.Sprintf(`[{"id":%d,"name":"A","manufacturer":"B"}]`, id))
	}
	create := func() int { return decode[Car](t, send(t, "POST", "/api/cars", saab)).ID }
	if got, want := create(), next+4; got != want {
		t.Errorf("got ID %d, want %d", got, want)
	}
	put(1)
	if got, want := create(), next+5; got != want {
		t.Errorf("got ID %d, want %d", got, want)
	}
	put(next + 100)
	if got, want := create(), next+101; got != want {
		t.Errorf("got ID %d, want %d", got, want)
	}

	rec = send(t, "PUT", "/api/cars", "[]"+strings.Repeat(" ", 2*maxCarBody), "Accept-Encoding: gzip")
	if rec.Code != 200 || rec.Header().Get("Vary") != "Accept-Encoding" {
		t.Errorf("2 MiB: got %d, Vary %q", rec.Code, rec.Header().Get("Vary"))
	}
	// To get its ID costs a car no second processing time.
	simulationChan <- simulation{delay: 10 * time.Second}
	start := time.Now()
	send(t, "PUT", "/api/cars?_delay=1", "["+saab+"]")
	if elapsed := time.Since(start); elapsed > 10*time.Second {
		t.Errorf("took %v", elapsed)
	}
	simulationChan <- simulation{}
}

func TestPreconditions(t *testing.T) {
	changing(t)
	etag := get(t, "/api/cars/7").Header().Get("ETag")
	old := get(t, "/api/cars/8").Header().Get("ETag")
	const put = `{"name":"A","manufacturer":"B"}`
	tests := []struct {
		method, target, body string
		condition            string
		want                 int
	}{
		{"PUT", "/api/cars/7", put, "If-Match: " + old, 412},
		{"PUT", "/api/cars/7", put, "If-Match: W/" + etag, 412},
		{"PUT", "/api/cars/7", put, "If-None-Match: *", 412},
		{"PUT", "/api/cars/7", put, "If-None-Match: W/" + etag, 412},
		{"PATCH", "/api/cars/7", `{"year":2000}`, `If-Match: "x", ` + old, 412},
		{"PATCH", "/api/cars/7", `{"year":2000}`, "If-None-Match: *", 412},
		{"DELETE", "/api/cars/7", "", "If-Match: " + old, 412},
		{"PUT", "/api/cars", "[" + put + "]", "If-Match: " + etag, 412},
		{"PUT", "/api/cars", "[" + put + "]", "If-Match: " + get(t, "/api/cars").Header().Get("ETag"), 412}, // weak
		{"PUT", "/api/cars", "[" + put + "]", "If-None-Match: *", 412},

		// What would be refused anyway is, whatever the conditions (RFC 9110, section 13.2.1).
		{"PUT", "/api/cars/999", put, "If-Match: *", 404},
		{"PUT", "/api/cars/999", put, "If-None-Match: *", 404},
		{"DELETE", "/api/cars/999", "", "If-Match: " + etag, 404},
		{"PUT", "/api/cars/7", `{`, "If-Match: " + old, 400},

		{"PUT", "/api/cars/7", put, `If-Match: "x",` + etag, 200},
		{"PATCH", "/api/cars/7", `{"year":2000}`, "If-Match: " + etag, 412}, // no longer
		{"PATCH", "/api/cars/7", `{"year":2000}`, "If-Match: *", 200},
		{"PATCH", "/api/cars/8", `{"year":2000}`, "If-None-Match: " + etag, 200},
		{"DELETE", "/api/cars/7", "", "If-Match: *", 200},
		{"PUT", "/api/cars", "[" + put + "]", "If-Match: *", 200},
	}
	for _, test := range tests {
		before := get(t, "/api/cars")
		rec := send(t, test.method, test.target, test.body, test.condition)
		if rec.Code != test.want {
			t.Errorf("%s %s with %s: got %d, want %d", test.method, test.target, test.condition, rec.Code, test.want)
		}
		if changed := !bytes.Equal(before.Body.Bytes(), get(t, "/api/cars").Body.Bytes()); changed != (test.want == 200) {
			t.Errorf("%s %s with %s: changed the catalogue: %v", test.method, test.target, test.condition, changed)
		}
	}
}

func TestOfManyWithOneETagOneWins(t *testing.T) {
	changing(t)
	simulationChan <- simulation{delay: 10 * time.Millisecond}
	etag := get(t, "/api/cars/7").Header().Get("ETag")
	var won, lost atomic.Int32
	var clients sync.WaitGroup
	for i := range 100 {
		clients.Go(func() {
			rec := send(t, "PUT", "/api/cars/7", fmt.Sprintf(`{"name":"Client %d","manufacturer":"M"}`, i), "If-Match: "+etag)
			switch rec.Code {
			case 200:
				won.Add(1)
			case 412:
				lost.Add(1)
			}
		})
	}
	clients.Wait()
	if won.Load() != 1 || lost.Load() != 99 {
		t.Errorf("got %d times 200 and %d times 412, want 1 and 99", won.Load(), lost.Load())
	}
}

// TestFields has the range of every field, one value at a time.
func TestFields(t *testing.T) {
	lastYear := time.Now().Year() + 2
	const (
		control  = "must not contain control characters"
		isText   = "must be a string"
		isNumber = "must be a number"
		isWhole  = "must be a whole number"
		isURL    = "must be empty, a path that begins with /, or an http or https URL"
	)
	yearRange := fmt.Sprintf("must be 0 or between 1886 and %d", lastYear)
	tests := []struct{ field, value, want string }{
		{"name", `"x"`, ""},
		{"name", `"` + strings.Repeat("é", 200) + `"`, ""},
		{"name", `"  ` + strings.Repeat("é", 200) + ` "`, ""},
		{"name", `"` + strings.Repeat("é", 201) + `"`, "must be at most 200 characters"},
		{"name", `""`, "is required"},
		{"name", `" \t\u00a0"`, "is required"},
		{"name", `null`, "is required"},
		{"name", `"a\u0000b"`, control},
		{"name", `"a\nb"`, control},
		{"name", `"a\u007fb"`, control},
		{"name", `"a\u0085b"`, control},
		{"name", `"<img src=x onerror=alert(1)>"`, ""},
		{"name", `"😀"`, ""},
		{"name", `5`, isText},
		{"name", `true`, isText},
		{"name", `{}`, isText},
		{"manufacturer", `"` + strings.Repeat("x", 100) + `"`, ""},
		{"manufacturer", `"` + strings.Repeat("x", 101) + `"`, "must be at most 100 characters"},
		{"manufacturer", `""`, "is required"},
		{"category", `""`, ""},
		{"category", `null`, ""},
		{"category", `"` + strings.Repeat("x", 50) + `"`, ""},
		{"category", `"` + strings.Repeat("x", 51) + `"`, "must be at most 50 characters"},
		{"category", `" "`, ""},
		{"year", `0`, ""},
		{"year", `null`, ""},
		{"year", `-0`, ""},
		{"year", `1886`, ""},
		{"year", `2.024e3`, ""},
		{"year", strconv.Itoa(lastYear), ""},
		{"year", `1`, yearRange},
		{"year", `1885`, yearRange},
		{"year", `-1`, yearRange},
		{"year", strconv.Itoa(lastYear + 1), yearRange},
		{"year", `1e30`, yearRange},
		{"year", `2020.5`, isWhole},
		{"year", `"2020"`, isNumber},
		{"year", `[2020]`, isNumber},
		{"price", `0`, ""},
		{"price", `1000000000`, ""},
		{"price", `1000000001`, "must be at most 1000000000"},
		{"price", `-1`, "must not be negative"},
		{"price", `-1e300`, "must not be negative"},
		{"price", `9223372036854775808`, "must be at most 1000000000"},
		{"price", `18446744073709551617`, "must be at most 1000000000"},
		{"price", `0.1`, isWhole},
		{"price", `1.0`, ""},
		{"price", `false`, isNumber},
		{"id", `1`, ""},
		{"id", `4503599627370496`, ""},
		{"id", `4503599627370497`, "must be at most 4503599627370496"},
		{"id", `1e300`, "must be at most 4503599627370496"},
		{"id", `0`, "must be at least 1"},
		{"id", `-1`, "must be at least 1"},
		{"id", `"1"`, isNumber},
		{"imageUrl", `""`, ""},
		{"imageUrl", `"/images/suv.svg"`, ""},
		{"imageUrl", `"/"`, ""},
		{"imageUrl", `"http://example.com/a.png?b=c#d"`, ""},
		{"imageUrl", `"HTTPS://user@example.com:8443/a b.png"`, ""},
		{"imageUrl", `"http://[::1]/x"`, ""},
		{"imageUrl", `"/` + strings.Repeat("x", 2047) + `"`, ""},
		{"imageUrl", `"/` + strings.Repeat("x", 2048) + `"`, "must be at most 2048 characters"},
		{"imageUrl", `"javascript:alert(1)"`, isURL},
		{"imageUrl", `"JavaScript:alert(1)"`, isURL},
		{"imageUrl", `" javascript:alert(1)"`, isURL},
		{"imageUrl", `"java\nscript:alert(1)"`, control},
		{"imageUrl", `"data:image/svg+xml,<svg/>"`, isURL},
		{"imageUrl", `"//example.com/x"`, isURL},
		{"imageUrl", `"/\\example.com/x"`, isURL},
		{"imageUrl", `"\\\\example.com"`, isURL},
		{"imageUrl", `"images/suv.svg"`, isURL},
		{"imageUrl", `"http:"`, isURL},
		{"imageUrl", `"http:///x"`, isURL},
		{"imageUrl", `"http://:80/x"`, isURL},
		{"imageUrl", `"https:example.com"`, isURL},
		{"imageUrl", `"ftp://example.com/x"`, isURL},
		{"imageUrl", `"/%zz"`, isURL},
		{"imageUrl", `1`, isText},
		{"details", `{}`, ""},
		{"details", `null`, ""},
		{"details", `[]`, "must be an object"},
		{"details", `"x"`, "must be an object"},
		{"details.engine", `"` + strings.Repeat("x", 200) + `"`, ""},
		{"details.engine", `"` + strings.Repeat("x", 201) + `"`, "must be at most 200 characters"},
		{"details.engine", `"\u001b[31m"`, control},
		{"details.transmission", `"` + strings.Repeat("x", 201) + `"`, "must be at most 200 characters"},
		{"details.drivetrain", `"` + strings.Repeat("x", 201) + `"`, "must be at most 200 characters"},
		{"details.drivetrain", `0`, isText},
		{"details.horsepower", `5000`, ""},
		{"details.horsepower", `5001`, "must be at most 5000"},
		{"details.horsepower", `-1`, "must not be negative"},
		{"details.horsepower", `1.5`, isWhole},
		{"details.horsepower", `"201"`, isNumber},
		{"Name", `"x"`, "is not a known field; did you mean name?"},
		{"Details", `{}`, "is not a known field; did you mean details?"},
		{"imageURL", `"x"`, "is not a known field; did you mean imageUrl?"},
		{"horsepower", `1`, "is not a known field; did you mean details.horsepower?"},
		{"details.Engine", `"x"`, "is not a known field; did you mean details.engine?"},
		{"details.year", `2020`, "is not a known field; did you mean year?"},
		{"colour", `"red"`, "is not a known field"},
		{"details.", `1`, "is not a known field"},
		{"", `1`, "is not a known field"},
		{"__proto__", `{}`, "is not a known field"},
		{strings.Repeat("x", 101), `1`, ""}, // and an error under a shorter name
	}
	for _, test := range tests {
		object := map[string]any{"name": "A", "manufacturer": "B"}
		var value any
		if err := json.Unmarshal([]byte(test.value), &value); err != nil {
			t.Fatal(err)
		}
		if detail, ok := strings.CutPrefix(test.field, "details."); ok {
			object["details"] = map[string]any{detail: value}
		} else {
			object[test.field] = value
		}
		wrong := fields.Errors{}
		parseCar(object, 0, maxChosenID, wrong)
		want := fields.Errors{}
		if test.want != "" {
			want[test.field] = test.want
		}
		if len(test.field) > 100 {
			want[strings.Repeat("x", 100)+"…"] = "is not a known field"
		}
		if !maps.Equal(wrong, want) {
			t.Errorf("%s %.60s: got %v, want %v", test.field, test.value, wrong, want)
		}
	}
}

func TestAllProblemsAreNamedAtOnce(t *testing.T) {
	changing(t)
	rec := send(t, "POST", "/api/cars", `{"name":"","year":1,"price":-1,"imageUrl":"x","details":{"horsepower":9999,"engine":1},"colour":"red"}`)
	want := errorAnswer{"Unprocessable Entity",
		"colour is not a known field; details.engine must be a string; details.horsepower must be at most 5000; " +
			"imageUrl must be empty, a path that begins with /, or an http or https URL; manufacturer is required; and 3 more",
		422, fields.Errors{
			"colour":             "is not a known field",
			"details.engine":     "must be a string",
			"details.horsepower": "must be at most 5000",
			"imageUrl":           "must be empty, a path that begins with /, or an http or https URL",
			"manufacturer":       "is required",
			"name":               "is required",
			"price":              "must not be negative",
			"year":               fmt.Sprintf("must be 0 or between 1886 and %d", time.Now().Year()+2),
		}}
	if got := decode[errorAnswer](t, rec); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	many := make(map[string]int)
	for i := range 10_000 {
		many[strconv.Itoa(i)] = i
	}
	body, _ := json.Marshal(many)
	if got := decode[errorAnswer](t, send(t, "POST", "/api/cars", string(body))); len(got.Errors) != fields.MaxErrors {
		t.Errorf("got %d errors, want %d", len(got.Errors), fields.MaxErrors)
	}
}

// TestRefusedBodies has one body for each reason; internal/ijson has the rest.
func TestRefusedBodies(t *testing.T) {
	changing(t)
	tests := []struct {
		method, target, body string
		header               string
		status               int
	}{
		{"POST", "/api/cars", "", "Content-Type: application/json", 400},
		{"POST", "/api/cars", " \n", "", 400},
		{"POST", "/api/cars", "null", "", 400},
		{"POST", "/api/cars", "[" + saab + "]", "", 400},
		{"POST", "/api/cars", saab + saab, "", 400},
		{"POST", "/api/cars", saab + "x", "", 400},
		{"POST", "/api/cars", strings.Replace(saab, `"price"`, `"year"`, 1), "", 400},
		{"POST", "/api/cars", strings.Replace(saab, `"price"`, `"Price"`, 1), "", 422},
		{"POST", "/api/cars", strings.Replace(saab, "1994", "NaN", 1), "", 400},
		{"POST", "/api/cars", strings.Replace(saab, "1994", "1e999", 1), "", 400},
		{"POST", "/api/cars", strings.Replace(saab, "Coupe", "\xff", 1), "", 400},
		{"POST", "/api/cars", strings.Replace(saab, "Coupe", `\ud800`, 1), "", 400},
		{"POST", "/api/cars", "\ufeff" + saab, "", 400},
		{"POST", "/api/cars", "// " + saab, "", 400},
		{"POST", "/api/cars", strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000), "", 400},
		{"POST", "/api/cars", strings.Repeat(`{"details":`, 20_000) + "1" + strings.Repeat("}", 20_000), "", 400},
		{"POST", "/api/cars", saab + strings.Repeat(" ", maxCarBody-len(saab)+1), "", 413},
		{"PATCH", "/api/cars/1", "{}" + strings.Repeat(" ", maxCarBody), "", 413},
		{"PUT", "/api/cars/1", saab + strings.Repeat(" ", maxCarBody), "", 413},
		{"DELETE", "/api/cars/1", strings.Repeat(" ", maxCarBody+1), "", 413},
		{"PUT", "/api/cars", "[]" + strings.Repeat(" ", maxCarsBody-1), "", 413},
		{"POST", "/api/cars", saab, "Content-Type: text/plain", 415},
		{"PUT", "/api/cars", "[]", "Content-Type: application/merge-patch+json", 415},
		{"PUT", "/api/cars/1", saab, "Content-Type: application/merge-patch+json", 415},
		{"PATCH", "/api/cars/1", "[]", "Content-Type: application/json-patch+json", 415},
		{"POST", "/api/cars", saab, "Content-Encoding: gzip", 415},
		{"PUT", "/api/cars", "[]", "Content-Encoding: identity", 415},
		{"PATCH", "/api/cars/x", "{}", "", 400},
		{"DELETE", "/api/cars/01", "", "", 400},
		{"DELETE", "/api/cars/1?_delay=x", "", "", 400},
		{"DELETE", "/api/cars/1?a;b", "", "", 400},
	}
	before := get(t, "/api/cars").Body.String()
	for _, test := range tests {
		var header []string
		if test.header != "" {
			header = []string{test.header}
		}
		rec := send(t, test.method, test.target, test.body, header...)
		if rec.Code != test.status {
			t.Errorf("%s %s %.40q %s: got %d %s, want %d", test.method, test.target, test.body, test.header, rec.Code, rec.Body, test.status)
		}
		if message := decode[errorAnswer](t, rec).Message; strings.Contains(message, "json:") || strings.Contains(message, "main.") {
			t.Errorf("the message is not for a client: %s", message)
		}
	}
	if after := get(t, "/api/cars").Body.String(); after != before {
		t.Error("something has changed")
	}
	if rec := send(t, "POST", "/api/cars", saab+strings.Repeat(" ", maxCarBody-len(saab))); rec.Code != 201 {
		t.Errorf("1 MiB: got %d, want 201", rec.Code)
	}
}

// TestLargestIDLeavesRoomForOthers: who takes the largest ID that can be chosen does
// not take from the server those that it gives.
func TestLargestIDLeavesRoomForOthers(t *testing.T) {
	changing(t)
	send(t, "POST", "/api/cars", `{"id":4503599627370496,"name":"A","manufacturer":"B"}`)
	for id := maxChosenID + 1; id < maxChosenID+4; id++ {
		rec := send(t, "POST", "/api/cars", saab)
		if car := decode[Car](t, rec); rec.Code != 201 || car.ID != id {
			t.Errorf("got %d %s, want ID %d", rec.Code, rec.Body, id)
		}
		if rec := send(t, "PUT", fmt.Sprintf("/api/cars/%d", id), rec.Body.String()); rec.Code != 200 {
			t.Errorf("replaced with itself: got %d %s", rec.Code, rec.Body)
		}
	}
}

// TestCatalogueCanBePutBack with IDs beyond those that clients may choose, if the server
// has given them.
func TestCatalogueCanBePutBack(t *testing.T) {
	changing(t)
	send(t, "POST", "/api/cars", `{"id":4503599627370496,"name":"A","manufacturer":"B"}`)
	last := decode[Car](t, send(t, "POST", "/api/cars", saab)).ID
	list := get(t, "/api/cars").Body.String()
	if rec := send(t, "PUT", "/api/cars", list); rec.Code != 200 || rec.Body.String() != list {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
	rec := send(t, "PUT", "/api/cars", strings.Replace(list, strconv.Itoa(last), strconv.Itoa(last+1), 1))
	if want := fmt.Sprintf("[33].id must be at most %d", last); last <= maxChosenID || rec.Code != 422 || !strings.Contains(rec.Body.String(), want) {
		t.Errorf("got %d %s, want %s", rec.Code, rec.Body, want)
	}
}

// TestIDsEnd where JavaScript's integers do: what has none left is full, and the file of
// it can be read again.
func TestIDsEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cars.jsonl")
	if err := os.WriteFile(path, fmt.Appendf(nil, "{\"delete\":[%d]}\n", items.MaxID-1), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, ids := range [][]int{{items.MaxID, 0}, {0}} { // 0: there is none
		s, file, err := openStore(path, defaultMaxCars)
		if err != nil {
			t.Fatal(err)
		}
		p := newProcessor(nil, nil, nil)
		p.store, p.simulation = s, simulation{}
		ask := func(req CarRequest) CarResponse {
			req.Response = make(chan CarResponse, 1)
			p.accept(req)
			p.judge()
			if p.batch != nil {
				p.finish(<-p.committed)
			}
			return <-req.Response
		}
		for _, id := range ids {
			resp := ask(CarRequest{Op: createCar, Write: &write{car: Car{Name: "A", Manufacturer: "B"}}})
			if id > 0 && (resp.Error != nil || resp.Car.ID != id) || id == 0 && resp.Error != errFull {
				t.Errorf("got %+v, want ID %d", resp, id)
			}
		}
		if resp := ask(CarRequest{Op: reserveIDs, Write: &write{count: 1}}); resp.Error != errFull {
			t.Errorf("reserved: got %+v", resp)
		}
		file.Close()
	}
}

func TestFailedCommitIsAnswered(t *testing.T) {
	rec := httptest.NewRecorder()
	fail(rec, fmt.Errorf("%w: %w", errNotCommitted, errors.New("/tmp/secret: disk on fire")))
	checkAnswer(t, rec)
	if rec.Code != 503 || rec.Header().Get("Retry-After") == "" || strings.Contains(rec.Body.String(), "secret") {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
	if strings.Contains(rec.Body.String(), "changed") {
		t.Errorf("got %s; whether something was changed is not certain", rec.Body)
	}
	for _, err := range []error{errFull, fmt.Errorf("%w: %w", errNotCommitted, fmt.Errorf("journal: /tmp/secret: %w", journal.ErrFull))} {
		rec := httptest.NewRecorder()
		fail(rec, err)
		checkAnswer(t, rec)
		if rec.Code != 507 || strings.Contains(rec.Body.String(), "secret") {
			t.Errorf("%v: got %d %s, want 507", err, rec.Code, rec.Body)
		}
	}
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
	f.Fuzz(func(t *testing.T, body string, kind int) {
		changing(t)
		kinds := []struct{ method, target string }{{"POST", "/api/cars"}, {"PUT", "/api/cars/7"}, {"PATCH", "/api/cars/7"}, {"PUT", "/api/cars"}}
		to := kinds[uint(kind)%4]
		before := get(t, "/api/cars").Body.String()
		rec := send(t, to.method, to.target, body, "Content-Type: application/json")
		switch {
		case rec.Code >= 500:
			t.Fatalf("%s %s %q: got %d %s", to.method, to.target, body, rec.Code, rec.Body)
		case rec.Code >= 400:
			if after := get(t, "/api/cars").Body.String(); after != before {
				t.Fatalf("%s %s %q: refused, and yet something has changed", to.method, to.target, body)
			}
		case to.target == "/api/cars" && to.method == "PUT":
			if after := get(t, "/api/cars").Body.String(); after != rec.Body.String() {
				t.Fatalf("%q: answered %s, read %s", body, rec.Body, after)
			}
		default:
			car := decode[Car](t, rec)
			checkCar(t, rec, rec.Code, car)
			target := "/api/cars/" + strconv.Itoa(car.ID)
			again := send(t, "PUT", target, rec.Body.String(), "If-Match: "+rec.Header().Get("ETag"))
			checkCar(t, again, 200, car)
		}
	})
}

// --- linearizability ----------------------------------------------------------

// An event is one request about one car, with what its client saw: when it was
// sent and answered, on a clock that all clients share, and what the answer says
// about the car. A state is a car's model year, or absent.
type event struct {
	sent, answered int64
	what           string
	explains       func(state int) (next int, possible bool) // whether a car in this state gives this answer, and what becomes of it
}

const absent = -1

// linearizable reports whether there is an order of all events, the initial
// state before them, that explains every answer, and in which none comes before
// another that was answered before it was sent. It tries all orders, after Wing
// and Gong's "Testing and Verifying Concurrent Objects" (1993), and remembers
// where it has been, after Lowe's "Testing for Linearizability" (2017).
func linearizable(events []event, initial int) bool {
	slices.SortFunc(events, func(a, b event) int { return cmp.Compare(a.sent, b.sent) })
	done := make([]byte, len(events))
	left := len(events)
	seen := make(map[string]bool)
	var try func(state int) bool
	try = func(state int) bool {
		key := string(done) + strconv.Itoa(state)
		if left == 0 || seen[key] {
			return left == 0
		}
		seen[key] = true
		firstAnswer := int64(math.MaxInt64)
		for i, e := range events {
			if done[i] == 1 {
				continue
			}
			if e.sent > firstAnswer {
				return false // one that was answered before this, and all behind it, has no place
			}
			firstAnswer = min(firstAnswer, e.answered)
			if next, possible := e.explains(state); possible {
				done[i] = 1
				left--
				if try(next) {
					return true
				}
				done[i] = 0
				left++
			}
		}
		return false
	}
	return try(initial)
}

// Events of each kind, and what explains them.
func readEvent(seen int) event {
	return event{what: fmt.Sprint("read ", seen), explains: func(state int) (int, bool) { return state, state == seen }}
}

func createEvent(year int, created bool) event {
	return event{what: fmt.Sprint("create ", year, created), explains: func(state int) (int, bool) {
		if !created {
			return state, state != absent
		}
		return year, state == absent
	}}
}

// changeEvent is a patch to year, on the condition that the car had year before,
// if that is not 0.
func changeEvent(before, year int, err error) event {
	return event{what: fmt.Sprint("change ", before, " to ", year, err), explains: func(state int) (int, bool) {
		switch err {
		case nil:
			return year, state != absent && (before == 0 || state == before)
		case errPrecondition:
			return state, state != absent && state != before
		default:
			return state, state == absent
		}
	}}
}

// deleteEvent is a delete that was answered with the car of that year, or with
// 404 if that is absent.
func deleteEvent(year int) event {
	return event{what: fmt.Sprint("delete ", year), explains: func(state int) (int, bool) { return absent, state == year }}
}

func TestTheCheckerKnowsWhatIsLinearizable(t *testing.T) {
	at := func(sent, answered int64, e event) event {
		e.sent, e.answered = sent, answered
		return e
	}
	for _, test := range []struct {
		name   string
		events []event
		want   bool
	}{
		{"one after the other", []event{at(1, 2, createEvent(1990, true)), at(3, 4, readEvent(1990)), at(5, 6, deleteEvent(1990)), at(7, 8, readEvent(absent))}, true},
		{"stale read", []event{at(1, 2, createEvent(1990, true)), at(3, 4, changeEvent(0, 1991, nil)), at(5, 6, readEvent(1990))}, false},
		{"read during the change, old", []event{at(1, 2, createEvent(1990, true)), at(3, 8, changeEvent(0, 1991, nil)), at(5, 6, readEvent(1990))}, true},
		{"read during the change, new", []event{at(1, 2, createEvent(1990, true)), at(3, 8, changeEvent(0, 1991, nil)), at(5, 6, readEvent(1991))}, true},
		{"new, then old", []event{at(1, 2, createEvent(1990, true)), at(3, 20, changeEvent(0, 1991, nil)), at(5, 6, readEvent(1991)), at(7, 8, readEvent(1990))}, false},
		{"two changes, each seen last by somebody", []event{at(1, 2, createEvent(1990, true)), at(3, 9, changeEvent(0, 1991, nil)), at(3, 9, changeEvent(0, 1992, nil)),
			at(10, 11, readEvent(1991)), at(10, 11, readEvent(1992))}, false},
		{"lost update", []event{at(1, 2, createEvent(1990, true)), at(3, 9, changeEvent(1990, 1991, nil)), at(3, 9, changeEvent(1990, 1992, nil))}, false},
		{"one of two", []event{at(1, 2, createEvent(1990, true)), at(3, 9, changeEvent(1990, 1991, nil)), at(3, 9, changeEvent(1990, 1992, errPrecondition))}, true},
		{"created twice", []event{at(1, 5, createEvent(1990, true)), at(1, 5, createEvent(1991, true))}, false},
		{"deleted twice", []event{at(1, 2, createEvent(1990, true)), at(3, 5, deleteEvent(1990)), at(3, 5, deleteEvent(1990))}, false},
		{"not created for no reason", []event{at(1, 2, createEvent(1990, false))}, false},
	} {
		if got := linearizable(test.events, absent); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

// TestHistoriesAreLinearizable has many clients create, change, delete and read
// a few cars, on a loop whose disk is slow and fails now and then, and over
// HTTP; and once with reads that are stale now and then, which must be noticed.
func TestHistoriesAreLinearizable(t *testing.T) {
	onSlowDisk := func(t *testing.T) func(CarRequest) CarResponse {
		requests, commits, committed, stop := make(chan CarRequest), make(chan items.Commit[record], 1), make(chan error), make(chan struct{})
		p := newProcessor(requests, nil, stop)
		p.commits, p.committed, p.simulation = commits, committed, simulation{}
		go p.run()
		go func() {
			for range commits {
				var err error
				if rand.IntN(10) == 0 {
					err = errors.New("disk full")
				}
				time.Sleep(rand.N(300 * time.Microsecond)) // as disks do
				committed <- err
			}
		}()
		t.Cleanup(func() { close(stop); close(commits) })
		return func(req CarRequest) CarResponse {
			resp, err := ask(t.Context(), requests, req)
			if err != nil {
				t.Error(err)
			}
			return resp
		}
	}
	overHTTP := func(t *testing.T) func(CarRequest) CarResponse {
		changing(t)
		return func(req CarRequest) CarResponse { return askOverHTTP(t, req) }
	}
	stale := func(t *testing.T) func(CarRequest) CarResponse {
		answer := onSlowDisk(t)
		var last sync.Map // car's ID to an answer that was true once
		return func(req CarRequest) CarResponse {
			if old, ok := last.Load(req.ID); ok && req.Op == getCar && rand.IntN(20) == 0 {
				return old.(CarResponse)
			}
			resp := answer(req)
			if req.Op == getCar && rand.IntN(5) == 0 {
				last.Store(req.ID, resp)
			}
			return resp
		}
	}
	for name, test := range map[string]struct {
		start func(*testing.T) func(CarRequest) CarResponse
		want  bool
	}{"slow disk": {onSlowDisk, true}, "HTTP": {overHTTP, true}, "stale reads": {stale, false}} {
		t.Run(name, func(t *testing.T) {
			all := true
			for id, events := range recordHistories(t, test.start(t)) {
				ok := linearizable(events, absent)
				all = all && ok
				if !ok && test.want {
					t.Errorf("car %d: no order explains what %d requests were answered", id, len(events))
					for _, e := range events {
						t.Logf("%d to %d: %s", e.sent, e.answered, e.what)
					}
				}
			}
			if all != test.want {
				t.Errorf("linearizable: got %v, want %v", all, test.want)
			}
		})
	}
}

// recordHistories has clients send requests about a few cars, none of which is
// there at first, and returns what they saw, by ID.
func recordHistories(t *testing.T, answer func(CarRequest) CarResponse) map[int][]event {
	const clients, requestsEach, firstID, ids = 12, 150, 1001, 4
	var clock, year atomic.Int64
	year.Store(1886)
	events := make(chan []event, clients)
	for range clients {
		go func() {
			var seen []event
			defer func() { events <- seen }()
			know := make(map[int]CarResponse) // what this client has read last
			for range requestsEach {
				req := CarRequest{ID: firstID + rand.IntN(ids)}
				next := 1886 + int(year.Add(1))%100 // few enough to come again
				var known int
				switch rand.IntN(6) {
				case 0, 1: // read
				case 2:
					req.Op, req.Write = createCar, &write{car: Car{ID: req.ID, Name: "A", Manufacturer: "B", Year: next}}
				case 3:
					req.Op, req.Write = deleteCar, &write{}
				default:
					req.Op, req.Write = patchCar, &write{patch: map[string]any{"year": float64(next)}}
					if old := know[req.ID]; old.record != nil && rand.IntN(2) == 0 {
						req.Write.conditions.IfMatch, known = []string{old.record.etag}, old.Car.Year
					}
				}
				sent := clock.Add(1)
				resp := answer(req)
				answered := clock.Add(1)
				got := absent
				if resp.Car != nil {
					got = resp.Car.Year
				}
				var e event
				switch {
				case errors.Is(resp.Error, errNotCommitted):
					continue // as if it had never been sent
				case req.Op == createCar:
					e = createEvent(next, resp.Error == nil)
				case req.Op == deleteCar:
					e = deleteEvent(got)
				case req.Op == patchCar:
					e = changeEvent(known, next, resp.Error)
				default:
					e = readEvent(got)
					know[req.ID] = resp
				}
				e.sent, e.answered = sent, answered
				e.what = fmt.Sprintf("%d %s", req.ID, e.what)
				seen = append(seen, e)
			}
		}()
	}
	histories := make(map[int][]event)
	for range clients {
		for _, e := range <-events {
			var id int
			fmt.Sscan(e.what, &id)
			histories[id] = append(histories[id], e)
		}
	}
	return histories
}

// askOverHTTP sends a request as a client would, and reads its answer back.
func askOverHTTP(t *testing.T, req CarRequest) CarResponse {
	method, target, body, condition := "GET", "/api/cars/"+strconv.Itoa(req.ID), any(nil), ""
	switch req.Op {
	case createCar:
		method, target, body = "POST", "/api/cars", req.Write.car
	case deleteCar:
		method = "DELETE"
	case patchCar:
		method, body = "PATCH", req.Write.patch
		if tags := req.Write.conditions.IfMatch; tags != nil {
			condition = "If-Match: " + tags[0]
		}
	}
	encoded, header := "", []string(nil)
	if body != nil {
		b, _ := ijson.Encode(body)
		encoded = string(b)
	}
	if condition != "" {
		header = append(header, condition)
	}
	rec := send(t, method, target, encoded, header...)
	switch rec.Code {
	case 200, 201:
		car := decode[Car](t, rec)
		return CarResponse{Car: &car, record: newRecord(car)}
	case 404:
		return CarResponse{Error: errCarNotFound}
	case 409:
		return CarResponse{Error: errIDTaken}
	case 412:
		return CarResponse{Error: errPrecondition}
	}
	t.Errorf("%s %s: got %d %s", method, target, rec.Code, rec.Body)
	return CarResponse{}
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
		{"-delay 1.5s -jitter 20ms", "", "localhost:8080", simulation{delay: 1500 * time.Millisecond, jitter: 20 * time.Millisecond}, ""},
		{"-delay 1m", "", "localhost:8080", simulation{delay: time.Minute}, ""},
		{"-delay 61s", "", "", simulation{}, `invalid value "61s" for flag -delay: must be a duration such as 100ms or 1.5s, from 0 to 1m0s`},
		{"-delay 100", "", "", simulation{}, `invalid value "100" for flag -delay: must be a duration such as 100ms or 1.5s, from 0 to 1m0s`},
		{"-jitter -1ms", "", "", simulation{}, `invalid value "-1ms" for flag -jitter: must be a duration such as 100ms or 1.5s, from 0 to 1m0s`},
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

func TestServerLimitsLeaveRoomForTheProcessingTime(t *testing.T) {
	for _, s := range []simulation{{}, {delay: defaultDelay}, {delay: maxDelay}, {delay: maxDelay, jitter: maxDelay}} {
		server := newServer(config{simulation: s}, nil)
		if longest := max(maxDelay, s.delay+s.jitter); server.WriteTimeout != longest+10*time.Second {
			t.Errorf("%+v: the write timeout is %v, want 10s more than %v", s, server.WriteTimeout, longest)
		}
		if server.IdleTimeout != 75*time.Second {
			t.Errorf("the idle timeout is %v, want 75s", server.IdleTimeout)
		}
	}
}

// --- what things cost ----------------------------------------------------------

// generateCars returns n different cars, the same for the same n. Their texts
// are their own, as they are in a catalogue that was read from a file.
func generateCars(n int) []Car {
	random := rand.New(rand.NewPCG(uint64(n), 0))
	list := make([]Car, n)
	for i := range list {
		car := cars[random.IntN(len(cars))]
		car.ID = i + 1
		car.Year = 1990 + random.IntN(36)
		car.Price = 10_000 + random.IntN(200_000)
		car.Details.Horsepower = 60 + random.IntN(900)
		car.Name = fmt.Sprintf("%s %s%d", car.Name, []string{"Sport ", "Touring ", "S", ""}[random.IntN(4)], random.IntN(1000))
		for _, text := range []*string{&car.Manufacturer, &car.Category, &car.ImageURL, &car.Details.Engine, &car.Details.Transmission, &car.Details.Drivetrain} {
			*text = strings.Clone(*text)
		}
		list[i] = car
	}
	return list
}

// BenchmarkCatalogue shows what grows with the size of the catalogue and what
// does not. The times are those of one core, from the request in the owner's
// hands to the encoded answer; B/car is the memory that a car takes in all.
func BenchmarkCatalogue(b *testing.B) {
	heap := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	for _, size := range []int{24, 100_000, 1_000_000} {
		before := heap()
		catalogue := newCatalogue(newRecords(generateCars(size)))
		perCar := float64(heap()-before) / float64(size)
		list := func(rawQuery string) func(*testing.B) {
			values, err := query.Values(rawQuery)
			if err != nil {
				b.Fatal(err)
			}
			r := httptest.NewRequest("GET", "/api/cars", nil)
			return func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					list, err := listSchema.Parse(values)
					if err != nil {
						b.Fatal(err)
					}
					records, _, err := list.Run(b.Context(), catalogue.read(CarRequest{Op: listCars}).catalogue.cars.Blocks())
					if err != nil {
						b.Fatal(err)
					}
					answer.List(discard{}, r, records, (*record).body)
				}
			}
		}
		name := strconv.Itoa(size)
		b.Run(name+"/by-id", func(b *testing.B) {
			b.ReportAllocs()
			id := 0
			for b.Loop() {
				id = id*7919%size + 1
				if catalogue.read(CarRequest{ID: id}).Car.ID != id {
					b.Fatal("wrong car")
				}
			}
			b.ReportMetric(perCar, "B/car")
		})
		b.Run(name+"/first-page", list("_page=1&_limit=25"))
		b.Run(name+"/filter-sort-page", list("category=SUV&price_lte=90000&_sort=-year,price&_page=2&_limit=25"))
		b.Run(name+"/sort-page", list("_sort=-id&_page=1&_limit=25"))
		b.Run(name+"/like-page", list("name_like=sport&_page=1&_limit=25"))
		b.Run(name+"/q-page", list("q=touring&_page=1&_limit=25"))
	}
}

// discard is a ResponseWriter that costs nothing.
type discard http.Header

func (d discard) Header() http.Header         { return http.Header(d) }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// BenchmarkRequest is the way of a request through our own code alone, the
// channel and the loop included.
func BenchmarkRequest(b *testing.B) {
	changing(b)
	handler := house(b)
	for _, request := range []struct{ method, target, body string }{
		{"GET", "/api/cars/1", ""},
		{"GET", "/api/cars", ""},
		{"PUT", "/api/cars/1", saab},
		{"PATCH", "/api/cars/1", `{"price":20990}`},
	} {
		b.Run(request.method+request.target, func(b *testing.B) {
			b.ReportAllocs()
			r := httptest.NewRequest(request.method, request.target, nil)
			r.Header.Set("Content-Type", "application/json")
			for b.Loop() {
				r.Body = io.NopCloser(strings.NewReader(request.body))
				handler.ServeHTTP(discard{}, r)
			}
		})
	}
}

// --- the description -----------------------------------------------------------

// document is the description of the API that the server hands out.
var document, documentText = func() (*openapitest.Document, []byte) {
	text, err := web.Files.ReadFile("openapi.json")
	if err != nil {
		panic(err) // it is part of the program
	}
	document, err := openapitest.Read(text)
	if err != nil {
		panic(err)
	}
	return document, text
}()

// checkDescribed wants the answer to r to be as the document describes it, and a body
// that was accepted to be one that it allows. What the document does not know must not
// be there, whatever else may be the matter with r.
func checkDescribed(t testing.TB, r *http.Request, sent string, rec *httptest.ResponseRecorder) {
	t.Helper()
	body := rec.Body.Bytes()
	if rec.Header().Get("Content-Encoding") == "gzip" {
		zr, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		body, _ = io.ReadAll(zr) // what is missing is no JSON
	}
	path := r.URL.EscapedPath()
	op, known := document.Find(r.Method, path)
	_, served := pageFiles[strings.TrimPrefix(r.URL.Path, "/")]
	preflight := r.Method == "OPTIONS" && r.Header.Get("Access-Control-Request-Method") != ""
	switch {
	case known:
	case preflight || served && ofThePage(r.URL.Path):
		return
	default:
		want := http.StatusNotFound
		if _, known := document.Find("OPTIONS", path); known {
			want = http.StatusMethodNotAllowed
		}
		if refused := []int{401, 403, 429, 503}; rec.Code != want && !slices.Contains(refused, rec.Code) {
			t.Errorf("%s %s, which the document does not know: got %d, want %d", r.Method, path, rec.Code, want)
		}
		checkError(t, rec, rec.Code)
		return
	}
	if err := document.CheckAnswer(op, rec.Code, rec.Result().Header, body); err != nil {
		t.Errorf("%s %s: %d is not as the document says: %v", r.Method, r.URL, rec.Code, err)
	}
	if !slices.Contains(op.Statuses(), strconv.Itoa(rec.Code)) && !bytes.Contains(body, []byte(`"message":"Simulated failure"`)) {
		t.Errorf("%s %s: the document does not know %d", r.Method, r.URL, rec.Code)
	}
	if rec.Code < 300 && slices.Contains([]string{"POST", "PUT", "PATCH"}, r.Method) {
		if err := document.CheckBody(op, r.Header.Get("Content-Type"), []byte(sent)); err != nil {
			t.Errorf("%s %s: the document does not allow %.200s: %v", r.Method, r.URL, sent, err)
		}
	}
}

// ofThePage reports whether a file is there for the page alone, so that the document
// says nothing of it.
func ofThePage(name string) bool { return slices.Contains([]string{".css", ".js"}, filepath.Ext(name)) }

// An attempt is a request to a server of its own, with the built-in catalogue.
type attempt struct {
	method, target, body string
	header               []string
	times                int    // how often, 0 for once
	server               string // a command as in the document's examples

	slow     bool // the body does not arrive in time
	crowded  bool // the server is full of other requests
	stopping bool // the server is
	diskFull bool
}

// answer returns the last answer, which has been checked.
func (a attempt) answer(t *testing.T) *httptest.ResponseRecorder {
	t.Helper()
	flags, token := []string{"-delay", "1ms"}, ""
	for _, word := range strings.Fields(a.server) {
		if value, ok := strings.CutPrefix(word, "CARS_TOKEN="); ok {
			token = value
		} else if word != "cars" {
			flags = append(flags, word)
		}
	}
	cfg, err := parseFlags(flags, "")
	if err != nil {
		t.Fatal(err)
	}
	cfg.guard.Token = token
	if a.crowded {
		cfg.guard.MaxInFlight = 0
	}
	s := builtIn()
	s.maxCars = cfg.maxCars
	if a.diskFull {
		commits, committed := make(chan items.Commit[record], 1), make(chan error, 1)
		s.commits, s.committed = commits, committed
		defer close(commits)
		go func() {
			for range commits {
				committed <- journal.ErrFull
			}
		}()
	}
	storeChan <- s
	simulationChan <- cfg.simulation
	var stopping atomic.Bool
	stopping.Store(a.stopping)
	handler, err := newHouse(cfg, &net.TCPAddr{IP: net.IPv6loopback}, nil, new(watch.Connections), &stopping)
	if err != nil {
		t.Fatal(err)
	}
	var rec *httptest.ResponseRecorder
	for range max(a.times, 1) {
		r := httptest.NewRequest(a.method, a.target, strings.NewReader(a.body))
		if a.slow {
			r.Body = io.NopCloser(iotest.ErrReader(os.ErrDeadlineExceeded))
		}
		r.Host = "localhost:8080"
		for _, line := range a.header {
			switch name, value, _ := strings.Cut(line, ": "); name {
			case "Host":
				r.Host = value
			case "Content-Length":
				r.ContentLength, _ = strconv.ParseInt(value, 10, 64)
			default:
				r.Header.Set(name, value)
			}
		}
		rec = httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		checkDescribed(t, r, a.body, rec)
	}
	return rec
}

// attempting is changing for tests that make attempts.
func attempting(t *testing.T) {
	changing(t)
	t.Cleanup(func() { storeChan <- builtIn() })
}

// TestDocumentDescribesEveryRoute: all paths and methods are in the document, but what
// the page loads, and nothing else is.
func TestDocumentDescribesEveryRoute(t *testing.T) {
	attempting(t)
	registered := map[string]bool{}
	for pattern := range paths(nil, nil) {
		path := strings.TrimSuffix(pattern, "{$}")
		registered[path] = !ofThePage(path)
	}
	methods := map[string][]string{} // by path
	for _, op := range document.Operations() {
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
	attempting(t)
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
	for _, op := range document.Operations() {
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
	attempting(t)
	examples, err := document.Examples()
	if err != nil {
		t.Fatal(err)
	}
	if want := bytes.Count(documentText, []byte(`"line":`)); len(examples) != want {
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
	if err := json.Unmarshal(documentText, &text); err != nil {
		t.Fatal(err)
	}
	for name, header := range text.Components.Headers {
		if header.Example != nil && !seen[fmt.Sprint(header.Example)] {
			t.Errorf("no example was answered with %s: %v", name, header.Example)
		}
	}
}
