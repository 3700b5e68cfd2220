package openapi

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"unicode/utf8"
)

var errUnusable = errors.New("unusable schema")

// checkSchema looks for what Validate does not know.
func (d *Document) checkSchema(schema any, at string) error {
	s, _ := schema.(object)
	for keyword, want := range s {
		if err := d.obey(s, keyword, want, nil); errors.Is(err, errUnusable) {
			return fmt.Errorf("%s: %w", at, err)
		}
		below := object{}
		switch want := want.(type) {
		case object:
			if below = want; keyword == "items" || keyword == "additionalProperties" {
				below = object{keyword: want}
			}
		case []any:
			for i, member := range want {
				if keyword == "allOf" || keyword == "oneOf" {
					below[fmt.Sprint(i)] = member
				}
			}
		}
		for name, schema := range below {
			if err := d.checkSchema(schema, at+"/"+keyword+"/"+name); err != nil {
				return err
			}
		}
	}
	return nil
}

// Validate returns the first thing about a value that is not as schema wants it.
func (d *Document) Validate(schema, value any) error {
	if schema == false {
		return errors.New("must not be there")
	}
	s, _ := schema.(object)
	for _, keyword := range slices.Sorted(maps.Keys(s)) {
		if err := d.obey(s, keyword, s[keyword], value); err != nil {
			return err
		}
	}
	return nil
}

// obey returns what about value is not as one keyword of a schema wants it. Keywords
// about one type say nothing about values of others (JSON Schema Core, section 7.6.1).
func (d *Document) obey(schema object, keyword string, want, value any) error {
	members, _ := value.(object)
	elements, _ := value.([]any)
	text, isText := value.(string)
	number, isNumber := value.(float64)
	limit, _ := want.(float64)
	length := float64(utf8.RuneCountInString(text))
	var wrong bool
	switch keyword {
	case "description", "format":
		return nil
	case "$ref":
		if d.follow(schema) == nil {
			return fmt.Errorf("%w: %s leads nowhere", errUnusable, want)
		}
		return d.Validate(d.follow(schema), value)
	case "allOf":
		for _, schema := range want.([]any) {
			if err := d.Validate(schema, value); err != nil {
				return err
			}
		}
		return nil
	case "oneOf":
		var errs []error
		fitting := 0
		for _, schema := range want.([]any) {
			if err := d.Validate(schema, value); err == nil {
				fitting++
			} else {
				errs = append(errs, err)
			}
		}
		if fitting != 1 {
			return fmt.Errorf("%d schemas of oneOf fit: %w", fitting, errors.Join(errs...))
		}
		return nil
	case "items":
		for i, element := range elements {
			if err := d.Validate(want, element); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
		return nil
	case "properties", "patternProperties", "additionalProperties":
		for name, member := range members {
			for _, schema := range applying(schema, keyword, name) {
				if err := d.Validate(schema, member); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
		}
		return nil
	case "required":
		for _, name := range want.([]any) {
			if _, there := members[name.(string)]; members != nil && !there {
				return fmt.Errorf("%s is missing", name)
			}
		}
		return nil
	case "type":
		if types, several := want.([]any); several {
			wrong = !slices.ContainsFunc(types, func(one any) bool { return isOf(one, value) })
		} else {
			wrong = !isOf(want, value)
		}
	case "const":
		wrong = !reflect.DeepEqual(value, want)
	case "enum":
		wrong = !slices.ContainsFunc(want.([]any), func(one any) bool { return reflect.DeepEqual(value, one) })
	case "minimum":
		wrong = isNumber && number < limit
	case "maximum":
		wrong = isNumber && number > limit
	case "minLength":
		wrong = isText && length < limit
	case "maxLength":
		wrong = isText && length > limit
	case "pattern":
		wrong = !regexp.MustCompile(want.(string)).MatchString(text) && isText
	default:
		return fmt.Errorf("%w: %s is not a known keyword", errUnusable, keyword)
	}
	if wrong {
		return fmt.Errorf("%v is not as %s: %v", value, keyword, want)
	}
	return nil
}

// applying returns the schemas that one keyword has for the member of this name.
func applying(schema object, keyword, name string) (apply []any) {
	properties, _ := schema["properties"].(object)
	patterns, _ := schema["patternProperties"].(object)
	named := properties[name]
	var matching []any
	for pattern, schema := range patterns {
		if regexp.MustCompile(pattern).MatchString(name) {
			matching = append(matching, schema)
		}
	}
	switch {
	case keyword == "properties" && named != nil:
		return []any{named}
	case keyword == "patternProperties":
		return matching
	case keyword == "additionalProperties" && named == nil && matching == nil:
		return []any{schema[keyword]}
	}
	return nil
}

// isOf reports whether a value is of a type. 2.0 is an integer (JSON Schema Core, section
// 4.2.3).
func isOf(want, value any) bool {
	switch value := value.(type) {
	case nil:
		return want == "null"
	case bool:
		return want == "boolean"
	case string:
		return want == "string"
	case float64:
		return want == "number" || want == "integer" && value == math.Trunc(value)
	case []any:
		return want == "array"
	default:
		return want == "object"
	}
}
