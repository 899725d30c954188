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
	// socketSendBuffer bounds what the kernel hides of a slow reader; Linux
	// doubles it. Without it 4 MB would hide before unsent bytes could be seen.
	socketSendBuffer = 64 << 10
	// enrollingMax bounds the connections of one loop that gnet is enrolling:
	// each has two descriptors until that is done. While the loop does not get
	// to them, others get what comes, and then the kernel's queue.
	enrollingMax = 32
	// evictingMax bounds the connections that have lost their place to
	// newcomers and that their loops have not closed yet.
	evictingMax = 64
	// evictingWait is how long a newcomer waits for one of those to close.
	evictingWait = time.Second
)

// clientPort takes the clients' connections, gives each a place and a loop,
// and knows which of them may be evicted: those that are not logged in.
type clientPort struct {
	server   *Server
	listener *listener.Steady
	port     int
	ends     sync.WaitGroup
	giveUp   sync.Once     // of gaveUp
	gaveUp   chan struct{} // closed by stop when it waits no longer for gnet

	freed chan struct{} // of 1: an evicted connection has closed

	mu    sync.Mutex
	table *admission.Table[*connection]
}

// listen opens the port. Connections wait until run.
func (p *clientPort) listen(s *Server) error {
	config := net.ListenConfig{KeepAlive: -1, Control: boundSendBuffer}
	config.SetMultipathTCP(false) // its sockets cost more to accept, and answer otherwise what outQueue and finishedByPeer ask
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

// boundSendBuffer sets the listener's send buffer, which what it accepts
// inherits.
func boundSendBuffer(_, _ string, raw syscall.RawConn) (err error) {
	failed := raw.Control(func(fd uintptr) {
		err = setSendBuffer(int(fd), socketSendBuffer)
	})
	return errors.Join(failed, err)
}

// start begins to accept. The event loops run.
func (p *clientPort) start() { p.ends.Go(p.run) }

// stop accepts no more and waits until gnet has all that was accepted, or
// until ctx ends.
func (p *clientPort) stop(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { p.giveUp.Do(func() { close(p.gaveUp) }) })()
	_ = p.listener.Close() // nothing is lost with it
	p.ends.Wait()
	for _, l := range p.server.loops {
		for p.waitForOldest(l) {
		}
	}
}

// run accepts until the listener is closed.
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
		p.server.refusal("connection refused", "cim-port: "+result.String(), "from", from.remote.String())
		return
	}
	p.enroll(c, conn)
}

// admit gives a connection its place and its loop. What must make way is evicted.
func (p *clientPort) admit(from addresses) (*connection, admission.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	c := &connection{loop: p.freest(), ip: from.remote.Addr().As16(), own: from.own()}
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

// evict has c's loop close it. A connection that gnet is still enrolling is
// closed as soon as it is opened.
func (p *clientPort) evict(c *connection) {
	c.evicted = true
	p.server.metrics.evicted.Inc()
	if c.isOpen {
		c.loop.mailbox.post(letter{kind: letterEvict, ref: c.ref}, nil)
	}
}

// waitForEvicted waits until a connection that was evicted has closed. It returns
// false if none does: their loops stand still.
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

// use keeps c from being evicted, from its login on. It reports whether it is
// not too late.
func (p *clientPort) use(c *connection) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.place != nil && p.table.Use(c.place)
}

// idle lets c, which is not logged in any more, be evicted.
func (p *clientPort) idle(c *connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.place != nil {
		p.table.Idle(c.place)
	}
}

// onClosed is called by c's loop, whoever closed c; inOrder: its peer did, and did
// not reset it.
func (p *clientPort) onClosed(c *connection, inOrder bool) {
	if c.conn != nil {
		c.loop.onClosed(c, inOrder)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leave(c)
}

// leave takes c's place back, once. p is locked.
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
		default: // as good: it is there already
		}
	}
}
