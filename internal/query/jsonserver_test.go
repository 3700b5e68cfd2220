package query

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cars/internal/guard"
	"cars/internal/sorted"
)

// These tests compare answers with those of the two json-servers themselves, which have
// the built-in cars as their database (curl localhost:8080/api/cars | jq '{cars: .}'):
//
//	npm install js0@npm:json-server@0.17.4 js1@npm:json-server@1.0.0-beta.15
//	node node_modules/js0/lib/cli/bin.js db0.json --port 4000
//	node node_modules/js1/lib/bin.js db1.json --port 4001
//	JSON_SERVER_0=http://localhost:4000/cars JSON_SERVER_1=http://localhost:4001/cars go test -run JSONServer ./internal/query
//
// The queries are those that mean the same here and there. What differs on purpose:
//
//   - A value that makes no sense is a 400. There it is ignored, or nothing matches.
//   - 0.17 has no _gt and _lt. 1.x has no _like, q, _start, _end, _limit and _order; it takes
//     them for fields that no item has, and answers with nothing.
//   - Fields that do not exist are ignored in field=value. In 1.x nothing matches.
//   - field= and other parameters without a value are ignored. In 1.x they ask for an empty text.
//   - A repeated parameter: 0.17 takes any of the values also for _gte and _lte, 1.x the last.
//   - Values are compared as the field's type. In 1.x name=911 matches nothing, since
//     911 is a number; its IDs are texts.
//   - Of name=, name:eq= and name_eq= all must hold. 1.x takes the last.
//   - Texts are ordered by bytes, in 1.x as in a dictionary: "SUV" comes before "Sedan" here.
//   - _page without _per_page answers with an array, as 0.17 does.
//   - In _where of 1.x, a value that is no object matches nothing. Here it is a 400.

// peerItems returns the items of a json-server.
func peerItems(t *testing.T, env string) (address string, items []*sorted.Item) {
	address = os.Getenv(env)
	if address == "" {
		t.Skip(env + " is not set")
	}
	body := peerGet(t, address, "")
	var cars []*benchCar
	if err := json.Unmarshal([]byte(strings.NewReplacer(`"imageUrl"`, `"image"`).Replace(quotedID.Replace(body))), &cars); err != nil {
		t.Fatal(err)
	}
	for _, car := range cars {
		items = append(items, &sorted.Item{ID: car.ID, Value: car, Search: SearchText(benchTable, car)})
	}
	return address, items
}

var quotedID = strings.NewReplacer()

