package rest

import (
	"bytes"
	"compress/gzip"
	"io"
	"iter"
	"math"
	"net/http"
	"runtime"
)

// Lengths of lists, in bytes, that decide how they are sent.
const (
	// minGzip is the length from which a list is worth compressing: below it, it fits into
	// one packet anyway.
	minGzip = 1 << 10

	// maxBuffered is the length up to which a list is compressed as a whole, so that its
	// compressed length is known before it is sent. A longer one would take too much memory
	// for as long as its client takes to read.
	maxBuffered = 256 << 10

	// pieceSize is how much of a list is put together, compressed and sent at once. Each
	// client that does not read holds as much.
	pieceSize = 16 << 10
)

// gzipWriters holds all writers that compress lists. Each takes 1.2 MB for as long as a
// client reads. If none is free, a list is sent without compression.
var gzipWriters = func() chan *gzip.Writer {
	const most = 32
	writers := make(chan *gzip.Writer, most)
	for range most {
		writers <- nil // a writer is made when it is first needed
	}
	return writers
}()

// turns has a value for each list that has its turn to be measured, put together or
// compressed. All cores but one (and one at least) are for that; the core that is left
// answers other requests.
var turns = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))

// A turn is a list's turn. The zero value has none yet.
type turn struct{ taken bool }

// next ends the turn and waits for the next one.
func (t *turn) next() {
	t.end()
	runtime.Gosched() // others may have less to do
	turns <- struct{}{}
	t.taken = true
}

func (t *turn) end() {
	if t.taken {
		<-turns
		t.taken = false
	}
}

// WriteList answers with an array of elements, each of them JSON. Unless envelope is "", the
// answer is an object: envelope is the object up to the array, its last value. WriteList
// compresses a long list if the client accepts that, so answers for one URL vary by
// Accept-Encoding. It reads elements up to three times.
func WriteList(w http.ResponseWriter, r *http.Request, envelope string, elements iter.Seq[[]byte]) {
	h := w.Header()
	if acceptsGzip(r) {
		if size := length(envelope, elements, maxBuffered); size > minGzip {
			select {
			case zw := <-gzipWriters:
				defer func() { gzipWriters <- zw }()
				if zw == nil {
					zw, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is a valid one
				}
				h.Set("Content-Encoding", "gzip")
				if etag := h.Get("ETag"); etag != "" {
					h.Set("ETag", gzipTag(etag))
				}
				writeCompressed(w, zw, size <= maxBuffered, pieces(envelope, elements))
				return
			default:
			}
		}
	}
	start(w, length(envelope, elements, math.MaxInt), http.StatusOK)
	for piece := range pieces(envelope, elements) {
		if _, err := w.Write(piece); err != nil {
			return
		}
	}
}

// length returns the length of a list in bytes, or some number greater than most if the list
// is longer than most. The first elements need no turn: short lists never wait.
func length(envelope string, elements iter.Seq[[]byte], most int) int {
	const inOneTurn = 1000 // which takes some 10 µs
	var t turn
	defer t.end()
	size, n := len(envelope)+len("[]\n"), 0
	if envelope != "" {
		size += len("}")
	}
	for element := range elements {
		if n > 0 {
			size += len(",")
		}
		size += len(element)
		if size > most {
			break
		}
		if n++; n%inOneTurn == 0 {
			t.next()
		}
	}
	return size
}

// pieces yields the list in pieces of little more than pieceSize, which are only valid
// during the call. It takes turns for all but the first, and has none during the call.
func pieces(envelope string, elements iter.Seq[[]byte]) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		var t turn
		defer t.end()
		piece := append([]byte(envelope), '[')
		first := true
		for element := range elements {
			if len(piece) >= pieceSize {
				t.end()
				if !yield(piece) {
					return
				}
				t.next()
				piece = piece[:0]
			}
			if !first {
				piece = append(piece, ',')
			}
			piece = append(piece, element...)
			first = false
		}
		piece = append(piece, ']')
		if envelope != "" {
			piece = append(piece, '}')
		}
		t.end()
		yield(append(piece, '\n'))
	}
}

// writeCompressed sends a list, as a whole if it is short enough for that. Otherwise its
// memory does not depend on the list's length.
func writeCompressed(w http.ResponseWriter, zw *gzip.Writer, whole bool, pieces iter.Seq[[]byte]) {
	var compressed bytes.Buffer
	zw.Reset(&compressed)
	if !whole {
		h := w.Header()
		SetHeader(h)
		h["Content-Type"] = contentType
		w.WriteHeader(http.StatusOK)
	}
	for piece := range pieces {
		var t turn
		t.next()
		zw.Write(piece) // to memory, which does not fail
		t.end()
		if !whole {
			if _, err := compressed.WriteTo(w); err != nil {
				return
			}
		}
	}
	zw.Close()
	if whole {
		WriteBody(w, compressed.Bytes(), http.StatusOK)
	} else {
		io.Copy(w, &compressed)
	}
}
