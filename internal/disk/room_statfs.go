//go:build linux || darwin || freebsd

package disk

import (
	"math"
	"path/filepath"
	"syscall"
)

func (OS) Room(path string) int64 {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(path), &stat); err != nil {
		return math.MaxInt64
	}
	return int64(stat.Bavail) * int64(stat.Bsize)
}
