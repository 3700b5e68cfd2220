// What a car is, what may be asked of the processor, and what it answers.
// Values and pure functions: nothing here runs on a goroutine of its own.

package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strings"
	"time"
	"unique"

	"cars/internal/fields"
	"cars/internal/header"
	"cars/internal/ijson"
	"cars/internal/items"
	"cars/internal/query"
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

// An operation is what a CarRequest wants done.
type operation int

const (
	getCar      operation = iota // find the car with the request's ID
	listCars                     // hand out the whole catalogue
	createCar                    // put in a new car
	replaceCar                   // put another in the place of the one with the request's ID
	patchCar                     // change some of its fields
	deleteCar                    // take it out
	replaceCars                  // put others in the place of all cars
	reserveIDs                   // keep IDs from being given to others
)

// String names what is asked for, as log lines do.
func (op operation) String() string {
	return [...]string{"car details", "car list", "car creation", "car replacement", "car change",
		"car deletion", "catalogue replacement", "IDs"}[op]
}

// A CarRequest is one question to the processor. It carries the channel on
// which its own answer comes back, so answers need no addressing and callers
// never meet.
type CarRequest struct {
	ID int

	// Response receives exactly one answer, unless the caller goes away first.
	// The caller makes it and receives from it, the processor sends, nobody
	// closes it. With capacity 1 the processor never has to wait for the
	// caller; without, it waits on another goroutine.
	Response chan CarResponse

	// Op is what to do; its zero value gets the car with this ID.
	Op operation

	// Write is what a change consists of; nil if Op only reads.
	Write *write

	// Delay is this request's own processing time; nil means the server's.
	// It counts only while the server simulates (see simulation).
	Delay *time.Duration

	// Fail asks to fail when the processing time is over, without doing anything. It
	// counts only while the server simulates.
	Fail bool

	// Done is closed when the caller no longer waits for the answer; nil means
	// that it always waits.
	Done <-chan struct{}
}

// A write is what a change consists of beside its operation. Whoever sends it
// has checked all that can be checked without knowing the catalogue, and leaves
// it alone from then on.
type write struct {
	car        Car            // createCar and replaceCar: the new car; with ID 0, createCar gives it the next
	patch      map[string]any // patchCar: JSON Merge Patch (RFC 7396)
	catalogue  *catalogue     // replaceCars: with the new cars
	count      int            // reserveIDs: how many, from the request's ID or later on
	conditions header.Conditions
}

// abandoned reports whether the caller has gone away.
func (req CarRequest) abandoned() bool {
	select {
	case <-req.Done:
		return true
	default:
		return false
	}
}

// A CarResponse is the answer to one CarRequest. Everything it points to is
// immutable: nobody changes it again, so it may be read without a lock.
type CarResponse struct {
	Car   *Car  // as asked for, as it is now or, deleted, as it was; nil for all cars or an error
	Error error // one of those below, which may wrap another, or nil

	record    *record    // Car with its encoding
	catalogue *catalogue // the answer to what concerns all cars
	firstID   int        // the answer to reserveIDs
	received  time.Time  // when the request came off the channel
}

var (
	errCarNotFound  = errors.New("car not found")
	errIDTaken      = errors.New("car ID is taken")
	errFull         = errors.New("catalogue is full")
	errPrecondition = errors.New("precondition failed")
	errNotCommitted = errors.New("change could not be committed")
	errSimulated    = errors.New("simulated failure")
)

// A record is a car as the catalogue keeps it: encoded once, when it comes in,
// and never changed after.
type record struct {
	car    Car
	json   []byte // with a newline at its end
	hash   uint64 // of json alone, so that it survives a restart
	etag   string // strong entity tag (RFC 9110, section 8.8.3)
	search string // what the query parameter q searches
}

// body is the car's JSON alone.
func (rec *record) body() []byte { return rec.json[:len(rec.json)-len("\n")] }

// newRecord encodes a car.
func newRecord(car Car) *record {
	body, err := ijson.Encode(car)
	if err != nil {
		panic(err) // strings and integers can always be encoded
	}
	return encodedRecord(car, body)
}

