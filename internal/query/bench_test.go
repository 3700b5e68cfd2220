package query

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"cars/internal/sorted"
	"cars/internal/strict"
)

// A benchCar is as large as a car of the catalogue, and has as many fields.
type benchCar struct {
	ID                           int
	Name, Manufacturer, Category string
	Year, Price                  int
	Image                        string
	Details                      struct {
		Engine                   string
		Horsepower               int
		Transmission, Drivetrain string
	}
}

var benchTable = strict.Table{
	{Name: "id", Number: func(v any) *int { return &v.(*benchCar).ID }},
	{Name: "name", Text: func(v any) *string { return &v.(*benchCar).Name }},
	{Name: "manufacturer", Text: func(v any) *string { return &v.(*benchCar).Manufacturer }},
	{Name: "category", Text: func(v any) *string { return &v.(*benchCar).Category }},
	{Name: "year", Number: func(v any) *int { return &v.(*benchCar).Year }},
	{Name: "price", Number: func(v any) *int { return &v.(*benchCar).Price }},
	{Name: "imageUrl", Text: func(v any) *string { return &v.(*benchCar).Image }},
	{Name: "details.engine", Text: func(v any) *string { return &v.(*benchCar).Details.Engine }},
	{Name: "details.horsepower", Number: func(v any) *int { return &v.(*benchCar).Details.Horsepower }},
	{Name: "details.transmission", Text: func(v any) *string { return &v.(*benchCar).Details.Transmission }},
	{Name: "details.drivetrain", Text: func(v any) *string { return &v.(*benchCar).Details.Drivetrain }},
}

// benchBlocks returns n items. They stay for the next call: a million take a second.
func benchBlocks(n int) [][]*sorted.Item {
	benchMu.Lock()
	defer benchMu.Unlock()
	if len(benchItems) < n {
		random := rand.New(rand.NewPCG(1, 2))
		makers := []string{"Audi", "Mercedes-Benz", "BMW", "Toyota", "Ford", "Volkswagen", "Hyundai", "Alfa Romeo"}
		categories := []string{"Sedan", "SUV", "Pickup", "Convertible", "Sports Car", "Wagon", "Hatchback", "Coupe"}
		benchItems = nil
		for id := 1; id <= n; id++ {
			car := &benchCar{ID: id, Manufacturer: makers[random.IntN(len(makers))], Category: categories[random.IntN(len(categories))],
				Year: 1990 + random.IntN(36), Price: 10000 + random.IntN(90000), Image: "/images/sedan.svg"}
			car.Name = fmt.Sprintf("%s %c%d", car.Manufacturer, 'A'+rune(random.IntN(26)), random.IntN(1000))
			car.Details.Engine, car.Details.Transmission, car.Details.Drivetrain = "2.0L Turbo Inline-4", "8-speed Automatic", "All-Wheel Drive"
			car.Details.Horsepower = 100 + random.IntN(500)
			line, _ := json.Marshal(car)
			benchItems = append(benchItems, &sorted.Item{ID: id, Line: line, Search: SearchText(benchTable, car), Value: car})
		}
	}
	return slices.Collect(slices.Chunk(benchItems[:n], 1024))
}

var (
	benchMu    sync.Mutex
	benchItems []*sorted.Item
)

var benchQueries = []struct{ name, query string }{
	{"all", ""},
	{"page", "_page=20&_limit=25"},
	{"deep page", "_page=%d&_limit=25"},
	{"equal", "category=SUV"},
	{"equal, page", "category=SUV&_page=2&_limit=25"},
	{"range", "year_gte=2020&price_lt=30000"},
	{"in", "category:in=SUV,Coupe,Wagon"},
	{"where", `_where={"or":[{"year":{"gte":2020}},{"details":{"horsepower":{"gt":500}}}]}`},
	{"q", "q=a77"},
	{"q, a word", "q=hyundai"},
	{"q, none", "q=zzz"},
	{"like", "name_like=a77"},
	{"like, last field", "details.drivetrain_like=front"},
	{"contains", "name:contains=7"},
	{"expression", "name_like=^a.*7$"},
	{"sort", "_sort=price&_limit=25"},
	{"sort by text", "_sort=name&_limit=25"},
	{"sort by two", "_sort=category,-price&_limit=25"},
	{"sort, deep", "_sort=price&_page=%d&_limit=25"},
	{"sort by text, deep", "_sort=name&_page=%d&_limit=25"},
	{"sort by two, deep", "_sort=category,-price&_page=%d&_limit=25"},
	{"sort all", "_sort=price"},
	{"filter, sort, page", "category=SUV&_sort=-price&_page=2&_limit=25"},
}

func BenchmarkQuery(b *testing.B) {
	for _, n := range []int{32, 100_000, 1_000_000} {
		for _, test := range benchQueries {
			raw := test.query
			if n := n / 50; slices.Contains([]byte(raw), '%') {
				raw = fmt.Sprintf(raw, max(n, 1))
			}
			b.Run(fmt.Sprintf("%d/%s", n, test.name), func(b *testing.B) {
				blocks := benchBlocks(n)
				values, err := Values(raw)
				if err != nil {
					b.Fatal(err)
				}
				q, err := Parse(benchTable, values)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					list, err := q.Run(b.Context(), blocks)
					if err != nil {
						b.Fatal(err)
					}
					list.Release()
				}
			})
		}
	}
}
