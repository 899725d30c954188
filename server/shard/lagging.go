package shard

import "cim/proto"

// Broadcasts for which a session has no room, since its reader lags, are left out,
// and a client of ours is told how many texts they were before the next that it is
// given. So no sender of messages to everybody ends the sessions of slow lines. A
// reader that takes nothing for LagTicks is ended.

// lagBytes is what may be unsent of a session that the rotor gives broadcasts,
// those included. It leaves room for a private message of any size.
const lagBytes = roundFramesMax

// lag is of a session for which broadcasts were left out, while it is in the shard's
// list of those.
type lag struct {
	leftOut uint64 // texts that were left out since its last notice of that
	least   int    // the fewest bytes that waited since its reader last made way
	since   Tick   // since then it made none
}

// leftOut is how many texts were left out for c since its last notice of that.
func (c *session) leftOut() uint64 {
	if c.lag == nil {
		return 0
	}
	return c.lag.leftOut
}

// giveDue appends to what c is written the broadcasts that it has not seen, before
// body.
func (s *Shard) giveDue(slot uint32, c *session, body []byte) {
	size := len(body) + tailMax
	if c.dialect == proto.DialectV1 {
		size, _ = framesOf(body)
	}
	s.giveBefore(slot, c, size)
}

// giveBefore is giveDue before so many bytes.
func (s *Shard) giveBefore(slot uint32, c *session, size int) {
	seen, before := c.seen, len(c.pending)
	c.pending = s.rotor.give(c, s.rotor.last, c.pending, &s.stats)
	if c.leftOut() != 0 || len(c.pending) > before && c.waiting()+size > UnsentBytesMax {
		c.pending = c.pending[:before]
		c.pending = s.giveWithin(slot, c, seen, c.pending, UnsentBytesMax-size-c.waiting())
	}
}

// giveWithin does again what give has just done for c, which had seen the
// broadcasts up to seen: it appends as many as room bytes hold, and leaves out the
// rest. Before them it appends how many were left out before.
func (s *Shard) giveWithin(slot uint32, c *session, seen uint64, dst []byte, room int) []byte {
	given := c.seen
	c.seen = seen
	owed := s.rotor.due(c, given)
	c.seen = given
	gap, start := c.leftOut(), len(dst)
	dst = appendGap(c, dst)
	end, full := start, false // what fits
	for i := range owed {
		b := &owed[i]
		if b.except == c.user {
			continue
		}
		if !full {
			dst = b.appendTo(c, dst)
			full = len(dst)-start > room
		}
		if full {
			b.given--
			s.stats.Deliveries--
			s.leaveOut(slot, c, b)
			continue
		}
		end = len(dst)
	}
	if end > start && c.lag != nil {
		c.lag.leftOut -= gap
		c.lag.since, c.lag.least = s.now, UnsentBytesMax+1
	}
	return dst[:end]
}

// appendTo appends the frame of b for c, or its frames.
func (b *broadcast) appendTo(c *session, dst []byte) []byte {
	switch c.dialect {
	case proto.DialectV1:
		dst, _ = proto.AppendV1Delivery(dst, b.body, c.user)
		return dst
	case proto.DialectV2:
		return proto.AppendDelivery(dst, b.old, c.user)
	}
	return proto.AppendDelivery(dst, b.body, c.user)
}

// appendGap tells a client of ours how many texts were left out, if any were.
func appendGap(c *session, dst []byte) []byte {
	if c.leftOut() == 0 || c.dialect != proto.DialectCIM {
		return dst
	}
	return proto.AppendGap(dst, c.leftOut())
}

func (s *Shard) leaveOut(slot uint32, c *session, b *broadcast) {
	if c.lag == nil {
		c.lag = &lag{since: s.now, least: UnsentBytesMax + 1}
		s.lagging = append(s.lagging, Ref{s.config.Number, slot, c.reuse})
	}
	c.lag.leftOut += uint64(b.texts)
	s.stats.LeftOut++
}

// advanceLagging looks each tick at the sessions for which broadcasts were left
// out: one whose reader has made way is told, also if no broadcast follows.
func (s *Shard) advanceLagging() {
	lagging := s.lagging[:0]
	for _, ref := range s.lagging {
		c := s.find(ref)
		if c == nil {
			continue
		}
		waiting := c.waiting()
		if waiting < c.lag.least {
			c.lag.least, c.lag.since = waiting, s.now
		}
		switch {
		case c.lag.leftOut == 0:
			c.lag = nil
			continue
		case waiting <= lagBytes/2:
			s.out.take(ref.Slot, c)
			c.pending = appendGap(c, c.pending)
			c.lag = nil
			continue
		case s.now-max(c.lag.since, s.resumed) >= LagTicks:
			s.end(ref.Slot, c, proto.ReasonSlow)
			continue
		}
		lagging = append(lagging, ref)
	}
	s.lagging = lagging
}
