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
	// linksMax bounds the links of the link port: the routes of a large
	// cluster, twice over while they restart. One more is refused as full.
	linksMax = 256
	// hellosMax bounds the connections to the link port that have not proved
	// themselves, and again those of them that are not closed yet. For one more
	// the oldest makes way, first of an address above its share. So a route that
	// takes 10 ms for its proof is shut out by more than 6,400 strangers a
	// second.
	hellosMax = 64
	// linkWaitingMax bounds the bytes that wait on one link: two seconds of
	// answers at more than full load, and small beside the sessions' memory.
	linkWaitingMax = 8 << 20
)

// linkPort takes the links of routes over TCP. The zero linkPort, of a server
// that has none, may be asked and stopped.
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

// address is where routes link to, "" nowhere.
func (p *linkPort) address(host string) string {
	if p.listener == nil {
		return ""
	}
	return net.JoinHostPort(host, strconv.Itoa(p.listener.Addr().(*net.TCPAddr).Port))
}

// shut takes no more links.
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

// run takes connections until the listener is closed.
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

// hello is a connection that has not proved itself yet, with its place.
type hello = *admission.Place[net.Conn]

// enter gives conn a place among the hellos, and closes what makes way for it.
// It returns nil, with conn closed, if too many that made way are not closed
// yet.
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
		s.refusal("link refused", "hello", "from", from, "error", err)
		return
	}
	defer p.served.Add(-1)
	s.log.Info("link up", "route", from)
	s.log.Info("link ended", "route", from, "error", s.serveLink(p.ctx, end, from, pauses))
}

// greet makes a link of a connection. The link has its place in served.
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

// admit gives a route that has proved itself its place.
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
