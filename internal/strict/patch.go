package strict

// A Patch says which fields of an object get which values. It is a JSON Merge Patch
// (RFC 7396) that was found without fault. It never changes.
type Patch []change

// A change is one field of a patch and its new value.
type change struct {
	field  *Field
	number int
	text   string
}

// DecodePatch reads a document that is a JSON Merge Patch of an object with the ID id, which
// the patch cannot change. Fields that are absent stay as they are. Null makes a field zero
// or empty, and null for an object in the object makes all its fields so. The errors are
// those of [Table.Decode]. After an error, ignore the patch.
func (t Table) DecodePatch(data []byte, id int) (Patch, error) {
	d := decoding{table: t, in: NewReader(data), checked: true, id: id}
	_, err := d.document()
	return d.patch, err
}

// Apply changes v, a pointer to the Go value of an object.
func (p Patch) Apply(v any) {
	for _, c := range p {
		if c.field.Number != nil {
			*c.field.Number(v) = c.number
		} else {
			*c.field.Text(v) = c.text
		}
	}
}
