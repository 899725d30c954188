package server

import (
	"runtime"
	"sync/atomic"
	"time"

	"cim/server/shard"
)

// EventWait says how an event loop waits for its next event.
type EventWait string

// With WaitDirect a loop fetches events and reads its connections itself, and leaves
// to gnet what is left. gnet by itself, WaitPlain, looks without waiting, yields to
// other goroutines, and looks again; and each of its calls goes through Go's
// scheduler: for a loop that is mostly idle that is twice the calls, and a second
// thread that wakes to find nothing.
const (
	WaitDirect EventWait = "direct"
	WaitPlain  EventWait = "plain"
)

// waiting lets an event loop serve its connections from inside a callback of gnet. It
// looks at gnet's own epoll descriptor, which is level-triggered: events that gnet has
// fetched and not come to yet are seen there too, and what is not dealt with stays.
// Only the word that gnet has a task for the loop is edge-triggered. If the loop
// fetches it, it rings again for gnet; since gnet may have fetched it before, the loop
// does not wait while a task may be under way, nor once the loops are to stop.
type waiting struct {
	epoll *pollSet     // of the loop; nil: gnet waits by itself. Fixed before clients are let in
	tasks atomic.Int32 // given to gnet for the loop, whose end is not known yet

	// The loop's.
	clients []*connection // by descriptor; only if epoll is not nil
	yielded time.Duration // when it last yielded to other goroutines
}

const (
	// yieldEvery is well below the 10 ms for which the runtime lets a goroutine run
	// without a turn of its scheduler: past them it takes the loop's P away in each
	// wait, and its monitor finds no rest. A turn wakes another thread, so each event
	// is not worth one.
	yieldEvery = 4 * time.Millisecond
	// leaveEvery is how long a task may wait that nothing counts, and that gnet has
	// fetched together with the event whose callback serves.
	leaveEvery = shard.TickMillis * time.Millisecond
)

// serve deals with the loop's events until gnet has something to do. A callback of
// gnet calls it last.
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

// mayWait reports whether a loop that has served since entered may wait for its next
// event.
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

// serveReady waits for events and deals with them: it reads first, so that what they
// bring to one connection is one write. It reports false if some are gnet's.
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
			onlyOurs = onlyOurs && err == nil && data != nil // else it has been taken down
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

// read reads from c once. It reports false if its peer has closed, which gnet deals
// with.
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

// onOpened has c, which gnet has enrolled, found by its descriptor.
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

// onClosed has c found no more.
func (w *waiting) onClosed(c *connection) {
	if w.epoll != nil {
		w.clients[c.conn.Fd()] = nil
	}
}

// yield lets another thread that waits for this core have it. On a machine
// whose cores are all busy, whoever brings the next broadcast would else wait
// for the kernel's time slice to end, and the rounds would carry fewer frames.
func yield() { yieldThread() }

// writeIfDue writes if what came in since the last write, of which the last n bytes
// have just been dealt with, is much.
func (l *loop) writeIfDue(n int) {
	if l.unwritten += n; l.unwritten >= writeAfter {
		l.unwritten = 0
		l.write()
	}
}

// writeAfter is how many bytes that came in are dealt with before a write: a session
// is slow if its socket does not take them, not if many came at once.
const writeAfter = shard.UnsentBytesMax / 2
