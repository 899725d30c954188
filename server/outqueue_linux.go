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
	n, err := queuedBytes(fd)
	switch {
	case err == nil:
		return n
	case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPERM):
		return 0
	}
	return outQueueAll
}

// The states of a TCP connection whose peer has sent its FIN
// (enum in Linux' include/net/tcp_states.h).
const (
	tcpTimeWait  = 6
	tcpClose     = 7
	tcpCloseWait = 8
	tcpLastAck   = 9
	tcpClosing   = 11
)

// finishedByPeer reports whether the peer of fd's TCP connection has closed its end
// in order, and has not reset the connection: a read that says so may have met a
// reset of which a write before it was told. shut: our end was shut down before.
func finishedByPeer(fd int, shut bool) bool {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return false
	}
	switch info.State {
	case tcpCloseWait, tcpLastAck, tcpClosing, tcpTimeWait:
		return true
	case tcpClose: // of two ends that have closed, or of a reset
		return shut && outQueue(fd) == 0
	}
	return false
}
