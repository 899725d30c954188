//go:build unix

package httpserve

import "syscall"

// writeNow writes as much of p as the socket takes at once, and returns how many
// bytes those are: 0 after an error, which the next write will meet again.
func writeNow(fd uintptr, p []byte) int {
	n, err := syscall.Write(int(fd), p)
	if err != nil {
		return 0
	}
	return n
}
