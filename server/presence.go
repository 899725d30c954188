package server

import (
	"net/netip"
	"time"

	"cim/proto"
	"cim/server/shard"
)

// admit judges a login. While the server goes down, a client whose grant came just
// before gets ReasonDraining, and logs in again at a route.
func (s *Server) admit(user proto.UserID, login *proto.View, ref shard.Ref, from origin) (claim, refusal) {
	if s.leaving.Load() {
		return claim{}, refusal{reason: proto.ReasonDraining}
	}
	return s.directory.claim(user, login, ref, from, s.now())
}

// loginRefused counts and logs a refusal.
func (s *Server) loginRefused(user proto.UserID, why refusal, from netip.AddrPort) {
	about := []any{"user", int64(user), "from", from.String()}
	if why.guard != guardNone {
		s.metrics.guarded[why.guard].Inc()
		about = append(about, "guard", why.guard.String())
	}
	s.logRefusal("login refused", why.reason.String(), about...)
}

// refusesLogins reports whether the server refuses grants.
func (s *Server) refusesLogins() bool {
	return s.leaving.Load() || s.draining.Load() || s.lease.lost.Load() || s.health() != proto.VerdictTaken
}

// sendUp reports to a route that a session waits for its catch-up. It is repeated
// each second until the catch-up begins, each time (turn) to the next route, since
// a route with a link may have stopped.
func (s *Server) sendUp(h shard.Held, c *connection, turn uint64) {
	r := proto.Record{Kind: proto.RecordUp, User: h.User, Generation: h.Generation}
	addHeld(&r, h, c)
	s.sendToRoute(&r, turn)
}

// sendDown reports to a route that a session or grant has ended. If no link takes
// it, it is lost, and the next push, revoke or claim finds out.
func (s *Server) sendDown(user proto.UserID, generation proto.Generation) {
	s.sendToRoute(&proto.Record{Kind: proto.RecordDown, User: user, Generation: generation}, 0)
}

// onGrantEvicted is called for a grant that was evicted for a newer one.
func (s *Server) onGrantEvicted(user proto.UserID, generation proto.Generation) {
	s.metrics.grantsEvicted.Inc()
	s.sendDown(user, generation)
}

func (s *Server) sendToRoute(r *proto.Record, turn uint64) {
	if !s.links.send(r, turn) {
		s.metrics.upsLost.Inc()
	}
}

// forget is called when a session's connection has closed and its kept texts are
// among the returns: RecordDown waits for those.
func (s *Server) forget(user proto.UserID, generation proto.Generation, ref shard.Ref) {
	name, left := s.directory.leave(user, ref)
	if !left {
		return
	}
	if !s.returns.has(user) || !s.returns.wait(user, func(bool) { s.sendDown(user, generation) }) {
		s.sendDown(user, generation)
	}
	if generation == 0 && s.ungranted != nil {
		s.ungranted.Ended(user, name)
	}
}

// onEnded is called when a shard has ended a connection for a reason.
func (s *Server) onEnded(e shard.End) {
	s.metrics.ends[e.Reason].Inc()
	if e.User != 0 {
		s.forget(e.User, e.Generation, e.Ref)
	}
}

// requestEndOf is requestEnd for user's session, whose return is expected.
func (s *Server) requestEndOf(user proto.UserID, ref shard.Ref, reason proto.Reason) {
	if ref == (shard.Ref{}) {
		s.returns.arrived(user)
		return
	}
	s.loops[ref.Shard].mailbox.post(letter{kind: letterEnd, ref: ref, user: user, value: uint64(reason)}, nil)
}

// requestEnd has a session of any loop ended. A zero ref does nothing.
func (s *Server) requestEnd(ref shard.Ref, reason proto.Reason) {
	if ref == (shard.Ref{}) {
		return
	}
	s.loops[ref.Shard].mailbox.post(letter{kind: letterEnd, ref: ref, value: uint64(reason)}, nil)
}

// logRefusal logs an event that strangers can cause, within logLinesMax.
func (s *Server) logRefusal(what, reason string, attrs ...any) {
	if s.logBound.allows(time.Now()) {
		s.log.With("reason", reason).Info(what, attrs...)
	}
}