// encodedRecord is newRecord for who has the encoding. Catalogues have few different
// makers, categories and so on, so cars share those texts: it saves memory, and lists
// that look for one find it in the CPU's cache.
func encodedRecord(car Car, body []byte) *record {
	for _, text := range []*string{&car.Manufacturer, &car.Category, &car.ImageURL, &car.Details.Engine, &car.Details.Transmission, &car.Details.Drivetrain} {
		*text = unique.Make(*text).Value()
	}
	sum := sha256.Sum256(body)
	hash := sum[:8]
	etag := append(hex.AppendEncode(append(make([]byte, 0, 18), '"'), hash), '"')
	rec := &record{car: car, json: body, hash: binary.BigEndian.Uint64(hash), etag: string(etag)}
	rec.search = listSchema.SearchText(rec)
	return rec
}

// newRecords encodes cars.
func newRecords(list []Car) []*record {
	records := make([]*record, len(list))
	for i, car := range list {
		records[i] = newRecord(car)
	}
	return records
}

// parseCar makes a car of an object that was read from JSON. Fields that are
// absent or null are empty or zero. An id other than 0 is the ID that the car
// will have; else it may have one up to maxID. What is wrong is noted; then the car
// is of no use.
func parseCar(object map[string]any, id, maxID int, wrong fields.Errors) Car {
	car := Car{ID: id}
	carFields.Fill(&car, object, wrong)
	checkID(car, id, wrong)
	if id == 0 && car.ID > maxID {
		wrong["id"] = fmt.Sprintf("must be at most %d", maxID)
	}
	return car
}

// parseCars makes cars of the elements of an array that was read from JSON, in
// their order. Cars without an ID have 0; others may have one up to maxID.
func parseCars(elements iter.Seq2[any, error], maxID int) ([]Car, error) {
	var list []Car
	wrong := fields.Errors{}
	indexes := make(map[int]int) // of the cars with an ID
	for element, err := range elements {
		if err != nil {
			return nil, err
		}
		i, inCar := len(list), fields.Errors{}
		object, ok := element.(map[string]any)
		car := parseCar(object, 0, maxID, inCar)
		if other, taken := indexes[car.ID]; taken {
			inCar.Note("id", fmt.Sprintf("is also that of [%d]", other))
		}
		if car.ID != 0 {
			indexes[car.ID] = i
		}
		list = append(list, car)
		if !ok {
			wrong.Note(fmt.Sprintf("[%d]", i), "must be an object")
			clear(inCar)
		}
		for path, problem := range inCar {
			wrong.Note(fmt.Sprintf("[%d].%s", i, path), problem)
		}
		if len(wrong) == fields.MaxErrors {
			break
		}
	}
	if len(wrong) > 0 {
		return nil, wrong
	}
	return list, nil
}

// merge changes car by the rules of JSON Merge Patch (RFC 7396), all but its ID.
// What is wrong with patch is noted; then the car is of no use.
func (car *Car) merge(patch map[string]any, wrong fields.Errors) {
	id := car.ID
	carFields.Merge(car, patch, wrong)
	checkID(*car, id, wrong)
}

// checkID notes if a body has given a car another ID than it has in the path.
func checkID(car Car, id int, wrong fields.Errors) {
	if id != 0 && car.ID != id {
		wrong.Note("id", fmt.Sprintf("must be %d, as in the path", id))
	}
}

// maxChosenID is the largest ID that clients may choose if the server has not given
// it: half of all, so that none can take from all others those that it gives.
const maxChosenID = 1 << 52

