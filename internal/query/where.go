package query

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"cars/internal/strict"
)

// where reads _where: a condition in JSON, such as
//
//	{"year":{"gte":2020},"or":[{"category":{"eq":"SUV"}},{"details":{"horsepower":{"gt":400}}}]}
//
// All members must hold. The key of a member is a field, the beginning of a field's path,
// or "or" or "and" with an array of such objects as value.
func (p *parser) where(text string) error {
	value, ok := readJSON(text)
	object, isObject := value.(map[string]any)
	if !ok || !isObject {
		return malformed(`_where must be an object in JSON, such as {"year":{"gte":2020}}`)
	}
	holds, err := p.whereObject("", object)
	p.q.add(holds)
	return err
}

// readJSON reads a value in JSON. Its numbers are of type json.Number.
func readJSON(text string) (value any, ok bool) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	ok = json.Valid([]byte(text)) && decoder.Decode(&value) == nil
	return value, ok
}

// whereObject returns the condition that all members of object hold. prefix is the path of
// the object with a dot at its end, or "" for the outermost one.
func (p *parser) whereObject(prefix string, object map[string]any) (condition, error) {
	var conditions []condition
	for _, key := range slices.Sorted(maps.Keys(object)) {
		c, err := p.whereMember(prefix, key, object[key])
		if err != nil {
			return nil, err
		}
		conditions = append(conditions, c)
	}
	return combined(all, conditions), nil
}

// whereMember returns the condition that is the member key of an object.
func (p *parser) whereMember(prefix, key string, value any) (condition, error) {
	if key == "or" || key == "and" {
		return p.whereList(prefix, key, value)
	}
	path := prefix + key
	f, found := p.field(path)
	within := func(f strict.Field) bool { return strings.HasPrefix(f.Name, path+".") }
	if !found && !slices.ContainsFunc(p.table, within) {
		return nil, malformed("_where: %q is no field; there are %s", path, p.fieldNames())
	}
	object, ok := value.(map[string]any)
	switch {
	case !ok:
		return nil, malformed(`_where: %s must be an object, such as {"eq":…}`, path)
	case !found:
		return p.whereObject(path+".", object)
	}
	var conditions []condition
	for _, operator := range slices.Sorted(maps.Keys(object)) {
		param := "_where: " + path + "." + operator
		if !isOperator(operator) {
			return nil, malformed("_where: %s: %q is no operator; there are %s", path, operator, operators)
		}
		values, ok := scalars(operator, object[operator])
		if !ok {
			return nil, malformed("%s must be a text or a number", param)
		}
		c, err := f.condition(param, operator, values)
		if err != nil {
			return nil, err
		}
		conditions = append(conditions, c)
	}
	return combined(all, conditions), nil
}

// whereList returns the condition that one of the objects in a list holds, if key is "or",
// or that all of them hold. For an empty list, "or" is false and "and" is true.
func (p *parser) whereList(prefix, key string, value any) (condition, error) {
	list, ok := value.([]any)
	var conditions []condition
	for _, element := range list {
		object, isObject := element.(map[string]any)
		if ok = ok && isObject; !ok {
			break
		}
		c, err := p.whereObject(prefix, object)
		if err != nil {
			return nil, err
		}
		conditions = append(conditions, c)
	}
	if !ok {
		return nil, malformed("_where: %s%s must be an array of objects", prefix, key)
	}
	return combined(key == "or", conditions), nil
}

// scalars returns the texts and numbers in the value of an operator, as parameters would
// have them: one or, for the operator in, all elements of an array.
func scalars(operator string, value any) (values []string, ok bool) {
	list, isList := value.([]any)
	if !isList || operator != "in" {
		list = []any{value}
	}
	for _, element := range list {
		switch element := element.(type) {
		case string:
			values = append(values, element)
		case json.Number:
			values = append(values, element.String())
		default:
			return nil, false
		}
	}
	return values, true
}
