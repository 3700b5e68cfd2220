// Reception: HTTP in, CarRequest out, JSON back. Everything in this file runs
// on the goroutines of net/http: one for each connection or, with HTTP/2, request.

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cars/internal/events"
	"cars/internal/ops"
	"cars/internal/query"
	"cars/internal/rest"
	"cars/internal/simulation"
	"cars/internal/sorted"
	"cars/web"
)

// newHandler returns the handler of every path.
func newHandler(registry *ops.Registry, maxCars int, ready func() (reason string)) http.Handler {
	return newRoutes(registry, maxCars, ready).Handler(handleUnknownPath, strings.Join(patchTypes, ", "))
}

// newRoutes returns the handlers of all paths. ready returns why the server is not ready,
// in a sentence for clients, or "". An image that does not exist is answered with that of
// a car, since clients make the path of an image from any category.
func newRoutes(registry *ops.Registry, maxCars int, ready func() (reason string)) rest.Routes {
	routes := rest.Routes{
		"/api/cars": {
			"GET":  handleGetCars,
			"POST": rest.Handle(createCar),
			"PUT":  replaceCars(maxCars),
		},
		"/api/cars/{id}": {
			"GET":    handleGetCarByID,
			"PUT":    rest.Handle(replaceCar),
			"PATCH":  rest.Handle(patchCar),
			"DELETE": rest.Handle(deleteCar),
		},
		"/healthz": {"GET": func(w http.ResponseWriter, r *http.Request) {
			sendJSON(w, map[string]string{"status": "alive"}, http.StatusOK)
		}},
		"/readyz": {"GET": rest.Handle(func(w http.ResponseWriter, r *http.Request) error {
			if reason := ready(); reason != "" {
				return &rest.Error{Status: http.StatusServiceUnavailable, Message: reason, RetryAfter: 1}
			}
			sendJSON(w, map[string]string{"status": "ready"}, http.StatusOK)
			return nil
		})},
		"/metrics": {"GET": func(w http.ResponseWriter, r *http.Request) {
			rest.SetHeader(w.Header())
			w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
			registry.Write(w)
		}},
	}
	if err := routes.AddFiles(web.Files, map[string]string{"images": "car.svg"}, handleUnknownPath); err != nil {
		panic(err) // the files are part of the program
	}
	return routes
}

// isVital reports whether requests for path are answered even if there is no room for
// others. It is true outside of /api: for the page, and for all that operators ask. These
// requests take no room in the processor.
func isVital(path string) bool { return path != "/api" && !strings.HasPrefix(path, "/api/") }

// handleUnknownPath answers every path that has no handler.
func handleUnknownPath(w http.ResponseWriter, r *http.Request) {
	sendError(w, "No such path; the cars are at /api/cars", http.StatusNotFound)
}

// handleGetCarByID answers GET /api/cars/{id} with one car.
func handleGetCarByID(w http.ResponseWriter, r *http.Request) { rest.Handle(getCar)(w, r) }

func getCar(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	resp, err := ask(w, r, CarRequest{ID: id}, "car details")
	if err != nil {
		return err
	}
	if answered, err := rest.NotModified(w, r, resp.item.ETag); answered || err != nil {
		return err
	}
	rest.WriteBody(w, resp.item.Line, http.StatusOK)
	return nil
}

// handleGetCars answers GET /api/cars with a list. The processor hands out the
// whole catalogue, which takes it no time; the work is done here.
func handleGetCars(w http.ResponseWriter, r *http.Request) { rest.Handle(getCars)(w, r) }

func getCars(w http.ResponseWriter, r *http.Request) error {
	values, err := query.Values(r.URL.RawQuery)
	if err != nil {
		return err
	}
	asked, err := query.Parse(carFields, values)
	if err != nil {
		return err
	}
	if events.Wanted(r) {
		return followCars(w, r, asked, cmp.Or(r.Header.Get("Last-Event-ID"), values.Get("_since")))
	}
	resp, err := ask(w, r, CarRequest{list: true}, "car list")
	if err != nil {
		return err
	}
	rest.AddVary(w.Header(), "Accept-Encoding")
	if answered, err := rest.NotModified(w, r, resp.catalogue.etag(r.URL.RawQuery)); answered || err != nil {
		return err
	}
	list, err := asked.Run(r.Context(), resp.catalogue.Items.Blocks())
	if err != nil {
		return err
	}
	defer list.Release()
	w.Header().Set("X-Total-Count", strconv.Itoa(list.Total))
	if links := asked.Links(rest.URL(r, "/api/cars"), r.URL.RawQuery, list.Total); links != "" {
		w.Header().Set("Link", links)
	}
	rest.WriteList(w, r, asked.Envelope(list.Total), sorted.JSON(list.Pieces))
	return nil
}

