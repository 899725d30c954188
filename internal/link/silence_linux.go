package link

import (
	"os"
	"syscall"
	"time"
)

// boundSilence has the kernel end a connection whose peer acknowledges nothing
// for most.
func boundSilence(fd uintptr, most time.Duration) error {
	const userTimeout = 0x12 // TCP_USER_TIMEOUT, which package syscall does not name
	return os.NewSyscallError("setsockopt TCP_USER_TIMEOUT",
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, userTimeout, int(most.Milliseconds())))
}
