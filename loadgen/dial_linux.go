package loadgen

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// portLater makes the kernel choose the port when it knows the other end. At the bind it would take
// a port that no connection of this source uses, whatever its other end.
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
