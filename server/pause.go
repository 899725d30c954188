package server

import (
	"context"
	"time"

	"cim/proto"
	"cim/server/shard"
)

// clock is the server's monotonic time.
func (s *Server) clock() time.Duration { return s.readClock() }

// checkStall is called before any work. It returns the present tick and the number
// of pauses; a caller that started before the last pause must give up work that
// others may have given up meanwhile.
func (s *Server) checkStall() (now shard.Tick, pauses uint64) {
	at := s.clock()
	pauses, stood := s.stalls.check(at)
	if stood > 0 {
		s.onResumed(pauses, stood)
	}
	return ticksOf(at), pauses
}

// watchStalls renews the stamp until ctx ends.
func (s *Server) watchStalls(ctx context.Context) {
	ticker := time.NewTicker(stampEvery)
	defer ticker.Stop()
	for {
		if pauses, stood := s.stalls.renew(s.clock()); stood > 0 {
			s.onResumed(pauses, stood)
		}
		s.checkLease(s.clock()) // before any loop reads the time
		s.probeLoops(s.clock())
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// onResumed is called once after each pause: it requests an echo of every link,
// also of a link that receives nothing.
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

// inDoubt reports whether sessions may have been superseded during a pause: no link
// has sent all sessions since the last pause. Without a link, no session can be
// checked.
func (s *Server) inDoubt(pauses uint64) bool {
	return s.syncedPause.Load() < pauses && len(s.links.all()) > 0
}

// onSynced is called when a link has sent all sessions since the given pause, and
// the superseded ones have been ended.
func (s *Server) onSynced(pause uint64) {
	for before := s.syncedPause.Load(); before < pause; before = s.syncedPause.Load() {
		if s.syncedPause.CompareAndSwap(before, pause) {
			return
		}
	}
}

// requestEcho requests, once for each pause, an echo from the route; it arrives
// after everything that the route sent before. Any goroutine may call it.
func (l *linkEnd) requestEcho(pauses uint64) {
	for before := l.echoAsked.Load(); before < pauses; before = l.echoAsked.Load() {
		if l.echoAsked.CompareAndSwap(before, pauses) {
			l.send(&proto.Record{Kind: proto.RecordPaused, ID: pauses})
			return
		}
	}
}

// onEcho handles an echo, which arrives after everything that the route sent before
// it learnt of the pause. The echo of the last pause ends the refusals and starts a
// resync: users may have logged in elsewhere meanwhile.
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

// awaitsEcho reports whether incoming records may have been sent before the last
// pause.
func (l *linkEnd) awaitsEcho() bool { return l.echoed != l.pauses }

// refuseStale refuses a record that may have been sent before a pause, since its
// route may have given it up long ago. Holds and revokes are carried out even then:
// a late hold only causes one more catch-up, which may bring messages stored
// meanwhile, and a revoke names its generation. A message must be stored, so its
// session is held too, and its kept texts reach the box first.
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

// refuseLate refuses a letter that has waited since before the last pause. Letters
// that end or hold a session, and outcomes, are never too late.
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
