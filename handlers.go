// Reception: HTTP in, CarRequest out, JSON back. Everything in this file runs
// on the many goroutines that net/http starts: one for each connection or, with
// HTTP/2, request.

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"cars/internal/answer"
	"cars/internal/assets"
	"cars/internal/fields"
	"cars/internal/header"
	"cars/internal/ijson"
	"cars/internal/journal"
	"cars/internal/metrics"
	"cars/internal/query"
	"cars/internal/routes"
	"cars/web"
)

// newHandler returns the handler of every path that the server knows, and with a
// JSON answer for every path that it does not.
func newHandler(registry *metrics.Registry, ready func() (reason string)) http.Handler {
	return paths(registry, ready).Handler(routes.Options{
		AcceptPatch: strings.Join(patchTypes, ", "),
		NotFound:    handleUnknownPath,
		Refuse:      sendError,
	})
}

// paths are all there are. ready returns why the server is not of use, in a sentence
// for everybody, or nothing.
func paths(registry *metrics.Registry, ready func() (reason string)) routes.Table {
	table := routes.Table{
		"/api/cars": {
			"GET":  handleGetCars,
			"POST": handleWriteCar(createCar),
			"PUT":  handleReplaceCars,
		},
		"/api/cars/{id}": {
			"GET":    handleGetCarByID,
			"PUT":    handleWriteCar(replaceCar),
			"PATCH":  handleWriteCar(patchCar),
			"DELETE": handleWriteCar(deleteCar),
		},
		"/{$}":           {"GET": handlePage},
		"/images/{name}": {"GET": handleImage},
		"/healthz": {"GET": func(w http.ResponseWriter, r *http.Request) {
			sendJSON(w, map[string]string{"status": "alive"}, http.StatusOK)
		}},
		"/readyz": {"GET": func(w http.ResponseWriter, r *http.Request) {
			if reason := ready(); reason != "" {
				w.Header().Set("Retry-After", "1")
				sendError(w, reason, http.StatusServiceUnavailable)
				return
			}
			sendJSON(w, map[string]string{"status": "ready"}, http.StatusOK)
		}},
		"/metrics": {"GET": func(w http.ResponseWriter, r *http.Request) {
			answer.SetHeader(w.Header())
			w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
			registry.Write(w)
		}},
	}
	for name, file := range pageFiles {
		if name != "index.html" && path.Dir(name) == "." {
			table["/"+name] = map[string]http.HandlerFunc{"GET": file.ServeHTTP}
		}
	}
	return table
}

// handleGetCars answers GET /api/cars with a list. The processor hands out the
// whole catalogue, which takes it no time; the work is done here.
func handleGetCars(w http.ResponseWriter, r *http.Request) {
	values, err := query.Values(r.URL.RawQuery)
	if err != nil {
		fail(w, err)
		return
	}
	list, err := listSchema.Parse(values)
	if err != nil {
		fail(w, err)
		return
	}
	resp, err := process(w, r, CarRequest{Op: listCars})
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Vary", "Accept-Encoding")
	if answer.NotModified(w, r, resp.catalogue.etag(r.URL.RawQuery)) {
		return
	}
	records, total, err := list.Run(r.Context(), resp.catalogue.cars.Blocks())
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("X-Total-Count", strconv.Itoa(total))
	if links := list.Links(r, total); links != "" {
		w.Header().Set("Link", links)
	}
	answer.List(w, r, records, (*record).body)
}

// handleGetCarByID answers GET /api/cars/{id} with one car.
func handleGetCarByID(w http.ResponseWriter, r *http.Request) {
	id, err := pathID(r)
	if err != nil {
		fail(w, err)
		return
	}
	resp, err := process(w, r, CarRequest{ID: id})
	if err != nil {
		fail(w, err)
		return
	}
	if !answer.NotModified(w, r, resp.record.etag) {
		answer.JSON(w, resp.record.json, http.StatusOK)
	}
}

// How large bodies may be, in bytes.
const (
	maxCarBody  = 1 << 20
	maxCarsBody = 64 << 20
)

// The media types of bodies, and of those that say what to change.
var (
	bodyTypes  = []string{"application/json"}
	patchTypes = []string{"application/json", "application/merge-patch+json"} // RFC 7396, section 4
)

