package server

import (
	"sync"
	"sync/atomic"
	"time"
)

// lease is the server's right to keep sessions. It lasts for term after the last
// confirmation by a route or the registry: at least as long as they consider the
// server alive. After that it is lost until the next confirmation. The sessions end
// then, since their users may have logged in elsewhere.
type lease struct {
	term time.Duration // 0: it is never lost

	losses atomic.Uint64 // so far; a goroutine compares it before it works with sessions
	lost   atomic.Bool
	known  atomic.Bool  // it has been confirmed at least once
	stamp  atomic.Int64 // when it was last confirmed

	mu sync.Mutex // held to change the fields above
}

// check reports whether this call found the lease lost.
func (l *lease) check(now time.Duration) bool {
	if l.term == 0 || l.lost.Load() || l.age(now) <= l.term {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checkLocked(now)
}

func (l *lease) checkLocked(now time.Duration) bool {
	if l.term == 0 || l.lost.Load() || l.age(now) <= l.term {
		return false
	}
	l.lost.Store(true)
	l.losses.Add(1)
	return true
}

// confirm renews the lease. If its term is over, it is lost first. regained: it had
// been lost.
func (l *lease) confirm(now time.Duration) (lost, regained bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost = l.checkLocked(now)
	regained = l.lost.Load()
	l.stamp.Store(max(l.stamp.Load(), int64(now)))
	l.lost.Store(false)
	l.known.Store(true)
	return lost, regained
}

// age is the time since the last confirmation.
func (l *lease) age(now time.Duration) time.Duration {
	return now - time.Duration(l.stamp.Load())
}

// Confirm renews the server's lease: the registry or a route has just confirmed
// that it considers this run of the server alive. Any goroutine may call it.
func (s *Server) Confirm() {
	known := s.lease.known.Load()
	lost, regained := s.lease.confirm(s.clock())
	if lost {
		s.leaseLost(known)
	}
	if regained && known {
		s.log.Info("the lease is confirmed again, logins are taken")
	}
}

// checkLease checks whether the lease is lost.
func (s *Server) checkLease(now time.Duration) {
	if s.lease.check(now) {
		s.leaseLost(s.lease.known.Load())
	}
}

// leaseLost is called once for each loss. The loops end their sessions at their
// next visit, before anything else. A server without sessions that was never
// confirmed has lost nothing: it waits, and Ready says so.
func (s *Server) leaseLost(known bool) {
	if known || s.conns.Load() > 0 || s.directory.len() > 0 {
		s.metrics.leaseLosses.Inc()
		s.log.Error("the lease is lost: all sessions end, since their users may be logged in elsewhere; "+
			"look at the network to ZooKeeper and to the routes, and at whether the process stood still",
			"unconfirmed_for", s.lease.age(s.clock()).Round(time.Millisecond), "connections", s.conns.Load())
	}
	s.directory.endGrants(s.sendDown)
	for _, l := range s.loops {
		l.mailbox.wake()
	}
}
