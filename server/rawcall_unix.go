//go:build unix && !linux

package server

import (
	"errors"

	"golang.org/x/sys/unix"
)

// writeSocket gives data to the non-blocking socket fd, and returns how many bytes
// the socket has taken: 0 if it is full.
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
