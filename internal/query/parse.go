package query

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"cars/internal/sorted"
	"cars/internal/strict"
)

// maxParameters bounds the parameters of a query string, and so the time to read and apply
// them. No client needs as many.
const maxParameters = 1000

// Values reads a query string: parameters are separated by &, names and values
// are percent-encoded.
func Values(raw string) (url.Values, error) {
	if strings.Count(strings.Trim(raw, "&"), "&") >= maxParameters {
		return nil, malformed("The query must not have more than %d parameters", maxParameters)
	}
	if raw == "" { // true of nearly all requests that are not for a list
		return nil, nil
	}
	for pair := range strings.SplitSeq(raw, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if _, err := url.ParseQuery(pair); err != nil {
			return nil, malformed("%s: parameters must be separated by & (write ; as %%3B), and %% must stand before two hexadecimal digits", cmp.Or(name, pair))
		}
	}
	return url.ParseQuery(raw)
}

// single returns the value of a parameter that may be given once, or "" if it is missing.
func single(values url.Values, param string) (string, error) {
	given := ""
	for _, value := range values[param] {
		if given != "" && value != "" {
			return "", malformed("%s must be given only once", param)
		}
		given = cmp.Or(given, value)
	}
	return given, nil
}

// Int reads a parameter that is a whole number from least to most. If the parameter is
// missing, Int returns otherwise.
func Int(values url.Values, param string, least, most, otherwise int) (int, error) {
	value, err := single(values, param)
	if value == "" || err != nil {
		return otherwise, err
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		return 0, malformed("%s must be a whole number, %d to %d", param, least, most)
	}
	return n, nil
}

// Parse reads the parameters values of a list whose items have the fields of table.
func Parse(table strict.Table, values url.Values) (*Query, error) {
	p := parser{table: table, values: plain(values), q: new(Query)}
	if err := cmp.Or(p.conditions(), p.sort(), p.slice()); err != nil {
		return nil, err
	}
	return p.q, nil
}

// A parser reads the parameters into a query.
type parser struct {
	table  strict.Table
	values url.Values // as plain returns them
	q      *Query
}

// plain returns values without the empty ones. It adds the values of name[] and name[0] to
// the values of name: axios, jQuery and qs write arrays so.
func plain(values url.Values) url.Values {
	named := make(url.Values, len(values))
	for _, param := range slices.Sorted(maps.Keys(values)) {
		name := param
		if i := strings.IndexByte(param, '['); i > 0 && strings.Trim(param[i+1:], "0123456789") == "]" {
			name = param[:i]
		}
		for _, value := range values[param] {
			if value != "" {
				named[name] = append(named[name], value)
			}
		}
	}
	return named
}

// field returns the field of that name.
func (p *parser) field(name string) (f field, found bool) {
	i := slices.IndexFunc(p.table, func(f strict.Field) bool { return f.Name == name })
	if i < 0 {
		return field{}, false
	}
	return field{p.table[i], i}, true
}

// fieldNames lists the fields, for a client that misspelt one.
func (p *parser) fieldNames() string {
	names := make([]string, len(p.table))
	for i, f := range p.table {
		names[i] = f.Name
	}
	return strings.Join(names, ", ")
}

// conditions reads the parameters that filter: _where or, without it, q and the fields.
func (p *parser) conditions() error {
	where, err := single(p.values, "_where")
	if err != nil {
		return err
	}
	if where != "" {
		return p.where(where)
	}
	for _, param := range slices.Sorted(maps.Keys(p.values)) { // in order, so that of two mistakes the same one is named each time
		if err := p.filter(param, p.values[param]); err != nil {
			return err
		}
	}
	text, err := single(p.values, "q")
	if text != "" && err == nil {
		find := newFinder(lower(text))
		p.q.add(func(item *sorted.Item) bool { return find.index(item.Search) >= 0 })
	}
	return err
}

// filter reads a parameter such as year, year_gte or year:gte. It ignores unknown names
// without a colon, since any name may have an underscore in it. A name with a colon is meant
// as a filter, so an unknown one is an error.
func (p *parser) filter(param string, values []string) error {
	if f, found := p.field(param); found {
		return p.q.addCondition(f, param, "eq", values)
	}
	separator := strings.LastIndexByte(param, ':')
	strict := separator >= 0
	if !strict {
		separator = strings.LastIndexByte(param, '_')
	}
	if separator < 0 {
		return nil
	}
	name, operator := param[:separator], param[separator+1:]
	switch f, found := p.field(name); {
	case strict && !found:
		return malformed("%s must begin with a field, and %q is none; there are %s", param, name, p.fieldNames())
	case strict && !isOperator(operator):
		return malformed("%s must end with an operator, and %q is none; there are %s", param, operator, operators)
	case found && !strict && operator == "like":
		return p.q.addMatches(f, param, values)
	case !found || !isOperator(operator):
		return nil
	case operator == "in":
		return p.q.addCondition(f, param, operator, parts(values))
	default:
		return p.q.addCondition(f, param, operator, values)
	}
}

// parts splits values at their commas, and returns the parts without the space around them.
func parts(values []string) (list []string) {
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			list = append(list, strings.TrimSpace(part))
		}
	}
	return list
}

// sort reads _sort and _order.
func (p *parser) sort() error {
	names, errSort := single(p.values, "_sort")
	order, errOrder := single(p.values, "_order")
	if err := cmp.Or(errSort, errOrder); err != nil {
		return err
	}
	var directions []string
	if order != "" {
		directions = strings.Split(strings.ToLower(order), ",")
	}
	for _, direction := range directions {
		if direction != "asc" && direction != "desc" {
			return malformed("_order must be asc or desc, for each field of _sort")
		}
	}
	if names == "" {
		return nil
	}
	p.q.arrangedBy = "_sort"
	fields := strings.Split(names, ",")
	if len(directions) > len(fields) {
		return malformed("_order must not name more directions than _sort names fields")
	}
	for i, name := range fields {
		name, descending := strings.CutPrefix(name, "-")
		f, found := p.field(name)
		if !found {
			return malformed("_sort must name fields, and %q is none; there are %s", name, p.fieldNames())
		}
		key := sorted.Key{Number: f.Number, Text: f.Text, Descending: descending || i < len(directions) && directions[i] == "desc"}
		if f.index == 0 {
			key.Number = nil // a Key without Number and Text sorts by the ID
		}
		if !slices.Contains(fields[:i], name) && !slices.Contains(fields[:i], "-"+name) { // a second key of the same field decides nothing
			p.q.sortBy = append(p.q.sortBy, key)
		}
	}
	return nil
}
