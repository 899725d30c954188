#!/bin/bash
# gnet v2.10.0: a server at tcp://[::]:PORT takes no IPv4 connections.
# Expected: like net.Listen("tcp", "[::]:PORT"), and like Linux by default
# (net.ipv6.bindv6only=0), it takes those of both protocols.
# Behaviour: gnet decides by the address that "tcp" means tcp6, and sets
# IPV6_V6ONLY. Only an address without a host, tcp://:PORT, takes both.
# Seen: net [::] IPv4: true; gnet [::] IPv4: false; gnet no host IPv4: true.
# Exits 0 while that stands, 1 if it changed.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
go mod init finding >/dev/null 2>&1
cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/panjf2000/gnet/v2"
)

type server struct {
	gnet.BuiltinEventEngine
	engine gnet.Engine
	booted chan struct{}
}

func (s *server) OnBoot(e gnet.Engine) gnet.Action {
	s.engine = e
	close(s.booted)
	return gnet.None
}

func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	check(err)
	return port
}

func check(err error) {
	if err != nil {
		fmt.Println("not tried:", err)
		os.Exit(2)
	}
}

// open reports whether somebody accepts at address, within 3 s if that is to be.
func open(address string, wanted bool) bool {
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
			return true
		}
		if !wanted || time.Now().After(end) {
			return false
		}
	}
}

func byGnet(host string) (v4, v6 bool) {
	port := freePort()
	s := &server{booted: make(chan struct{})}
	go func() { check(gnet.Run(s, "tcp://"+host+":"+port)) }()
	<-s.booted
	v6 = open("[::1]:"+port, true)
	v4 = open("127.0.0.1:"+port, host == "")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	check(s.engine.Stop(ctx))
	return v4, v6
}

func main() {
	l, err := net.Listen("tcp", "[::]:0")
	check(err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	check(err)
	std := open("127.0.0.1:"+port, true)
	l.Close()
	v4, v6 := byGnet("[::]")
	any4, any6 := byGnet("")
	fmt.Printf("net [::]: IPv4 %t; gnet [::]: IPv4 %t, IPv6 %t; gnet without a host: IPv4 %t, IPv6 %t\n", std, v4, v6, any4, any6)
	if std && !v4 && v6 && any4 && any6 {
		return
	}
	fmt.Println("it changed")
	os.Exit(1)
}
GO
go get github.com/panjf2000/gnet/v2@v2.10.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
go run .
