package strict

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unique"
)

// Decode reads a document that is one whole object into v, a pointer to a Go value that
// is still zero. Fields that are absent or null stay so. The error is a *[rest.Error]:
// 400 if the document is malformed, otherwise 422 with all that is wrong with its fields.
// After an error, ignore v.
//
// An id other than 0 is the ID in the address, and becomes the ID of v. The object may
// repeat it as a number or, since form libraries take it from the address, as a string.
//
// members is the part of data behind the object's ID, with the bracket at its end. It is nil
// unless it is certain to be what [rest.Encode] writes for v behind the ID.
func (t Table) Decode(data []byte, v any, id int) (members []byte, err error) {
	d := decoding{table: t, in: NewReader(data), v: v, checked: true, id: id}
	if id != 0 {
		*t[0].Number(v) = id
	}
	return d.document()
}

// Read reads the next value, a whole object, into v, a pointer to a Go value that is
// still zero, and returns the object as it stands in the document. Problems with its
// fields are added to wrong. If there are any, ignore v.
//
// If wrong is nil, fields have only to be known and of the right type, or r fails. That
// is for objects that were checked when they were written.
//
// canonical is true if raw is certain to be what [rest.Encode] writes for v, the newline
// aside. It may be false although raw is the same.
func (t Table) Read(r *Reader, v any, wrong Problems) (raw []byte, canonical bool) {
	d := decoding{table: t, in: r, v: v, wrong: wrong, checked: wrong != nil}
	raw, canonical = d.whole()
	if !d.checked && len(d.wrong) > 0 {
		r.fail(d.wrong.Err())
	}
	if r.err != nil {
		return nil, false
	}
	return raw, canonical && len(d.wrong) == 0 && *t[0].Number(v) != 0
}

// A decoding is the state of reading one object into a Go value or a patch.
type decoding struct {
	table   Table
	in      *Reader
	v       any // the Go value; nil for a patch
	patch   Patch
	wrong   Problems
	checked bool // values must be within the bounds of their fields
	id      int  // the ID in the address; 0 if it has none
	next    int  // index of the field that would follow in the order of the table
}

// document reads a document that is an object. members and the errors are those of
// [Table.Decode].
func (d *decoding) document() (members []byte, err error) {
	if !d.in.begins('{', "a JSON object") {
		return nil, d.in.err
	}
	object, exact := d.whole()
	if err := cmp.Or(d.in.End(), d.wrong.Err()); err != nil || !exact {
		return nil, err
	}
	members = object[len("{"):]
	if bytes.HasPrefix(members, []byte(`"`+d.table[0].Name+`":`)) {
		_, members, _ = bytes.Cut(members, []byte(","))
	}
	return members, nil
}

// whole reads an object with the fields of the table. It returns the object as it stands in
// the document. exact is true if that is certain to be what [rest.Encode] writes, except
// that the ID at its beginning may be missing.
func (d *decoding) whole() (raw []byte, exact bool) {
	d.in.peek()
	start := d.in.offset
	d.in.exact = true
	d.object(0, len(d.table), 0)
	for i := range d.table {
		if f := &d.table[i]; d.v != nil && d.checked && f.required() && *f.Text(d.v) == "" {
			d.note(f.Name, "is required")
		}
	}
	return d.in.data[start:d.in.offset], d.in.exact
}

// object reads an object with the fields from first to last of the table, last not included.
// path is the length of the object's path, with which the names of its fields begin.
func (d *decoding) object(first, last, path int) {
	r := d.in
	var seen [maxFields]bool // by the first field of each member that is known
	unknown := make(map[string]bool)
	r.open('{')
	for r.more('}') {
		if i := d.next; i < last && !seen[i] && r.follows(d.table[i].Name[path:]) {
			// Nearly always: the fields come in the order of the table.
			seen[i] = true
			d.value(i)
			d.next = i + 1
			continue
		}
		name := string(r.text())
		from, to := d.table.find(name, first, last, path)
		switch {
		case r.err != nil:
			return
		case from == to:
			r.unique(name, unknown)
			r.literal(":")
			d.refuse(d.table[first].Name[:path]+name, "is not a known field"+d.table.hint(name))
			continue
		case seen[from]:
			r.twice(name)
			return
		}
		seen[from] = true
		r.literal(":")
		r.exact = r.exact && (from == d.next || from == 1 && d.next == 0) // without the ID
		d.next = from
		if inner := path + len(name) + len("."); len(d.table[from].Name) > inner {
			d.inner(from, to, inner)
		} else {
			d.value(from)
		}
		d.next = to
	}
	r.exact = r.exact && d.next == last
}

