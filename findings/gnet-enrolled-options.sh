#!/bin/sh
# gnet v2.10.0: socket options of an engine are not those of a connection that is enrolled in one of its loops.
# Expected: WithSocketSendBuffer, as documented "sets the maximum socket send buffer in bytes", bounds each
# connection of the engine, also one that comes by Engine.Register or EventLoop.Enroll; Client.Enroll, which has
# the same name and purpose, does apply it.
# Behaviour: only accepted connections (they inherit it from the listener) and those of gnet.Client have it. One
# that is registered keeps the kernel's default, so what the kernel hides of a slow reader is not bounded.
# Seen: accepted 16384, registered with the engine 3939840 (what the kernel makes of its default), enrolled in a client 16384.
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
	"syscall"
	"time"

	"github.com/panjf2000/gnet/v2"
)

const asked = 8 << 10

type handler struct {
	gnet.BuiltinEventEngine
	booted chan gnet.Engine
	opened chan int
}

func (h *handler) OnBoot(e gnet.Engine) gnet.Action { h.booted <- e; return gnet.None }

func (h *handler) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	n, err := syscall.GetsockoptInt(c.Fd(), syscall.SOL_SOCKET, syscall.SO_SNDBUF)
	check(err)
	h.opened <- n
	return nil, gnet.None
}

func check(err error) {
	if err != nil {
		fmt.Println("not tried:", err)
		os.Exit(2)
	}
}

func main() {
	// What is enrolled: our end of a connection to a listener of our own.
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	check(err)
	dial := func() net.Conn {
		conn, err := net.Dial("tcp4", listener.Addr().String())
		check(err)
		return conn
	}
	free, err := net.Listen("tcp4", "127.0.0.1:0")
	check(err)
	address := free.Addr().String()
	check(free.Close())

	h := &handler{booted: make(chan gnet.Engine, 2), opened: make(chan int, 8)}
	go func() { check(gnet.Run(h, "tcp4://"+address, gnet.WithSocketSendBuffer(asked))) }()
	engine := <-h.booted
	time.Sleep(300 * time.Millisecond)
	_, err = net.Dial("tcp4", address)
	check(err)
	accepted := <-h.opened
	_, err = engine.Register(gnet.NewNetConnContext(context.Background(), dial()))
	check(err)
	registered := <-h.opened

	client, err := gnet.NewClient(h, gnet.WithSocketSendBuffer(asked))
	check(err)
	check(client.Start())
	_, err = client.Enroll(dial())
	check(err)
	enrolled := <-h.opened
	fmt.Println("send buffer asked for:", asked, "(Linux doubles it)")
	fmt.Println("accepted by the engine:", accepted)
	fmt.Println("registered with the engine:", registered)
	fmt.Println("enrolled in a client:", enrolled)
	if accepted == 2*asked && enrolled == 2*asked && registered > 2*asked {
		fmt.Println("the option does not reach a connection that is registered: the behaviour stands")
		return
	}
	fmt.Println("the behaviour has changed")
	os.Exit(1)
}
GO
{ go mod init finding && go get github.com/panjf2000/gnet/v2@v2.10.0; } >install.log 2>&1 || { cat install.log; exit 2; }
go run .
