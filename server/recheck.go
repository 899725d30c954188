package server

import "time"

// recheckRate bounds how many sessions a second are told by turns: with more
// than 60,000 of them a round takes longer than Config.Recheck.
const recheckRate = 10_000

// recheck is when all sessions are told to a route the next time, so that it
// compares them with the store: what the store has lost comes back. One route
// does it for all. It is the ticker's.
type recheck struct {
	due  time.Duration
	turn int
}

// recheckSessions tells one link of all sessions if it is time. One whose route
// is still at the last ones, since its store is away for example, is passed by.
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

// recheckPause is the time between two rounds of so many sessions: every, or
// longer if that were more than recheckRate.
func recheckPause(every time.Duration, sessions int) time.Duration {
	return max(every, time.Duration(sessions)*time.Second/recheckRate)
}

// startRecheck begins to tell of all sessions, unless that is under way. It says
// nothing about pauses of the process: its reader does.
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
