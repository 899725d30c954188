package main

import (
	"net"
	"testing"
	"time"
)

// TestShare divides few and many descriptors.
func TestShare(t *testing.T) {
	for _, c := range []struct{ descriptors, route, intake int }{
		{20000, 1024, 512}, {16 * 1024, 1024, 512}, {16*1024 - 1, 1023, 512}, {600, 37, 37}, {0, 1, 1},
	} {
		config := defaultStandalone()
		config.share(c.descriptors)
		if config.system.Route.HTTPConnsMax != c.route || config.system.Server.HTTPConnsMax != c.intake ||
			config.system.Server.DescriptorsKept != c.route+64+adminConnsMax+filesKept {
			t.Errorf("%d descriptors: route %d, /sendMsg %d, kept %d", c.descriptors,
				config.system.Route.HTTPConnsMax, config.system.Server.HTTPConnsMax, config.system.Server.DescriptorsKept)
		}
	}
}

// TestFewConns fills the listener; one more waits until one has closed.
func TestFewConns(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newFewConns(inner)
	accepted := make(chan net.Conn, adminConnsMax+1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	var open []net.Conn
	for range adminConnsMax + 1 {
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	for range adminConnsMax {
		open = append(open, <-accepted)
	}
	if len(l.places) != adminConnsMax || len(accepted) != 0 {
		t.Errorf("%d places taken, %d more accepted", len(l.places), len(accepted))
	}
	last := open[len(open)-1]
	last.Close()
	last.Close() // gives back one place only
	select {
	case conn := <-accepted:
		open = append(open, conn)
	case <-time.After(waitMax):
		t.Error("no place after one has closed")
	}
	l.Close()
	<-ended
	for _, conn := range open {
		conn.Close()
	}
}
