package shard

import "cim/proto"

// PageSlots is how many slots one Page looks at: what a loop can spare between
// two of its visits.
const PageSlots = chunkSize

// Seen is what a session lets others see of itself.
type Seen struct {
	Ref        Ref
	User       proto.UserID
	Generation proto.Generation
	Name       string // "" of a client of the original
	Dialect    proto.Dialect
	Since      Tick // of its login
	Unsent     int  // bytes that have not left the process
	Held       bool // its catch-up is still to come
}

// Page calls visit with live sessions from slot from on, in the order of their
// slots: with most of them at most, after PageSlots slots at most. It returns where the next page begins, or that there is none.
// A session keeps its slot: one that lives while all pages are read is seen
// once.
func (s *Shard) Page(from uint32, most int, visit func(Seen)) (next uint32, more bool) {
	slots := uint32(len(s.chunks)) * chunkSize
	if from >= slots {
		return 0, false
	}
	end := min(from+PageSlots, slots)
	for next = from; next < end && most > 0; next++ {
		if c := s.at(next); c.state == stateLive {
			visit(s.seen(next, c))
			most--
		}
	}
	return next, next < slots
}

// See returns the live session that ref names.
func (s *Shard) See(ref Ref) (seen Seen, live bool) {
	c := s.find(ref)
	if c == nil {
		return Seen{}, false
	}
	return s.seen(ref.Slot, c), true
}

func (s *Shard) seen(slot uint32, c *session) Seen {
	return Seen{
		Ref: Ref{s.config.Number, slot, c.reuse}, User: c.user, Generation: c.generation, Name: c.name,
		Dialect: c.dialect, Since: c.since, Unsent: c.waiting(), Held: c.held,
	}
}
