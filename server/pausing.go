package server

import (
	"context"
	"time"

	"cim/proto"
	"cim/server/shard"
)

// clock is the server's monotonic time.
func (s *Server) clock() time.Duration { return s.readClock() }

// look is called by whoever is about to work. It returns the present tick and
// how often the process stood still; whoever has begun before the last pause
// must give up what others may have given up meanwhile.
func (s *Server) look() (now shard.Tick, pauses uint64) {
	at := s.clock()
	pauses, stood := s.pulse.look(at)
	if stood > 0 {
		s.resumed(pauses, stood)
	}
	return ticksOf(at), pauses
}

// beat renews the pulse until ctx ends.
func (s *Server) beat(ctx context.Context) {
	ticker := time.NewTicker(pulseEvery)
	defer ticker.Stop()
	for {
		if pauses, stood := s.pulse.beat(s.clock()); stood > 0 {
			s.resumed(pauses, stood)
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

// resumed is called once behind each pause: every link is asked for its echo,
// also one that brings nothing.
func (s *Server) resumed(pauses uint64, stood time.Duration) {
	s.metrics.pauses.Inc()
	s.log.Warn("the process stood still: what routes have sent meanwhile is not done; look at signals, swapping, and the machine's load",
		"for", stood.Round(time.Millisecond))
	s.askEchoes(pauses)
}

func (s *Server) askEchoes(pauses uint64) {
	for _, l := range s.links.all() {
		l.askEcho(pauses)
	}
}

// inDoubt reports whether sessions may have been superseded while the process
// stood still: since the last pause no link has been told of all of them. With
// no link nobody could tell.
func (s *Server) inDoubt(pauses uint64) bool {
	return s.told.Load() < pauses && len(s.links.all()) > 0
}

// toldAll is called when a link has been told, since the pause of this number,
// of all sessions, and those that were superseded have been ended.
func (s *Server) toldAll(pause uint64) {
	for before := s.told.Load(); before < pause; before = s.told.Load() {
		if s.told.CompareAndSwap(before, pause) {
			return
		}
	}
}

// askEcho asks the route, once for each pause, for the echo behind all that it
// sent before. Any goroutine may call it.
func (l *linkEnd) askEcho(pauses uint64) {
	for before := l.asked.Load(); before < pauses; before = l.asked.Load() {
		if l.asked.CompareAndSwap(before, pauses) {
			l.tell(&proto.Record{Kind: proto.RecordPaused, ID: pauses})
			return
		}
	}
}

// echo has come behind all that the route sent before it knew of a pause. The
// last one ends the silence, and the sessions are told anew: users may have
// logged in elsewhere meanwhile.
func (l *linkEnd) echo(r *proto.Record) error {
	if r.ID > l.asked.Load() {
		return &proto.LinkError{What: "id of an echo", Value: r.ID}
	}
	l.echoed = max(l.echoed, r.ID)
	if !l.muted() {
		l.tellAnew()
	}
	return nil
}

// muted reports whether what comes may have been sent before the last pause.
func (l *linkEnd) muted() bool { return l.echoed != l.pauses }

// drops answers what is not done because it may have been sent before a pause,
// when its route may have given it up long ago. What holds or revokes is
// done all the same: late, a hold only causes one more catch-up, which may
// bring what was stored meanwhile, and a revoke has its generation. A message is
// to be stored: its session is held too, so that what it keeps is in the box before.
func (l *linkEnd) drops(r *proto.Record) bool {
	verdict := proto.VerdictAbsent
	switch r.Kind {
	case proto.RecordPush:
		if ref, found := l.find(r); r.Flags&proto.FlagOffline == 0 && found == proto.VerdictTaken {
			l.server.metrics.late.Inc()
			l.post(letter{kind: letterPush, ref: ref, user: r.User, asker: l, id: r.ID, doubt: true}, nil)
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

// late gives up a letter that has waited since before the last pause. What
// ends or holds a session, and outcomes, are never too late.
func (l *loop) late(m *letter, body []byte) bool {
	if m.pauses >= l.pauses {
		return false
	}
	switch m.kind {
	case letterPush:
		l.refuse(m)
	case letterResume:
		m.asker.answer(m.id, proto.VerdictAbsent, 0)
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
