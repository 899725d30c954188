package redis

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
)

// The client library begins each connection with HELLO, that of the old
// protocol too. Where HELLO is not allowed, or ends the connection as some
// proxies do with a command that they do not know, PING takes its place: its
// answer is as good, since nothing is read from it.
var (
	helloCommand = []byte("*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n")
	pingCommand  = []byte("*1\r\n$4\r\nPING\r\n")
)

// plainConn is a connection without HELLO. The library writes from one
// goroutine at a time.
type plainConn struct {
	net.Conn
	greeted bool
}

func dialPlain(ctx context.Context, addr string, dialer *net.Dialer, secure *tls.Config) (net.Conn, error) {
	conn, err := dial(ctx, addr, dialer, secure)
	if err != nil {
		return nil, err
	}
	return &plainConn{Conn: conn}, nil
}

// Write implements net.Conn. The greeting is within the first write, as a whole.
func (c *plainConn) Write(p []byte) (int, error) {
	if c.greeted {
		return c.Conn.Write(p)
	}
	c.greeted = true
	if _, err := c.Conn.Write(bytes.Replace(p, helloCommand, pingCommand, 1)); err != nil {
		return 0, err
	}
	return len(p), nil
}
