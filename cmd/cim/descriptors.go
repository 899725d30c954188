package main

import (
	"math"
	"net"
	"sync"
	"syscall"

	"cim/internal/httpserve"
)

const (
	// httpShare is the part of the descriptors that the route's HTTP
	// connections may take, and again those of /sendMsg: one in so many, up to
	// the defaults.
	httpShare = 16
	// routeConnsMax bounds the route's HTTP connections where descriptors are
	// plenty.
	routeConnsMax = 1024
	// adminConnsMax bounds the connections of the admin listener. One more
	// waits until another has closed.
	adminConnsMax = 16
	// filesKept are for the durable file, the log and the listeners.
	filesKept = 32
)

// share divides the descriptors of the process among the listeners that share
// it: out of descriptors, the event loops would end. The sessions get what the
// others leave.
func (c *standaloneConfig) share(descriptors int) {
	c.system.Route.HTTPConnsMax = max(1, min(routeConnsMax, descriptors/httpShare))
	c.system.Server.HTTPConnsMax = max(1, min(c.system.Server.HTTPConnsMax, descriptors/httpShare))
	c.system.Server.DescriptorsKept = c.system.Route.HTTPConnsMax + httpserve.SurplusMax + adminConnsMax + filesKept
}

// descriptorLimit is how many descriptors the process may have open. The
// server finds out again whether they are enough.
func descriptorLimit() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(limit.Cur, math.MaxInt32))
}

// fewConns is a listener with at most adminConnsMax connections open.
type fewConns struct {
	net.Listener
	places chan struct{} // of adminConnsMax; one is put in for each connection
	closed chan struct{}
	once   sync.Once // of closed
}

func newFewConns(listener net.Listener) *fewConns {
	return &fewConns{Listener: listener, places: make(chan struct{}, adminConnsMax), closed: make(chan struct{})}
}

// Accept implements net.Listener. It waits for a place first.
func (l *fewConns) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &placedConn{Conn: conn, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

// Close implements net.Listener.
func (l *fewConns) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// placedConn gives its place back when it closes.
type placedConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *placedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
