//go:build unix && !linux

package server

import (
	"errors"

	"golang.org/x/sys/unix"
)

// writeSocket gives data to the socket fd, which never blocks, and returns how many
// bytes it has taken: 0 if it has no room now.
func writeSocket(fd int, data []byte) (taken int, err error) {
	n, err := unix.Write(fd, data)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return 0, nil
	}
	return 0, err
}
