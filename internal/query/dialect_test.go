package query

import (
	"errors"
	"net/url"
	"slices"
	"testing"

	"cars/internal/rest"
)

// TestOperators has the operators of json-server 1.x.
func TestOperators(t *testing.T) {
	list := things("ant", "Bee", "cat", "Cow", "bee", "éclair", "a\nb") // weights 90 80 70 60 50 40 30
	tests := []struct{ query, want string }{
		{"name:eq=cat", "3"},
		{"name:eq=cat&name:eq=ant", "13"},
		{"name:eq=cat&name=ant", ""},
		{"name:eq=", "1234567"},
		{"size.weight:eq=70", "3"},
		{"name:ne=cat", "124567"},
		{"name:ne=cat&name:ne=ant", "24567"},
		{"size.weight:gt=70", "12"},
		{"size.weight:gte=70", "123"},
		{"size.weight:lt=70", "4567"},
		{"size.weight:lte=70", "34567"},
		{"size.weight:gte=50&size.weight:lt=70", "45"},
		{"name:in=cat,ant", "13"},
		{"name:in=cat%2C+ant&name:in=Cow", "134"},
		{"name:in=cat", "3"},
		{"size.weight:in=70,%2080,7", "23"},
		{"size.weight:in=70,80,9,8,7,6,5,4,3,2,1", "23"},
		{"name:in=d,e,f,cat,g,h,i,ant,b,c", "13"},
		{"name:contains=E", "25"},
		{"name:contains=É", "6"},
		{"name:contains=e&name:contains=w", "245"},
		{"name:contains=a%0Ab", "7"},
		{"name:contains=t%0A90", ""},
		{"name:startsWith=B", "25"},
		{"name:startsWith=éC", "6"},
		{"name:endsWith=E", "25"},
		{"name:endsWith=T", "13"},
		{"name_eq=cat&name_startsWith=C", "3"},
		{"name_in=cat,ant", "13"},

		{"name[]=cat&name[]=ant", "13"},
		{"name[]=cat&name=ant", "13"},
		{"name[0]=cat&name[1]=ant", "13"},
		{"name_like[]=^c&name_like[]=ant", "134"},
		{"name_ne[]=cat&name_ne[]=ant", "24567"},
		{"size.weight:gt[]=50&size.weight:gt[]=70", "12"},
		{"name:in[]=cat&name:in[]=ant", "13"},
		{"_sort[]=-id&_end[]=2", "76"},
		{"name[x]=cat&[]=1&name[=2&name]=3&name[]x=4", "1234567"},

		{`_where={}&name=cat&q=zzz`, "1234567"},
		{`_where=&name=cat`, "3"},
		{`_where={"name":{}}`, "1234567"},
		{`_where={"name":{"eq":"cat"}}`, "3"},
		{`_where={"name":{"eq":""}}`, ""},
		{`_where={"name":{"contains":""}}`, "1234567"},
		{`_where={"size.weight":{"gte":70}}`, "123"},
		{`_where={"size":{"weight":{"gte":70}}}`, "123"},
		{`_where={"size":{"weight":{"gte":"70"}}}`, "123"},
		{`_where={"size":{"weight":{"gte":70,"lt":8.5e1},"or":[{"weight":{"eq":70}},{"weight":{"eq":90}}]}}`, "3"},
		{`_where={"name":{"in":["cat","ant"]}}`, "13"},
		{`_where={"name":{"in":"cat"}}`, "3"},
		{`_where={"name":{"in":[]}}`, ""},
		{`_where={"id":{"in":[3,1e0,"2"]}}`, "123"},
		{`_where={"or":[{"name":{"eq":"cat"}},{"id":{"lt":2}}]}`, "13"},
		{`_where={"or":[{"name":{"eq":"cat"}},{"id":{"lt":2}}],"id":{"gt":1}}`, "3"},
		{`_where={"or":[{"and":[{"name":{"eq":"cat"}},{"id":{"lt":2}}]},{"id":{"eq":4}}]}`, "4"},
		{`_where={"or":[]}`, ""},
		{`_where={"and":[]}`, "1234567"},
		{`_where={"name":{"eq":"cat"}}&_sort=-id&id=1`, "3"},
		{`_where={"id":{"gt":2}}&_sort=-id&_limit=2`, "76"},
	}
	for _, test := range tests {
		// Braces may stand in a query as they are.
		if got, _ := run(t, list, test.query); got != test.want {
			t.Errorf("%s: got %s, want %s", test.query, got, test.want)
		}
	}
}

