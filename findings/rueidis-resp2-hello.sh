#!/bin/sh
# rueidis v1.0.79: AlwaysRESP2 still sends HELLO, and NewClient fails where the answer to it is an error other than
# "unknown command 'HELLO'".
#
# Expected guess: AlwaysRESP2 is for servers and proxies without HELLO, so a connection begins without it.
# Behaviour: it sends HELLO 2. The error is passed by only if its text has "unknown command", so a proxy with words of
# its own, or one that closes connections at commands that it does not know, cannot be used in any mode.
#
# The program has a server of its own that takes every command but HELLO. Exits 0 while that is so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
go mod init finding >/dev/null 2>&1
go get github.com/redis/rueidis@v1.0.79 >/dev/null 2>&1
cat >main.go <<'GO'
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// serve answers +OK to all commands, and refusal to HELLO.
func serve(conn net.Conn, refusal string, hellos chan<- string) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		head, err := in.ReadString('\n')
		if err != nil {
			return
		}
		n, _ := strconv.Atoi(strings.TrimSpace(head[1:]))
		words := make([]string, n)
		for i := range words {
			size, _ := in.ReadString('\n')
			length, _ := strconv.Atoi(strings.TrimSpace(size[1:]))
			text := make([]byte, length+2)
			if _, err := io.ReadFull(in, text); err != nil {
				return
			}
			words[i] = string(text[:length])
		}
		answer := "+OK\r\n"
		if words[0] == "HELLO" {
			hellos <- strings.Join(words, " ")
			answer = refusal
		}
		io.WriteString(conn, answer)
	}
}

func open(refusal string) (sent string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer listener.Close()
	hellos := make(chan string, 16)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn, refusal, hellos)
		}
	}()
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{listener.Addr().String()}, AlwaysRESP2: true, DisableCache: true, ForceSingleClient: true,
		ClientSetInfo: rueidis.DisableClientSetInfo,
	})
	if err == nil {
		client.Close()
	}
	select {
	case sent = <-hellos:
	default:
	}
	return sent, err
}

func main() {
	first, plain := open("-ERR unknown command 'HELLO'\r\n")
	second, worded := open("-ERR command is not supported by this proxy\r\n")
	fmt.Printf("refused in the words of Redis: sent %q, NewClient: %v\n", first, plain)
	fmt.Printf("refused in other words: sent %q, NewClient: %v\n", second, worded)
	if first != "HELLO 2" || plain != nil || second != "HELLO 2" || worded == nil {
		fmt.Println("changed")
		os.Exit(1)
	}
}
GO
go mod tidy >/dev/null 2>&1
go run .
# Seen:
#   refused in the words of Redis: sent "HELLO 2", NewClient: <nil>
#   refused in other words: sent "HELLO 2", NewClient: command is not supported by this proxy