func peerGet(t *testing.T, address, raw string) string {
	resp, err := http.Get(address + "?" + raw)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// An answer is what is compared: the IDs, and the envelope if there is one.
type peerAnswer struct {
	ids      []string
	envelope string
}

func readPeerAnswer(t *testing.T, body string) (a peerAnswer) {
	type item struct{ ID any }
	var list []item
	if strings.HasPrefix(body, "{") {
		var envelope struct {
			First, Prev, Next, Last, Pages, Items any
			Data                                  []item
		}
		if err := json.Unmarshal([]byte(body), &envelope); err != nil {
			t.Fatal(err)
		}
		list, envelope.Data = envelope.Data, nil
		a.envelope = fmt.Sprint(envelope)
	} else if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	for _, item := range list {
		a.ids = append(a.ids, fmt.Sprint(item.ID))
	}
	return a
}

func ownAnswer(t *testing.T, items []*sorted.Item, raw string) peerAnswer {
	values, err := Values(raw)
	if err != nil {
		t.Fatal(err)
	}
	q, err := Parse(benchTable, values)
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	found, total := runQuery(t, guard.NewPool(2), q, [][]*sorted.Item{items})
	var ids []string
	for _, item := range found {
		ids = append(ids, fmt.Sprintf(`{"id":%d}`, item.ID))
	}
	body := "[" + strings.Join(ids, ",") + "]"
	if before := q.Envelope(total); before != "" {
		body = before + body + "}"
	}
	return readPeerAnswer(t, body)
}

// comparePeer compares the answers to 500 random queries.
func comparePeer(t *testing.T, env string, query func(random *rand.Rand, car *benchCar, values url.Values)) {
	address, items := peerItems(t, env)
	random := rand.New(rand.NewPCG(1, 1))
	found := 0
	for range 500 {
		values := url.Values{}
		for range 1 + random.IntN(3) {
			query(random, items[random.IntN(len(items))].Value.(*benchCar), values)
		}
		raw := values.Encode()
		got, want := ownAnswer(t, items, raw), readPeerAnswer(t, peerGet(t, address, raw))
		if !slices.Equal(got.ids, want.ids) || got.envelope != want.envelope {
			text, _ := url.QueryUnescape(raw)
			t.Errorf("%s:\ngot  %v\nwant %v", text, got, want)
		}
		if len(want.ids) > 0 {
			found++
		}
	}
	t.Logf("%d of 500 found something", found)
}

// carTexts and carNumbers are a car's fields that both json-servers compare as we do.
func carTexts(car *benchCar) map[string]string {
	return map[string]string{"name": car.Name, "manufacturer": car.Manufacturer, "category": car.Category, "details.engine": car.Details.Engine}
}

func carNumbers(car *benchCar) map[string]int {
	return map[string]int{"year": car.Year, "price": car.Price, "details.horsepower": car.Details.Horsepower}
}

// pickOne returns an entry of m.
func pickOne[V any](random *rand.Rand, m map[string]V) (string, V) {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	key := keys[random.IntN(len(keys))]
	return key, m[key]
}

// part returns a part of s.
func part(random *rand.Rand, s string) string {
	from := random.IntN(len(s))
	return s[from : from+1+random.IntN(min(3, len(s)-from))]
}

func TestJSONServer0(t *testing.T) {
	comparePeer(t, "JSON_SERVER_0", func(random *rand.Rand, car *benchCar, values url.Values) {
		field, text := pickOne(random, carTexts(car))
		numeric, number := pickOne(random, carNumbers(car))
		switch random.IntN(10) {
		case 0:
			values.Add(field, text)
		case 1:
			values.Add(field+"[]", text)
		case 2:
			values.Add(numeric, strconv.Itoa(number))
		case 3:
			values.Add([]string{field, "id"}[random.IntN(2)]+"_ne", []string{text, strconv.Itoa(car.ID)}[random.IntN(2)])
			if values.Has("id_ne") {
				values.Set("id_ne", strconv.Itoa(car.ID))
			}
		case 4:
			values.Set([]string{numeric, "id"}[random.IntN(2)]+[]string{"_gte", "_lte"}[random.IntN(2)], strconv.Itoa(number))
		case 5:
			values.Set(field+[]string{"_gte", "_lte"}[random.IntN(2)], text)
		case 6:
			values.Add(field+"_like", []string{part(random, strings.ToUpper(text[:3])), "^" + text[:2], "[ae].*[0-9]", strings.ToLower(text[len(text)-1:]) + "$"}[random.IntN(4)])
		case 7:
			values.Set("q", strings.ToUpper(part(random, text)))
		case 8:
			other, _ := pickOne(random, carNumbers(car))
			values.Set("_sort", field+","+other)
			values.Set("_order", []string{"asc,desc", "desc", "desc,asc", "ASC"}[random.IntN(4)])
		case 9:
			switch random.IntN(4) {
			case 0:
				values.Set("_start", strconv.Itoa(random.IntN(20)))
				values.Set("_end", strconv.Itoa(random.IntN(40)))
			case 1:
				values.Set("_start", strconv.Itoa(random.IntN(20)))
				values.Set("_limit", strconv.Itoa(random.IntN(20)))
			case 2:
				values.Set("_page", strconv.Itoa(1+random.IntN(5)))
			case 3:
				values.Set("_page", strconv.Itoa(1+random.IntN(5)))
				values.Set("_limit", strconv.Itoa(1+random.IntN(20)))
			}
		}
	})
}

func TestJSONServer1(t *testing.T) {
	quotedID = strings.NewReplacer(`"id": "`, `"id":`, "\",\n    \"name", ",\n    \"name")
	defer func() { quotedID = strings.NewReplacer() }()
	operators := []string{"gt", "gte", "lt", "lte", "ne", "eq"}
	searches := []string{"contains", "startsWith", "endsWith"}
	var where func(random *rand.Rand, car *benchCar, depth int) string
	where = func(random *rand.Rand, car *benchCar, depth int) string {
		field, text := pickOne(random, carTexts(car))
		numeric, number := pickOne(random, carNumbers(car))
		condition := ""
		name := field
		switch random.IntN(4 + depth) {
		case 0:
			condition = fmt.Sprintf(`{%q:%q}`, operators[4+random.IntN(2)], text)
		case 1:
			name, condition = numeric, fmt.Sprintf(`{%q:%d,%q:%d}`, operators[random.IntN(4)], number, "ne", number+random.IntN(2))
		case 2:
			condition = fmt.Sprintf(`{%q:%q}`, searches[random.IntN(3)], strings.ToUpper(part(random, text)))
		case 3:
			name, condition = numeric, fmt.Sprintf(`{"in":[%d,2019,%d]}`, number, 2018)
		default:
			return fmt.Sprintf(`"or":[{%s},{%s}]`, where(random, car, depth-1), where(random, car, depth-1))
		}
		if parent, child, nested := strings.Cut(name, "."); nested {
			return fmt.Sprintf(`%q:{%q:%s}`, parent, child, condition)
		}
		return fmt.Sprintf(`%q:%s`, name, condition)
	}
	comparePeer(t, "JSON_SERVER_1", func(random *rand.Rand, car *benchCar, values url.Values) {
		field, text := pickOne(random, carTexts(car))
		numeric, number := pickOne(random, carNumbers(car))
		separator := ":"
		if numeric == "year" { // always, since of year:gt and year_gt, 1.x takes the last
			separator = "_"
		}
		switch random.IntN(9) {
		case 0:
			values.Set(field, text)
		case 1:
			values.Set(numeric+separator+operators[random.IntN(len(operators))], strconv.Itoa(number))
		case 2:
			values.Set(field+":ne", text)
		case 3:
			values.Set(numeric+separator+"in", fmt.Sprintf("%d, 2019,2018", number))
		case 4:
			values.Set(field+":in", text+", Audi,SUV")
		case 5:
			values.Set(field+":"+searches[random.IntN(3)], strings.ToUpper(part(random, text)))
		case 6:
			values.Set("_where", "{"+where(random, car, 2)+"}")
		case 7:
			other, _ := pickOne(random, carNumbers(car))
			values.Set("_sort", []string{numeric + ",-" + other, "-" + numeric, "manufacturer,-" + other}[random.IntN(3)])
		case 8:
			values.Set("_page", strconv.Itoa(1+random.IntN(5)))
			values.Set("_per_page", strconv.Itoa(1+random.IntN(20)))
		}
	})
}