// handleWriteCar returns the handler of what changes one car: POST /api/cars,
// and PUT, PATCH and DELETE /api/cars/{id}. It answers with the car as it is
// then or, deleted, as it was.
func handleWriteCar(op operation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req, err := readCarWrite(w, r, op)
		if err != nil {
			fail(w, err)
			return
		}
		resp, err := process(w, r, req)
		if err != nil {
			fail(w, err)
			return
		}
		location := "/api/cars/" + strconv.Itoa(resp.Car.ID)
		switch op {
		case createCar:
			w.Header().Set("Location", location)
			w.Header().Set("ETag", resp.record.etag)
			answer.JSON(w, resp.record.json, http.StatusCreated)
		case deleteCar:
			answer.JSON(w, resp.record.json, http.StatusOK)
		default:
			// Says that the answer is the car itself and not about it, so that
			// the entity tag is the car's (RFC 9110, section 8.7).
			w.Header().Set("Content-Location", location)
			w.Header().Set("ETag", resp.record.etag)
			answer.JSON(w, resp.record.json, http.StatusOK)
		}
	}
}

// readCarWrite makes a CarRequest of a request that changes one car, and refuses
// what can be refused without knowing the catalogue.
func readCarWrite(w http.ResponseWriter, r *http.Request, op operation) (CarRequest, error) {
	req := CarRequest{Op: op, Write: &write{conditions: header.ReadConditions(r)}}
	if op != createCar {
		id, err := pathID(r)
		if err != nil {
			return req, err
		}
		req.ID = id
	}
	if op == deleteCar {
		return req, ijson.Discard(w, r, maxCarBody)
	}
	types := bodyTypes
	if op == patchCar {
		types = patchTypes
	}
	body, err := ijson.Body(w, r, maxCarBody, types...)
	if err != nil {
		return req, err
	}
	object, err := ijson.Object(body)
	if err != nil {
		return req, err
	}
	wrong := fields.Errors{}
	if op == patchCar {
		req.Write.patch = object
		(&Car{ID: req.ID}).merge(object, wrong)
	} else {
		req.Write.car = parseCar(object, req.ID, maxChosenID, wrong)
	}
	if len(wrong) > 0 {
		return req, wrong
	}
	return req, nil
}

// handleReplaceCars answers PUT /api/cars, which replaces the whole catalogue,
// with the new one.
func handleReplaceCars(w http.ResponseWriter, r *http.Request) {
	records, err := readRecords(w, r)
	if err != nil {
		fail(w, err)
		return
	}
	req := CarRequest{Op: replaceCars, Write: &write{catalogue: newCatalogue(records), conditions: header.ReadConditions(r)}}
	if _, err := process(w, r, req); err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("X-Total-Count", strconv.Itoa(len(records)))
	w.Header().Set("Vary", "Accept-Encoding")
	answer.List(w, r, records, (*record).body)
}

// readRecords reads the cars of a whole catalogue. Those that come without an ID
// get the next ones, in their order.
func readRecords(w http.ResponseWriter, r *http.Request) ([]*record, error) {
	body, err := ijson.Body(w, r, maxCarsBody, bodyTypes...)
	if err != nil {
		return nil, err
	}
	next, err := reserve(r.Context(), 0, 0)
	if err != nil {
		return nil, err
	}
	list, err := parseCars(ijson.Array(body), max(maxChosenID, next-1))
	if err != nil {
		return nil, err
	}
	highest, withoutID := 0, 0
	for _, car := range list {
		highest = max(highest, car.ID)
		if car.ID == 0 {
			withoutID++
		}
	}
	if withoutID > 0 {
		next, err := reserve(r.Context(), highest+1, withoutID)
		if err != nil {
			return nil, err
		}
		for i := range list {
			if list[i].ID == 0 {
				list[i].ID = next
				next++
			}
		}
	}
	slices.SortFunc(list, func(a, b Car) int { return cmp.Compare(a.ID, b.ID) })
	return newRecords(list), nil
}

// reserve has the processor keep count IDs, from least on, from being given to others,
// and returns the first. With both 0 that is the lowest above all that were ever in use.
func reserve(ctx context.Context, least, count int) (first int, err error) {
	req := CarRequest{ID: least, Op: reserveIDs, Delay: new(time.Duration), Write: &write{count: count}}
	resp, err := ask(ctx, carRequestChan, req)
	return resp.firstID, cmp.Or(err, resp.Error)
}

