package shard

import "cim/proto"

// A client that does not acknowledge texts is taken for having received what its
// kernel has acknowledged: the nearest sign that there is. What a crash of the
// client, or of its machine, loses behind that sign is lost.

// awaitKernel has EachWatched ask about slot's connection.
func (s *Shard) awaitKernel(slot uint32, c *session) {
	if !c.watched {
		c.watched, c.movedAt = true, s.now
		s.watched = append(s.watched, Ref{s.config.Number, slot, c.reuse})
	}
}

// awaited reports whether the shard must know what the kernel of c's peer has.
func (c *session) awaited() bool {
	return c.state != stateFree && (c.kept != nil && !c.kept.entries.empty() || c.page != nil || c.stuck)
}

// EachWatched asks, once a tick, how many bytes of a connection the peer's kernel
// has not acknowledged, of those that the loop has been handed: for each connection
// where the shard must know. It does with the answers what Left does.
func (s *Shard) EachWatched(left func(slot uint32) int) {
	kept := s.watched[:0]
	for _, ref := range s.watched {
		c := s.at(ref.Slot)
		if c.reuse != ref.Reuse {
			continue
		}
		if c.awaited() {
			s.Left(ref.Slot, left(ref.Slot))
		}
		if c.watched = c.awaited(); c.watched {
			kept = append(kept, ref)
		}
	}
	s.watched = kept
}

// Left says how many bytes of slot's connection, of those that the loop has been
// handed, the peer's kernel has not acknowledged: those that the socket has not
// taken, and those that the kernel has. The loop calls it before it closes a
// connection, and before it holds a session; not when a write has failed.
func (s *Shard) Left(slot uint32, bytes int) {
	c := s.at(slot)
	if c.state == stateFree || c.ack || !s.keepsTexts() {
		return
	}
	acknowledged := mark(c.handed - min(uint64(bytes), c.handed))
	if c.lost {
		acknowledged = min(acknowledged, c.cut) // what was thrown away is behind it
	}
	if acknowledged > c.acked || bytes == 0 {
		c.movedAt = s.now
	}
	s.pageArrived(c, acknowledged)
	if acknowledged > c.acked {
		s.acknowledge(slot, c, acknowledged)
	}
	s.checkStuck(slot, c, bytes)
}

// checkStuck holds a session whose peer's kernel has acknowledged none of the bytes
// that it was sent for StuckTicks. It is released by a catch-up once it has.
func (s *Shard) checkStuck(slot uint32, c *session, left int) {
	switch {
	case left == 0:
		c.stuck = false
	case c.stuck || c.state != stateLive || c.generation == 0 || s.config.StuckTicks == 0:
	case s.now-c.movedAt >= s.config.StuckTicks:
		c.stuck = true
		s.answerPage(c, proto.VerdictBusy)
		s.holdBack(Ref{s.config.Number, slot, c.reuse}, c)
	}
}

// pageArrived answers the page that c waits for if the peer's kernel has it all.
// Who sent it removes it from the box then.
func (s *Shard) pageArrived(c *session, acknowledged mark) {
	if c.page == nil || !c.pageLeft() || c.pageEnd > acknowledged {
		return
	}
	s.answerPage(c, proto.VerdictTaken)
	if c.kept == nil {
		return
	}
	all := c.kept.entries.waiting()
	for i := range all {
		if e := &all[i]; e.end == c.pageEnd && e.isPage() {
			c.kept.stored -= len(e.keys)
			e.keys = nil
		}
	}
}

// keepOld keeps a message of a client that does not acknowledge. Its oldest texts
// make room.
func (s *Shard) keepOld(slot uint32, c *session, body []byte, texts int) {
	for k := c.kept; k != nil && !k.entries.empty(); k = c.kept {
		if s.hasRoomFor(c, body, texts) {
			break
		}
		s.dropOldest(slot, c)
	}
	if s.hasRoomFor(c, body, texts) {
		s.keep(slot, c, entry{texts: texts}, body)
	}
}

// dropOldest forgets the oldest entry: it is not returned, and if it is in the box
// it comes again.
func (s *Shard) dropOldest(slot uint32, c *session) {
	k := c.kept
	e, _ := k.entries.pop()
	k.stored -= len(e.keys)
	if e.isLive() {
		s.keptTexts -= e.texts
		k.forget(&e)
	}
	s.settle(slot, c)
}
