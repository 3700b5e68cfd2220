package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"

	"cars/internal/disk"
)

// A badLine is the first line of a file that cannot be replayed.
type badLine struct {
	number int   // from 1
	start  int64 // where it begins
	err    error // what is wrong with it
	torn   bool  // a crash may have left it so: see the package comment
}

// attrs returns the attributes of a notice about a torn tail of a file of that size.
func (b *badLine) attrs(size int64) []slog.Attr {
	return []slog.Attr{slog.Int("line", b.number), slog.Int64("offset", b.start), slog.Int64("bytes", size-b.start), slog.Any("error", b.err)}
}

var (
	errChecksum  = errors.New("it does not match its checksum (if you have edited the line, remove its crc)")
	errNotJSON   = errors.New("it is not JSON")
	errByteOrder = errors.New("it begins with a byte order mark; save the file as UTF-8 without one")
	errReturns   = errors.New("lines end with CR alone; save the file with LF or CR LF at the end of lines")
)

// A section is a part of a file: the lines that one goroutine decodes.
type section struct {
	offset  int64
	data    []byte
	decoded chan struct{} // closed when the fields below are set
	lines   int
	apply   []func()
	last    int64    // offset at which the last good line begins, if apply has any
	bad     *badLine // the last line, if it is bad; replay sets its number
}

// replay decodes the lines of a file on all cores, and applies them in their order on its
// own goroutine, up to the first bad line. It returns that line or nil, and the offset at
// which the last good line begins, or -1 if there is none.
//
// Each section is decoded by a goroutine of its own. Sections wait in a queue, in the order
// of the file: one for each core, and one more.
func replay(f disk.File, size int64, decode decoder) (last int64, bad *badLine, err error) {
	var decoders sync.WaitGroup
	defer decoders.Wait()
	var queue []*section
	last = -1
	for offset, lines := int64(0), 0; offset < size || len(queue) > 0; {
		if offset < size && len(queue) <= runtime.GOMAXPROCS(0) {
			data, err := readLines(f, offset, size)
			if err != nil {
				return last, nil, err
			}
			s := &section{offset: offset, data: data, decoded: make(chan struct{})}
			decoders.Go(func() { s.decode(decode) })
			queue = append(queue, s)
			offset += int64(len(data))
			continue
		}
		s := queue[0]
		queue = queue[1:]
		<-s.decoded
		for _, apply := range s.apply {
			apply()
		}
		if len(s.apply) > 0 {
			last = s.last
		}
		if lines += s.lines; s.bad != nil {
			s.bad.number = lines
			if last >= 0 {
				s.bad.torn, err = isTorn(f, s.bad.start, size)
			}
			return last, s.bad, err
		}
	}
	return last, nil, nil
}

// sectionSize is how much is read at once, in bytes. Handing over that much costs nothing
// beside decoding it, and it fits into every core's cache.
const sectionSize = 1 << 20

// readLines reads as many whole lines as fit into a section, but at least one.
func readLines(f disk.File, offset, size int64) ([]byte, error) {
	for length := int64(sectionSize); ; length *= 2 {
		data := make([]byte, min(length, size-offset))
		if n, err := f.ReadAt(data, offset); n < len(data) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF // the file was longer a moment ago
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

// decode decodes the lines, up to the first bad one.
func (s *section) decode(decode decoder) {
	defer close(s.decoded)
	s.apply = make([]func(), 0, 1+bytes.Count(s.data, []byte{'\n'}))
	for rest := s.data; len(rest) > 0; {
		start := s.offset + int64(len(s.data)-len(rest))
		line, after, ended := bytes.Cut(rest, []byte{'\n'})
		if text := bytes.TrimRight(line, "\x00"); !ended && len(text) > 0 {
			line, after = text, line[len(text):] // zeros at the end are a line of their own, and torn
		}
		rest = after
		s.lines++
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		entry, checked, err := parseLine(line)
		var apply func()
		if err == nil {
			apply, err = decode(entry, checked)
			if err != nil && !checked && !json.Valid(entry) {
				err = errNotJSON
			}
		}
		if err != nil {
			s.bad = &badLine{start: start, err: nameFault(line, start, err)}
			return
		}
		s.apply = append(s.apply, apply)
		s.last = start
	}
	s.data = nil
}

// parseLine returns the entry in a line, and whether it has a correct checksum. A wrong
// checksum is an error. parseLine overwrites line.
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

// nameFault returns what is wrong with a bad line that begins at offset start: a more
// precise error than err, if there is one.
func nameFault(line []byte, start int64, err error) error {
	marks := [][]byte{[]byte("\xef\xbb\xbf"), []byte("\xff\xfe"), []byte("\xfe\xff")} // of UTF-8 and both kinds of UTF-16
	for _, mark := range marks {
		if start == 0 && bytes.HasPrefix(line, mark) {
			return errByteOrder
		}
	}
	if bytes.Contains(line, []byte("}\r{")) {
		return errReturns
	}
	return err
}

// isTorn reports whether the bad line that begins at offset start is the last one of the
// file, and a crash can have left it so. The package comment has the rules.
func isTorn(f disk.File, start, size int64) (bool, error) {
	r := bufio.NewReader(io.NewSectionReader(f, start, size-start))
	line, err := r.ReadBytes('\n')
	if err == io.EOF {
		line = bytes.TrimRight(line, "\x00")
		return hasZeroSector(line, start) || endsEarly(line), nil
	}
	for err == nil {
		var b byte
		if b, err = r.ReadByte(); err == nil && !bytes.ContainsRune([]byte(" \t\r\n\x00"), rune(b)) {
			return false, nil // another line follows
		}
	}
	if err != io.EOF {
		return false, err
	}
	return hasZeroSector(line, start), nil
}

// hasZeroSector reports whether the part of line in some sector is all zeros. The line
// begins at offset start of the file.
func hasZeroSector(line []byte, start int64) bool {
	const sectorSize = 512
	for length := sectorSize - int(start%sectorSize); len(line) > 0; length = sectorSize {
		length = min(length, len(line))
		if len(bytes.TrimLeft(line[:length], "\x00")) == 0 {
			return true
		}
		line = line[length:]
	}
	return false
}

// endsEarly reports whether line is the beginning of an entry, but not a whole one.
func endsEarly(line []byte) bool {
	err := json.NewDecoder(bytes.NewReader(line)).Decode(new(json.RawMessage))
	return err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) && line[0] == '{'
}
