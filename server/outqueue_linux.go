package server

import "golang.org/x/sys/unix"

// outQueue is how many bytes of fd's TCP connection the peer's kernel has not
// acknowledged; a FIN counts as one. 0 if that cannot be found out.
func outQueue(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}