// pageFiles are what a browser shows at /, and the description of the API.
var pageFiles = func() map[string]assets.File {
	files, err := assets.Read(web.Files)
	if err != nil {
		panic(err) // they are part of the program
	}
	return files
}()

// isVital reports whether a path is answered even when there is room for nobody: those
// by which an operator sees how the server is, and the page, which is to say so, too.
// None of them reaches the processor.
func isVital(target string) bool {
	_, isFile := pageFiles[strings.TrimPrefix(target, "/")]
	return isFile || strings.HasPrefix(target, "/images/") || slices.Contains([]string{"/", "/healthz", "/readyz", "/metrics"}, target)
}

// handlePage answers GET / with the page.
func handlePage(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" { // ServeMux takes /%2F for it, too
		handleUnknownPath(w, r)
		return
	}
	pageFiles["index.html"].ServeHTTP(w, r)
}

// handleImage answers GET /images/{category}.svg with the picture of a category or,
// if it has none, of a car: clients make such paths of whatever category they find.
func handleImage(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	file, known := pageFiles["images/"+name]
	switch {
	case !known && path.Ext(name) != ".svg":
		handleUnknownPath(w, r)
		return
	case !known:
		file = pageFiles["images/car.svg"]
	}
	file.ServeHTTP(w, r)
}

// handleUnknownPath answers every path that has no handler.
func handleUnknownPath(w http.ResponseWriter, r *http.Request) {
	sendError(w, "No such path; the cars are at /api/cars", http.StatusNotFound)
}

// process has the processor carry out req for r, with what every request has in
// common: a processing time that the query may set, a log line, and the
// Server-Timing header (W3C Server Timing) that says where the time went.
func process(w http.ResponseWriter, r *http.Request, req CarRequest) (CarResponse, error) {
	values, err := query.Values(r.URL.RawQuery)
	if err != nil {
		return CarResponse{}, err
	}
	ms, err := query.Int(values, "_delay", 0, int(maxDelay.Milliseconds()), -1)
	if err != nil {
		return CarResponse{}, err
	}
	if ms >= 0 {
		delay := time.Duration(ms) * time.Millisecond
		req.Delay = &delay
	}
	failure, err := query.Int(values, "_fail", 400, 599, 0)
	if err != nil {
		return CarResponse{}, err
	}
	req.Fail = failure > 0
	if req.Write == nil { // or the body has been read
		if err := ijson.Discard(w, r, maxCarBody); err != nil {
			return CarResponse{}, err
		}
	}
	logged := slog.Default().Enabled(r.Context(), slog.LevelInfo) // or lines would be put together for nobody
	if logged {
		slog.Info(fmt.Sprintf("%s %s - Requesting %v asynchronously", r.Method, r.URL.Path, req.Op))
	}
	sent := time.Now()
	resp, err := ask(r.Context(), carRequestChan, req)
	if err != nil {
		return CarResponse{}, err
	}
	answer.SetTiming(w.Header(), resp.received.Sub(sent), time.Since(resp.received))
	if logged {
		slog.Info("Processing completed for " + outcome(req, resp))
	}
	if resp.Error == errSimulated {
		return resp, simulatedFailure(cmp.Or(failure, http.StatusServiceUnavailable))
	}
	return resp, resp.Error
}

// outcome says what was processed, and what came of it.
func outcome(req CarRequest, resp CarResponse) string {
	switch {
	case resp.Error != nil && req.ID > 0:
		return fmt.Sprintf("car ID %d: %v", req.ID, resp.Error)
	case resp.Error != nil:
		return fmt.Sprintf("%v: %v", req.Op, resp.Error)
	case resp.Car != nil:
		return fmt.Sprintf("car ID %d: %s", resp.Car.ID, resp.Car.Name)
	default:
		return fmt.Sprintf("%v: snapshot of %d cars", req.Op, resp.catalogue.cars.Len())
	}
}

// A simulatedFailure is the status that a request has asked for.
type simulatedFailure int

func (f simulatedFailure) Error() string { return errSimulated.Error() }

