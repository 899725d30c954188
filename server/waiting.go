package server

import (
	"runtime"
	"sync/atomic"
	"time"
)

// EventWait says how an event loop waits for its next event.
type EventWait string

// With WaitDirect a loop waits in the kernel as soon as it has dealt with an event.
// gnet by itself, WaitPlain, looks without waiting, yields to other goroutines, and
// looks again: for a loop that is mostly idle that is twice the calls, and a second
// thread that wakes to find nothing.
const (
	WaitDirect EventWait = "direct"
	WaitPlain  EventWait = "plain"
)

// waiting lets an event loop wait for its next event inside the callback of the last
// one. Events of gnet's present batch that it has not come to yet are seen as ready,
// since gnet's poller is level-triggered, and end the wait at once. Only the word that
// gnet has a task for the loop is edge-triggered: so there is no wait while one may be
// under way, nor once the loops are to stop.
type waiting struct {
	epoll *pollSet     // of the loop; nil: gnet waits by itself. Fixed before clients are let in
	tasks atomic.Int32 // given to gnet for the loop, whose end is not known yet

	// The loop's.
	yielded time.Duration // when it last yielded to other goroutines
}

// yieldEvery is well below the 10 ms for which the runtime lets a goroutine run
// without a turn of its scheduler: past them it takes the loop's P away in each wait,
// and its monitor finds no rest. A turn wakes another thread, so each event is not
// worth one.
const yieldEvery = 4 * time.Millisecond

// wait returns when the loop has an event, or gnet's own way is to be taken.
func (w *waiting) wait(s *Server) {
	if !s.engine.open.Load() || w.epoll == nil || w.tasks.Load() != 0 {
		return
	}
	if now := s.clock(); now-w.yielded >= yieldEvery {
		w.yielded = now
		runtime.Gosched()
	}
	w.epoll.wait()
}
