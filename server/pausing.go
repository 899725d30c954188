package server

import (
	"context"
	"time"

	"cim/proto"
	"cim/server/shard"
)

// clock is the server's monotonic time.
func (s *Server) clock() time.Duration { return s.readClock() }

// checkStall is called by whoever is about to work. It returns the present tick and
// how often the process stood still; whoever has begun before the last pause
// must give up what others may have given up meanwhile.
func (s *Server) checkStall() (now shard.Tick, pauses uint64) {
	at := s.clock()
	pauses, stood := s.stalls.check(at)
	if stood > 0 {
		s.onResumed(pauses, stood)
	}
	return ticksOf(at), pauses
}

// watchStalls renews the pulse until ctx ends.
func (s *Server) watchStalls(ctx context.Context) {
	ticker := time.NewTicker(stampEvery)
	defer ticker.Stop()
	for {
		if pauses, stood := s.stalls.renew(s.clock()); stood > 0 {
			s.onResumed(pauses, stood)
		}
		s.checkLease(s.clock()) // before a loop looks at the time
		s.probeLoops(s.clock())
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// onResumed is called once behind each pause: every link is asked for its echo,
// also one that brings nothing.
func (s *Server) onResumed(pauses uint64, stood time.Duration) {
	s.metrics.pauses.Inc()
	s.log.Warn("the process stood still: what routes have sent meanwhile is not done; look at signals, swapping, and the machine's load",
		"for", stood.Round(time.Millisecond))
	s.requestEchoes(pauses)
}

func (s *Server) requestEchoes(pauses uint64) {
	for _, l := range s.links.all() {
		l.requestEcho(pauses)
	}
}

// inDoubt reports whether sessions may have been superseded while the process
// stood still: since the last pause no link has been told of all of them. With
// no link nobody could tell.
func (s *Server) inDoubt(pauses uint64) bool {
	return s.syncedPause.Load() < pauses && len(s.links.all()) > 0
}

// onSynced is called when a link has been told, since the pause of this number,
// of all sessions, and those that were superseded have been ended.
func (s *Server) onSynced(pause uint64) {
	for before := s.syncedPause.Load(); before < pause; before = s.syncedPause.Load() {
		if s.syncedPause.CompareAndSwap(before, pause) {
			return
		}
	}
}

// requestEcho asks the route, once for each pause, for the echo behind all that it
// sent before. Any goroutine may call it.
func (l *linkEnd) requestEcho(pauses uint64) {
	for before := l.echoAsked.Load(); before < pauses; before = l.echoAsked.Load() {
		if l.echoAsked.CompareAndSwap(before, pauses) {
			l.send(&proto.Record{Kind: proto.RecordPaused, ID: pauses})
			return
		}
	}
}

// onEcho has come behind all that the route sent before it knew of a pause. The
// last one ends the silence, and the sessions are told anew: users may have
// logged in elsewhere meanwhile.
func (l *linkEnd) onEcho(r *proto.Record) error {
	if r.ID > l.echoAsked.Load() {
		return &proto.LinkError{What: "id of an echo", Value: r.ID}
	}
	l.echoed = max(l.echoed, r.ID)
	if !l.awaitsEcho() {
		l.resync()
	}
	return nil
}

// awaitsEcho reports whether what comes may have been sent before the last pause.
func (l *linkEnd) awaitsEcho() bool { return l.echoed != l.pauses }

// refuseStale answers what is not done because it may have been sent before a pause,
// when its route may have given it up long ago. What holds or revokes is
// done all the same: late, a hold only causes one more catch-up, which may
// bring what was stored meanwhile, and a revoke has its generation. A message is
// to be stored: its session is held too, so that what it keeps is in the box before.
func (l *linkEnd) refuseStale(r *proto.Record) bool {
	verdict := proto.VerdictAbsent
	switch r.Kind {
	case proto.RecordPush:
		if ref, found := l.find(r); r.Flags&proto.FlagOffline == 0 && found == proto.VerdictTaken {
			l.server.metrics.late.Inc()
			l.post(letter{kind: letterPush, ref: ref, user: r.User, requester: l, id: r.ID, doubt: true}, nil)
			return true
		}
	case proto.RecordResume:
	case proto.RecordBroadcast:
		verdict = proto.VerdictBusy
	case proto.RecordGrant, proto.RecordJoin:
		verdict = proto.VerdictRefused
	default:
		return false
	}
	l.server.metrics.late.Inc()
	l.answer(r.ID, verdict, 0)
	return true
}

// refuseLate gives up a letter that has waited since before the last pause. What
// ends or holds a session, and outcomes, are never too late.
func (l *loop) refuseLate(m *letter, body []byte) bool {
	if m.pauses >= l.pauses {
		return false
	}
	switch m.kind {
	case letterPush:
		l.refusePush(m)
	case letterResume:
		m.requester.answer(m.id, proto.VerdictAbsent, 0)
	case letterBroadcast:
		m.fanout.done(proto.VerdictBusy, 0)
	case letterSend:
		l.takeSend(m, body, true)
	default:
		return false
	}
	l.server.metrics.late.Inc()
	return true
}
