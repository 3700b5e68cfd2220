package journal

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"syscall"

	"cars/internal/disk"
)

// A memFS is a file system in memory that loses what was not synced when its power
// is cut, and fails when it is told to. As with flock, each open file can have the
// lock of its inode, which no other then can have, and loses it when it is closed.
type memFS struct {
	mu      sync.Mutex
	names   map[string]*inode
	durable map[string]*inode // as a power cut leaves them
	limit   int64             // of all that is in files; 0 for none

	calls  int   // so far, of those that can fail
	failAt int   // the call that fails, from 1; 0 for none
	fault  fault // how
	off    bool  // the power was cut
}

// A fault is what happens to a call.
type fault struct {
	name  string
	err   error
	short bool // a write writes half before it fails
	power bool // the power is cut before the call, so all later ones fail too
	times int  // how many calls in a row fail; 0 for one
}

var faults = []fault{
	{name: "EIO", err: syscall.EIO},
	{name: "EBUSY", err: syscall.EBUSY},
	{name: "ENOSPC", err: syscall.ENOSPC},
	{name: "short write", err: syscall.ENOSPC, short: true},
	{name: "twice EIO", err: syscall.EIO, short: true, times: 2},
	{name: "five times EIO", err: syscall.EIO, short: true, times: 5},
	{name: "power cut", err: errors.New("power is off"), power: true},
}

// An inode is the content of a file: what is durable, and what was done since.
type inode struct {
	data    []byte
	durable []byte
	pending []change // what data has and durable has not
	owner   *memFile // which has the lock
}

// A change is a write, or a truncation if it has no data.
type change struct {
	data   []byte
	offset int64
}

func (c change) apply(to []byte) []byte {
	end := c.offset + int64(len(c.data))
	if c.data == nil && int64(len(to)) > end {
		return to[:end:end]
	}
	if grow := end - int64(len(to)); grow > 0 {
		to = append(to, make([]byte, grow)...)
	}
	copy(to[c.offset:], c.data)
	return to
}

func newMemFS() *memFS {
	return &memFS{names: map[string]*inode{}, durable: map[string]*inode{}}
}

// step counts a call, and returns whether it is the one to fail. It is called with
// mu locked.
func (m *memFS) step() error {
	if m.off {
		return m.fault.err
	}
	m.calls++
	if m.failAt == 0 || m.calls < m.failAt || m.calls >= m.failAt+max(m.fault.times, 1) {
		return nil
	}
	m.off = m.fault.power
	return m.fault.err
}

// put gives a file content that is durable.
func (m *memFS) put(name string, data []byte) {
	node := &inode{data: slices.Clone(data), durable: slices.Clone(data)}
	m.names[name], m.durable[name] = node, node
}

// content returns what is in a file.
func (m *memFS) content(name string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if node := m.names[name]; node != nil {
		return slices.Clone(node.data)
	}
	return nil
}

// powerCuts is how many ways there are in which a power cut leaves a file, for
// afterPowerCut: with none of the changes that were not synced; with the earlier half of
// them, and the next one by half; with all; with the earlier half of them and the next
// one but for the first or last sector that it reaches, which reads as zeros.
const powerCuts = 5

// afterPowerCut returns the file system as it is when the power is back: files as kept
// says, and names as they were synced, or else as they are if named.
func (m *memFS) afterPowerCut(kept int, named bool) *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := newMemFS()
	names := m.durable
	if named {
		names = m.names
	}
	for name, node := range names {
		data := slices.Clone(node.durable)
		n := len(node.pending)
		switch {
		case kept == 0 || n == 0:
		case kept == 2:
			for _, c := range node.pending {
				data = c.apply(data)
			}
		default:
			for _, c := range node.pending[:n/2] {
				data = c.apply(data)
			}
			next, before := node.pending[n/2], int64(len(data))
			if kept == 1 && next.data != nil {
				next.data = next.data[:len(next.data)/2]
			}
			data = next.apply(data)
			end := int64(len(data))
			switch {
			case before >= end: // nothing was appended
			case kept == 3:
				clear(data[before:min(before/512*512+512, end)])
			case kept == 4:
				clear(data[max(before, (end-1)/512*512):])
			}
		}
		after.put(name, data)
	}
	return after
}

