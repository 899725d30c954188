package shard

import "cim/proto"

// outbox is the pending bytes of sessions: a buffer for each session that has some,
// and the order in which they got them.
type outbox struct {
	order   fifo[uint32] // slots with pending bytes, once each per session
	buffers [][]byte     // spare
	handed  []byte       // the buffer that NextWrite handed out last; spare after the next call
}

// Bounds of the spare buffers, in number and in size each: what one turn of a busy
// loop needs.
const (
	spareBuffersMax    = 256
	spareBufferMaxSize = 16 << 10
)

// append has add append to the pending bytes of slot's session.
func (o *outbox) append(slot uint32, c *session, add func(dst []byte) []byte) {
	o.take(slot, c)
	c.pending = add(c.pending)
}

// take gives the session a buffer and a place in the order.
func (o *outbox) take(slot uint32, c *session) {
	if c.queued {
		return
	}
	c.queued = true
	o.order.push(slot)
	if n := len(o.buffers); c.pending == nil && n > 0 {
		c.pending = o.buffers[n-1]
		o.buffers[n-1] = nil
		o.buffers = o.buffers[:n-1]
	}
}

func (o *outbox) spare(b []byte) {
	if cap(b) > 0 && cap(b) <= spareBufferMaxSize && len(o.buffers) < spareBuffersMax {
		o.buffers = append(o.buffers, b[:0])
	}
}

// drop discards the pending bytes of a closed session. Its place in the order
// stays, and is skipped.
func (o *outbox) drop(c *session) {
	o.spare(c.pending)
	c.pending = nil
}

// Deliver appends a message, as a frame to its receiver, for the session of ref.
// The session first gets the broadcasts that it is due, including those that wait
// to go round, so that its order is the order of arrival at the shard; if they
// leave no room the verdict is VerdictBusy. A held session takes the message only
// if Pass is set; otherwise the verdict is VerdictBehind, or VerdictReturning while
// kept texts of the session are not in the box.
//
// A session that acknowledges keeps the message until then: VerdictTaken is final,
// whatever Written says, counts is true, and NextReceipt hands out the receipt. If
// it has no room to keep the message, it is held. Any other session takes the
// message only if Written says so later.
func (s *Shard) Deliver(ref Ref, d Delivery) (verdict proto.Verdict, counts bool) {
	c := s.find(ref)
	switch {
	case c == nil:
		return proto.VerdictAbsent, false
	case c.held && !d.Pass:
		return s.refuseHeld(ref, c), false
	case !s.rotor.roomBehind(c, d.Body):
		return proto.VerdictBusy, false
	}
	texts, counts := s.countable(c, d.Body)
	if counts && c.ack {
		return s.deliverCounted(ref, c, d, texts)
	}
	if counts {
		return s.deliverOld(ref, c, d, texts)
	}
	s.appendMessage(ref.Slot, c, d.Body)
	if !s.checkUnsent(ref.Slot, c) {
		return proto.VerdictAbsent, false
	}
	return proto.VerdictTaken, false
}

// countable reports whether body can be kept and put into the box, and how many
// texts it has.
func (s *Shard) countable(c *session, body []byte) (texts int, can bool) {
	if !s.keepsTexts() || len(body) > proto.ReturnedBodyMax {
		return 0, false
	}
	return proto.Countable(body)
}

// deliverCounted is Deliver for texts that are kept until they are acknowledged. If
// they exceed the bound of unsent bytes, the session is held too, and does not end
// as slow.
func (s *Shard) deliverCounted(ref Ref, c *session, d Delivery, texts int) (proto.Verdict, bool) {
	if !s.hasRoomFor(c, d.Body, texts) || !c.hasRoomToWrite(d.Body) {
		return s.holdBack(ref, c), false
	}
	s.appendCounted(ref.Slot, c, d.Body, texts)
	s.keep(ref.Slot, c, entry{texts: texts, receipt: d.Receipt}, d.Body)
	s.checkUnsent(ref.Slot, c) // earlier broadcasts may be too much
	return proto.VerdictTaken, true
}

