package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"cim/internal/admission"
	"cim/internal/listener"
)

const (
	// socketSendBuffer bounds how many unread bytes the kernel holds for a slow
	// reader; Linux doubles it. Without it, 4 MB could wait in the kernel before
	// the server counts unsent bytes.
	socketSendBuffer = 64 << 10
	// enrollingMax bounds the connections of one loop that gnet is enrolling: each
	// has two descriptors meanwhile. If a loop is slow to enroll them, other loops
	// get the next connections, and then the kernel's queue holds them.
	enrollingMax = 32
	// evictingMax bounds the evicted connections that their loops have not closed
	// yet.
	evictingMax = 64
	// evictingWait is how long a new connection waits for one of those to close.
	evictingWait = time.Second
)

// clientPort accepts the clients' connections, gives each a place and a loop, and
// decides which may be evicted: those that are not logged in.
type clientPort struct {
	server   *Server
	listener *listener.Steady
	port     int
	ends     sync.WaitGroup
	giveUp   sync.Once     // closes gaveUp
	gaveUp   chan struct{} // closed when stop no longer waits for gnet

	freed chan struct{} // of 1: an evicted connection has closed

	mu    sync.Mutex
	table *admission.Table[*connection]
}

// listen opens the port. Connections wait in the kernel until run.
func (p *clientPort) listen(s *Server) error {
	config := net.ListenConfig{KeepAlive: -1, Control: boundSendBuffer}
	config.SetMultipathTCP(false) // its sockets cost more to accept, and break outQueue and finishedByPeer
	inner, err := config.Listen(context.Background(), listener.Network(s.config.Bind), net.JoinHostPort(s.config.Bind, strconv.Itoa(s.config.CIMPort)))
	if err != nil {
		return fmt.Errorf("server: cim-port %d: %w", s.config.CIMPort, err)
	}
	p.server, p.port, p.gaveUp = s, inner.Addr().(*net.TCPAddr).Port, make(chan struct{})
	p.freed = make(chan struct{}, 1)
	p.listener = listener.New(inner, "cim-port", s.log, s.metrics.acceptPauses.Inc)
	p.table = admission.New[*connection](admission.Limits{
		Max: s.sessionsMax, ClosingMax: evictingMax, Policy: s.config.Addresses,
	})
	return nil
}

// boundSendBuffer sets the send buffer of the listener; accepted sockets inherit
// it.
func boundSendBuffer(_, _ string, raw syscall.RawConn) (err error) {
	failed := raw.Control(func(fd uintptr) {
		err = setSendBuffer(int(fd), socketSendBuffer)
	})
	return errors.Join(failed, err)
}

// start accepts connections. The event loops are running.
func (p *clientPort) start() { p.ends.Go(p.run) }

// stop stops accepting and waits until gnet has enrolled all accepted connections,
// or until ctx ends.
func (p *clientPort) stop(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { p.giveUp.Do(func() { close(p.gaveUp) }) })()
	_ = p.listener.Close() // nothing is lost with it
	p.ends.Wait()
	for _, l := range p.server.loops {
		for p.waitForOldest(l) {
		}
	}
}

// run accepts connections until the listener is closed.
func (p *clientPort) run() {
	for {
		conn, err := p.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			p.server.endedUnexpectedly(fmt.Errorf("server: the listener of clients ended: %w", err))
			return
		}
		p.accept(conn)
	}
}

// accept gives conn a place, and hands it to a loop.
func (p *clientPort) accept(conn net.Conn) {
	from := addressesOf(conn)
	c, result := p.admit(from)
	for result == admission.Closing && p.waitForEvicted() {
		c, result = p.admit(from)
	}
	if result != admission.Admitted {
		_ = conn.Close() // nothing is lost with it
		p.server.metrics.surplus.Inc()
		p.server.logRefusal("connection refused", "cim-port: "+result.String(), "from", from.remote.String())
		return
	}
	p.enroll(c, conn)
}

// admit gives a connection its place and its loop, and evicts another one if it
// must.
func (p *clientPort) admit(from addresses) (*connection, admission.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	c := &connection{loop: p.leastLoaded(), ip: from.remote.Addr().As16(), own: from.own()}
	place, victim, result := p.table.Enter(from.remote.Addr(), c)
	if victim != nil {
		p.evict(victim.Conn)
	}
	if result == admission.Admitted {
		c.place = place
		c.loop.connections++
		p.server.conns.Add(1)
	}
	return c, result
}

// evict has c's loop close it. A connection that gnet is still enrolling is closed
// when it opens.
func (p *clientPort) evict(c *connection) {
	c.evicted = true
	p.server.metrics.evicted.Inc()
	if c.isOpen {
		c.loop.mailbox.post(letter{kind: letterEvict, ref: c.ref}, nil)
	}
}

// waitForEvicted waits until an evicted connection has closed. It returns false if
// none closes in time: the loops stand still.
func (p *clientPort) waitForEvicted() bool {
	timeout := time.NewTimer(evictingWait)
	defer timeout.Stop()
	select {
	case <-p.freed:
		return true
	case <-timeout.C:
		return false
	}
}

// use protects c from eviction from its login on. It reports whether c had not been
// evicted before.
func (p *clientPort) use(c *connection) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.place != nil && p.table.Use(c.place)
}

// idle lets c be evicted, since it is not logged in any more.
func (p *clientPort) idle(c *connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.place != nil {
		p.table.Idle(c.place)
	}
}

// onClosed is called by c's loop when either side has closed c; inOrder: the peer
// closed it without a reset.
func (p *clientPort) onClosed(c *connection, inOrder bool) {
	if c.conn != nil {
		c.loop.onClosed(c, inOrder)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leave(c)
}

// leave frees c's place, once. The caller holds p.mu.
func (p *clientPort) leave(c *connection) {
	if c.place == nil {
		return
	}
	p.table.Leave(c.place)
	c.place = nil
	c.loop.connections--
	p.server.conns.Add(-1)
	if c.evicted {
		select {
		case p.freed <- struct{}{}:
		default: // a signal waits already
		}
	}
}