// ask sends req to a processor and waits for the answer. Either step ends when
// ctx does. After the first, whether a write was made is unknown to the caller.
func ask(ctx context.Context, requests chan<- CarRequest, req CarRequest) (CarResponse, error) {
	req.Response = make(chan CarResponse, 1)
	req.Done = ctx.Done()
	select {
	case requests <- req:
	case <-req.Done:
		return CarResponse{}, ctx.Err()
	}
	select {
	case resp := <-req.Response:
		return resp, nil
	case <-req.Done:
	}
	select {
	case resp := <-req.Response: // it came at the same time
		return resp, nil
	default:
	}
	if req.Write != nil {
		return CarResponse{}, errOutcomeUnknown
	}
	return CarResponse{}, ctx.Err()
}

var errOutcomeUnknown = errors.New("caller went away before the outcome was known")

var errInvalidID = errors.New("invalid car ID")

// pathID is the ID in the path of r, /api/cars/{id}.
func pathID(r *http.Request) (int, error) {
	return parseID(strings.TrimPrefix(r.URL.Path, "/api/cars/"))
}

// parseID reads a car's ID as it stands in a path: decimal, without sign or
// leading zero, 1 to the largest int64.
func parseID(s string) (int, error) {
	id, err := strconv.Atoi(s)
	if err != nil || s[0] < '1' || s[0] > '9' {
		return 0, errInvalidID
	}
	return id, nil
}

// fail answers for err. It is the one place where an error becomes a status
// and a sentence for the client.
func fail(w http.ResponseWriter, err error) {
	var inQuery query.Error
	var inBody *ijson.Error
	var inFields fields.Errors
	var asked simulatedFailure
	switch {
	case errors.As(err, &inQuery):
		sendError(w, inQuery.Error(), http.StatusBadRequest)
	case errors.As(err, &inBody):
		sendError(w, inBody.Message, inBody.Status)
	case errors.As(err, &inFields):
		const status = http.StatusUnprocessableEntity
		sendJSON(w, errorAnswer{http.StatusText(status), inFields.Error(), status, inFields}, status)
	case errors.Is(err, errInvalidID):
		sendError(w, "Invalid car ID", http.StatusBadRequest)
	case errors.Is(err, errCarNotFound):
		sendError(w, "Car not found", http.StatusNotFound)
	case errors.Is(err, errIDTaken):
		sendError(w, "There is a car with this ID already", http.StatusConflict)
	case errors.Is(err, errPrecondition):
		sendError(w, "Nothing was changed: If-Match or If-None-Match does not hold (any longer)", http.StatusPreconditionFailed)
	case errors.Is(err, errFull):
		sendError(w, "Nothing was changed: the catalogue is full", http.StatusInsufficientStorage)
	case errors.Is(err, journal.ErrFull): // logged by who keeps the file, as is the next
		sendError(w, "Nothing was changed: there is no room on the disk", http.StatusInsufficientStorage)
	case errors.Is(err, errNotCommitted):
		w.Header().Set("Retry-After", "1")
		sendError(w, "The change could not be stored", http.StatusServiceUnavailable)
	case errors.As(err, &asked):
		if asked == http.StatusTooManyRequests || asked == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "1")
		}
		sendError(w, "Simulated failure", int(asked))
	case errors.Is(err, errOutcomeUnknown): // without Retry-After: it may have happened
		sendError(w, "The connection was closed before the answer; whether the change was made is not known", http.StatusServiceUnavailable)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		// Seldom read: the client has gone, or has closed its sending side.
		w.Header().Set("Retry-After", "1")
		sendError(w, "The connection was closed before the request was processed", http.StatusServiceUnavailable)
	default:
		slog.Error("unexpected error", "error", err)
		sendError(w, "Internal error", http.StatusInternalServerError)
	}
}

// sendError answers with an error: its status, and a sentence for a person.
func sendError(w http.ResponseWriter, message string, status int) {
	text := cmp.Or(http.StatusText(status), "Unassigned") // as simulated ones may be
	sendJSON(w, errorAnswer{text, message, status, nil}, status)
}

// An errorAnswer is the body of every answer with an error.
type errorAnswer struct {
	Error   string        `json:"error"`
	Message string        `json:"message"`
	Code    int           `json:"code"`
	Errors  fields.Errors `json:"errors,omitempty"` // with 422
}

// sendJSON answers with data encoded as JSON, or with 500 if it cannot be
// encoded.
func sendJSON(w http.ResponseWriter, data any, status int) {
	body, err := ijson.Encode(data)
	if err != nil {
		fail(w, err)
		return
	}
	answer.JSON(w, body, status)
}
