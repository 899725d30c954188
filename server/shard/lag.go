package shard

import "cim/proto"

// Broadcasts for which a session has no room, since its reader lags, are left out,
// and a client of ours gets a GAP frame with the number of left-out texts before
// its next broadcast. So group messages never end sessions on slow lines. If a
// reader takes nothing for LagTicks, its session ends.

// lagBytes bounds the unsent bytes of a session after the rotor has given it
// broadcasts. It leaves room for a private message of any size.
const lagBytes = roundFramesMax

// lag belongs to a session for which broadcasts were left out, while the session is
// in the shard's lagging list.
type lag struct {
	leftOut uint64 // texts left out since its last GAP
	least   int    // the fewest unsent bytes since its reader last made room
	since   Tick   // when the reader last made room
}

// leftOut is how many texts were left out for c since its last GAP.
func (c *session) leftOut() uint64 {
	if c.lag == nil {
		return 0
	}
	return c.lag.leftOut
}

// giveDue appends the broadcasts that c has not seen to its pending bytes, before
// body.
func (s *Shard) giveDue(slot uint32, c *session, body []byte) {
	size := len(body) + tailMax
	if c.dialect == proto.DialectV1 {
		size, _ = framesOf(body)
	}
	s.giveBefore(slot, c, size)
}

// giveBefore is giveDue before that many bytes.
func (s *Shard) giveBefore(slot uint32, c *session, size int) {
	seen, before := c.seen, len(c.pending)
	c.pending = s.rotor.give(c, s.rotor.last, c.pending, &s.stats)
	if c.leftOut() != 0 || len(c.pending) > before && c.waiting()+size > UnsentBytesMax {
		c.pending = c.pending[:before]
		c.pending = s.giveWithin(slot, c, seen, c.pending, UnsentBytesMax-size-c.waiting())
	}
}

// giveWithin repeats what give has just done for c, which had seen the broadcasts
// up to seen, within room bytes: it appends as many as fit, and leaves out the
// rest. A GAP for earlier ones comes first.
func (s *Shard) giveWithin(slot uint32, c *session, seen uint64, dst []byte, room int) []byte {
	given := c.seen
	c.seen = seen
	owed := s.rotor.due(c, given)
	c.seen = given
	gap, start := c.leftOut(), len(dst)
	dst = appendGap(c, dst)
	end, full := start, false // end of what fits
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

// appendTo appends b for c: one frame, or several in dialect v1.
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

// appendGap appends a GAP to a client of ours if texts were left out.
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

// advanceLagging checks each tick the sessions for which broadcasts were left out:
// if the reader has made room, the session gets its GAP even if no broadcast
// follows.
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
