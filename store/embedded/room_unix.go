//go:build linux || darwin

package embedded

import "syscall"

// readOnly is the flag of a file system that takes no writes.
const readOnly = 1

// roomAt returns how many bytes a process may still write to the file system of
// path, and whether that takes writes at all. known is false where the system
// does not say.
func roomAt(path string) (free uint64, writable, known bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil || s.Blocks == 0 {
		return 0, true, false
	}
	return s.Bavail * uint64(s.Bsize), s.Flags&readOnly == 0, true
}
