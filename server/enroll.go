package server

import (
	"context"
	"net"

	"github.com/panjf2000/gnet/v2"

	"cim/internal/listener"
)

// enrollment is a connection that gnet is enrolling in a loop. One result arrives;
// then the channel is closed.
type enrollment struct {
	conn   *connection
	result <-chan gnet.RegisteredResult
}

// enroll hands conn, the socket of c, to c's loop. If that loop has enrollingMax
// enrollments, all loops have, so enroll waits.
func (p *clientPort) enroll(c *connection, conn net.Conn) {
	for p.isBusy(c.loop) && p.waitForOldest(c.loop) {
	}
	c.loop.waiting.tasks.Add(1)
	result, err := c.loop.events.Enroll(gnet.NewContext(context.Background(), c), conn) // closes conn
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		c.loop.waiting.tasks.Add(-1)
		_ = conn.Close() // nothing is lost with it
		p.leave(c)
		return
	}
	c.loop.enrolling = append(c.loop.enrolling, enrollment{c, result})
}

// leastLoaded returns the loop with the fewest connections, preferring loops that are
// not blocked or full of enrollments. The caller holds p.mu.
func (p *clientPort) leastLoaded() *loop {
	best := p.server.loops[0]
	for _, l := range p.server.loops[1:] {
		busy, bestBusy := l.isUnavailable(), best.isUnavailable()
		if bestBusy && !busy || busy == bestBusy && l.connections < best.connections {
			best = l
		}
	}
	return best
}

// isUnavailable reports whether l stands still or has enrollingMax enrollments. The
// caller holds the lock of the client port.
func (l *loop) isUnavailable() bool { return len(l.enrolling) >= enrollingMax || l.blocked() }

func (p *clientPort) isBusy(l *loop) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(l.enrolling) >= enrollingMax
}

// settle removes the enrollments that are done, and frees the places of those that
// failed. The caller holds p.mu.
func (p *clientPort) settle() {
	for _, l := range p.server.loops {
		for len(l.enrolling) > 0 && p.settleOldest(l) {
		}
	}
}

// tick settles enrollments when no new connection does.
func (p *clientPort) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
}

func (p *clientPort) settleOldest(l *loop) bool {
	select {
	case result := <-l.enrolling[0].result:
		p.settled(l, result)
		return true
	default:
		return false
	}
}

// settled removes l's oldest enrollment, whose result has arrived. If gnet's poller
// refuses a connection, gnet reports no error and never opens it.
func (p *clientPort) settled(l *loop, result gnet.RegisteredResult) {
	c := l.enrolling[0].conn
	l.waiting.tasks.Add(-1)
	l.enrolling = append(l.enrolling[:0], l.enrolling[1:]...)
	if c.conn == nil {
		p.leave(c)
	}
	if listener.Shortage(result.Err) {
		p.listener.Pause(result.Err)
	}
}

// waitForOldest waits until gnet has enrolled the oldest connection of l. It
// returns false if there is none, or after stop has given up.
func (p *clientPort) waitForOldest(l *loop) bool {
	p.mu.Lock()
	if len(l.enrolling) == 0 {
		p.mu.Unlock()
		return false
	}
	oldest := l.enrolling[0]
	p.mu.Unlock()
	select {
	case result := <-oldest.result:
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(l.enrolling) > 0 && l.enrolling[0] == oldest {
			p.settled(l, result)
		}
		return true
	case <-p.gaveUp:
		return false
	}
}

// onOpened is called by c's loop when gnet has enrolled c, and reports whether c
// may stay.
func (p *clientPort) onOpened(c *connection, g gnet.Conn) bool {
	s := p.server
	if s.draining.Load() || s.lease.lost.Load() {
		return false
	}
	c.loop.onOpen(c, g)
	p.mu.Lock()
	defer p.mu.Unlock()
	c.isOpen = true
	return !c.evicted
}
