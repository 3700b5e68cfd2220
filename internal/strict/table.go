package strict

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Decode reads a document that is one whole object into v, a pointer to a Go value that
// is still zero. Fields that are absent or null stay so. The error is a *[rest.Error]:
// 400 if the document is malformed, and else 422 with all that is wrong with its fields.
// Then v is of no use.
//
// An id other than 0 is that in the address: it becomes the ID of v. The object may
// repeat it as a number or, since form libraries take it from the address, as a string.
func (t Table) Decode(data []byte, v any, id int) error {
	d := decoding{table: t, in: NewReader(data), v: v, checked: true, id: id}
	if id != 0 {
		*t[0].Number(v) = id
	}
	return d.document()
}

// begins reports whether the document is of the kind wanted. If not, it fails.
func (r *Reader) begins(kind byte, wanted string) bool {
	switch {
	case r.err != nil:
	case r.Offset() == len(r.data):
		r.malformed("%s is empty; it must be %s", r.Subject, wanted)
	case r.Kind() != kind:
		r.Skip() // what is not JSON is said to be that
		r.End()
		r.malformed("%s must be %s", r.Subject, wanted)
	}
	return r.err == nil
}

// Read reads the next value, a whole object, into v, a pointer to a Go value that is
// still zero, and returns the object as it stands in the document. Problems with its
// fields are added to wrong. If there are any, v is of no use.
//
// If wrong is nil, fields have only to be known and of the right type, or r fails. That
// is for objects that were checked when they were written.
//
// Canonical reports that raw is surely what [rest.Encode] writes for v, but for the newline.
func (t Table) Read(r *Reader, v any, wrong Problems) (raw []byte, canonical bool) {
	d := decoding{table: t, in: r, v: v, wrong: wrong, checked: wrong != nil}
	start := r.Offset()
	r.exact = true
	d.whole()
	if !d.checked && len(d.wrong) > 0 {
		r.Fail(d.wrong.Err())
	}
	if r.err != nil {
		return nil, false
	}
	return r.data[start:r.offset], r.exact && len(d.wrong) == 0
}

// A decoding is how an object becomes a Go value or a patch.
type decoding struct {
	table   Table
	in      *Reader
	v       any    // the Go value; nil for a patch
	patch   *Patch // nil for a whole object
	wrong   Problems
	checked bool // values must be within the bounds of their fields
	id      int  // the ID in the address; 0 if it has none
	next    int  // index of the field that would follow in the order of the table
}

// document reads a document that is an object, and returns what is wrong with it.
func (d *decoding) document() error {
	if !d.in.begins('{', "a JSON object") {
		return d.in.err
	}
	if d.patch != nil {
		d.object(0, len(d.table), 0)
	} else {
		d.whole()
	}
	if err := d.in.End(); err != nil {
		return err
	}
	return d.wrong.Err()
}

// whole reads a whole object.
func (d *decoding) whole() {
	d.object(0, len(d.table), 0)
	for i := range d.table {
		if f := &d.table[i]; d.checked && f.required() && *f.Text(d.v) == "" {
			d.note(f.Name, "is required")
		}
	}
}

