package strict

import (
	"errors"
	"fmt"
	"math"
	"net/http"

	"cars/internal/rest"
)

// errTooLong says that the limit of a Reader was passed. It is never sent.
var errTooLong = errors.New("strict: value is too long")

// maxElement bounds the elements of an array, in bytes. What is remembered of an element
// while it is read, such as its names, may take fifty times its size.
const maxElement = 1 << 20

// DecodeArray reads a document that is an array of whole objects. It calls next for the
// place of each: a pointer to a Go value that is still zero. An error of next ends the
// reading and is returned. Other errors are those of Decode. Elements may be without ID;
// no two may have the same.
func (t Table) DecodeArray(data []byte, next func() (v any, err error)) error {
	r := NewReader(data)
	if !r.begins('[', "a JSON array") {
		return r.err
	}
	wrong := Problems{}
	t.ReadArray(r, next, wrong)
	if err := r.End(); err != nil {
		return err
	}
	return wrong.Err()
}

// ReadArray reads the next value, an array, as DecodeArray reads a document. Problems
// with elements are added to wrong, such as "[3].year". Once it is full, the rest of the
// array is only skipped.
func (t Table) ReadArray(r *Reader, next func() (v any, err error), wrong Problems) {
	indexes := make(map[int]int) // of the elements with an ID
	r.Array(func(i int) {
		r.limit = r.offset + maxElement
		switch {
		case wrong.full():
			r.Skip()
		case r.Kind() != '{':
			r.Skip()
			wrong.Note(fmt.Sprintf("[%d]", i), "must be an object")
		default:
			t.readElement(r, next, wrong, i, indexes)
		}
		if r.err == nil && r.offset > r.limit {
			r.Fail(errTooLong)
		}
		if r.err == errTooLong {
			r.err = rest.Errorf(http.StatusBadRequest, "Element %d is larger than %d bytes", i, maxElement)
		}
		r.limit = math.MaxInt
	})
}

// readElement reads element i of an array, an object. The indexes are those of the
// elements before it, by ID.
func (t Table) readElement(r *Reader, next func() (v any, err error), wrong Problems, i int, indexes map[int]int) {
	v, err := next()
	if err != nil {
		r.Fail(err)
		return
	}
	inElement := Problems{}
	t.Read(r, v, inElement)
	id := *t[0].Number(v)
	if other, taken := indexes[id]; taken {
		inElement.Note(t[0].Name, fmt.Sprintf("is also that of [%d]", other))
	}
	if id != 0 {
		indexes[id] = i
	}
	for path, problem := range inElement {
		wrong.Note(fmt.Sprintf("[%d].%s", i, path), problem)
	}
}
