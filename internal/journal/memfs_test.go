package journal

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"syscall"
)

// A memFS is a file system in memory that loses what was not synced when its power
// is cut, and fails when it is told to.
type memFS struct {
	mu      sync.Mutex
	names   map[string]*inode
	durable map[string]*inode // as a power cut leaves them
	locks   map[string]bool

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
	return &memFS{names: map[string]*inode{}, durable: map[string]*inode{}, locks: map[string]bool{}}
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

// afterPowerCut returns the file system as it is when the power is back. Of what was
// not synced, the changes of files have happened up to one that happened by half
// (as far as kept says: none, half or all of them), and those of names if named.
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
		switch n := len(node.pending); kept {
		case 1:
			for _, c := range node.pending[:n/2] {
				data = c.apply(data)
			}
			if n > 0 {
				half := node.pending[n/2]
				if half.data != nil {
					half.data = half.data[:len(half.data)/2]
				}
				data = half.apply(data)
			}
		case 2:
			for _, c := range node.pending {
				data = c.apply(data)
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
	return &memFS{names: maps.Clone(m.names), durable: maps.Clone(m.durable), locks: map[string]bool{}}
}

func (m *memFS) resolve(path string) string { return path }

func (m *memFS) lock(path string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(); err != nil {
		return nil, err
	}
	if m.locks[path] {
		return nil, errLocked
	}
	m.locks[path] = true
	return memLock{m, path}, nil
}

type memLock struct {
	fs   *memFS
	path string
}

func (l memLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.locks, l.path)
	return nil
}

func (m *memFS) open(path string) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(); err != nil {
		return nil, err
	}
	node := m.names[path]
	if node == nil {
		return nil, fs.ErrNotExist
	}
	return &memFile{fs: m, node: node}, nil
}

func (m *memFS) create(path string, like file) (file, error) {
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

func (m *memFS) rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(); err != nil {
		return err
	}
	if m.names[from] == nil {
		return fs.ErrNotExist
	}
	m.names[to] = m.names[from]
	delete(m.names, from)
	return nil
}

func (m *memFS) remove(path string) error {
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

func (m *memFS) syncDir(string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(); err != nil {
		return err
	}
	m.durable = maps.Clone(m.names)
	return nil
}

func (m *memFS) size(path string, f file) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(); err != nil {
		return 0, err
	}
	node := f.(*memFile).node
	if m.names[path] != node {
		return 0, errReplaced
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
	return err
}
