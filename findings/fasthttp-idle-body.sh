#!/bin/sh
# fasthttp v1.77.0: an idle keep-alive connection keeps the body buffer of its last request.
#
# Expected guess: when a request is answered, the memory of its body is free again; an idle connection costs its read and
#   write buffers (4 KiB each by default), as in net/http.
# Behaviour: the server keeps each connection's RequestCtx while it is idle, and with it a buffer as large as the largest body
#   that the connection ever sent. What all connections hold is so up to MaxRequestBodySize times their number, until
#   IdleTimeout. ReduceMemoryUsage gives buffers back after each request; its documentation speaks of read and write buffers.
# Seen: 64 connections that sent 1 MiB each and idle: 65 MiB of live heap; with ReduceMemoryUsage less than 1 MiB.
# Exits 0 while that is so, 1 if it changed.
set -eu
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
cat > main.go <<'GO'
package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	conns = 64
	body  = 1 << 20
)

func must(err error) {
	if err != nil {
		fmt.Println("not tried:", err)
		os.Exit(2)
	}
}

func liveHeap() float64 {
	for range 3 { // pools are emptied by the second collection
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// idle is the live heap, in MiB, beside connections that were served and idle.
func idle(reduce bool) float64 {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	server := &fasthttp.Server{
		Handler:            func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("ok") },
		MaxRequestBodySize: body, ReduceMemoryUsage: reduce, IdleTimeout: time.Minute,
	}
	go func() { must(server.Serve(listener)) }()
	before := liveHeap()
	request := "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + fmt.Sprint(body) + "\r\n\r\n" + strings.Repeat("b", body)
	var open []net.Conn
	for range conns {
		conn, err := net.Dial("tcp", listener.Addr().String())
		must(err)
		_, err = conn.Write([]byte(request))
		must(err)
		response, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil)
		must(err)
		response.Body.Close()
		open = append(open, conn)
	}
	request = ""
	time.Sleep(200 * time.Millisecond) // all have been answered and wait for the next request
	held := liveHeap() - before
	for _, conn := range open {
		conn.Close()
	}
	must(server.Shutdown())
	return held
}

func main() {
	kept, reduced := idle(false), idle(true)
	fmt.Printf("fasthttp v1.77.0, %d idle connections after a body of 1 MiB each: %.0f MiB of heap, %.0f MiB with ReduceMemoryUsage\n", conns, kept, reduced)
	if kept < conns/2 || reduced > conns/4 {
		fmt.Println("it changed")
		os.Exit(1)
	}
}
GO
go mod init example.com/finding >/dev/null 2>&1
go get github.com/valyala/fasthttp@v1.77.0 >/dev/null 2>&1 || { echo "not tried: fasthttp cannot be fetched"; exit 2; }
go run .
