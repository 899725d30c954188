package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"cim/internal/link"
	"cim/internal/listener"
	"cim/proto"
)

const (
	// linksMax bounds the links of the link port: the routes of a large
	// cluster, twice over while they restart. One more is refused as full.
	linksMax = 256
	// hellosMax bounds the connections to the link port that have not proved
	// themselves. For one more the oldest that has sent nothing is closed; where
	// all have, it waits until one of them is done.
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

	hellos chan struct{} // one for each hello under way
	served atomic.Int32  // links; <= linksMax
	ends   sync.WaitGroup

	mu     sync.Mutex
	silent []net.Conn // of the hellos, those whose first message has not come; oldest first
}

func (p *linkPort) start(s *Server) error {
	if s.config.LinkPort == LinkPortNone {
		return nil
	}
	listener, err := net.Listen(listener.Network(s.config.Bind), net.JoinHostPort(s.config.Bind, strconv.Itoa(s.config.LinkPort)))
	if err != nil {
		return fmt.Errorf("server: link-port %d: %w", s.config.LinkPort, err)
	}
	p.server, p.listener, p.hellos = s, listener, make(chan struct{}, hellosMax)
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
			p.server.unasked(fmt.Errorf("server: the listener of links ended: %w", err))
			return
		case !p.begin(conn):
			_ = conn.Close() // the server stops
			return
		}
		p.ends.Go(func() { p.serve(conn) })
	}
}

// begin finds a place for one more hello. It reports whether the server goes
// on.
func (p *linkPort) begin(conn net.Conn) bool {
	select {
	case p.hellos <- struct{}{}:
	default:
		p.closeSilent()
		select {
		case p.hellos <- struct{}{}:
		case <-p.ctx.Done():
			return false
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = append(p.silent, conn)
	return true
}

// closeSilent ends the oldest hello whose first message has not come.
func (p *linkPort) closeSilent() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.silent) > 0 {
		_ = p.silent[0].Close() // its hello fails, and tells
		p.silent = slices.Delete(p.silent, 0, 1)
	}
}

// heard is called when the first message of conn has come, or will not.
func (p *linkPort) heard(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = slices.DeleteFunc(p.silent, func(c net.Conn) bool { return c == conn })
}

func (p *linkPort) serve(conn net.Conn) {
	s, from := p.server, conn.RemoteAddr().String()
	_, pauses := s.look()
	end, err := p.greet(conn)
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
	defer func() {
		p.heard(conn)
		<-p.hellos
	}()
	admitted := false
	end, err := link.Accept(p.ctx, conn, link.Config{
		Secret: p.server.config.LinkSecret, Epoch: p.server.epoch, WaitingMax: linkWaitingMax,
		Heard: func() { p.heard(conn) },
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