// carFields is what the JSON of a car may say.
var carFields = fields.Schema[Car]{
	"id":                   fields.Number(func(car *Car) *int { return &car.ID }, fields.Between(1, items.MaxID)),
	"name":                 fields.Text(func(car *Car) *string { return &car.Name }, 1, 200, nil),
	"manufacturer":         fields.Text(func(car *Car) *string { return &car.Manufacturer }, 1, 100, nil),
	"category":             fields.Text(func(car *Car) *string { return &car.Category }, 0, 50, nil),
	"year":                 fields.Number(func(car *Car) *int { return &car.Year }, checkYear),
	"price":                fields.Number(func(car *Car) *int { return &car.Price }, fields.Between(0, 1_000_000_000)),
	"imageUrl":             fields.Text(func(car *Car) *string { return &car.ImageURL }, 0, 2048, checkImageURL),
	"details.engine":       fields.Text(func(car *Car) *string { return &car.Details.Engine }, 0, 200, nil),
	"details.horsepower":   fields.Number(func(car *Car) *int { return &car.Details.Horsepower }, fields.Between(0, 5000)),
	"details.transmission": fields.Text(func(car *Car) *string { return &car.Details.Transmission }, 0, 200, nil),
	"details.drivetrain":   fields.Text(func(car *Car) *string { return &car.Details.Drivetrain }, 0, 200, nil),
}

// checkYear allows every model year since the first car's, up to those that
// makers announce. 0 stands for unknown.
func checkYear(year int) (problem string) {
	if last := time.Now().Year() + 2; year != 0 && (year < 1886 || year > last) {
		return fmt.Sprintf("must be 0 or between 1886 and %d", last)
	}
	return ""
}

