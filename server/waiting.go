package server

import (
	"runtime"
	"sync/atomic"
	"time"

	"cim/server/shard"
)

// EventWait says how an event loop waits for its next event.
type EventWait string

// With WaitDirect a loop fetches events and reads its connections itself, and
// leaves the rest to gnet. With WaitPlain gnet polls without waiting, yields to
// other goroutines, and polls again, each time through Go's scheduler: for a loop
// that is mostly idle that is twice the calls, and a second thread that wakes up
// for nothing.
const (
	WaitDirect EventWait = "direct"
	WaitPlain  EventWait = "plain"
)

// waiting lets an event loop serve its connections from inside a callback of gnet.
// It reads gnet's own epoll descriptor, which is level-triggered: events that gnet
// has fetched and not handled are seen there too, and unhandled events stay. Only
// gnet's wake-up for tasks is edge-triggered. If the loop fetches that one, it
// triggers it again for gnet. Since gnet may have fetched it before, the loop does
// not wait while a task may be pending, nor once the loops are to stop.
type waiting struct {
	epoll *pollSet     // nil: gnet waits by itself. Fixed before clients are let in
	tasks atomic.Int32 // given to gnet for the loop, and not known to have ended

	// Owned by the loop.
	clients []*connection // by descriptor; only if epoll is not nil
	yielded time.Duration // when it last yielded to other goroutines
}

const (
	// yieldEvery is well below the 10 ms after which the runtime wants a turn of
	// its scheduler: past them it takes the loop's P away in each wait, and its
	// monitor never sleeps. A turn wakes another thread, so one for each event
	// would be too many.
	yieldEvery = 4 * time.Millisecond
	// leaveEvery bounds how long an uncounted task may wait, if gnet has fetched it
	// together with the event of the present callback.
	leaveEvery = shard.TickMillis * time.Millisecond
)

// serve handles the loop's events until gnet has something to do. Each callback of
// gnet ends with it.
func (l *loop) serve() {
	if w := &l.waiting; w.epoll != nil {
		for entered := l.server.clock(); w.mayWait(l.server, entered); {
			if !l.serveReady() {
				break
			}
		}
	}
	if l.again {
		l.again = false
		l.mailbox.wake()
	}
}

// mayWait reports whether a loop that has been serving since entered may wait for
// its next event.
func (w *waiting) mayWait(s *Server, entered time.Duration) bool {
	now := s.clock()
	if !s.engine.open.Load() || w.tasks.Load() != 0 || now-entered >= leaveEvery {
		return false
	}
	if now-w.yielded >= yieldEvery {
		w.yielded = now
		runtime.Gosched()
	}
	return true
}

// serveReady waits for events and handles them: it reads all first, so that the
// bytes for one connection are one write. It reports false if some events are for
// gnet.
func (l *loop) serveReady() bool {
	w := &l.waiting
	onlyOurs := true
	for i := range w.epoll.fetch(!l.again) {
		fd, readable := w.epoll.event(i)
		switch c := w.client(fd); {
		case readable && c != nil:
			onlyOurs = l.read(c) && onlyOurs
		case readable && fd == w.epoll.bell:
			data, err := w.epoll.read(fd)
			onlyOurs = onlyOurs && err == nil && data != nil // else the bell has been closed
			l.again = true
		default:
			w.epoll.leave(fd)
			onlyOurs = false
		}
	}
	if l.again {
		l.again = false
		l.answerMail()
	} else {
		l.unwritten = 0
		l.write()
	}
	return onlyOurs
}

// read reads from c once. It reports false if the peer has closed; gnet handles
// that.
func (l *loop) read(c *connection) bool {
	data, err := l.waiting.epoll.read(c.conn.Fd())
	switch {
	case err != nil:
		l.close(c)
	case data == nil:
		return false
	case len(data) > 0:
		l.handleData(c, data)
		l.writeIfDue(len(data))
	}
	return true
}

// client is the client's connection with this descriptor, or nil.
func (w *waiting) client(fd int) *connection {
	if fd >= len(w.clients) {
		return nil
	}
	return w.clients[fd]
}

// onOpened makes c, which gnet has enrolled, known by its descriptor.
func (w *waiting) onOpened(c *connection) {
	if w.epoll == nil {
		return
	}
	fd := c.conn.Fd()
	for len(w.clients) <= fd {
		w.clients = append(w.clients, nil)
	}
	w.clients[fd] = c
}

// onClosed removes c.
func (w *waiting) onClosed(c *connection) {
	if w.epoll != nil {
		w.clients[c.conn.Fd()] = nil
	}
}

// yield gives the core to another thread that waits for it. On a machine with busy
// cores, the sender of the next broadcast would otherwise wait for the end of the
// kernel's time slice, and each round would carry fewer frames.
func yield() { yieldThread() }

// writeIfDue writes if much has come in since the last write. n is the size of what
// was just handled.
func (l *loop) writeIfDue(n int) {
	if l.unwritten += n; l.unwritten >= writeAfter {
		l.unwritten = 0
		l.write()
	}
}

// writeAfter is how many incoming bytes are handled before a write, so that a
// session counts as slow only if its socket does not take its bytes, not if many
// came at once.
const writeAfter = shard.UnsentBytesMax / 2