// object reads an object that has the fields from first to last, not included. All
// their names begin with the path of the object, of that length.
func (d *decoding) object(first, last, path int) {
	if len(d.table) > 64 {
		panic("strict: a table has more than 64 fields")
	}
	r := d.in
	var seen uint64 // bits of the members that are known, by their first field
	var unknown nameSet
	for begin := r.open('{'); r.more(begin, '}'); begin = false {
		if i := d.next; i < last && seen>>i&1 == 0 && r.follows(d.table[i].Name[path:]) {
			// As nearly always, and much faster.
			seen |= 1 << i
			d.value(i)
			d.next = i + 1
			continue
		}
		name := r.name()
		from, to := d.find(name, first, last, path)
		switch {
		case r.err != nil:
			return
		case from == to:
			d.unknown(string(name), &unknown, d.table[first].Name[:path])
			continue
		case seen>>from&1 != 0:
			r.twice(string(name))
			return
		}
		seen |= 1 << from
		r.colon()
		r.exact = r.exact && from == d.next
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

// follows reads the name of a member and the colon if they come next in the simplest
// form. A name with a dot is no member's.
func (r *Reader) follows(name string) bool {
	data, end := r.data[r.offset:], len(name)+1
	if len(data) < end+2 || data[0] != '"' || data[end] != '"' || data[end+1] != ':' {
		return false
	}
	for i := range len(name) {
		if data[i+1] != name[i] || name[i] == '.' {
			return false
		}
	}
	r.offset += end + 2
	return true
}

// value reads the value of field i.
func (d *decoding) value(i int) {
	switch f := &d.table[i]; {
	case i == 0 && d.id != 0:
		d.addressed(f)
	case f.Number != nil:
		d.number(f)
	default:
		d.text(f)
	}
}

// find returns the fields that name stands for, from first to last, not included, among
// fields whose names begin with a path of that length: one, or those of an object. It
// returns none if name is unknown.
func (d *decoding) find(name []byte, first, last, path int) (from, to int) {
	i := d.next // in most objects, the one; never in the middle of an object in the object
	for range last - first {
		if i >= last {
			i = first
		}
		rest := d.table[i].Name[path:]
		if len(rest) >= len(name) && rest[:len(name)] == string(name) && bytes.IndexByte(name, '.') < 0 {
			if len(rest) == len(name) {
				return i, i + 1
			}
			if rest[len(name)] == '.' {
				return i, d.end(i, last, path+len(name)+len("."))
			}
		}
		i++
	}
	return 0, 0
}

// end returns the first field behind i and before last whose name does not begin as that
// of field i does, up to length.
func (d *decoding) end(i, last, length int) int {
	path := d.table[i].Name[:length]
	for i < last && strings.HasPrefix(d.table[i].Name, path) {
		i++
	}
	return i
}

// unknown skips a member that no field has the name of.
func (d *decoding) unknown(name string, others *nameSet, path string) {
	d.in.unique(name, others)
	d.in.colon()
	if !d.wrong.full() {
		d.note(path+name, "is not a known field"+d.table.hint(name))
	}
	d.in.Skip()
}

// inner reads the member that has the fields from first to last, and should be an object.
func (d *decoding) inner(first, last, path int) {
	switch {
	case d.in.peek() == '{':
		d.object(first, last, path)
	case d.null():
		for i := first; i < last; i++ {
			d.reset(&d.table[i])
		}
	default:
		d.note(d.table[first].Name[:path-len(".")], "must be an object")
		d.in.Skip()
	}
}

// null reads null if it comes next.
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
	if d.patch == nil {
		return // it is
	}
	if f.required() {
		d.note(f.Name, "is required")
	}
	d.patch.add(f, 0, "")
}

// addressed reads the ID of an object that has it from the address.
func (d *decoding) addressed(f *Field) {
	same := false
	switch r := d.in; {
	case r.Kind() == '0':
		n, whole := r.number()
		same = whole && n == d.id
	case r.Kind() == '"':
		same = string(r.text()) == strconv.Itoa(d.id)
	case d.null():
		same = d.patch == nil // a patch would take it away
	default:
		r.Skip()
	}
	if !same {
		d.note(f.Name, fmt.Sprintf("must be %d, as in the path", d.id))
	}
}

// number reads the value of a field that is a number.
func (d *decoding) number(f *Field) {
	if d.in.Kind() != '0' {
		d.notA("number", f)
		return
	}
	n, whole := d.in.number()
	problem := ""
	switch {
	case !whole:
		problem = "must be a whole number"
	case d.checked:
		problem = f.numberProblem(n)
	}
	if problem != "" {
		d.note(f.Name, problem)
	}
	if d.patch != nil {
		d.patch.add(f, n, "")
	} else {
		*f.Number(d.v) = n
	}
}

// text reads the value of a field that is a text.
func (d *decoding) text(f *Field) {
	if d.in.peek() != '"' {
		d.notA("string", f)
		return
	}
	text := d.in.text()
	if d.checked && f.Least > 0 {
		length := len(text)
		text = bytes.TrimSpace(text)
		d.in.exact = d.in.exact && len(text) == length
	}
	var s string
	if f.Shared {
		s = share(text)
	} else {
		s = string(text)
	}
	if d.checked {
		if problem := f.textProblem(s, d.in.plain); problem != "" {
			d.note(f.Name, problem)
		}
	}
	if d.patch != nil {
		d.patch.add(f, 0, s)
	} else {
		*f.Text(d.v) = s
	}
}

// notA reads a value that is null, or is not of the kind that f is of.
func (d *decoding) notA(kind string, f *Field) {
	if d.null() {
		d.reset(f)
		return
	}
	d.note(f.Name, "must be a "+kind)
	d.in.Skip()
}

// note adds a problem.
func (d *decoding) note(path, problem string) {
	if d.wrong == nil {
		d.wrong = Problems{}
	}
	d.wrong.Note(path, problem)
}
