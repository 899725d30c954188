package shard

import "cim/proto"

// A client that does not acknowledge texts is taken for having received what its
// kernel has acknowledged: the nearest sign that there is. What a crash of the
// client, or of its machine, loses behind that sign is lost.

// watchKernel has PollWatched ask about slot's connection.
func (s *Shard) watchKernel(slot uint32, c *session) {
	if !c.watched {
		c.watched, c.progressAt = true, s.now
		s.watched = append(s.watched, Ref{s.config.Number, slot, c.reuse})
	}
}

// needsWatch reports whether the shard must know what the kernel of c's peer has.
func (c *session) needsWatch() bool {
	return c.state != stateFree && (c.kept != nil && !c.kept.entries.empty() || c.page != nil || c.stuck)
}

// PollWatched asks, once a tick, how many bytes of a connection the peer's kernel
// has not acknowledged, of those that the loop has been handed: for each connection
// where the shard must know. It does with the answers what Left does.
func (s *Shard) PollWatched(left func(slot uint32) int) {
	kept := s.watched[:0]
	for _, ref := range s.watched {
		c := s.at(ref.Slot)
		if c.reuse != ref.Reuse {
			continue
		}
		if c.needsWatch() {
			s.SetUnackedOpen(ref.Slot, left(ref.Slot))
		}
		if c.watched = c.needsWatch(); c.watched {
			kept = append(kept, ref)
		}
	}
	s.watched = kept
}

// SetUnackedOpen is Left of a connection that is open: it answers the page whose bytes the
// peer's kernel has.
func (s *Shard) SetUnackedOpen(slot uint32, bytes int) {
	c := s.at(slot)
	if c.state != stateFree && !c.ack && s.keepsTexts() {
		s.pageArrived(c, mark(c.handed-min(uint64(bytes), c.handed)))
	}
	s.SetUnacked(slot, bytes)
}

// NeedsUnacked reports whether anything follows from what the kernel of the peer of slot's
// connection, which has closed, had: not if nothing is kept of what it was sent, nor
// if its client says itself what it has. Then Left and Finished need not be called.
func (s *Shard) NeedsUnacked(slot uint32) bool {
	c := s.at(slot)
	return !c.ack && s.keepsTexts() && (c.kept != nil || c.returnDue)
}

// SetUnacked says how many bytes of slot's connection, of those that the loop has been
// handed, the peer's kernel has not acknowledged: those that the socket has not
// taken, and those that the kernel has. The loop calls it when a connection has
// closed, before it holds a session, and where NextPoll says so. It answers no page:
// what the kernel of a peer has that is gone may never have been read.
func (s *Shard) SetUnacked(slot uint32, bytes int) {
	c := s.at(slot)
	if c.state == stateFree || c.ack || !s.keepsTexts() {
		return
	}
	// What was thrown away counts as not handed out. A CLOSE, which is all that may
	// come behind it, is shorter than any message.
	acknowledged := mark(c.handed - min(uint64(bytes), c.handed))
	c.polled = false
	if acknowledged > c.acked || bytes == 0 {
		c.progressAt = s.now
	}
	if acknowledged > c.acked {
		s.acknowledge(slot, c, acknowledged)
	}
	s.checkStuck(slot, c, bytes)
	s.settleEnded(slot, c)
}

// checkStuck holds a session whose peer's kernel has acknowledged none of the bytes
// that it was sent for StuckTicks. It is released by a catch-up once it has.
func (s *Shard) checkStuck(slot uint32, c *session, left int) {
	switch {
	case left == 0:
		c.stuck = false
	case c.stuck || c.state != stateLive || c.generation == 0 || s.config.StuckTicks == 0:
	case s.now-c.progressAt >= s.config.StuckTicks:
		c.stuck = true
		s.answerPage(c, proto.VerdictBusy)
		s.holdBack(Ref{s.config.Number, slot, c.reuse}, c)
	}
}

// pageArrived answers the page that c waits for if the peer's kernel has it all.
// Who sent it removes it from the box then.
func (s *Shard) pageArrived(c *session, acknowledged mark) {
	if c.page != nil && c.pageComplete() && c.page.end <= acknowledged {
		s.answerPage(c, proto.VerdictTaken)
	}
}

// showedLife takes a frame of a client that does not acknowledge for the sign that
// it has read the pages that its kernel had before.
func (s *Shard) showedLife(slot uint32, c *session) {
	if k := c.kept; k != nil && len(k.arrived) > 0 && s.now > k.arrivedAt {
		s.removeArrived(slot, c)
		s.settle(slot, c)
	}
}

func (s *Shard) removeArrived(slot uint32, c *session) {
	k := c.kept
	s.rememberRemoved(slot, k, k.arrived)
	s.removeFromBox(slot, c, k.arrived)
	k.arrived = nil
}

// PeerFinished says that the peer of slot's connection has closed its end in order: its
// kernel would have reset the connection if the client had not read all that it had.
// The loop calls it between Left and Closed.
func (s *Shard) PeerFinished(slot uint32) {
	if c := s.at(slot); !c.ack && c.kept != nil {
		s.removeArrived(slot, c)
	}
}

// deliverOld is Deliver of texts to a client that does not acknowledge: they are
// kept until its kernel has them.
func (s *Shard) deliverOld(ref Ref, c *session, d Delivery, texts int) (proto.Verdict, bool) {
	if room := s.hasRoomFor(c, d.Body, texts); !room || !c.hasRoomToWrite(d.Body) {
		if c.generation != 0 {
			return s.holdBack(ref, c), false
		}
		// It has no catch-up, so it is not held: its oldest texts make room.
		for !room && c.kept != nil {
			s.dropOldest(ref.Slot, c)
			room = s.hasRoomFor(c, d.Body, texts)
		}
	}
	s.appendMessage(ref.Slot, c, d.Body)
	if s.hasRoomFor(c, d.Body, texts) {
		s.keep(ref.Slot, c, entry{texts: texts}, d.Body)
		s.queuePoll(ref.Slot, c)
	}
	if !s.checkUnsent(ref.Slot, c) {
		return proto.VerdictAbsent, false
	}
	return proto.VerdictTaken, false
}

// queuePoll has NextPoll hand out a session that keeps half of what it may.
func (s *Shard) queuePoll(slot uint32, c *session) {
	if k := c.kept; !c.polled && (k.texts > OldKeptTextsMax/2 || k.outside() > KeptBodiesMax/2) {
		c.polled = true
		s.polls.push(Ref{s.config.Number, slot, c.reuse})
	}
}

// NextPoll hands out a connection of which the shard must know now, and not only in
// the next tick, what the peer's kernel has: the loop calls Left. It calls this
// behind its writes until there is none.
func (s *Shard) NextPoll() (slot uint32, some bool) {
	for {
		ref, some := s.polls.pop()
		if !some {
			return 0, false
		}
		if s.find(ref) != nil {
			return ref.Slot, true
		}
	}
}

// dropOldest forgets the oldest entry: it is not returned, and if it is in the box
// it comes again.
func (s *Shard) dropOldest(slot uint32, c *session) {
	k := c.kept
	e, some := k.entries.pop()
	if some && e.isLive() {
		s.keptTexts -= e.texts
		k.forget(&e)
	}
	k.stored -= len(e.keys)
	if k.entries.empty() {
		s.forgetKept(slot, c)
		return
	}
	s.settle(slot, c)
}
