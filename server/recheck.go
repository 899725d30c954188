package server

import "time"

// recheckRate bounds the sessions a second that rechecks send: with more than
// 60,000 sessions a pass takes longer than Config.Recheck.
const recheckRate = 10_000

// recheck is the time of the next recheck: all sessions are sent to one route,
// which compares them with the store and restores what the store has lost. One
// route does it for all. The ticker owns it.
type recheck struct {
	due  time.Duration
	turn int
}

// recheckSessions starts a pass on one link if it is due. It skips links whose last
// pass is not finished, for example since the route's store is away.
func (s *Server) recheckSessions(now time.Duration) {
	every := s.config.Recheck
	if every == 0 || now < s.recheck.due || s.leaving.Load() {
		return
	}
	all := s.links.all()
	for i := range all {
		if l := all[(s.recheck.turn+i)%len(all)]; l.startRecheck() {
			s.recheck.turn += i + 1
			break
		}
	}
	s.recheck.due = now + recheckPause(every, s.directory.len())
}

// recheckPause is the time between two passes: every, or longer if that would
// exceed recheckRate.
func recheckPause(every time.Duration, sessions int) time.Duration {
	return max(every, time.Duration(sessions)*time.Second/recheckRate)
}

// startRecheck starts a pass unless one is running. The pass covers no pause
// (sync.pauses is 0): only a resync by the reader does.
func (l *linkEnd) startRecheck() bool {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if l.sync.awaited {
		return false
	}
	l.sync.restart()
	l.sendSessions()
	return true
}
