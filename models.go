// What a car is, the one table of its fields, the catalogue and its rules, and the
// built-in cars. Values and pure functions: nothing here runs on a goroutine of its own.

package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"cars/internal/events"
	"cars/internal/query"
	"cars/internal/rest"
	"cars/internal/sorted"
	"cars/internal/store"
	"cars/internal/strict"
)

// A Car is one car of the catalogue. All fields are always present in its JSON.
type Car struct {
	ID           int     `json:"id"` // 1 or more; the server gives none twice
	Name         string  `json:"name"`
	Manufacturer string  `json:"manufacturer"`
	Category     string  `json:"category"`
	Year         int     `json:"year"`     // model year
	Price        int     `json:"price"`    // as new, in whole US dollars
	ImageURL     string  `json:"imageUrl"` // an absolute path on this server, or a URL
	Details      Details `json:"details"`
}

// Details is a car's technical data.
type Details struct {
	Engine       string `json:"engine"`     // or motor
	Horsepower   int    `json:"horsepower"` // SAE hp
	Transmission string `json:"transmission"`
	Drivetrain   string `json:"drivetrain"`
}

// carFields lists the fields of a car in the order of its JSON. Reading, checking,
// filtering and searching follow from it.
var carFields = strict.Table{
	{Name: "id", Number: func(v any) *int { return &v.(*Car).ID }, Least: 1, Most: sorted.MaxID},
	{Name: "name", Text: func(v any) *string { return &v.(*Car).Name }, Least: 1, Most: 200},
	{Name: "manufacturer", Text: func(v any) *string { return &v.(*Car).Manufacturer }, Least: 1, Most: 100, Shared: true},
	{Name: "category", Text: func(v any) *string { return &v.(*Car).Category }, Most: 50, Shared: true},
	{Name: "year", Number: func(v any) *int { return &v.(*Car).Year }, CheckNumber: checkYear},
	{Name: "price", Number: func(v any) *int { return &v.(*Car).Price }, Most: 1_000_000_000},
	{Name: "imageUrl", Text: func(v any) *string { return &v.(*Car).ImageURL }, Most: 2048, CheckText: checkImageURL, Shared: true},
	{Name: "details.engine", Text: func(v any) *string { return &v.(*Car).Details.Engine }, Most: 200, Shared: true},
	{Name: "details.horsepower", Number: func(v any) *int { return &v.(*Car).Details.Horsepower }, Most: 5000},
	{Name: "details.transmission", Text: func(v any) *string { return &v.(*Car).Details.Transmission }, Most: 200, Shared: true},
	{Name: "details.drivetrain", Text: func(v any) *string { return &v.(*Car).Details.Drivetrain }, Most: 200, Shared: true},
}

// checkYear allows the model years from 1886, that of the first car, to two years
// from now, which makers announce. 0 stands for unknown.
func checkYear(year int) (problem string) {
	if last := time.Now().Year() + 2; year != 0 && (year < 1886 || year > last) {
		return fmt.Sprintf("must be 0 or between 1886 and %d", last)
	}
	return ""
}

