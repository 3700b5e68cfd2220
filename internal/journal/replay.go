package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
)

// A badLine is the first line of a file that cannot be replayed.
type badLine struct {
	number int   // from 1
	start  int64 // where it begins
	err    error // what is wrong with it
	torn   bool  // whether it is a torn tail: the last, and not what was written
}

var (
	errChecksum = errors.New("it is not what its checksum says (if you have edited it, take out its crc)")
	errNotJSON  = errors.New("it is not JSON")
)

// A section is some lines of a file, as many as are decoded at once.
type section[T any] struct {
	offset  int64
	data    []byte
	decoded chan struct{} // closed when what follows is there
	lines   int
	values  []T
	last    int64    // where the last good line begins, if there are values
	bad     *badLine // the last of lines; replay gives it its number
}

// replay decodes the lines of a file on all cores, and applies them in their
// order on its own goroutine, until the first that is bad. It returns where the
// last good one begins.
//
// Sections travel down one channel in the order of the file, each with a channel
// of its own on which the goroutine that decodes it says that it is done. So they
// may overtake each other on the way, and arrive in order all the same. The
// channel's capacity is what bounds how many are on the way.
func replay[T any](f file, size int64, decode func([]byte, bool) (T, error), apply func(T)) (last int64, bad *badLine, err error) {
	sections := make(chan *section[T], runtime.GOMAXPROCS(0))
	stop := make(chan struct{})
	var decoders sync.WaitGroup
	defer decoders.Wait()
	go func() {
		defer close(sections)
		for offset := int64(0); offset < size; {
			data, failed := readLines(f, offset, size)
			if failed != nil {
				err = failed // to be read when sections is closed
				return
			}
			s := &section[T]{offset: offset, data: data, decoded: make(chan struct{})}
			offset += int64(len(data))
			decoders.Go(func() { s.decode(decode) })
			select {
			case sections <- s:
			case <-stop:
				return
			}
		}
	}()
	last = -1
	lines := 0
	for s := range sections {
		<-s.decoded
		for _, value := range s.values {
			apply(value)
		}
		if len(s.values) > 0 {
			last = s.last
		}
		lines += s.lines
		if s.bad != nil {
			bad = s.bad
			close(stop)
			break
		}
	}
	for range sections { // until the reader has ended
	}
	if bad != nil {
		bad.number = lines
		bad.torn = bad.torn && isLast(f, bad.start, size) && (last >= 0 || isCutOff(f, bad.start, size))
		return max(last, 0), bad, nil
	}
	return max(last, 0), nil, err
}

// sectionSize is how much is read at once, in bytes: long enough that handing it
// over costs nothing beside decoding it, and short enough for every core's cache.
const sectionSize = 1 << 20

// readLines reads as many whole lines as fit into a section, but at least one.
func readLines(f file, offset, size int64) ([]byte, error) {
	for length := int64(sectionSize); ; length *= 2 {
		data := make([]byte, min(length, size-offset))
		if n, err := f.ReadAt(data, offset); n < len(data) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF // it was longer a moment ago
			}
			return nil, fmt.Errorf("at offset %d: %w", offset, err)
		}
		if offset+int64(len(data)) == size {
			return data, nil
		}
		if i := bytes.LastIndexByte(data, '\n'); i >= 0 {
			return data[:i+1], nil
		}
	}
}

// decode makes values of the lines, until the first that is bad.
func (s *section[T]) decode(decode func([]byte, bool) (T, error)) {
	defer close(s.decoded)
	s.values = make([]T, 0, 1+bytes.Count(s.data, []byte{'\n'}))
	for rest := s.data; len(rest) > 0; {
		start := s.offset + int64(len(s.data)-len(rest))
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte{'\n'})
		s.lines++
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		entry, checked, err := parseLine(line)
		if err != nil {
			s.bad = &badLine{start: start, err: err, torn: true}
			return
		}
		value, err := decode(entry, checked)
		if err != nil {
			s.bad = &badLine{start: start, err: err}
			if !checked && !json.Valid(entry) {
				s.bad.err, s.bad.torn = errNotJSON, true
			}
			return
		}
		s.values = append(s.values, value)
		s.last = start
	}
	s.data = nil
}

// parseLine is the reverse of appendLine, but for lines without a checksum. The
// entry takes the place of the line.
func parseLine(line []byte) (entry []byte, checked bool, err error) {
	const before, after = `,"crc":"`, `"}`
	i := len(line) - len(before+"9ae0daaf"+after)
	if i < 0 || !bytes.HasPrefix(line[i:], []byte(before)) || !bytes.HasSuffix(line, []byte(after)) {
		return line, false, nil
	}
	var sum, digits [8]byte
	copy(digits[:], line[i+len(before):])
	entry = append(line[:i], '}')
	if string(appendSum(sum[:0], entry)) != string(digits[:]) {
		return nil, false, errChecksum
	}
	return entry, true, nil
}

// isLast reports whether nothing but blank lines follows the line that begins at
// start.
func isLast(f file, start, size int64) bool {
	for offset := start; offset < size; {
		data, err := readLines(f, offset, size)
		if err != nil {
			return false
		}
		rest := data
		if offset == start {
			_, rest, _ = bytes.Cut(data, []byte{'\n'})
		}
		if len(bytes.TrimSpace(rest)) > 0 {
			return false
		}
		offset += int64(len(data))
	}
	return true
}

// isCutOff reports whether what begins at start can be the beginning of a line. If
// nothing good is before it, it may otherwise be a file that never was a journal.
func isCutOff(f file, start, size int64) bool {
	data, err := readLines(f, start, size)
	return err == nil && bytes.HasPrefix(data, []byte("{")) && !bytes.Contains(data, []byte{'\n'})
}
