package loadgen

import (
	"math"

	"golang.org/x/sys/windows"
)

// writeSocket hands data to a socket. Sockets of Windows wait while their buffer
// is full.
func writeSocket(fd int, data []byte) (int, error) {
	var sent uint32
	buffer := windows.WSABuf{Len: uint32(len(data)), Buf: &data[0]}
	err := windows.WSASend(windows.Handle(fd), &buffer, 1, &sent, 0, nil, nil)
	return int(sent), err
}

// cutSocket ends a connection; its event loop sees that.
func cutSocket(fd int) error { return windows.Shutdown(windows.Handle(fd), windows.SHUT_RDWR) }

// descriptorLimit is how many sockets this process may have open: Windows has
// no limit of its own.
func descriptorLimit() (int, error) { return math.MaxInt32, nil }
