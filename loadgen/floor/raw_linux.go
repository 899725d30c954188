package floor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The three calls that a delivery is made of, past Go's scheduler: told of each
// it would take half as much CPU again for a private message as the rest. So
// nothing else must need this thread's P, and no garbage collection may wait
// for it: Run sees to that.

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
