package floor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The three system calls of a delivery, made without Go's scheduler. If it were notified of each, a
// private message would take half as much CPU again. So nothing else may need this thread's P, and
// no garbage collection may wait for it: Run sees to that.

func wait(poll int, events []unix.EpollEvent, ms int) (int, error) {
	return raw(unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(poll),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(ms), 0, 0))
}

// read fills some of b, which is not empty.
func read(fd int, b []byte) (int, error) {
	return raw(unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b))))
}

// write writes some of b, which is not empty. A peer that has gone is an error,
// not a signal.
func write(fd int, b []byte) (int, error) {
	return raw(unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_NOSIGNAL, 0, 0))
}

func raw(n, _ uintptr, errno unix.Errno) (int, error) {
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
