package server

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// pollSet is the epoll descriptor of one of gnet's loops. It is the loop's, which
// closes it behind its last callback.
type pollSet struct {
	fds   [1]unix.PollFd
	waits uint64 // that an event has ended
}

// wait is the one call of a loop that waits, so it goes through Go's scheduler. If a
// signal ends it, gnet waits.
func (p *pollSet) wait() {
	if n, err := unix.Poll(p.fds[:], -1); n == 1 && err == nil {
		p.waits++
	}
}

// pollSetOf finds the epoll descriptor that watches fd, which gnet does not show.
func pollSetOf(fd int) (*pollSet, error) {
	infos, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, path := range infos {
		info, err := os.ReadFile(path)
		if err != nil {
			continue // it was closed meanwhile
		}
		if n, err := strconv.Atoi(filepath.Base(path)); err == nil && watches(info, fd) {
			found = append(found, n)
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%d epoll descriptors watch descriptor %d, want 1", len(found), fd)
	}
	return &pollSet{fds: [1]unix.PollFd{{Fd: int32(found[0]), Events: unix.POLLIN}}}, nil
}

// watches reports whether info, a file of /proc/PID/fdinfo, is of an epoll descriptor
// that watches fd.
func watches(info []byte, fd int) bool {
	want := []byte(strconv.Itoa(fd))
	for line := range bytes.Lines(info) {
		fields := bytes.Fields(line)
		if len(fields) >= 2 && string(fields[0]) == "tfd:" && bytes.Equal(fields[1], want) {
			return true
		}
	}
	return false
}
