package server

import (
	"errors"

	"golang.org/x/sys/unix"
)

// outQueueAll says that the peer's kernel has acknowledged nothing: more than any
// socket holds.
const outQueueAll = 1 << 30

// outQueue is how many bytes of fd's TCP connection the peer's kernel has not
// acknowledged; a FIN counts as one. If the connection cannot be asked that is
// all of them: what counts as acknowledged is not returned. On a kernel that does
// not offer it, it is 0 as elsewhere, else no session would ever be up to date.
func outQueue(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	switch {
	case err == nil:
		return n
	case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPERM):
		return 0
	}
	return outQueueAll
}
