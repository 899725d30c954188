//go:build unix

package server

import (
	"errors"
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// DescriptorLimit is how many descriptors the process may have open.
func DescriptorLimit() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	return int(min(limit.Cur, math.MaxInt32)), nil
}

// socketPair makes two non-blocking sockets, ours and the event loop's.
func socketPair() (ours int, theirs *os.File, err error) {
	syscall.ForkLock.RLock() // not every Unix has SOCK_CLOEXEC
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return 0, nil, os.NewSyscallError("socketpair", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "bell")
	if err := errors.Join(unix.SetNonblock(fds[0], true), unix.SetNonblock(fds[1], true)); err != nil {
		return 0, nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(fds[0]), theirs.Close())
	}
	return fds[0], theirs, nil
}

func setSendBuffer(fd, bytes int) error {
	return os.NewSyscallError("setsockopt SO_SNDBUF", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, bytes))
}

func shutSending(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) }

func closeSocket(fd int) error { return unix.Close(fd) }