// checkImageURL allows what a page may put into an img element without a second
// thought: no javascript: or data:, and no path that browsers take for a host.
func checkImageURL(text string) (problem string) {
	if text[0] == '/' && !strings.HasPrefix(text, "//") && !strings.ContainsAny(text, `%\`) {
		return "" // as nearly all, and without a closer look
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

// recordFormat is how cars are written into the catalogue's file, and read.
var recordFormat = items.Format[record]{
	ID:    func(rec *record) int { return rec.car.ID },
	JSON:  (*record).body,
	Scan:  scanRecord,
	Parse: parseRecords,
}

// scanRecord reads a car that has the form that its body has and nothing wrong with it.
// Of others it says that they are not ok.
func scanRecord(in *ijson.Scanner, checked bool) (rec *record, ok bool) {
	var car Car
	body, dense := in.Raw(func() { car = scanCar(in) })
	scanned := car
	if in.Failed() || !checked && !carFields.Check(&car) {
		return nil, false
	}
	if dense && car == scanned {
		return encodedRecord(car, slices.Concat(body, []byte{'\n'})), true
	}
	return newRecord(car), true
}

// scanCar reads a car as it is encoded.
func scanCar(in *ijson.Scanner) (car Car) {
	number := func(before string) int {
		in.Expect(before)
		return in.Int()
	}
	text := func(before string) string {
		in.Expect(before)
		return in.Text()
	}
	car.ID = number(`{"id":`)
	car.Name = text(`,"name":`)
	car.Manufacturer = text(`,"manufacturer":`)
	car.Category = text(`,"category":`)
	car.Year = number(`,"year":`)
	car.Price = number(`,"price":`)
	car.ImageURL = text(`,"imageUrl":`)
	car.Details.Engine = text(`,"details":{"engine":`)
	car.Details.Horsepower = number(`,"horsepower":`)
	car.Details.Transmission = text(`,"transmission":`)
	car.Details.Drivetrain = text(`,"drivetrain":`)
	in.Expect("}}")
	return car
}

// parseRecords makes records as parseCars makes cars.
func parseRecords(elements iter.Seq2[any, error]) ([]*record, error) {
	list, err := parseCars(elements, items.MaxID)
	return newRecords(list), err
}

// listSchema is what may be asked of a list of cars: every field by its path in
// a car's JSON.
var listSchema = query.Schema[*record]{
	Search: func(rec *record) string { return rec.search },
	Fields: []query.Field[*record]{
		{Name: "id", Number: func(rec *record) int { return rec.car.ID }},
		{Name: "name", Text: func(rec *record) string { return rec.car.Name }},
		{Name: "manufacturer", Text: func(rec *record) string { return rec.car.Manufacturer }},
		{Name: "category", Text: func(rec *record) string { return rec.car.Category }},
		{Name: "year", Number: func(rec *record) int { return rec.car.Year }},
		{Name: "price", Number: func(rec *record) int { return rec.car.Price }},
		{Name: "imageUrl", Text: func(rec *record) string { return rec.car.ImageURL }},
		{Name: "details.engine", Text: func(rec *record) string { return rec.car.Details.Engine }},
		{Name: "details.horsepower", Number: func(rec *record) int { return rec.car.Details.Horsepower }},
		{Name: "details.transmission", Text: func(rec *record) string { return rec.car.Details.Transmission }},
		{Name: "details.drivetrain", Text: func(rec *record) string { return rec.car.Details.Drivetrain }},
	},
}

// cars is the built-in catalogue: the base trim of each, or the one that sold
// most, with its US price at launch without destination charge. It is where
// every catalogue starts; the processor works on its own copy.
var cars = []Car{
	{1, "Audi A4", "Audi", "Sedan", 2024, 42000, "/images/sedan.svg", Details{"2.0L Inline-4", 201, "7-speed Automatic", "All-Wheel Drive"}},
	{2, "Mercedes-Benz E-Class", "Mercedes-Benz", "Sedan", 2017, 52150, "/images/sedan.svg", Details{"2.0L Turbo Inline-4", 241, "9-speed Automatic", "Rear-Wheel Drive"}},
	{3, "BMW 3 Series", "BMW", "Sedan", 2019, 40250, "/images/sedan.svg", Details{"2.0L Turbo Inline-4", 255, "8-speed Automatic", "Rear-Wheel Drive"}},
	{4, "Audi Q5", "Audi", "SUV", 2018, 41500, "/images/suv.svg", Details{"2.0L Turbo Inline-4", 252, "7-speed Dual-Clutch", "All-Wheel Drive"}},
	{5, "Toyota Camry", "Toyota", "Sedan", 2025, 28400, "/images/sedan.svg", Details{"2.5L Inline-4 Hybrid", 225, "eCVT", "Front-Wheel Drive"}},
	{6, "BMW X5", "BMW", "SUV", 2019, 60700, "/images/suv.svg", Details{"3.0L Turbo Inline-6", 335, "8-speed Automatic", "All-Wheel Drive"}},
	{7, "Ford F-150", "Ford", "Pickup", 2021, 28940, "/images/pickup.svg", Details{"3.3L V6", 290, "10-speed Automatic", "Rear-Wheel Drive"}},
	{8, "Mazda MX-5 Miata", "Mazda", "Convertible", 2016, 24915, "/images/convertible.svg", Details{"2.0L Inline-4", 155, "6-speed Manual", "Rear-Wheel Drive"}},
	{9, "Porsche 911", "Porsche", "Sports Car", 2020, 97400, "/images/sports-car.svg", Details{"3.0L Twin-Turbo Flat-6", 379, "8-speed Dual-Clutch", "Rear-Wheel Drive"}},
	{10, "Hyundai Ioniq 5", "Hyundai", "SUV", 2022, 39700, "/images/suv.svg", Details{"Single Electric Motor", 168, "1-speed Direct Drive", "Rear-Wheel Drive"}},
	{11, "Volvo V60", "Volvo", "Wagon", 2019, 38900, "/images/wagon.svg", Details{"2.0L Turbo Inline-4", 250, "8-speed Automatic", "Front-Wheel Drive"}},
	{12, "Honda Civic", "Honda", "Hatchback", 2022, 22900, "/images/hatchback.svg", Details{"2.0L Inline-4", 158, "CVT", "Front-Wheel Drive"}},
	{13, "Ford Mustang", "Ford", "Coupe", 2015, 23600, "/images/coupe.svg", Details{"3.7L V6", 300, "6-speed Manual", "Rear-Wheel Drive"}},
	{14, "Toyota Sienna", "Toyota", "Minivan", 2021, 34460, "/images/minivan.svg", Details{"2.5L Inline-4 Hybrid", 245, "eCVT", "Front-Wheel Drive"}},
	{15, "Jaguar I-Pace", "Jaguar", "SUV", 2019, 69500, "/images/suv.svg", Details{"Dual Electric Motors", 394, "1-speed Direct Drive", "All-Wheel Drive"}},
	{16, "Chevrolet Corvette", "Chevrolet", "Sports Car", 2020, 58900, "/images/sports-car.svg", Details{"6.2L V8", 490, "8-speed Dual-Clutch", "Rear-Wheel Drive"}},
	{17, "Volkswagen Golf GTI", "Volkswagen", "Hatchback", 2018, 26415, "/images/hatchback.svg", Details{"2.0L Turbo Inline-4", 220, "6-speed Manual", "Front-Wheel Drive"}},
	{18, "Jeep Wrangler", "Jeep", "SUV", 2018, 26995, "/images/suv.svg", Details{"3.6L V6", 285, "6-speed Manual", "Four-Wheel Drive"}},
	{19, "Nissan Leaf", "Nissan", "Hatchback", 2018, 29990, "/images/hatchback.svg", Details{"Single Electric Motor", 147, "1-speed Direct Drive", "Front-Wheel Drive"}},
	{20, "Fiat 124 Spider", "Fiat", "Convertible", 2017, 24995, "/images/convertible.svg", Details{"1.4L Turbo Inline-4", 160, "6-speed Manual", "Rear-Wheel Drive"}},
	{21, "Bugatti Chiron", "Bugatti", "Sports Car", 2018, 2998000, "/images/sports-car.svg", Details{"8.0L Quad-Turbo W16", 1479, "7-speed Dual-Clutch", "All-Wheel Drive"}},
	{22, "Kia Telluride", "Kia", "SUV", 2020, 31690, "/images/suv.svg", Details{"3.8L V6", 291, "8-speed Automatic", "Front-Wheel Drive"}},
	{23, "Toyota Prius", "Toyota", "Hatchback", 2023, 27450, "/images/hatchback.svg", Details{"2.0L Inline-4 Hybrid", 194, "eCVT", "Front-Wheel Drive"}},
	{24, "Subaru Outback", "Subaru", "Wagon", 2020, 26645, "/images/wagon.svg", Details{"2.5L Flat-4", 182, "CVT", "All-Wheel Drive"}},
	{25, "Ford Maverick", "Ford", "Pickup", 2022, 19995, "/images/pickup.svg", Details{"2.5L Inline-4 Hybrid", 191, "eCVT", "Front-Wheel Drive"}},
	{26, "Nissan Z", "Nissan", "Coupe", 2023, 39990, "/images/coupe.svg", Details{"3.0L Twin-Turbo V6", 400, "6-speed Manual", "Rear-Wheel Drive"}},
	{27, "Chevrolet Bolt EV", "Chevrolet", "Hatchback", 2017, 36620, "/images/hatchback.svg", Details{"Single Electric Motor", 200, "1-speed Direct Drive", "Front-Wheel Drive"}},
	{28, "Honda Odyssey", "Honda", "Minivan", 2018, 29990, "/images/minivan.svg", Details{"3.5L V6", 280, "9-speed Automatic", "Front-Wheel Drive"}},
	{29, "Acura NSX", "Acura", "Sports Car", 2017, 156000, "/images/sports-car.svg", Details{"3.5L Twin-Turbo V6 Hybrid", 573, "9-speed Dual-Clutch", "All-Wheel Drive"}},
	{30, "Alfa Romeo 4C", "Alfa Romeo", "Sports Car", 2015, 53900, "/images/sports-car.svg", Details{"1.7L Turbo Inline-4", 237, "6-speed Dual-Clutch", "Rear-Wheel Drive"}},
	{31, "Toyota Tacoma", "Toyota", "Pickup", 2024, 31500, "/images/pickup.svg", Details{"2.4L Turbo Inline-4", 228, "8-speed Automatic", "Rear-Wheel Drive"}},
	{32, "Volkswagen ID. Buzz", "Volkswagen", "Minivan", 2025, 59995, "/images/minivan.svg", Details{"Single Electric Motor", 282, "1-speed Direct Drive", "Rear-Wheel Drive"}},
}
