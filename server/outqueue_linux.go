package server

import (
	"errors"

	"golang.org/x/sys/unix"
)

// outQueueAll means that the peer's kernel has acknowledged nothing: more than any
// socket holds.
const outQueueAll = 1 << 30

// outQueue is how many bytes of fd's TCP connection the peer's kernel has not
// acknowledged; a FIN counts as one. If the query fails, it is outQueueAll, since
// acknowledged texts are not returned to the box. If the kernel does not offer the
// query it is 0, as on other systems; otherwise no session would ever be up to
// date.
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
// in order and has not reset the connection. A read alone cannot distinguish them:
// after a reset, the error goes to an earlier write, and the read reports end of
// file. shut: our end was shut down before.
func finishedByPeer(fd int, shut bool) bool {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return false
	}
	switch info.State {
	case tcpCloseWait, tcpLastAck, tcpClosing, tcpTimeWait:
		return true
	case tcpClose: // both ends have closed, or a reset
		return shut && outQueue(fd) == 0
	}
	return false
}
