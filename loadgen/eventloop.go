package loadgen

import (
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/panjf2000/gnet/v2"

	"cim/proto"
)

// eventLoop is one gnet loop and the clients whose sockets it reads.
type eventLoop struct {
	gnet.BuiltinEventEngine
	clock  *clock
	faults *faults
	engine *gnet.Client
	ended  chan<- struct{} // capacity 1: filled when a connection ends before stop

	// mu guards all below and the loop's part of its clients. The loop takes it once per read,
	// other goroutines only between trials and to count.
	mu       sync.Mutex
	stopping bool
	trial    *trial // never nil
	tally    tally
	arrival  int64     // of the bytes at hand, in ns of the clock
	inbox    Inbox     // lent to the session that reads
	unacked  []unacked // in the order of their times; each session once at most
}

// noTrial is in place of one before the first: no text is as long as its are.
var noTrial = &trial{sizes: OneSize(proto.FrameMax)}

// newEventLoop starts a loop without clients.
func newEventLoop(clock *clock, faults *faults, ended chan<- struct{}) (*eventLoop, error) {
	l := &eventLoop{clock: clock, faults: faults, ended: ended, trial: noTrial, tally: newTally(0)}
	l.inbox.loop = l
	engine, err := gnet.NewClient(l,
		gnet.WithNumEventLoop(1), gnet.WithTCPNoDelay(gnet.TCPNoDelay), gnet.WithLogger(loopLog{faults}))
	if err != nil {
		return nil, fmt.Errorf("loadgen: event loop: %w", err)
	}
	if err := engine.Start(); err != nil {
		return nil, fmt.Errorf("loadgen: event loop: %w", err)
	}
	l.engine = engine
	return l, nil
}

// enroll gives conn to the loop, which closes it at the end.
func (l *eventLoop) enroll(conn net.Conn, c *client) error {
	_, err := l.engine.EnrollContext(conn, c)
	return err
}

// stop closes all connections and ends the loop.
func (l *eventLoop) stop() error {
	l.mu.Lock()
	l.stopping = true
	l.mu.Unlock()
	return l.engine.Stop()
}

// OnOpen implements gnet.EventHandler.
func (l *eventLoop) OnOpen(conn gnet.Conn) ([]byte, gnet.Action) {
	conn.Context().(*client).opened(conn.Fd())
	return nil, gnet.None
}

// OnClose implements gnet.EventHandler. The descriptor is still open then, so no client writes to
// one that has been reused.
func (l *eventLoop) OnClose(conn gnet.Conn, _ error) gnet.Action {
	c := conn.Context().(*client)
	c.closed()
	l.mu.Lock()
	defer l.mu.Unlock()
	c.endLogin(errClosed)
	if c.leaving {
		c.gone <- struct{}{}
		return gnet.None
	}
	if l.stopping {
		return gnet.None
	}
	c.ended = true
	select {
	case l.ended <- struct{}{}:
	default: // it is filled already
	}
	return gnet.None
}

// OnTraffic implements gnet.EventHandler.
func (l *eventLoop) OnTraffic(conn gnet.Conn) gnet.Action {
	data, err := conn.Next(-1)
	if err != nil {
		l.faults.add("read: %v", err)
		return gnet.Close
	}
	c := conn.Context().(*client)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrival = l.clock.now()
	l.inbox.client = c
	if err := c.session.Receive(data, &l.inbox); err != nil {
		l.faults.add("client %d: %v", c.index, err)
		return gnet.Close
	}
	return gnet.None
}

// loopLog makes faults of what gnet warns of.
type loopLog struct{ faults *faults }

func (loopLog) Debugf(string, ...any)               {}
func (loopLog) Infof(string, ...any)                {}
func (l loopLog) Warnf(format string, args ...any)  { l.faults.add("event loop: "+format, args...) }
func (l loopLog) Errorf(format string, args ...any) { l.faults.add("event loop: "+format, args...) }
func (l loopLog) Fatalf(format string, args ...any) { l.faults.add("event loop: "+format, args...) }

func stopAll(loops []*eventLoop) error {
	var errs []error
	for _, l := range loops {
		errs = append(errs, l.stop())
	}
	return errors.Join(errs...)
}