// followCars answers GET /api/cars with a stream of the changes in the list, from the
// version since on, or from the newest one if since is "". The processor keeps no list of
// streams. Each waits until the channel of the catalogue that it has sent is closed. Then
// one of them asks for the next catalogue by a request, for all.
func followCars(w http.ResponseWriter, r *http.Request, asked *query.Query, since string) error {
	if parameter := asked.ArrangedBy(); parameter != "" {
		return rest.Errorf(http.StatusBadRequest, "%s cannot be followed: a stream of changes has neither order nor pages; leave it out", parameter)
	}
	resp, err := ask(w, r, CarRequest{list: true, since: since}, "changes of the car list")
	if err != nil {
		return err
	}
	resp.catalogue.feed.Follow(w, r, resp.catalogue.followed(), events.Follower{
		Since: since, Before: resp.before, Matches: asked.Matches,
		Newest: func(ctx context.Context) (events.State, error) {
			resp, err := send(ctx, carRequestChan, CarRequest{list: true, asked: simulation.Asked{Never: true}})
			if err = cmp.Or(err, resp.Error); err != nil {
				return events.State{}, err
			}
			return resp.catalogue.followed(), nil
		},
	})
	return nil
}

// How large bodies may be, in bytes.
const (
	maxCarBody  = 1 << 20
	maxCarsBody = 64 << 20
)

// The media types of bodies with whole cars, and of bodies of PATCH.
var (
	bodyTypes  = []string{"application/json"}
	patchTypes = []string{"application/json", "application/merge-patch+json"} // RFC 7396, section 4
)

// createCar answers POST /api/cars with the new car.
func createCar(w http.ResponseWriter, r *http.Request) error {
	item, err := readCar(w, r, 0)
	if err != nil {
		return err
	}
	resp, err := ask(w, r, CarRequest{write: create(item)}, "car creation")
	if err != nil {
		return err
	}
	w.Header().Set("Location", location(r, resp.Car.ID))
	w.Header()["Etag"] = []string{resp.item.ETag}
	rest.WriteBody(w, resp.item.Line, http.StatusCreated)
	return nil
}

// replaceCar answers PUT /api/cars/{id} with the new car.
func replaceCar(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	item, err := readCar(w, r, id)
	if err != nil {
		return err
	}
	req := CarRequest{ID: id, write: replace(item, rest.ReadConditions(r))}
	return answerChange(w, r, req, "car replacement")
}

// patchCar answers PATCH /api/cars/{id} with the changed car.
func patchCar(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	body, err := rest.ReadBody(w, r, maxCarBody, patchTypes...)
	if err != nil {
		return err
	}
	changes, err := carFields.DecodePatch(body, id)
	if err != nil {
		return err
	}
	req := CarRequest{ID: id, write: patch(id, changes, rest.ReadConditions(r))}
	return answerChange(w, r, req, "car change")
}

// answerChange asks for a change of one car, and answers with the car.
func answerChange(w http.ResponseWriter, r *http.Request, req CarRequest, what string) error {
	resp, err := ask(w, r, req, what)
	if err != nil {
		return err
	}
	// Content-Location says that the body is the car itself, so that the
	// entity tag is the car's (RFC 9110, section 8.7).
	w.Header().Set("Content-Location", location(r, req.ID))
	w.Header()["Etag"] = []string{resp.item.ETag}
	rest.WriteBody(w, resp.item.Line, http.StatusOK)
	return nil
}

// deleteCar answers DELETE /api/cars/{id} with the car as it was.
func deleteCar(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	if err := rest.DiscardBody(w, r, maxCarBody); err != nil {
		return err
	}
	resp, err := ask(w, r, CarRequest{ID: id, write: remove(id, rest.ReadConditions(r))}, "car deletion")
	if err != nil {
		return err
	}
	rest.WriteBody(w, resp.item.Line, http.StatusOK)
	return nil
}

