package shard

import "cim/proto"

// A client that does not acknowledge texts counts as having received what its
// kernel has acknowledged: the best available sign. Texts that the client, or its
// machine, loses in a crash after that are lost.

// watchKernel has PollWatched ask about slot's connection.
func (s *Shard) watchKernel(slot uint32, c *session) {
	if !c.watched {
		c.watched, c.progressAt = true, s.now
		s.watched = append(s.watched, Ref{s.config.Number, slot, c.reuse})
	}
}

// needsWatch reports whether the shard must know what the kernel of c's peer has
// acknowledged.
func (c *session) needsWatch() bool {
	return c.state != stateFree && (c.kept != nil && !c.kept.entries.empty() || c.page != nil || c.stuck)
}

// PollWatched asks, once a tick, how many of the bytes handed to the loop the
// peer's kernel has not acknowledged, for each connection where the shard needs to
// know. It handles the answers as SetUnackedOpen does.
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

// SetUnackedOpen is SetUnacked for an open connection: it also answers a page whose
// bytes the peer's kernel has.
func (s *Shard) SetUnackedOpen(slot uint32, bytes int) {
	c := s.at(slot)
	if c.state != stateFree && !c.ack && s.keepsTexts() {
		s.pageArrived(c, mark(c.handed-min(uint64(bytes), c.handed)))
	}
	s.SetUnacked(slot, bytes)
}

// NeedsUnacked reports whether the shard needs to know, for slot's closed
// connection, what the peer's kernel had acknowledged: not if nothing is kept of
// what it was sent, nor if its client acknowledges texts. Otherwise SetUnacked and
// PeerFinished need not be called.
func (s *Shard) NeedsUnacked(slot uint32) bool {
	c := s.at(slot)
	return !c.ack && s.keepsTexts() && (c.kept != nil || c.returnDue)
}

// SetUnacked sets how many of the bytes handed to the loop for slot's connection
// the peer's kernel has not acknowledged: those that the socket has not taken, and
// those in the local kernel. The loop calls it when a connection has closed, before
// it holds a session, and where NextPoll asks. It answers no page: what the kernel
// of a closed peer has may never have been read.
func (s *Shard) SetUnacked(slot uint32, bytes int) {
	c := s.at(slot)
	if c.state == stateFree || c.ack || !s.keepsTexts() {
		return
	}
	// Discarded bytes count as not handed out. A CLOSE, which is all that may
	// follow them, is shorter than any message.
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

// checkStuck holds a session whose peer's kernel has acknowledged no byte for
// StuckTicks although bytes are outstanding. A catch-up releases it once the kernel
// has all.
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

// pageArrived answers the page that c waits for if the peer's kernel has all of it.
// Its sender then removes it from the box.
func (s *Shard) pageArrived(c *session, acknowledged mark) {
	if c.page != nil && c.pageComplete() && c.page.end <= acknowledged {
		s.answerPage(c, proto.VerdictTaken)
	}
}

// onSignOfLife handles a frame of a client that does not acknowledge: the client has
// read the pages that its kernel had before.
func (s *Shard) onSignOfLife(slot uint32, c *session) {
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

// PeerFinished says that the peer of slot's connection has closed its end in order:
// its kernel would have reset the connection if the client had left anything
// unread. The loop calls it between SetUnacked and Closed.
func (s *Shard) PeerFinished(slot uint32) {
	if c := s.at(slot); !c.ack && c.kept != nil {
		s.removeArrived(slot, c)
	}
}

// deliverOld is Deliver for texts to a client that does not acknowledge: they are
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

// NextPoll hands out a connection for which the shard must know before the next
// tick what the peer's kernel has acknowledged: the loop calls SetUnacked. The loop
// calls NextPoll after its writes until there is none.
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

// dropOldest removes the oldest entry: it is not returned, and if it is in the box
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