func TestMistakesInOperatorsAreNamed(t *testing.T) {
	const (
		fields    = "; there are id, name, size.weight"
		operators = "; there are eq, ne, gt, gte, lt, lte, in, contains, startsWith and endsWith"
		object    = `_where must be an object in JSON, such as {"year":{"gte":2020}}`
	)
	tests := []struct{ query, want string }{
		{"colour:eq=red", `colour:eq must begin with a field, and "colour" is none` + fields},
		{":eq=red", `:eq must begin with a field, and "" is none` + fields},
		{"id:foo=3", `id:foo must end with an operator, and "foo" is none` + operators},
		{"id:like=3", `id:like must end with an operator, and "like" is none` + operators},
		{"id:=3", `id: must end with an operator, and "" is none` + operators},
		{"id:gte=x", "id:gte must be a number"},
		{"id:in=1,x", "id:in must be a number"},
		{"id:in=1,", "id:in must be a number"},
		{"id:contains=1", "id:contains searches in a text, and id is a number"},
		{"_where={}&_where={}", "_where must be given only once"},
		{"_where=[]", object},
		{"_where=7", object},
		{"_where=null", object},
		{"_where={", object},
		{"_where={}{}", object},
		{"_where={}x", object},
		{`_where={"colour":{"eq":1}}`, `_where: "colour" is no field` + fields},
		{`_where={"size":{"height":{"eq":1}}}`, `_where: "size.height" is no field` + fields},
		{`_where={"size":{"eq":1}}`, `_where: "size.eq" is no field` + fields},
		{`_where={"siz":{}}`, `_where: "siz" is no field` + fields},
		{`_where={"id":7}`, `_where: id must be an object, such as {"eq":…}`},
		{`_where={"size":7}`, `_where: size must be an object, such as {"eq":…}`},
		{`_where={"id":{"foo":7}}`, `_where: id: "foo" is no operator` + operators},
		{`_where={"id":{"eq":"x"}}`, "_where: id.eq must be a number"},
		{`_where={"id":{"eq":[1]}}`, "_where: id.eq must be a text or a number"},
		{`_where={"id":{"eq":null}}`, "_where: id.eq must be a text or a number"},
		{`_where={"id":{"in":[true]}}`, "_where: id.in must be a text or a number"},
		{`_where={"id":{"startsWith":"1"}}`, "_where: id.startsWith searches in a text, and id is a number"},
		{`_where={"or":{}}`, "_where: or must be an array of objects"},
		{`_where={"or":[7]}`, "_where: or must be an array of objects"},
		{`_where={"size":{"and":7}}`, "_where: size.and must be an array of objects"},
		{`_where={"or":[{"id":{"foo":7}}]}`, `_where: id: "foo" is no operator` + operators},
	}
	for _, test := range tests {
		_, err := parse(test.query)
		var e *rest.Error
		if !errors.As(err, &e) || e.Status != 400 || e.Message != test.want {
			t.Errorf("%s:\ngot  %v\nwant %s", test.query, err, test.want)
		}
	}
}

func TestEnvelope(t *testing.T) {
	list := things("a", "b", "c", "d", "e")
	tests := []struct{ query, ids, want string }{
		{"_page=1&_per_page=2", "12", `{"first":1,"prev":null,"next":2,"last":3,"pages":3,"items":5,"data":`},
		{"_page=2&_per_page=2", "34", `{"first":1,"prev":1,"next":3,"last":3,"pages":3,"items":5,"data":`},
		{"_page=3&_per_page=2", "5", `{"first":1,"prev":2,"next":null,"last":3,"pages":3,"items":5,"data":`},
		{"_page=9&_per_page=2", "5", `{"first":1,"prev":2,"next":null,"last":3,"pages":3,"items":5,"data":`},
		{"_page=9&_per_page=2&_sort=-id", "1", `{"first":1,"prev":2,"next":null,"last":3,"pages":3,"items":5,"data":`},
		{"_page=9&_per_page=2&id_gt=2", "5", `{"first":1,"prev":1,"next":null,"last":2,"pages":2,"items":3,"data":`},
		{"_page=9&_per_page=2&id_gt=2&_sort=-name", "3", `{"first":1,"prev":1,"next":null,"last":2,"pages":2,"items":3,"data":`},
		{"_page=1&_per_page=9&_limit=1", "12345", `{"first":1,"prev":null,"next":null,"last":1,"pages":1,"items":5,"data":`},
		{"_page=7&_per_page=2&id=9", "", `{"first":1,"prev":null,"next":null,"last":1,"pages":1,"items":0,"data":`},
		{"_page=1000000000&_per_page=1000000000", "12345", `{"first":1,"prev":null,"next":null,"last":1,"pages":1,"items":5,"data":`},
		{"_page=2&_limit=2", "34", ""},
		{"_per_page=2", "12345", ""},
	}
	for _, test := range tests {
		ids, total := run(t, list, test.query)
		q, _ := parse(test.query)
		if got := q.Envelope(total); got != test.want || ids != test.ids {
			t.Errorf("%s: got %s and %s, want %s and %s", test.query, ids, got, test.ids, test.want)
		}
	}
}

// TestMatches asks for one item, as a stream of changes does.
func TestMatches(t *testing.T) {
	list := things("a", "b", "c")
	for query, want := range map[string]string{"": "", "name=b&q=B": "", "_order=desc&_per_page=2": "", "_sort=id": "_sort", "_start=1": "_start",
		"_end=1": "_end", "_limit=1": "_limit", "_page=1": "_page", "_page=1&_sort=id": "_sort", "_page=": ""} {
		q, err := parse(query)
		if err != nil {
			t.Fatal(err)
		}
		if got := q.ArrangedBy(); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	q, _ := Parse(table, url.Values{"name_ne": {"b"}, "_where": {""}})
	for i, item := range list {
		if got, want := q.Matches(item), i != 1; got != want {
			t.Errorf("item %d: got %v, want %v", item.ID, got, want)
		}
	}
	if got := len(slices.DeleteFunc(list, q.Matches)); got != 1 {
		t.Errorf("got %d that do not match, want 1", got)
	}
}
