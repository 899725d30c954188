package zk

import (
	"io"
	"net"
	"sync"
	"testing"
)

// gate forwards connections to a ZooKeeper until it is shut: then its clients
// are cut off, as if they or their network had died.
type gate struct {
	net.Listener
	to string

	mu    sync.Mutex
	shut  bool
	conns []net.Conn
	all   sync.WaitGroup
}

func newGate(t *testing.T, to string) *gate {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{Listener: listener, to: to}
	g.all.Go(g.serve)
	t.Cleanup(func() {
		g.setShut(true)
		listener.Close()
		g.all.Wait()
	})
	return g
}

func (g *gate) addr() string { return g.Addr().String() }

func (g *gate) serve() {
	for {
		conn, err := g.Accept()
		if err != nil {
			return
		}
		g.all.Go(func() { g.forward(conn) })
	}
}

func (g *gate) forward(conn net.Conn) {
	defer conn.Close()
	far, err := net.Dial("tcp", g.to)
	if err != nil || !g.add(conn, far) {
		return
	}
	defer far.Close()
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(conn, far)
		conn.Close()
	})
	io.Copy(far, conn)
	far.Close()
	back.Wait()
}

// add keeps a pair to be cut, unless the gate is shut.
func (g *gate) add(pair ...net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		pair[1].Close()
		return false
	}
	g.conns = append(g.conns, pair...)
	return true
}

func (g *gate) setShut(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	if shut {
		for _, c := range g.conns {
			c.Close()
		}
		g.conns = nil
	}
}

// hellos is told of each hello that a silent server has got.
type hellos struct {
	addr string
	came chan struct{}
}

// silentServer answers each hello with said, and never more.
func silentServer(t *testing.T, said string) hellos {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := hellos{listener.Addr().String(), make(chan struct{}, 16)}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { h.greet(conn, said) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		all.Wait()
	})
	return h
}

// greet returns when the other side has closed.
func (h hellos) greet(conn net.Conn, said string) {
	defer conn.Close()
	buf := make([]byte, 256)
	if _, err := conn.Read(buf); err != nil {
		return
	}
	if _, err := io.WriteString(conn, said); err != nil {
		return
	}
	h.came <- struct{}{}
	io.Copy(io.Discard, conn)
}
