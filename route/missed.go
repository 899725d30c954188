package route

import "cim/proto"

// missedMax bounds the sessions of one server that wait for its link. One more
// gets what is stored by its next catch-up: at the next message that finds the
// link up, at a fetch, or at its user's next login.
const missedMax = 4096

// miss notes a session whose catch-up found the link down. It may live, linked
// to other routes, and not be held: so nobody else would look at its box.
func (r *Route) miss(at session) {
	if !at.server.miss(at) {
		r.counters.refused.inc("missed")
		r.notices.say("catch-up of an unlinked server not noted", "server", at.server.member.Name())
	}
	if at.server.linked() {
		r.catchMissed(at.server)
	}
}

func (s *server) miss(at session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, found := s.missed[at.user]; !found && len(s.missed) >= missedMax {
		return false
	}
	s.missed[at.user] = max(s.missed[at.user], at.generation)
	return true
}

// catchMissed starts the catch-ups that met a link that was down.
func (r *Route) catchMissed(s *server) {
	s.mu.Lock()
	missed := s.missed
	s.missed = map[proto.UserID]proto.Generation{}
	s.mu.Unlock()
	for user, generation := range missed {
		r.startCatchup(catchup{session: session{user, generation, s}})
	}
}
