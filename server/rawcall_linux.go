package server

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of this file never wait, so they pass by Go's scheduler: around a call
// that goes through it the loop gives up its P and takes it back, and the runtime's
// monitor is woken to look after it.

// writeSocket gives data to the socket fd, which never blocks, and returns how many
// bytes it has taken: 0 if it has no room now.
func writeSocket(fd int, data []byte) (taken int, err error) {
	if len(data) == 0 {
		return 0, nil
	}
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)))
	switch errno {
	case 0:
		return int(n), nil
	case unix.EAGAIN, unix.EINTR:
		return 0, nil
	}
	return 0, errno
}

// queuedBytes is SIOCOUTQ of fd.
func queuedBytes(fd int) (int, error) {
	var n int32
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCOUTQ, uintptr(unsafe.Pointer(&n)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
