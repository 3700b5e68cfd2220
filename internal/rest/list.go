package rest

import (
	"bytes"
	"compress/gzip"
	"io"
	"iter"
	"net/http"
	"runtime"
)

// How long lists are sent, in bytes.
const (
	// minGzip is the length from which a list is worth compressing: below it, it fits into
	// one packet anyway.
	minGzip = 1 << 10

	// maxBuffered is the length up to which a list is compressed as a whole, so that its
	// length is known beforehand. A longer one would take too much memory for as long as the
	// client likes.
	maxBuffered = 256 << 10

	// pieceSize is how much of a list is put together, compressed and sent at once.
	pieceSize = 64 << 10
)

// gzipWriters are all that compress lists: each takes 1.2 MB for as long as the client
// takes to read. A list for which there is none is sent as it is.
var gzipWriters = func() chan *gzip.Writer {
	const most = 32
	writers := make(chan *gzip.Writer, most)
	for range most {
		writers <- nil // made when it is needed
	}
	return writers
}()

// compressing limits how many pieces are compressed at once: as many as there are cores,
// so that other requests wait for no more than a piece.
var compressing = make(chan struct{}, runtime.GOMAXPROCS(0))

// WriteList answers with an array of elements, which are JSON, or with an object whose
// last member it is: envelope is the object up to there, or "". It compresses a long list
// if the client accepts that, so answers for one URL vary by Accept-Encoding. It reads
// elements twice.
func WriteList(w http.ResponseWriter, r *http.Request, envelope string, elements iter.Seq[[]byte]) {
	size := len(envelope) + len("[]\n")
	if envelope != "" {
		size++
	}
	for element := range elements {
		size += len(element) + len(",")
	}
	h := w.Header()
	if size > minGzip && acceptsGzip(r) {
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
			writeCompressed(w, zw, size, pieces(envelope, elements))
			return
		default:
		}
	}
	if !isEmpty(elements) {
		size-- // there is no comma before the first
	}
	start(w, size, http.StatusOK)
	for piece := range pieces(envelope, elements) {
		if _, err := w.Write(piece); err != nil {
			return
		}
		runtime.Gosched() // others may have less to do
	}
}

func isEmpty(elements iter.Seq[[]byte]) bool {
	for range elements {
		return false
	}
	return true
}

// pieces yields the list in pieces of little more than pieceSize, which are only valid
// during the call.
func pieces(envelope string, elements iter.Seq[[]byte]) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		piece := append([]byte(envelope), '[')
		first := true
		for element := range elements {
			if len(piece) >= pieceSize {
				if !yield(piece) {
					return
				}
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
		yield(append(piece, '\n'))
	}
}

// writeCompressed sends a list of that size. Its memory does not depend on size.
func writeCompressed(w http.ResponseWriter, zw *gzip.Writer, size int, pieces iter.Seq[[]byte]) {
	var compressed bytes.Buffer
	zw.Reset(&compressed)
	whole := size <= maxBuffered
	if !whole {
		h := w.Header()
		SetHeader(h)
		h["Content-Type"] = contentType
		w.WriteHeader(http.StatusOK)
	}
	for piece := range pieces {
		compressing <- struct{}{}
		zw.Write(piece) // to memory, which does not fail
		<-compressing
		if !whole {
			if _, err := compressed.WriteTo(w); err != nil {
				return
			}
			runtime.Gosched()
		}
	}
	zw.Close()
	if whole {
		WriteBody(w, compressed.Bytes(), http.StatusOK)
	} else {
		io.Copy(w, &compressed)
	}
}
