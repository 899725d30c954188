package server

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of this file never wait, so they bypass Go's scheduler. In a call that
// goes through it, the loop gives up its P and takes it back, and the runtime's
// monitor is woken to watch the call.

// writeSocket gives data to the non-blocking socket fd, and returns how many bytes
// the socket has taken: 0 if it is full.
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

// readSocket reads from the non-blocking socket fd. n is 0 if the peer has closed.
func readSocket(fd int, data []byte) (n int, err error) {
	taken, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)))
	if errno != 0 {
		return 0, errno
	}
	return int(taken), nil
}

// pollEvents fetches the present events of epoll, without waiting, and returns
// their number.
func pollEvents(epoll int, events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}