// afterKill returns the file system as a new process finds it: nothing is lost but
// the locks.
func (m *memFS) afterKill() *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := &memFS{names: maps.Clone(m.names), durable: maps.Clone(m.durable)}
	for _, node := range after.names {
		node.owner = nil
	}
	return after
}

// locked returns the names of the files that are locked.
func (m *memFS) locked() (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, node := range m.names {
		if node.owner != nil {
			names = append(names, name)
		}
	}
	return names
}

// used returns how much is in files, but in at most once.
func (m *memFS) used(but *inode) (n int64) {
	for _, node := range m.names {
		if node != but {
			n += int64(len(node.data))
		}
	}
	return n
}

func (m *memFS) Room(string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.limit - m.used(nil)
}

func (m *memFS) Lock(path string) (io.Closer, error) {
	return m.openFile(path, true, true)
}

func (m *memFS) Open(path string, readOnly bool) (disk.File, error) {
	return m.openFile(path, false, !readOnly)
}

func (m *memFS) openFile(path string, create, lock bool) (disk.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(); err != nil {
		return nil, err
	}
	node := m.names[path]
	if node == nil {
		if !create {
			return nil, fs.ErrNotExist
		}
		node = &inode{}
		m.names[path] = node
	}
	f := &memFile{fs: m, node: node}
	if lock {
		if err := f.lock(); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (m *memFS) Create(path string, like disk.File) (disk.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(); err != nil {
		return nil, err
	}
	if m.names[path] == nil {
		m.names[path] = &inode{}
	}
	return &memFile{fs: m, node: m.names[path]}, nil
}

// Replace is that of Unix.
func (m *memFS) Replace(path string, temp, old disk.File) (disk.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(); err != nil {
		return old, err
	}
	if err := temp.(*memFile).lock(); err != nil {
		return old, err
	}
	if err := m.step(); err != nil {
		return old, err
	}
	m.names[path] = m.names[path+".tmp"]
	delete(m.names, path+".tmp")
	return temp, nil
}

func (m *memFS) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(); err != nil {
		return err
	}
	if m.names[path] == nil {
		return fs.ErrNotExist
	}
	delete(m.names, path)
	return nil
}

func (m *memFS) SyncDir(string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(); err != nil {
		return err
	}
	m.durable = maps.Clone(m.names)
	return nil
}

func (m *memFS) Size(path string, f disk.File) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(); err != nil {
		return 0, err
	}
	node := f.(*memFile).node
	if m.names[path] != node {
		return 0, disk.ErrReplaced
	}
	return int64(len(node.data)), nil
}

// A memFile is an open file of a memFS.
type memFile struct {
	fs     *memFS
	node   *inode
	closed bool
}

// step is that of the file system, and checks that the file is open.
func (f *memFile) step() error {
	if f.closed {
		panic("file is closed")
	}
	return f.fs.step()
}

// Lock is called with the file system's mu locked.
func (f *memFile) lock() error {
	if f.node.owner != nil && f.node.owner != f {
		return disk.ErrLocked
	}
	f.node.owner = f
	return nil
}

func (f *memFile) ReadAt(b []byte, offset int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.step(); err != nil {
		return 0, err
	}
	n := copy(b, f.node.data[min(offset, int64(len(f.node.data))):])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(b []byte, offset int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.step()
	if err != nil {
		if !f.fs.fault.short {
			return 0, err
		}
		b = b[:len(b)/2]
	}
	if limit := f.fs.limit; limit > 0 {
		room := max(limit-f.fs.used(f.node)-offset, 0)
		if int64(len(b)) > room {
			b, err = b[:room], syscall.ENOSPC
		}
	}
	f.do(change{append([]byte{}, b...), offset})
	return len(b), err
}

func (f *memFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.step(); err != nil {
		return err
	}
	f.do(change{nil, size})
	return nil
}

func (f *memFile) do(c change) {
	f.node.data = c.apply(f.node.data)
	f.node.pending = append(f.node.pending, c)
}

// Sync is as bad as that of Linux: what it could not write it forgets, and the next
// one knows nothing of it.
func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.step()
	if f.fs.off {
		return err // how much of it was done, afterPowerCut says
	}
	if err == nil {
		for _, c := range f.node.pending {
			f.node.durable = c.apply(f.node.durable)
		}
	}
	f.node.pending = nil
	return err
}

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.step()
	f.closed = true
	if f.node.owner == f {
		f.node.owner = nil
	}
	return err
}