// checkImageURL allows the URLs that a page can safely put into an img element: no
// javascript: or data:, and no path that browsers take for a host.
func checkImageURL(text string) (problem string) {
	if text[0] == '/' && !strings.HasPrefix(text, "//") && !strings.ContainsAny(text, `%\`) {
		return "" // nearly all are such paths, and need no parsing
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || strings.Contains(text, `\`):
	case (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "":
		return ""
	case strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//"):
		return ""
	}
	return "must be empty, a path that begins with /, or an http or https URL"
}

// newItem returns the item of a car, with its hash, entity tag and search text.
func newItem(car Car) *sorted.Item {
	line, _ := rest.Encode(car) // strings and integers can always be encoded
	return encodedItem(car, line)
}

// encodedItem is newItem for a caller that has the car's line already.
func encodedItem(car Car, line []byte) *sorted.Item {
	made := &struct { // in one piece of memory
		sorted.Item
		car Car
	}{car: car}
	sum := sha256.Sum256(line)
	made.Item = sorted.Item{
		ID:     car.ID,
		Line:   line,
		Hash:   binary.BigEndian.Uint64(sum[:8]),
		ETag:   string(append(hex.AppendEncode([]byte{'"'}, sum[:8]), '"')),
		Search: query.SearchText(carFields, &made.car),
		Value:  &made.car,
	}
	return &made.Item
}

// newItems returns the items of cars.
func newItems(list []Car) []*sorted.Item {
	items := make([]*sorted.Item, len(list))
	for i, car := range list {
		items[i] = newItem(car)
	}
	return items
}

// sentItem returns the item of a car that a client has sent. members is what follows the ID
// in the item's line, or nil if that is unknown. A car without ID may get an item without
// hash and entity tag, from which only withID can make an item for a catalogue.
func sentItem(car Car, members []byte) *sorted.Item {
	switch {
	case members == nil:
		return newItem(car)
	case car.ID == 0:
		return &sorted.Item{Line: lineWithID(0, members), Value: &car}
	default:
		return encodedItem(car, lineWithID(car.ID, members))
	}
}

// withID returns the item of the same car with another ID. It takes the other fields from
// the old line, since the processor, which gives new cars their IDs, has little time.
func withID(item *sorted.Item, id int) *sorted.Item {
	car := *carOf(item)
	car.ID = id
	_, members, _ := bytes.Cut(item.JSON(), []byte(","))
	return encodedItem(car, lineWithID(id, members))
}

func lineWithID(id int, members []byte) []byte {
	return fmt.Appendf(make([]byte, 0, len(`{"id":1000000,`)+len(members)+len("\n")), `{"id":%d,%s`+"\n", id, members)
}

// carOf returns the car that an item is.
func carOf(item *sorted.Item) *Car { return item.Value.(*Car) }

// readItem reads a car out of a store. Problems with its fields are added to wrong, which
// is nil if this program has written the car.
func readItem(r *strict.Reader, wrong strict.Problems) *sorted.Item {
	var car Car
	raw, canonical := carFields.Read(r, &car, wrong)
	if canonical {
		return encodedItem(car, append(append(make([]byte, 0, len(raw)+1), raw...), '\n'))
	}
	return newItem(car)
}

// A catalogue is all cars at one instant. It never changes: putting a car in or taking one
// out makes another catalogue. So any goroutine may read it, for as long as it likes. The
// functions that return writes are its rules. Their parameters have been checked as far as
// that is possible without knowing the catalogue.
type catalogue struct {
	store.State
	changed chan struct{} // closed by the processor when another catalogue has taken the place of this
	feed    *events.Feed  // shared by the streams of the processor's catalogues
}

// followed returns the state that streams send.
func (c catalogue) followed() events.State {
	return events.State{Items: c.Items, Version: c.Version, Changed: c.changed}
}

// builtIn returns the catalogue of the built-in cars.
func builtIn() catalogue {
	list := sorted.NewList(newItems(cars))
	return catalogue{State: store.State{Items: list, NextID: list.LastID() + 1}}
}

// defaultMaxCars bounds the memory that clients can make the server use: a million
// cars take less than 1.3 GB.
const defaultMaxCars = 1_000_000

// maxChosenID is the largest ID that clients may choose if the server has not given it. It
// is half of all IDs, so that no client can use up the IDs that the server gives.
const maxChosenID = 1 << 52

var (
	errCarNotFound = &rest.Error{Status: http.StatusNotFound, Message: "Car not found", Cause: errors.New("car not found")}
	errIDTaken     = &rest.Error{Status: http.StatusConflict, Message: "There is a car with this ID already", Cause: errors.New("car ID is taken")}
	errFull        = &rest.Error{Status: http.StatusInsufficientStorage, Message: "Nothing was changed: the catalogue is full", Cause: errors.New("catalogue is full")}
)

// etag returns the strong entity tag (RFC 9110, section 8.8.3) of the list that rawQuery
// asks for. It depends on that and on all cars of c, so it survives a restart.
func (c catalogue) etag(rawQuery string) string {
	query := fnv.New64a()
	query.Write([]byte(rawQuery))
	return fmt.Sprintf(`"%016x"`, c.Items.Hash()^query.Sum64())
}

// find returns the answer to a request for one car.
func (c catalogue) find(id int) CarResponse {
	item := c.Items.Get(id)
	if item == nil {
		return CarResponse{Error: errCarNotFound}
	}
	return found(item)
}

// found returns the answer about one car or, if item is nil, about all.
func found(item *sorted.Item) CarResponse {
	if item == nil {
		return CarResponse{}
	}
	return CarResponse{Car: carOf(item), item: item}
}

// put returns the catalogue with a car in it, in the place of the one with the same
// ID if there is one.
func (c catalogue) put(item *sorted.Item) catalogue {
	c.Items = c.Items.Put(item)
	c.NextID = max(c.NextID, item.ID+1)
	return c
}

// create puts in a new car. A car with ID 0 gets the next ID. Clients may choose the ID of
// a deleted car; the server gives no ID twice.
func create(item *sorted.Item) write {
	return func(c catalogue) (catalogue, *sorted.Item, error) {
		item := item
		if err := c.mayChoose(item.ID, "id"); err != nil {
			return c, nil, err
		}
		switch {
		case item.ID != 0 && c.Items.Get(item.ID) != nil:
			return c, nil, errIDTaken
		case item.ID == 0 && c.NextID > sorted.MaxID:
			return c, nil, errFull
		case item.ID == 0:
			item = withID(item, c.NextID)
		}
		return c.put(item), item, nil
	}
}

// replace puts a car in the place of the one with the same ID.
func replace(item *sorted.Item, conditions rest.Conditions) write {
	return func(c catalogue) (catalogue, *sorted.Item, error) {
		if _, err := c.change(item.ID, conditions); err != nil {
			return c, nil, err
		}
		return c.put(item), item, nil
	}
}

// patch changes some fields of a car.
func patch(id int, patch strict.Patch, conditions rest.Conditions) write {
	return func(c catalogue) (catalogue, *sorted.Item, error) {
		old, err := c.change(id, conditions)
		if err != nil {
			return c, nil, err
		}
		car := *carOf(old)
		patch.Apply(&car)
		item := newItem(car)
		return c.put(item), item, nil
	}
}

// remove takes out a car.
func remove(id int, conditions rest.Conditions) write {
	return func(c catalogue) (catalogue, *sorted.Item, error) {
		old, err := c.change(id, conditions)
		if err == nil {
			c.Items = c.Items.Delete(id)
		}
		return c, old, err
	}
}

// change returns the item of a car that a request wants to change, or why it may not.
func (c catalogue) change(id int, conditions rest.Conditions) (*sorted.Item, error) {
	old := c.Items.Get(id)
	if old == nil {
		return nil, errCarNotFound
	}
	return old, conditions.Check(old.ETag)
}

// mayChoose returns an error about the field at path if clients may not choose id.
func (c catalogue) mayChoose(id int, path string) error {
	if most := max(maxChosenID, c.NextID-1); id > most {
		return strict.Problems{path: fmt.Sprintf("must be at most %d", most)}.Err()
	}
	return nil
}

// A replacement has the cars that replace the whole catalogue.
type replacement struct {
	items    []*sorted.Item // in the order of the body
	without  []int          // indexes of the cars that came without an ID, and have been given one
	firstNew int            // the first of the IDs that were given, which are consecutive
	lastID   int            // the highest ID that the client has chosen; 0 if there is none
	last     int            // index of that car
}

// newReplacement returns the replacement by cars. Cars without an ID get the IDs after the
// highest ID of the others.
func newReplacement(cars []Car) replacement {
	var with replacement
	for i, car := range cars {
		if car.ID == 0 {
			with.without = append(with.without, i)
		} else if car.ID > with.lastID {
			with.lastID, with.last = car.ID, i
		}
	}
	with.items = newItems(cars)
	with, _ = with.renumbered(with.lastID + 1)
	return with
}

// renumbered returns a replacement in which the cars that came without an ID have the IDs
// from first on. The error is errFull if they would go beyond sorted.MaxID.
func (with replacement) renumbered(first int) (replacement, error) {
	if first+len(with.without)-1 > sorted.MaxID {
		return with, errFull
	}
	with.firstNew = first
	with.items = slices.Clone(with.items)
	for n, i := range with.without {
		with.items[i] = withID(with.items[i], first+n)
	}
	return with, nil
}

// list returns the cars by their IDs.
func (with replacement) list() sorted.List {
	items := slices.Clone(with.items)
	slices.SortFunc(items, func(a, b *sorted.Item) int { return cmp.Compare(a.ID, b.ID) })
	return sorted.NewList(items)
}

// errTaken says that other cars were given IDs that a replacement has for its cars that
// came without one. The IDs from next on are free.
type errTaken struct{ next int }

func (errTaken) Error() string { return "IDs were given to other cars" }

// replaceAll puts the cars of with in the place of all cars.
func replaceAll(with replacement, conditions rest.Conditions) write {
	list := with.list()
	return func(c catalogue) (catalogue, *sorted.Item, error) {
		if err := conditions.Check(c.etag("")); err != nil {
			return c, nil, err
		}
		if err := c.mayChoose(with.lastID, fmt.Sprintf("[%d].id", with.last)); err != nil {
			return c, nil, err
		}
		if len(with.without) > 0 && with.firstNew < c.NextID {
			return c, nil, errTaken{c.NextID}
		}
		c.Items = list
		c.NextID = max(c.NextID, list.LastID()+1)
		return c, nil, nil
	}
}

// A batch has writes that become durable together, or not at all.
type batch struct {
	turns     []turn        // nil once giveUp has answered them
	responses []CarResponse // one for each of turns, if the commit succeeds
	after     catalogue     // the catalogue after all writes
	changes   bool          // whether a write has been accepted
	whole     bool          // the last write replaces the catalogue. No write may follow: its answer has the batch's version
	began     time.Time
}

// add judges one more write by the catalogue that the writes before it leave. It
// refuses a write that makes the catalogue larger than maxCars.
func (b *batch) add(t turn, maxCars int) {
	after, item, err := t.write(b.after)
	if err == nil && after.Items.Len() > max(maxCars, b.after.Items.Len()) {
		err = errFull
	}
	b.turns = append(b.turns, t)
	if err != nil {
		b.responses = append(b.responses, CarResponse{Error: err})
		return
	}
	b.after, b.changes = after, true
	b.whole = item == nil
	b.responses = append(b.responses, found(item))
}

// cars is the built-in catalogue, with which a new store starts. Each car is the base trim
// or the best-selling one, with its US price at launch without destination charge.
var cars = []Car{
	{ID: 1, Name: "Audi A4", Manufacturer: "Audi", Category: "Sedan", Year: 2024, Price: 42000, ImageURL: "/images/sedan.svg", Details: Details{Engine: "2.0L Inline-4", Horsepower: 201, Transmission: "7-speed Automatic", Drivetrain: "All-Wheel Drive"}},
	{ID: 2, Name: "Mercedes-Benz E-Class", Manufacturer: "Mercedes-Benz", Category: "Sedan", Year: 2017, Price: 52150, ImageURL: "/images/sedan.svg", Details: Details{Engine: "2.0L Turbo Inline-4", Horsepower: 241, Transmission: "9-speed Automatic", Drivetrain: "Rear-Wheel Drive"}},
	{ID: 3, Name: "BMW 3 Series", Manufacturer: "BMW", Category: "Sedan", Year: 2019, Price: 40250, ImageURL: "/images/sedan.svg", Details: Details{Engine: "2.0L Turbo Inline-4", Horsepower: 255, Transmission: "8-speed Automatic", Drivetrain: "Rear-Wheel Drive"}},
	{ID: 4, Name: "Audi Q5", Manufacturer: "Audi", Category: "SUV", Year: 2018, Price: 41500, ImageURL: "/images/suv.svg", Details: Details{Engine: "2.0L Turbo Inline-4", Horsepower: 252, Transmission: "7-speed Dual-Clutch", Drivetrain: "All-Wheel Drive"}},
	{ID: 5, Name: "Toyota Camry", Manufacturer: "Toyota", Category: "Sedan", Year: 2025, Price: 28400, ImageURL: "/images/sedan.svg", Details: Details{Engine: "2.5L Inline-4 Hybrid", Horsepower: 225, Transmission: "eCVT", Drivetrain: "Front-Wheel Drive"}},
	{ID: 6, Name: "BMW X5", Manufacturer: "BMW", Category: "SUV", Year: 2019, Price: 60700, ImageURL: "/images/suv.svg", Details: Details{Engine: "3.0L Turbo Inline-6", Horsepower: 335, Transmission: "8-speed Automatic", Drivetrain: "All-Wheel Drive"}},
	{ID: 7, Name: "Ford F-150", Manufacturer: "Ford", Category: "Pickup", Year: 2021, Price: 28940, ImageURL: "/images/pickup.svg", Details: Details{Engine: "3.3L V6", Horsepower: 290, Transmission: "10-speed Automatic", Drivetrain: "Rear-Wheel Drive"}},
	{ID: 8, Name: "Mazda MX-5 Miata", Manufacturer: "Mazda", Category: "Convertible", Year: 2016, Price: 24915, ImageURL: "/images/convertible.svg", Details: Details{Engine: "2.0L Inline-4", Horsepower: 155, Transmission: "6-speed Manual", Drivetrain: "Rear-Wheel Drive"}},
	{ID: 9, Name: "Porsche 911", Manufacturer: "Porsche", Category: "Sports Car", Year: 2020, Price: 97400, ImageURL: "/images/sports-car.svg", Details: Details{Engine: "3.0L Twin-Turbo Flat-6", Horsepower: 379, Transmission: "8-speed Dual-Clutch", Drivetrain: "Rear-Wheel Drive"}},
	{ID: 10, Name: "Hyundai Ioniq 5", Manufacturer: "Hyundai", Category: "SUV", Year: 2022, Price: 39700, ImageURL: "/images/suv.svg", Details: Details{Engine: "Single Electric Motor", Horsepower: 168, Transmission: "1-speed Direct Drive", Drivetrain: "Rear-Wheel Drive"}},
	{ID: 11, Name: "Volvo V60", Manufacturer: "Volvo", Category: "Wagon", Year: 2019, Price: 38900, ImageURL: "/images/wagon.svg", Details: Details{Engine: "2.0L Turbo Inline-4", Horsepower: 250, Transmission: "8-speed Automatic", Drivetrain: "Front-Wheel Drive"}},
	{ID: 12, Name: "Honda Civic", Manufacturer: "Honda", Category: "Hatchback", Year: 2022, Price: 22900, ImageURL: "/images/hatchback.svg", Details: Details{Engine: "2.0L Inline-4", Horsepower: 158, Transmission: "CVT", Drivetrain: "Front-Wheel Drive"}},
	{ID: 13, Name: "Ford Mustang", Manufacturer: "Ford", Category: "Coupe", Year: 2015, Price: 23600, ImageURL: "/images/coupe.svg", Details: Details{Engine: "3.7L V6", Horsepower: 300, Transmission: "6-speed Manual", Drivetrain: "Rear-Wheel Drive"}},
	{ID: 14, Name: "Toyota Sienna", Manufacturer: "Toyota", Category: "Minivan", Year: 2021, Price: 34460, ImageURL: "/images/minivan.svg", Details: Details{Engine: "2.5L Inline-4 Hybrid", Horsepower: 245, Transmission: "eCVT", Drivetrain: "Front-Wheel Drive"}},
	{ID: 15, Name: "Jaguar I-Pace", Manufacturer: "Jaguar", Category: "SUV", Year: 2019, Price: 69500, ImageURL: "/images/suv.svg", Details: Details{Engine: "Dual Electric Motors", Horsepower: 394, Transmission: "1-speed Direct Drive", Drivetrain: "All-Wheel Drive"}},
	{ID: 16, Name: "Chevrolet Corvette", Manufacturer: "Chevrolet", Category: "Sports Car", Year: 2020, Price: 58900, ImageURL: "/images/sports-car.svg", Details: Details{Engine: "6.2L V8", Horsepower: 490, Transmission: "8-speed Dual-Clutch", Drivetrain: "Rear-Wheel Drive"}},
	{ID: 17, Name: "Volkswagen Golf GTI", Manufacturer: "Volkswagen", Category: "Hatchback", Year: 2018, Price: 26415, ImageURL: "/images/hatchback.svg", Details: Details{Engine: "2.0L Turbo Inline-4", Horsepower: 220, Transmission: "6-speed Manual", Drivetrain: "Front-Wheel Drive"}},
	{ID: 18, Name: "Jeep Wrangler", Manufacturer: "Jeep", Category: "SUV", Year: 2018, Price: 26995, ImageURL: "/images/suv.svg", Details: Details{Engine: "3.6L V6", Horsepower: 285, Transmission: "6-speed Manual", Drivetrain: "Four-Wheel Drive"}},
	{ID: 19, Name: "Nissan Leaf", Manufacturer: "Nissan", Category: "Hatchback", Year: 2018, Price: 29990, ImageURL: "/images/hatchback.svg", Details: Details{Engine: "Single Electric Motor", Horsepower: 147, Transmission: "1-speed Direct Drive", Drivetrain: "Front-Wheel Drive"}},
	{ID: 20, Name: "Fiat 124 Spider", Manufacturer: "Fiat", Category: "Convertible", Year: 2017, Price: 24995, ImageURL: "/images/convertible.svg", Details: Details{Engine: "1.4L Turbo Inline-4", Horsepower: 160, Transmission: "6-speed Manual", Drivetrain: "Rear-Wheel Drive"}},
	{ID: 21, Name: "Bugatti Chiron", Manufacturer: "Bugatti", Category: "Sports Car", Year: 2018, Price: 2998000, ImageURL: "/images/sports-car.svg", Details: Details{Engine: "8.0L Quad-Turbo W16", Horsepower: 1479, Transmission: "7-speed Dual-Clutch", Drivetrain: "All-Wheel Drive"}},
	{ID: 22, Name: "Kia Telluride", Manufacturer: "Kia", Category: "SUV", Year: 2020, Price: 31690, ImageURL: "/images/suv.svg", Details: Details{Engine: "3.8L V6", Horsepower: 291, Transmission: "8-speed Automatic", Drivetrain: "Front-Wheel Drive"}},
	{ID: 23, Name: "Toyota Prius", Manufacturer: "Toyota", Category: "Hatchback", Year: 2023, Price: 27450, ImageURL: "/images/hatchback.svg", Details: Details{Engine: "2.0L Inline-4 Hybrid", Horsepower: 194, Transmission: "eCVT", Drivetrain: "Front-Wheel Drive"}},
	{ID: 24, Name: "Subaru Outback", Manufacturer: "Subaru", Category: "Wagon", Year: 2020, Price: 26645, ImageURL: "/images/wagon.svg", Details: Details{Engine: "2.5L Flat-4", Horsepower: 182, Transmission: "CVT", Drivetrain: "All-Wheel Drive"}},
	{ID: 25, Name: "Ford Maverick", Manufacturer: "Ford", Category: "Pickup", Year: 2022, Price: 19995, ImageURL: "/images/pickup.svg", Details: Details{Engine: "2.5L Inline-4 Hybrid", Horsepower: 191, Transmission: "eCVT", Drivetrain: "Front-Wheel Drive"}},
	{ID: 26, Name: "Nissan Z", Manufacturer: "Nissan", Category: "Coupe", Year: 2023, Price: 39990, ImageURL: "/images/coupe.svg", Details: Details{Engine: "3.0L Twin-Turbo V6", Horsepower: 400, Transmission: "6-speed Manual", Drivetrain: "Rear-Wheel Drive"}},
	{ID: 27, Name: "Chevrolet Bolt EV", Manufacturer: "Chevrolet", Category: "Hatchback", Year: 2017, Price: 36620, ImageURL: "/images/hatchback.svg", Details: Details{Engine: "Single Electric Motor", Horsepower: 200, Transmission: "1-speed Direct Drive", Drivetrain: "Front-Wheel Drive"}},
	{ID: 28, Name: "Honda Odyssey", Manufacturer: "Honda", Category: "Minivan", Year: 2018, Price: 29990, ImageURL: "/images/minivan.svg", Details: Details{Engine: "3.5L V6", Horsepower: 280, Transmission: "9-speed Automatic", Drivetrain: "Front-Wheel Drive"}},
	{ID: 29, Name: "Acura NSX", Manufacturer: "Acura", Category: "Sports Car", Year: 2017, Price: 156000, ImageURL: "/images/sports-car.svg", Details: Details{Engine: "3.5L Twin-Turbo V6 Hybrid", Horsepower: 573, Transmission: "9-speed Dual-Clutch", Drivetrain: "All-Wheel Drive"}},
	{ID: 30, Name: "Alfa Romeo 4C", Manufacturer: "Alfa Romeo", Category: "Sports Car", Year: 2015, Price: 53900, ImageURL: "/images/sports-car.svg", Details: Details{Engine: "1.7L Turbo Inline-4", Horsepower: 237, Transmission: "6-speed Dual-Clutch", Drivetrain: "Rear-Wheel Drive"}},
	{ID: 31, Name: "Toyota Tacoma", Manufacturer: "Toyota", Category: "Pickup", Year: 2024, Price: 31500, ImageURL: "/images/pickup.svg", Details: Details{Engine: "2.4L Turbo Inline-4", Horsepower: 228, Transmission: "8-speed Automatic", Drivetrain: "Rear-Wheel Drive"}},
	{ID: 32, Name: "Volkswagen ID. Buzz", Manufacturer: "Volkswagen", Category: "Minivan", Year: 2025, Price: 59995, ImageURL: "/images/minivan.svg", Details: Details{Engine: "Single Electric Motor", Horsepower: 282, Transmission: "1-speed Direct Drive", Drivetrain: "Rear-Wheel Drive"}},
}
