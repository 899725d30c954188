//go:build unix

package nowait

import "syscall"

// Write writes as much of p as the non-blocking socket fd takes at once, and
// returns the number of bytes: 0 after an error, which the next write meets again.
func Write(fd uintptr, p []byte) int {
	n, err := syscall.Write(int(fd), p)
	if err != nil {
		return 0
	}
	return n
}