// follows reads the name of a member and the colon if they come next without space and
// escapes, and reports whether they do. No member has a name with a dot.
func (r *Reader) follows(name string) bool {
	left, end := r.data[r.offset:], len(name)+1
	if len(left) < end+2 || left[0] != '"' || string(left[1:end]) != name || left[end] != '"' || left[end+1] != ':' || strings.Contains(name, ".") {
		return false
	}
	r.offset += end + 2
	return true
}

// find returns the fields that name stands for: one field, or all of an object. from is the
// first field, and to comes after the last. Both are 0 if name is unknown. first, last and
// path are those of object.
func (t Table) find(name string, first, last, path int) (from, to int) {
	if strings.Contains(name, ".") {
		return 0, 0
	}
	for from = first; from < last; from++ {
		switch rest, found := strings.CutPrefix(t[from].Name[path:], name); {
		case found && rest == "":
			return from, from + 1
		case found && rest[0] == '.':
			object := t[from].Name[:path+len(name)+len(".")]
			for to = from; to < last && strings.HasPrefix(t[to].Name, object); {
				to++
			}
			return from, to
		}
	}
	return 0, 0
}

// inner reads a member that must be an object. first, last and path are those of object for
// that member.
func (d *decoding) inner(first, last, path int) {
	switch {
	case d.in.peek() == '{':
		d.object(first, last, path)
	case d.null():
		for i := first; i < last; i++ {
			d.reset(&d.table[i])
		}
	default:
		d.refuse(d.table[first].Name[:path-len(".")], "must be an object")
	}
}

// value reads the value of field i.
func (d *decoding) value(i int) {
	switch f := &d.table[i]; {
	case i == 0 && d.id != 0:
		d.addressed(f)
	case d.null():
		d.reset(f)
	case f.Number != nil:
		d.number(f)
	default:
		d.text(f)
	}
}

// null reads null if it comes next, and reports whether it does.
func (d *decoding) null() bool {
	if d.in.peek() != 'n' {
		return false
	}
	d.in.literal("null")
	d.in.exact = false
	return true
}

// reset makes a field zero or empty.
func (d *decoding) reset(f *Field) {
	switch {
	case d.v != nil: // its fields have been zero from the beginning
	case f.required():
		d.note(f.Name, "is required")
	default:
		d.set(change{field: f})
	}
}

// addressed reads the ID of an object that has an ID in its address, too.
func (d *decoding) addressed(f *Field) {
	var id any
	exact, text := d.in.exact, d.in.Skip()
	json.Unmarshal(text, &id)
	d.in.exact = exact && string(text) == strconv.Itoa(d.id)
	removed := id == nil && d.v == nil // by the null of a patch
	if id != float64(d.id) && id != strconv.Itoa(d.id) && id != nil || removed {
		d.note(f.Name, fmt.Sprintf("must be %d, as in the path", d.id))
	}
}

// number reads the value of a field that is a number.
func (d *decoding) number(f *Field) {
	if d.in.kind() != '0' {
		d.refuse(f.Name, "must be a number")
		return
	}
	n, whole := d.in.number()
	if !whole {
		d.note(f.Name, "must be a whole number")
	} else if d.checked {
		d.note(f.Name, f.numberProblem(n))
	}
	d.set(change{field: f, number: n})
}

// text reads the value of a field that is a text.
func (d *decoding) text(f *Field) {
	if d.in.kind() != '"' {
		d.refuse(f.Name, "must be a string")
		return
	}
	text := d.in.text()
	if d.checked && f.Least > 0 {
		length := len(text)
		text = bytes.TrimSpace(text)
		d.in.exact = d.in.exact && len(text) == length
	}
	s := string(text)
	if f.Shared {
		s = unique.Make(s).Value()
	}
	if d.checked {
		d.note(f.Name, f.textProblem(s))
	}
	d.set(change{field: f, text: s})
}

// set makes a change in the Go value, or adds it to the patch.
func (d *decoding) set(c change) {
	if d.v != nil {
		Patch{c}.Apply(d.v)
	} else {
		d.patch = append(d.patch, c)
	}
}

// refuse skips a value and adds a problem.
func (d *decoding) refuse(path, problem string) {
	d.in.Skip()
	d.note(path, problem)
}

// note adds a problem unless it is "".
func (d *decoding) note(path, problem string) {
	if problem == "" {
		return
	}
	if d.wrong == nil {
		d.wrong = Problems{}
	}
	d.wrong.Note(path, problem)
}
