package strict

import "testing"

// BenchmarkDecode reads the body of a POST.
func BenchmarkDecode(b *testing.B) {
	body := []byte(audi[:1] + audi[len(`{"id":1,`):])
	var c car
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		c = car{}
		if _, err := carFields.Decode(body, &c, 0); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRead reads a line of the file.
func BenchmarkRead(b *testing.B) {
	var c car
	line := []byte(`{"put":[` + audi + `]}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		c = car{}
		r := NewReader(line)
		r.Object(func(string) {
			r.Array(func(int) {
				if _, canonical := carFields.Read(r, &c, nil); !canonical {
					b.Fatal("not canonical")
				}
			})
		})
		if err := r.End(); err != nil {
			b.Fatal(err)
		}
	}
}
