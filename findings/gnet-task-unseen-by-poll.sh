#!/bin/sh
# gnet v2.10.0 on Linux: an event loop's epoll descriptor does not show that a task waits for the loop.
# Expected: with edge-triggered I/O off, which is the default, the poller is level-triggered. So while a task that
# EventLoop.Execute has accepted waits, poll(2) on the loop's epoll descriptor, which can be watched like any other
# descriptor, says that it is readable; a callback may wait there for the loop's next event.
# Behaviour: the connections are level-triggered, but the eventfd that announces tasks is always edge-triggered. Once
# gnet has fetched a batch of events with that word in it, the descriptor is silent until the batch is over, and
# tasks run only then: a callback of the same batch that waits there without a limit keeps the loop for ever.
# Seen: while the task waited, poll said 0 descriptors are ready after 300 ms; the task ran after the callback.
# Exit status: 0 while it behaves so, 1 if that has changed, 2 if it could not be tried.
set -e
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

const (
	busy   = 300 * time.Millisecond // how long the first callback keeps the loop
	waited = 300                    // how long the second one polls, in ms
)

type handler struct {
	gnet.BuiltinEventEngine
	begun  chan struct{} // the first callback is under way
	ran    chan struct{} // the task has run
	result chan [2]bool  // of the second callback: ready by poll, task had run
	epoll  int
}

func (h *handler) OnTraffic(c gnet.Conn) gnet.Action {
	_, err := c.Next(-1)
	check(err)
	if c.Context() == "first" {
		close(h.begun)
		time.Sleep(busy)
		return gnet.None
	}
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(h.epoll), Events: unix.POLLIN}}, waited)
	check(err)
	ran := false
	select {
	case <-h.ran:
		ran = true
	default:
	}
	h.result <- [2]bool{n > 0, ran}
	return gnet.None
}

func check(err error) {
	if err != nil {
		fmt.Println("not tried:", err)
		os.Exit(2)
	}
}

// epollOf is the epoll descriptor of this process that watches fd.
func epollOf(fd int) int {
	paths, err := filepath.Glob("/proc/self/fdinfo/*")
	check(err)
	for _, path := range paths {
		info, _ := os.ReadFile(path)
		for _, line := range strings.Split(string(info), "\n") {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "tfd:" && f[1] == strconv.Itoa(fd) {
				n, err := strconv.Atoi(filepath.Base(path))
				check(err)
				return n
			}
		}
	}
	check(fmt.Errorf("no epoll descriptor watches descriptor %d", fd))
	return -1
}

func main() {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	check(err)
	h := &handler{begun: make(chan struct{}), ran: make(chan struct{}), result: make(chan [2]bool, 1)}
	client, err := gnet.NewClient(h, gnet.WithNumEventLoop(1))
	check(err)
	check(client.Start())
	enroll := func(name string) (theirs net.Conn, ours gnet.Conn) {
		conn, err := net.Dial("tcp4", listener.Addr().String())
		check(err)
		theirs, err = listener.Accept()
		check(err)
		ours, err = client.EnrollContext(conn, name)
		check(err)
		return theirs, ours
	}
	first, ours := enroll("first")
	second, _ := enroll("second")
	h.epoll = epollOf(ours.Fd())

	_, err = first.Write([]byte{1})
	check(err)
	<-h.begun // the loop is busy: what comes now is one batch
	_, err = second.Write([]byte{1})
	check(err)
	check(ours.EventLoop().Execute(context.Background(), gnet.RunnableFunc(func(context.Context) error {
		close(h.ran)
		return nil
	})))
	result := <-h.result
	<-h.ran
	fmt.Println("while the task waited, poll called the loop's epoll descriptor readable:", result[0])
	fmt.Println("the task had run by the end of the callback:", result[1])
	if !result[0] && !result[1] {
		fmt.Println("a task that waits is not seen by poll: the behaviour stands")
		return
	}
	fmt.Println("the behaviour has changed")
	os.Exit(1)
}
GO
{ go mod init finding && go get github.com/panjf2000/gnet/v2@v2.10.0; } >install.log 2>&1 || { cat install.log; exit 2; }
go run .
