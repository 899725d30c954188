package shard

import "cim/proto"

// ListSlots is how many slots one List looks at: what a loop can spare between two
// visits.
const ListSlots = chunkSize

// SessionInfo describes a session to callers outside the shard.
type SessionInfo struct {
	Ref        Ref
	User       proto.UserID
	Generation proto.Generation
	Name       string // "" of a client of the original
	Dialect    proto.Dialect
	Since      Tick // of its login
	Unsent     int  // bytes that have not left the process
	Held       bool // waits for its catch-up
}

// List calls visit with live sessions from slot from on, in the order of their
// slots: with at most most of them, from at most ListSlots slots. It returns the
// slot where the next call begins, and whether there is one. A session keeps its
// slot, so one that lives during all calls is visited once.
func (s *Shard) List(from uint32, most int, visit func(SessionInfo)) (next uint32, more bool) {
	slots := uint32(len(s.chunks)) * chunkSize
	if from >= slots {
		return 0, false
	}
	end := min(from+ListSlots, slots)
	for next = from; next < end && most > 0; next++ {
		if c := s.at(next); c.state == stateLive {
			visit(s.info(next, c))
			most--
		}
	}
	return next, next < slots
}

// Info describes the live session of ref.
func (s *Shard) Info(ref Ref) (seen SessionInfo, live bool) {
	c := s.find(ref)
	if c == nil {
		return SessionInfo{}, false
	}
	return s.info(ref.Slot, c), true
}

func (s *Shard) info(slot uint32, c *session) SessionInfo {
	return SessionInfo{
		Ref: Ref{s.config.Number, slot, c.reuse}, User: c.user, Generation: c.generation, Name: c.name,
		Dialect: c.dialect, Since: c.since, Unsent: c.waiting(), Held: c.held,
	}
}