// readCar reads a body that is a whole car. id is the ID in the path, or 0 for a new car.
func readCar(w http.ResponseWriter, r *http.Request, id int) (*sorted.Item, error) {
	body, err := rest.ReadBody(w, r, maxCarBody, bodyTypes...)
	if err != nil {
		return nil, err
	}
	var car Car
	members, err := carFields.Decode(body, &car, id)
	if err != nil {
		return nil, err
	}
	return sentItem(car, members), nil
}

// replacePatience is how long a replacement of the catalogue waits while another is under way.
const replacePatience = 30 * time.Second

// replaceCars returns the handler of PUT /api/cars, which replaces the whole catalogue, and
// answers with the new one. Its body and cars can take a gigabyte of memory, so only one
// replacement is under way at a time.
func replaceCars(maxCars int) http.HandlerFunc {
	turn := make(chan struct{}, 1) // has a value while a replacement is under way
	return rest.Handle(func(w http.ResponseWriter, r *http.Request) error {
		select {
		case turn <- struct{}{}:
		case <-r.Context().Done():
			return rest.Gone(r.Context())
		case <-time.After(replacePatience):
			return &rest.Error{Status: http.StatusServiceUnavailable, Message: "Another replacement of the catalogue is under way; try again", RetryAfter: 10}
		}
		resp, err := replaceBy(w, r, maxCars)
		<-turn
		if err != nil {
			return err
		}
		rest.AddVary(w.Header(), "Accept-Encoding")
		w.Header().Set("Content-Location", rest.Path(r, "/api/cars")) // as in answerChange
		w.Header()["Etag"] = []string{resp.catalogue.etag("")}
		w.Header().Set("X-Total-Count", strconv.Itoa(resp.catalogue.Items.Len()))
		rest.WriteList(w, r, "", sorted.JSON(resp.catalogue.Items.Blocks()))
		return nil
	})
}

// replaceBy replaces the catalogue by the cars in the body of r.
func replaceBy(w http.ResponseWriter, r *http.Request, maxCars int) (CarResponse, error) {
	body, err := rest.ReadBody(w, r, maxCarsBody, bodyTypes...)
	if err != nil {
		return CarResponse{}, err
	}
	var list []Car
	next := func() (any, error) {
		if len(list) == maxCars {
			return nil, errFull
		}
		list = append(list, Car{})
		return &list[len(list)-1], nil
	}
	if err := carFields.DecodeArray(body, next); err != nil {
		return CarResponse{}, err
	}
	with, conditions := newReplacement(list), rest.ReadConditions(r)
	sent := time.Now()
	resp, err := ask(w, r, CarRequest{write: replaceAll(with, conditions)}, "catalogue replacement")
	received := resp.received
	for room, taken := 0, (errTaken{}); errors.As(err, &taken); room = max(1000, 2*room) {
		// Other cars have got the IDs that the cars without one were to get. From the
		// second time on, room leaves IDs for cars that are created meanwhile.
		if with, err = with.renumbered(taken.next + room); err != nil {
			return CarResponse{}, err
		}
		resp, err = ask(w, r, CarRequest{write: replaceAll(with, conditions), asked: simulation.Asked{Never: true}}, "catalogue replacement")
		rest.SetTiming(w.Header(), received.Sub(sent), time.Since(received)) // of all attempts together
	}
	return resp, err
}

// location returns the path of a car, as r's client knows it.
func location(r *http.Request, id int) string { return rest.Path(r, "/api/cars/"+strconv.Itoa(id)) }

var errInvalidID = rest.Errorf(http.StatusBadRequest, "Invalid car ID")

// pathID returns the ID in the path of r, /api/cars/{id}: decimal, without sign or
// leading zero, 1 to the largest int64.
func pathID(r *http.Request) (int, error) {
	s := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/api/cars/"), "/")
	id, err := strconv.Atoi(s)
	if err != nil || s[0] < '1' || s[0] > '9' {
		return 0, errInvalidID
	}
	return id, nil
}

