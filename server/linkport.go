package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"

	"cim/internal/admission"
	"cim/internal/link"
	"cim/internal/listener"
	"cim/proto"
)

const (
	// linksMax bounds the links of the link port: twice the routes of a large
	// cluster, for when they restart. One more is refused as full.
	linksMax = 256
	// hellosMax bounds the connections to the link port that are not authenticated
	// yet, and separately those of them that are closing. When it is reached, the
	// oldest is closed, first one of an address above its share. So a route that
	// needs 10 ms to authenticate is shut out only by more than 6,400 strangers a
	// second.
	hellosMax = 64
	// linkWaitingMax bounds the bytes queued on one link: two seconds of answers at
	// more than full load, and little beside the memory of the sessions.
	linkWaitingMax = 8 << 20
)

// linkPort accepts the links of routes over TCP. The zero linkPort belongs to a
// server without a link port; its methods may be called.
type linkPort struct {
	server   *Server
	listener net.Listener
	ctx      context.Context // of the links
	cancel   context.CancelFunc

	served atomic.Int32 // links; <= linksMax
	ends   sync.WaitGroup

	mu     sync.Mutex
	hellos *admission.Table[net.Conn]
}

func (p *linkPort) start(s *Server) error {
	if s.config.LinkPort == LinkPortNone {
		return nil
	}
	inner, err := net.Listen(listener.Network(s.config.Bind), net.JoinHostPort(s.config.Bind, strconv.Itoa(s.config.LinkPort)))
	if err != nil {
		return fmt.Errorf("server: link-port %d: %w", s.config.LinkPort, err)
	}
	p.server, p.listener = s, listener.New(inner, "link-port", s.log, s.metrics.linkPauses.Inc)
	p.hellos = admission.New[net.Conn](admission.Limits{Max: hellosMax, ClosingMax: hellosMax, Policy: s.config.Addresses})
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.ends.Go(p.run)
	return nil
}

// address is the address that routes link to, "" without a link port.
func (p *linkPort) address(host string) string {
	if p.listener == nil {
		return ""
	}
	return net.JoinHostPort(host, strconv.Itoa(p.listener.Addr().(*net.TCPAddr).Port))
}

// shut accepts no more links.
func (p *linkPort) shut() {
	if p.listener != nil {
		_ = p.listener.Close() // nothing is lost with it
	}
}

// stop ends the links and waits for them, for a little more than a second.
func (p *linkPort) stop() {
	if p.listener != nil {
		p.shut()
		p.cancel()
		p.ends.Wait()
	}
}

// run accepts connections until the listener is closed.
func (p *linkPort) run() {
	for {
		conn, err := p.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			p.server.endedUnexpectedly(fmt.Errorf("server: the listener of links ended: %w", err))
			return
		}
		if place := p.enter(conn); place != nil {
			p.ends.Go(func() { p.serve(conn, place) })
		}
	}
}

// hello is the place of a connection that is not authenticated yet.
type hello = *admission.Place[net.Conn]

// enter gives conn a place among the hellos, and closes the connection that is
// evicted for it. If too many evicted ones are still closing, it closes conn and
// returns nil.
func (p *linkPort) enter(conn net.Conn) hello {
	p.mu.Lock()
	place, victim, result := p.hellos.Enter(addrOf(conn.RemoteAddr()), conn)
	p.mu.Unlock()
	if victim != nil {
		_ = victim.Conn.Close() // its hello fails, and is logged
		p.server.metrics.hellosEvicted.Inc()
	}
	if result != admission.Admitted {
		_ = conn.Close() // nothing is lost with it
		p.server.metrics.hellosEvicted.Inc()
		return nil
	}
	return place
}

func (p *linkPort) leave(place hello) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hellos.Leave(place)
}

func (p *linkPort) serve(conn net.Conn, place hello) {
	s, from := p.server, conn.RemoteAddr().String()
	_, pauses := s.checkStall()
	end, err := p.greet(conn)
	p.leave(place)
	if err != nil {
		s.logRefusal("link refused", "hello", "from", from, "error", err)
		return
	}
	defer p.served.Add(-1)
	s.log.Info("link up", "route", from)
	s.log.Info("link ended", "route", from, "error", s.serveLink(p.ctx, end, from, pauses))
}

// greet does the handshake. If it succeeds, the link counts in served.
func (p *linkPort) greet(conn net.Conn) (*link.Conn, error) {
	admitted := false
	end, err := link.Accept(p.ctx, conn, link.Config{
		Secret: p.server.config.LinkSecret, Epoch: p.server.epoch, WaitingMax: linkWaitingMax,
		Admit: func() proto.LinkRefusal {
			refusal := p.admit()
			admitted = refusal == proto.LinkTaken
			return refusal
		},
	})
	if err != nil && admitted {
		p.served.Add(-1)
	}
	p.count(err)
	return end, err
}

// admit gives an authenticated route its place.
func (p *linkPort) admit() proto.LinkRefusal {
	if p.server.draining.Load() {
		return proto.LinkRefusedDrain
	}
	if p.served.Add(1) > linksMax {
		p.served.Add(-1)
		return proto.LinkRefusedFull
	}
	return proto.LinkTaken
}

func (p *linkPort) count(err error) {
	refused := (*link.RefusedError)(nil)
	switch {
	case err == nil:
		p.server.metrics.hellos[proto.LinkTaken].Inc()
	case errors.As(err, &refused) && int(refused.Refusal) < proto.LinkRefusalCount:
		p.server.metrics.hellos[refused.Refusal].Inc()
	default:
		p.server.metrics.hellosBad.Inc()
	}
}
