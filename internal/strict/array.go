package strict

import (
	"cmp"
	"fmt"
	"math"
)

// maxElement bounds the elements of an array of objects, in bytes. While an element is read,
// what has to be remembered, such as its names, may take fifty times its size.
const maxElement = 1 << 20

// DecodeArray reads a document that is an array of whole objects. It calls next for the
// place of each: a pointer to a Go value that is still zero. An error of next ends the
// reading and is returned. Other errors are as Decode returns. Elements may be without ID;
// no two may have the same.
func (t Table) DecodeArray(data []byte, next func() (v any, err error)) error {
	r := NewReader(data)
	if !r.begins('[', "a JSON array") {
		return r.err
	}
	wrong := Problems{}
	r.Objects("", wrong, func(inObject Problems) (id int) {
		v, err := next()
		if err != nil {
			r.fail(err)
			return 0
		}
		t.Read(r, v, inObject)
		return *t[0].Number(v)
	})
	return cmp.Or(r.End(), wrong.Err())
}

// Objects reads an array of objects. It calls read for each: read reads the object, notes
// problems with its fields in inObject, and returns its member "id", or 0 if it has none.
// No two objects may have the same ID. The problems are added to wrong with the path of
// the array and the index in front, such as "put[3].year". Once wrong has MaxProblems,
// the rest of the array is only skipped.
func (r *Reader) Objects(path string, wrong Problems, read func(inObject Problems) (id int)) {
	indexes := make(map[int]int) // of the objects with an ID
	r.Array(func(i int) {
		r.element, r.limit = i, r.offset+maxElement
		here := fmt.Sprintf("%s[%d]", path, i)
		switch inObject := (Problems{}); {
		case len(wrong) == MaxProblems:
			r.Skip()
		case r.kind() != '{':
			r.Skip()
			wrong.Note(here, "must be an object")
		default:
			id := read(inObject)
			if other, taken := indexes[id]; taken {
				inObject.Note("id", fmt.Sprintf("is also that of [%d]", other))
			}
			if id != 0 {
				indexes[id] = i
			}
			for field, problem := range inObject {
				wrong.Note(here+"."+field, problem)
			}
		}
		r.checkSize()
		r.limit = math.MaxInt
	})
}

// checkSize fails if the object that Objects reads is too large.
func (r *Reader) checkSize() {
	if r.offset > r.limit {
		r.malformed("Element %d is larger than %d bytes", r.element, maxElement)
	}
}