// appendMessage appends body after the broadcasts that the session is due.
func (s *Shard) appendMessage(slot uint32, c *session, body []byte) {
	s.out.take(slot, c)
	s.giveDue(slot, c, body)
	switch c.dialect {
	case proto.DialectV1:
		c.pending, _ = proto.AppendV1Delivery(c.pending, body, c.user)
	case proto.DialectV2:
		c.pending = proto.AppendDelivery(c.pending, proto.OriginalPart(body), c.user)
	default:
		c.pending = proto.AppendDelivery(c.pending, body, c.user)
	}
	s.stats.Deliveries++
}

// appendCounted is appendMessage for counted texts.
func (s *Shard) appendCounted(slot uint32, c *session, body []byte, texts int) {
	s.out.take(slot, c)
	s.giveDue(slot, c, body)
	c.pending = proto.AppendCountedDelivery(c.pending, body, c.user)
	c.counted += mark(texts)
	s.stats.Deliveries++
}

// answerPage answers the page that c waits for, if there is one. An end alone is no
// answer: what was appended before it is still written.
func (s *Shard) answerPage(c *session, verdict proto.Verdict) {
	if c.page == nil {
		return
	}
	to := c.page.to
	if p, paced := to.(*pace); paced {
		to, p.to, p.rest = p.to, nil, nil
	}
	s.answers.push(Answer{To: to, Verdict: verdict})
	c.page = nil
}

// Outcome appends the outcome of a SEND for the session of ref, if it still exists.
// text is the id under which the receivers know the text; receivers is for a group
// message.
func (s *Shard) Outcome(ref Ref, id uint64, text proto.TextID, outcome proto.Outcome, code proto.Code, receivers proto.Receivers) {
	if c := s.find(ref); c != nil {
		s.out.take(ref.Slot, c)
		c.pending = proto.AppendGroupOutcome(c.pending, id, text, outcome, code, receivers)
		s.checkUnsent(ref.Slot, c)
	}
}

// checkUnsent ends a session with too much unsent, and reports whether it goes on.
func (s *Shard) checkUnsent(slot uint32, c *session) bool {
	if c.waiting() <= UnsentBytesMax {
		return true
	}
	s.end(slot, c, proto.ReasonSlow)
	return false
}

// HasWrites reports whether NextWrite may have something.
func (s *Shard) HasWrites() bool { return !s.out.order.empty() || len(s.rotor.active) > 0 }

// NextWrite hands out the bytes to be written to one connection now: all that is
// pending for it. Sessions with pending bytes of their own come first, then, up to
// a turn of them, the sessions that the rotor passes. The loop writes the bytes and
// calls Wrote before it asks for the next.
func (s *Shard) NextWrite() (slot uint32, data []byte, some bool) {
	s.out.spare(s.out.handed)
	s.out.handed = nil
	for {
		slot, some = s.out.order.pop()
		if !some {
			break
		}
		c := s.at(slot)
		data, c.pending, c.queued = c.pending, nil, false
		if len(data) > 0 {
			s.out.handed = data
			c.handed += uint64(len(data))
			return slot, s.count(data), true
		}
		s.out.spare(data)
	}
	slot, data = s.nextTurn()
	return slot, s.count(data), len(data) > 0
}

func (s *Shard) count(data []byte) []byte {
	if len(data) > 0 {
		s.stats.Writes++
		s.stats.BytesOut += uint64(len(data))
	}
	return data
}

// Wrote sets how many bytes of slot's connection the socket has not taken yet.
// Above UnsentBytesMax, or with a page that has not left for PageTicks, the session
// ends. The loop calls it after each write, and each tick for connections with a
// backlog. It reports whether the loop must call again.
func (s *Shard) Wrote(slot uint32, unsent int) (again bool) {
	c := s.at(slot)
	s.setUnsent(c, unsent)
	if unsent > 0 && c.kept.hasLive() {
		s.flushUnsent(slot, c)
	}
	if c.page != nil && c.waiting() == 0 && c.pageComplete() && s.answersWhenWritten(c) {
		s.answerPage(c, proto.VerdictTaken)
	}
	if c.state == stateLive && s.checkUnsent(slot, c) && c.page != nil && s.now-c.page.since >= PageTicks {
		s.end(slot, c, proto.ReasonSlow)
	}
	return unsent > 0
}
