package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"cim/server/shard"
)

// socketSendBuffer bounds what the kernel hides of a slow reader; Linux
// doubles it. Without it 4 MB would hide before unsent bytes could be seen.
const socketSendBuffer = 64 << 10

// writeRingBytes is gnet's least: past it, what a socket has not taken goes to a
// list of blocks, and not to a ring that grows by doubling.
const writeRingBytes = 1 << 10

// engine is gnet: it owns the sockets and calls back on its event loops.
type engine struct {
	gnet.BuiltinEventEngine
	server *Server
	port   int

	gnet    gnet.Engine // set by OnBoot, before anything else runs
	ready   chan error  // brings one result when all bells hang, or none can
	stopped chan struct{}
	ending  chan struct{} // closed by stop: the end was asked for
	hung    bool          // ticker goroutine only
	open    atomic.Bool   // all bells hang: clients are let in
}

func (e *engine) start(ctx context.Context, s *Server) error {
	claim, port, err := claimPort(s.config.Bind, s.config.CIMPort)
	if err != nil {
		return fmt.Errorf("server: cim-port %d: %w", s.config.CIMPort, err)
	}
	defer closeSocket(claim)
	e.server, e.port = s, port
	e.ready, e.stopped, e.ending = make(chan error, 1), make(chan struct{}), make(chan struct{})
	go e.run(netip.AddrPortFrom(netip.MustParseAddr(s.config.Bind), uint16(port)).String())
	select {
	case err = <-e.ready:
	case <-e.stopped:
		err = <-s.done
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("server: event loops: %w", err), e.stop(ctx))
	}
	return nil
}

// run returns when the engine has stopped. gnet returns nil too when it ran
// out of descriptors, so an end that was not asked for is always an error.
func (e *engine) run(addr string) {
	defer close(e.stopped)
	err := gnet.Run(e, "tcp://"+addr,
		gnet.WithNumEventLoop(len(e.server.loops)),
		gnet.WithReusePort(true), gnet.WithReuseAddr(true),
		gnet.WithSocketSendBuffer(socketSendBuffer), gnet.WithWriteBufferCap(writeRingBytes),
		gnet.WithTicker(true), gnet.WithLogger(gnetLog{e.server.log}))
	select {
	case <-e.ending:
	default:
		e.server.unasked(errors.Join(errors.New("server: the event loops ended by themselves"), err))
	}
}

func (e *engine) stop(ctx context.Context) error {
	select {
	case <-e.ending:
		return nil
	default:
		close(e.ending)
	}
	if err := e.stopLoops(ctx); err != nil {
		return fmt.Errorf("server: stop the event loops: %w", err)
	}
	for _, l := range e.server.loops {
		l.mailbox.close()
	}
	return nil
}

func (e *engine) stopLoops(ctx context.Context) error {
	select {
	case <-e.stopped:
		return nil // by themselves
	default:
	}
	// A context that has ended: gnet would look only twice a second whether it
	// has stopped.
	asked, cancel := context.WithCancel(ctx)
	cancel()
	if err := e.gnet.Stop(asked); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	select {
	case <-e.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// OnBoot implements gnet.EventHandler.
func (e *engine) OnBoot(running gnet.Engine) gnet.Action {
	e.gnet = running
	return gnet.None
}

// OnTick implements gnet.EventHandler; it runs on a goroutine of its own, for
// the first time when the loops run.
func (e *engine) OnTick() (time.Duration, gnet.Action) {
	const tick = shard.TickMillis * time.Millisecond
	if !e.hung {
		e.hung = true
		e.ready <- e.hangBells()
		return tick, gnet.None
	}
	e.server.tick()
	return tick, gnet.None
}

// hangBells gives each loop its bell. gnet hands out its loops in turn, so as
// many registrations as loops reach each of them once.
func (e *engine) hangBells() error {
	ctx, cancel := context.WithTimeout(context.Background(), startMax)
	defer cancel()
	for i, l := range e.server.loops {
		b, events, err := hang(ctx, e.gnet, i)
		if err != nil {
			return err
		}
		l.events = events
		l.mailbox.setBell(b)
	}
	e.open.Store(true)
	return nil
}

// OnOpen implements gnet.EventHandler.
func (e *engine) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	if _, ok := c.Context().(bellConn); ok {
		return nil, gnet.None
	}
	s := e.server
	if !e.open.Load() || s.draining.Load() || s.lease.lost.Load() {
		return nil, gnet.Close
	}
	if s.conns.Add(1) > int64(s.sessionsMax) {
		s.conns.Add(-1)
		s.metrics.surplus.Inc()
		return nil, gnet.Close
	}
	c.SetContext(s.loopOf(c.EventLoop()).open(c))
	return nil, gnet.None
}

// loopOf returns the loop that runs on events.
func (s *Server) loopOf(events gnet.EventLoop) *loop {
	for _, l := range s.loops {
		if l.events == events {
			return l
		}
	}
	panic("server: an event loop without a bell")
}

// OnTraffic implements gnet.EventHandler.
func (e *engine) OnTraffic(c gnet.Conn) gnet.Action {
	data, err := c.Next(-1)
	switch at := c.Context().(type) {
	case bellConn:
		e.server.loops[at.number].answerMail()
	case *connection:
		if err == nil {
			at.loop.traffic(at, data)
		}
	}
	return gnet.None
}

// OnClose implements gnet.EventHandler.
func (e *engine) OnClose(c gnet.Conn, _ error) gnet.Action {
	if at, ok := c.Context().(*connection); ok {
		at.loop.closed(at)
		e.server.conns.Add(-1)
	}
	return gnet.None
}

// gnetLog is gnet's logger.
type gnetLog struct{ log *slog.Logger }

func (g gnetLog) Debugf(format string, args ...any) {
	g.log.Debug(fmt.Sprintf("gnet: "+format, args...))
}

func (g gnetLog) Infof(format string, args ...any) {
	g.log.Debug(fmt.Sprintf("gnet: "+format, args...))
}

func (g gnetLog) Warnf(format string, args ...any) { g.log.Warn(fmt.Sprintf("gnet: "+format, args...)) }

func (g gnetLog) Errorf(format string, args ...any) {
	g.log.Error(fmt.Sprintf("gnet: "+format, args...))
}

func (g gnetLog) Fatalf(format string, args ...any) {
	g.log.Error(fmt.Sprintf("gnet: "+format, args...))
}
