package loadgen

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// portLater lets the kernel choose the port when it knows the other end: at the
// bind it would take one that no other connection of this source has, wherever
// that goes.
func portLater(_, _ string, raw syscall.RawConn) error {
	var fault error
	err := raw.Control(func(fd uintptr) {
		fault = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	if err != nil {
		return err
	}
	return fault
}
