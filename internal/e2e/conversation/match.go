package conversation

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// anything is what … stands for: any text, or any other members and elements.
const anything = "…"

// match returns an error if text does not look like the pattern, and else keeps what
// the new names in it stand for.
func (v variables) match(pattern, text string) error {
	pattern = v.expand(pattern)
	var names []string
	expr := regexp.QuoteMeta(pattern)
	expr = strings.ReplaceAll(expr, anything, ".*")
	expr = regexp.MustCompile(`\\\{\\\{(\w+)\\\}\\\}`).ReplaceAllStringFunc(expr, func(name string) string {
		names = append(names, strings.Trim(name, `\{}`))
		return "(.*)"
	})
	found := regexp.MustCompile(`(?s)^` + expr + `$`).FindStringSubmatch(text)
	if found == nil {
		return fmt.Errorf("got %.2000s\nwant %.2000s", text, pattern)
	}
	for i, name := range names {
		v[name] = found[i+1]
	}
	return nil
}

// matchJSON is match for JSON, in which the order of members and the space between
// them do not matter.
func (v variables) matchJSON(pattern, text string) error {
	pattern = v.expand(pattern)
	want, err := decode(quoteAnything(pattern))
	if err != nil {
		return err
	}
	got, err := decode(text)
	if err != nil {
		return err
	}
	if err := v.matchValue(want, got); err != nil {
		return fmt.Errorf("%w\ngot %.2000s\nwant %.2000s", err, text, pattern)
	}
	return nil
}

// decode keeps numbers as they are written.
func decode(text string) (value any, err error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("%w in %.2000s", err, text)
	}
	return value, nil
}

// quoteAnything makes JSON of a pattern, in which … may stand outside of texts.
func quoteAnything(pattern string) string {
	var b strings.Builder
	var open []rune // brackets
	quoted, escaped := false, false
	for _, r := range pattern {
		switch {
		case quoted:
			quoted, escaped = r != '"' || escaped, r == '\\' && !escaped
		case r == '"':
			quoted = true
		case r == '{' || r == '[':
			open = append(open, r)
		case (r == '}' || r == ']') && len(open) > 0:
			open = open[:len(open)-1]
		case string(r) == anything && len(open) > 0 && open[len(open)-1] == '{':
			b.WriteString(`"…":"…"`)
			continue
		case string(r) == anything:
			b.WriteString(`"…"`)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// matchValue compares what was decoded.
func (v variables) matchValue(want, got any) error {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return errors.New("an object is missing")
		}
		for name, value := range want {
			if name == anything {
				continue
			}
			member, there := object[name]
			if !there {
				return fmt.Errorf("the member %s is missing", name)
			}
			if err := v.matchValue(value, member); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		for name := range object {
			_, expected := want[name]
			if _, others := want[anything]; !expected && !others {
				return fmt.Errorf("there is a member %s", name)
			}
		}
		return nil
	case []any:
		array, ok := got.([]any)
		if !ok {
			return errors.New("an array is missing")
		}
		if i := slices.Index(want, any(anything)); i >= 0 && len(array) >= len(want)-1 {
			others := slices.Repeat([]any{anything}, len(array)-len(want)+1)
			want = slices.Concat(want[:i], others, want[i+1:])
		}
		if len(array) != len(want) {
			return fmt.Errorf("there are %d elements, not %d", len(array), len(want))
		}
		for i := range want {
			if err := v.matchValue(want[i], array[i]); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
		return nil
	case string:
		if text, ok := got.(string); ok {
			return v.match(want, text)
		}
		if want == anything {
			return nil
		}
	}
	if got != want {
		return fmt.Errorf("got %v, want %v", got, want)
	}
	return nil
}
