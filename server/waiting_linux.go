package server

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// pollSet is the epoll descriptor of one of gnet's loops. The loop owns it, and
// closes it after its last callback.
type pollSet struct {
	epoll  int
	bell   int                  // the descriptor of the loop's end of its bell
	tasks  int                  // the eventfd by which gnet is woken for tasks
	events [128]unix.EpollEvent // the events fetched last
	input  []byte               // the bytes read last
	waits  uint64               // waits that an event has ended
}

// inputBytesMax bounds one read; epoll reports again if there is more.
const inputBytesMax = 64 << 10

// fetch fetches events and returns their number. If wait is set and there are none,
// it waits for one: the only call of a loop that waits, so it goes through Go's
// scheduler. A signal ends the wait too.
func (p *pollSet) fetch(wait bool) int {
	if !wait {
		return pollEvents(p.epoll, p.events[:])
	}
	n, err := unix.EpollWait(p.epoll, p.events[:], -1)
	if n <= 0 || err != nil {
		return 0
	}
	p.waits++
	return n
}

// event returns the descriptor of event i, and whether it says only that there are
// bytes to read, or that the peer has closed.
func (p *pollSet) event(i int) (fd int, readable bool) {
	e := &p.events[i]
	return int(e.Fd), e.Events == unix.EPOLLIN
}

// read reads once from the socket fd. data is empty if there is nothing to read,
// nil if the peer has closed, and valid until the next read.
func (p *pollSet) read(fd int) (data []byte, err error) {
	n, err := readSocket(fd, p.input)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return p.input[:0], nil
	case err != nil || n == 0:
		return nil, err
	}
	return p.input[:n], nil
}

// leave leaves an event of fd to gnet, which sees it at its next poll; the
// edge-triggered event for tasks must be triggered again for that.
func (p *pollSet) leave(fd int) {
	if fd == p.tasks {
		// It cannot fail: the counter of the eventfd is far from its end.
		_, _ = writeSocket(fd, oneTask)
	}
}

// oneTask adds to an eventfd's counter; any value but 0 does.
var oneTask = []byte{1, 1, 1, 1, 0, 0, 0, 0}

// pollSetOf finds the epoll descriptor of gnet's loop, which gnet does not show: it
// watches bell and an eventfd, and nothing else.
func pollSetOf(bell int) (*pollSet, error) {
	infos, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		return nil, err
	}
	var found []*pollSet
	for _, path := range infos {
		info, err := os.ReadFile(path)
		if err != nil {
			continue // it was closed meanwhile
		}
		epoll, err := strconv.Atoi(filepath.Base(path))
		if tasks, ok := besideBell(info, bell); ok && err == nil {
			found = append(found, &pollSet{epoll: epoll, bell: bell, tasks: tasks, input: make([]byte, inputBytesMax)})
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%d epoll descriptors watch descriptor %d and an eventfd, want 1", len(found), bell)
	}
	return found[0], nil
}

// besideBell returns the eventfd that an epoll descriptor watches beside bell, if
// it watches these two and no more. info is its file of /proc/PID/fdinfo.
func besideBell(info []byte, bell int) (eventfd int, ok bool) {
	var others []int
	watchesBell := false
	for line := range bytes.Lines(info) {
		fields := bytes.Fields(line)
		if len(fields) < 2 || string(fields[0]) != "tfd:" {
			continue
		}
		fd, err := strconv.Atoi(string(fields[1]))
		switch {
		case err != nil:
			return 0, false
		case fd == bell:
			watchesBell = true
		default:
			others = append(others, fd)
		}
	}
	if !watchesBell || len(others) != 1 {
		return 0, false
	}
	kind, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(others[0]))
	return others[0], err == nil && kind == "anon_inode:[eventfd]"
}
