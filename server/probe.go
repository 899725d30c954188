package server

import (
	"fmt"
	"sync/atomic"
	"time"

	"cim/proto"
)

// probe detects that one event loop stands still while the process runs: in a
// system call that does not return, or on a lock. Every 50 ms the stall detector
// sends a question, and the loop answers with its next piece of work. A loop that
// has not answered for pauseMin is blocked: the server is not ready, refuses
// grants, and reports it to its routes. What the loop finds afterwards is as late
// as after a pause of the process, so the standstill counts as a pause.
//
// While nothing is wrong, an answer costs one load.
type probe struct {
	asked atomic.Int64 // the time of an unanswered question; 0: none

	// Owned by the goroutine of stalls.
	reported bool // the standstill has been logged
}

// probeLoops asks the loops that have answered, and reports those that have not. It
// does not ask loops that are not running.
func (s *Server) probeLoops(now time.Duration) {
	for _, l := range s.loops {
		if !s.engine.open.Load() {
			l.probe.asked.Store(0)
			continue
		}
		if l.probe.asked.CompareAndSwap(0, max(1, int64(now))) {
			l.probe.reported = false
			l.mailbox.wake()
		} else if stood := s.stoodFor(l, now); stood > s.stalls.pauseMin && !l.probe.reported {
			l.probe.reported = true
			s.log.Error("an event loop stands still: its sessions are not served and the server takes no logins until it goes on; "+
				"/debug/pprof/goroutine?debug=2 shows where it stands", "loop", l.number, "for", stood.Round(time.Millisecond))
		}
	}
}

// stoodFor is how long l has not answered, without a pause of the whole process.
func (s *Server) stoodFor(l *loop, now time.Duration) time.Duration {
	asked := l.probe.asked.Load()
	if asked == 0 {
		return 0
	}
	return now - time.Duration(max(asked, s.stalls.resumedAt.Load()))
}

// blocked reports whether the loop stands still. Any goroutine may call it.
func (l *loop) blocked() bool {
	return l.probe.asked.Load() != 0 && l.server.stoodFor(l, l.server.clock()) > l.server.stalls.pauseMin
}

// loopsBlocked is the number of loops that stand still.
func (s *Server) loopsBlocked() (n int) {
	for _, l := range s.loops {
		if l.blocked() {
			n++
		}
	}
	return n
}

// checkLoops returns an error if a loop stands still.
func (s *Server) checkLoops() error {
	for _, l := range s.loops {
		if l.blocked() {
			return fmt.Errorf("server: event loop %d of %d has stood still for %v: its sessions are not served; "+
				"if that lasts, keep what /debug/pprof/goroutine?debug=2 shows and restart the process",
				l.number+1, len(s.loops), s.stoodFor(l, s.clock()).Round(100*time.Millisecond))
		}
	}
	return nil
}

// health is the verdict on a RecordConfirm.
func (s *Server) health() proto.Verdict {
	if s.loopsBlocked() > 0 {
		return proto.VerdictRefused
	}
	return proto.VerdictTaken
}

// answerProbe answers the probe. The loop calls it between any two pieces of work.
func (l *loop) answerProbe() {
	if l.probe.asked.Load() == 0 {
		return
	}
	s := l.server
	_, l.pauses = s.checkStall()
	stood := s.stoodFor(l, s.clock())
	if stood > s.stalls.pauseMin {
		l.pauses = s.stalls.recordLoopPause()
		s.onLoopResumed(l, l.pauses, stood)
	}
	l.probe.asked.Store(0)
}

// onLoopResumed is called once after each standstill of a loop.
func (s *Server) onLoopResumed(l *loop, pauses uint64, stood time.Duration) {
	s.metrics.pauses.Inc()
	s.log.Warn("an event loop stood still and goes on: what routes have sent meanwhile is not done",
		"loop", l.number, "for", stood.Round(time.Millisecond))
	s.requestEchoes(pauses)
}
