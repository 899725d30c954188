//go:build unix

package loadgen

import (
	"math"

	"golang.org/x/sys/unix"
)

// writeSocket hands data to a socket of an event loop, and does not wait.
func writeSocket(fd int, data []byte) (int, error) { return unix.Write(fd, data) }

// cutSocket ends a connection; its event loop sees that.
func cutSocket(fd int) error { return unix.Shutdown(fd, unix.SHUT_RDWR) }

// descriptorLimit is how many descriptors this process may have open.
func descriptorLimit() (int, error) {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return int(min(limit.Cur, math.MaxInt32)), err
}
