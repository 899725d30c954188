//go:build unix

package server

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// claimPort finds out that no other process listens on the port, which
// SO_REUSEPORT would hide, and picks one where port is 0. The descriptor holds
// the port until the event loops have bound it.
func claimPort(bind string, port int) (fd, bound int, err error) {
	addr, err := netip.ParseAddr(bind)
	if err != nil {
		return 0, 0, err
	}
	family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: port, Addr: addr.Unmap().As4()})
	syscall.ForkLock.RLock() // not every Unix has SOCK_CLOEXEC
	if fd, err = unix.Socket(family, unix.SOCK_STREAM, 0); err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return 0, 0, err
	}
	if bound, err = bindOnce(fd, sa); err != nil {
		return 0, 0, errors.Join(err, unix.Close(fd))
	}
	return fd, bound, nil
}

func bindOnce(fd int, sa unix.Sockaddr) (port int, err error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return 0, err
	}
	if err := unix.Bind(fd, sa); err != nil {
		return 0, err
	}
	// Only a listener is in the way of a bind with SO_REUSEADDR.
	if err := unix.Listen(fd, 1); err != nil {
		return 0, err
	}
	// From here on gnet's own sockets may bind beside it.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return 0, err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	v4, ok := name.(*unix.SockaddrInet4)
	if !ok {
		return 0, fmt.Errorf("a socket name of type %T", name)
	}
	return v4.Port, nil
}
