package shard

import "cim/proto"

// paceFrames is how many frames of a catch-up a client of dialect v1 is sent in a
// tick. It hands each frame to a pool of threads that holds 4 at once, and silently
// drops a frame that finds the pool full; the frames of two ticks may arrive
// together. A client of v2 has a pool of 11, and each of its pages is one frame,
// sent when the page before has left.
const paceFrames = 2

// pace is the page of a session of dialect v1, and how much of it was sent in the
// present tick.
type pace struct {
	ref   Ref
	tick  Tick
	count int    // frames that were appended in tick
	rest  []byte // whole frames of the page for later ticks
	to    any    // goes into the Answer when the page has left
	page  catchupPage
}

// deliverPaced appends the first frames of the page that c waits for. c is a
// session of dialect v1.
func (s *Shard) deliverPaced(ref Ref, c *session, page catchupPage) {
	p := s.paces[ref.Slot]
	if p == nil || p.ref != ref {
		p = &pace{ref: ref}
		s.paces[ref.Slot] = p
	}
	p.rest, _ = proto.AppendV1Page(nil, page.body, c.user)
	page.body = nil
	p.to, p.page = c.page.to, page
	c.page.to = p
	s.stats.Deliveries++
	s.nextFrames(p, c)
}

// nextFrames appends the frames of a page that the present tick allows, after the
// broadcasts that the session is due.
func (s *Shard) nextFrames(p *pace, c *session) {
	if p.tick != s.now {
		p.tick, p.count = s.now, 0
	}
	for ; len(p.rest) > 0 && p.count < paceFrames; p.count++ {
		_, size, reason := proto.NextFrame(p.rest, len(p.rest))
		if size == 0 || reason != proto.ReasonNone {
			panic("shard: a page of our own is no frames")
		}
		s.out.take(p.ref.Slot, c)
		s.giveBefore(p.ref.Slot, c, size)
		c.pending = append(c.pending, p.rest[:size]...)
		p.rest = p.rest[size:]
		if len(p.rest) == 0 {
			s.pageAppended(p.ref.Slot, c, p.page)
			p.page = catchupPage{}
		}
		if !s.checkUnsent(p.ref.Slot, c) {
			return
		}
	}
}

// advancePaces continues the pages in a new tick.
func (s *Shard) advancePaces() {
	for slot, p := range s.paces {
		c := s.find(p.ref)
		switch {
		case c == nil:
			delete(s.paces, slot)
		case len(p.rest) > 0:
			s.nextFrames(p, c)
		case p.tick != s.now:
			delete(s.paces, slot)
		}
	}
}

// pageComplete reports whether all of the page that c waits for was appended.
func (c *session) pageComplete() bool {
	if c.page == nil {
		return true
	}
	p, paced := c.page.to.(*pace)
	return !paced || len(p.rest) == 0
}