// ask has the processor carry out req for r, and says in the header where the time went.
// The query of r may set the request's processing time and have it fail. what names
// the request in the log.
func ask(w http.ResponseWriter, r *http.Request, req CarRequest, what string) (CarResponse, error) {
	if !req.asked.Never {
		var err error
		if req.asked, err = simulation.Read(r); err != nil {
			return CarResponse{}, err
		}
	}
	if req.write == nil { // the body of a write has been read
		if err := rest.DiscardBody(w, r, maxCarBody); err != nil {
			return CarResponse{}, err
		}
	}
	logged := slog.Default().Enabled(r.Context(), slog.LevelInfo) // asked once: making the lines takes time
	if logged {
		slog.Info(fmt.Sprintf("%s %s - Requesting %s asynchronously", r.Method, r.URL.Path, what), "method", r.Method, "path", r.URL.Path)
	}
	ctx := r.Context()
	if req.write == nil && ctx.Value(promptly{}) != nil {
		ctx = context.Background()
	}
	sent := time.Now()
	resp, err := send(ctx, carRequestChan, req)
	if err != nil {
		return CarResponse{}, err
	}
	rest.SetTiming(w.Header(), resp.received.Sub(sent), time.Since(resp.received))
	if resp.catalogue != nil && resp.Error == nil {
		w.Header()["Catalogue-Version"] = []string{resp.catalogue.Version} // the version that a list shows, or that a write has made
	}
	if resp.age != nil {
		w.Header().Set("Age", strconv.Itoa(int(resp.age.Seconds()))) // RFC 9111, section 5.1
	}
	if logged {
		logOutcome(req, resp, what)
	}
	return resp, resp.Error
}

// promptly is the key of a value in a server's context. If the value is there, reads are
// answered at once, and send does not watch for clients that leave: that takes longer
// than the answer.
type promptly struct{}

// isStream reports whether the answer to r is an event stream.
func isStream(r *http.Request) bool {
	return events.Wanted(r) && strings.TrimSuffix(r.URL.Path, "/") == "/api/cars"
}

// logOutcome logs the outcome of a request.
func logOutcome(req CarRequest, resp CarResponse, what string) {
	id, text, attrs := req.ID, "", []any(nil)
	switch {
	case resp.Error != nil:
		text, attrs = resp.Error.Error(), []any{"error", resp.Error}
	case resp.Car != nil:
		id, text = resp.Car.ID, resp.Car.Name
	default:
		text = fmt.Sprintf("snapshot of %d cars", resp.catalogue.Items.Len())
	}
	if id > 0 {
		what, attrs = fmt.Sprintf("car ID %d", id), append(attrs, "id", id)
	}
	slog.Info("Processing completed for "+what+": "+text, attrs...)
}

// send sends req to a processor and waits for the answer. Either step fails when ctx is
// done. If the second step fails, it is unknown whether a write was made.
func send(ctx context.Context, requests chan<- CarRequest, req CarRequest) (CarResponse, error) {
	req.Response = make(chan CarResponse, 1)
	req.done = ctx.Done()
	if req.done == nil { // plain steps take less time than a select
		requests <- req
		return <-req.Response, nil
	}
	select {
	case requests <- req:
	case <-req.done:
		return CarResponse{}, rest.Gone(ctx)
	}
	select {
	case resp := <-req.Response:
		return resp, nil
	case <-req.done:
	}
	select {
	case resp := <-req.Response: // the answer came at the same time
		return resp, nil
	default:
	}
	if req.write != nil {
		return CarResponse{}, errOutcomeUnknown
	}
	return CarResponse{}, rest.Gone(ctx)
}

// errOutcomeUnknown has no RetryAfter: the change may have been made already.
var errOutcomeUnknown = rest.Errorf(http.StatusServiceUnavailable, "The connection was closed before the answer; whether the change was made is not known")

// sendError answers with an error: its status, and a sentence for a person.
func sendError(w http.ResponseWriter, message string, status int) {
	rest.WriteError(w, &rest.Error{Status: status, Message: message})
}

// sendJSON answers with data encoded as JSON, or with 500 if it cannot be encoded.
func sendJSON(w http.ResponseWriter, data any, status int) {
	rest.WriteJSON(w, data, status)
}
