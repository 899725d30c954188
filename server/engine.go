package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"cim/server/shard"
)

// writeRingBytes is gnet's minimum: above it, gnet keeps a backlog in a list of
// blocks and not in a ring that grows by doubling.
const writeRingBytes = 1 << 10

// engine is gnet's event loops, which call its methods. It listens on nothing: gnet
// stops with all its connections if one accept fails, so the client port accepts,
// and enrolls what it has accepted.
type engine struct {
	gnet.BuiltinEventEngine
	server *Server

	loops   *gnet.Client
	open    atomic.Bool   // all bells are connected
	ending  chan struct{} // closed by stop: the end is intended
	stopped chan struct{} // closed when the loops have ended
}

func (e *engine) start(s *Server) error {
	e.server, e.ending, e.stopped = s, make(chan struct{}), make(chan struct{})
	loops, err := gnet.NewClient(e,
		gnet.WithNumEventLoop(len(s.loops)), gnet.WithWriteBufferCap(writeRingBytes),
		gnet.WithTicker(true), gnet.WithLogger(gnetLog{s.log}))
	if err == nil {
		err = loops.Start()
	}
	if err != nil {
		return fmt.Errorf("server: event loops: %w", err)
	}
	e.loops = loops
	if err := e.newBells(); err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), startMax)
		defer cancel()
		return errors.Join(err, e.stop(ctx))
	}
	return nil
}

// newBells gives each loop its bell. gnet enrolls a connection in the loop that has
// the fewest, so as many bells as loops reach each of them once.
func (e *engine) newBells() error {
	for i, l := range e.server.loops {
		b, end, err := newBell(e.loops, i)
		if err != nil {
			return err
		}
		l.events = end.EventLoop()
		l.waiting.epoll = e.pollSetOf(end)
		l.mailbox.setBell(b)
	}
	e.open.Store(true)
	return nil
}

// pollSetOf returns where the loop of c waits for events; nil: the loop waits
// inside gnet.
func (e *engine) pollSetOf(c gnet.Conn) *pollSet {
	if e.server.config.EventWait != WaitDirect {
		return nil
	}
	set, err := pollSetOf(c.Fd())
	switch {
	case err == nil:
		return set
	case !errors.Is(err, errors.ErrUnsupported): // else this system has no other way
		e.server.log.Warn("an event loop's poller was not found: the loop waits as with --event-wait plain, which takes more processor time", "error", err)
	}
	return nil
}

// stop ends the loops with their connections.
func (e *engine) stop(ctx context.Context) error {
	select {
	case <-e.ending:
		return nil
	default:
		close(e.ending)
	}
	e.open.Store(false)
	if e.loops == nil {
		return nil
	}
	var failed error
	go func() {
		defer close(e.stopped)
		failed = e.loops.Stop()
	}()
	select {
	case <-e.stopped:
	case <-ctx.Done():
		return fmt.Errorf("server: stop the event loops: %w", ctx.Err())
	}
	for _, l := range e.server.loops {
		l.mailbox.close()
	}
	if failed != nil {
		return fmt.Errorf("server: stop the event loops: %w", failed)
	}
	return nil
}

// OnTick implements gnet.EventHandler; it runs on a goroutine of its own.
func (e *engine) OnTick() (time.Duration, gnet.Action) {
	if e.open.Load() {
		e.server.tick()
	}
	return shard.TickMillis * time.Millisecond, gnet.None
}

// OnOpen implements gnet.EventHandler.
func (e *engine) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	if client, ok := c.Context().(*connection); ok && !e.server.clients.onOpened(client, c) {
		return nil, gnet.Close
	}
	return nil, gnet.None
}

// OnTraffic implements gnet.EventHandler.
func (e *engine) OnTraffic(c gnet.Conn) gnet.Action {
	data, err := c.Next(-1)
	switch at := c.Context().(type) {
	case bellConn:
		l := e.server.loops[at.number]
		l.answerMail()
		l.serve()
	case *connection:
		if err == nil {
			at.loop.onTraffic(at, data)
		}
		at.loop.serve()
	}
	return gnet.None
}

// OnClose implements gnet.EventHandler. A bell closes when its loop ends; gnet has
// no other event for that.
func (e *engine) OnClose(c gnet.Conn, err error) gnet.Action {
	switch at := c.Context().(type) {
	case *connection:
		e.server.clients.onClosed(at, errors.Is(err, io.EOF))
	case bellConn:
		select {
		case <-e.ending:
		default:
			e.server.endedUnexpectedly(errors.Join(fmt.Errorf("server: event loop %d ended by itself", at.number), err))
		}
	}
	return gnet.None
}

// gnetLog is gnet's logger. gnet's one warning is about an event for a connection
// that an earlier event of the same batch has closed. Strangers can cause it at any
// rate, so it is logged at level debug.
type gnetLog struct{ log *slog.Logger }

func (g gnetLog) Debugf(format string, args ...any) {
	g.log.Debug(fmt.Sprintf("gnet: "+format, args...))
}

func (g gnetLog) Infof(format string, args ...any) {
	g.log.Debug(fmt.Sprintf("gnet: "+format, args...))
}

func (g gnetLog) Warnf(format string, args ...any) {
	g.log.Debug(fmt.Sprintf("gnet: "+format, args...))
}

func (g gnetLog) Errorf(format string, args ...any) {
	g.log.Error(fmt.Sprintf("gnet: "+format, args...))
}

func (g gnetLog) Fatalf(format string, args ...any) {
	g.log.Error(fmt.Sprintf("gnet: "+format, args...))
}
