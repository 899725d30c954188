package shard

import "cim/proto"

// outbox is the bytes that sessions are to be written: a buffer for each
// session that has some, and the order in which they came to have them.
type outbox struct {
	order   fifo[uint32] // slots with pending bytes, once each while their session lasts
	buffers [][]byte     // spare
	handed  []byte       // the buffer that NextWrite handed out last; spare at the next call
}

// Spare buffers are kept up to this many and this large each: what one turn of
// a busy loop needs.
const (
	spareBuffersMax    = 256
	spareBufferMaxSize = 16 << 10
)

// append lets add append to what slot's session is to be written.
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

// drop forgets what a closed session was to be written. Its place in the order
// stays, and is passed over.
func (o *outbox) drop(c *session) {
	o.spare(c.pending)
	c.pending = nil
}

// Deliver appends a message, as a frame to its receiver, for the session of ref.
// The session first gets the broadcasts that it is due, so that order within it is
// the order of arrival here, also of those that wait to go round: where they
// leave no room it is VerdictBusy. A held session takes it only if it may pass; else
// it is VerdictBehind, or VerdictReturning while texts that the session keeps are
// not in the box.
//
// receipt: the text counts in a session that acknowledges, and what the Delivery
// wanted to know comes by NextReceipt; what Deliver took is taken then, whatever
// Took says. Else the text can only be delivered.
func (s *Shard) Deliver(ref Ref, d Delivery) (verdict proto.Verdict, receipt bool) {
	return s.deliver(ref, d.Body, d.Pass), false
}

func (s *Shard) deliver(ref Ref, body []byte, pass bool) proto.Verdict {
	c := s.find(ref)
	switch {
	case c == nil:
		return proto.VerdictAbsent
	case c.held && !pass:
		return proto.VerdictBehind
	case !s.rotor.roomBehind(c, body):
		return proto.VerdictBusy
	}
	s.out.take(ref.Slot, c)
	c.pending = s.rotor.give(c, s.rotor.last, c.pending, &s.stats)
	switch c.dialect {
	case proto.DialectV1:
		c.pending, _ = proto.AppendV1Delivery(c.pending, body, c.user)
	case proto.DialectV2:
		c.pending = proto.AppendDelivery(c.pending, proto.OriginalPart(body), c.user)
	default:
		c.pending = proto.AppendDelivery(c.pending, body, c.user)
	}
	s.stats.Deliveries++
	if !s.checkUnsent(ref.Slot, c) {
		return proto.VerdictAbsent
	}
	return proto.VerdictTaken
}

// DeliverPage is Deliver of a page of a catch-up, whose last text has the serial
// cursor, 0 if it is not known: the verdict is an Answer to to, VerdictTaken once
// all bytes of the session have left the process. Of a client that does not
// acknowledge it comes once the peer's kernel has the page. VerdictBusy: a page is
// under way, the kernel takes nothing, or too many stored texts are not acknowledged.
func (s *Shard) DeliverPage(ref Ref, body []byte, cursor uint64, to any) {
	verdict := proto.VerdictAbsent
	c := s.find(ref)
	if c != nil && c.page != nil {
		verdict = proto.VerdictBusy
	} else if c != nil && c.dialect == proto.DialectV1 {
		if verdict = s.deliverPaced(ref, c, body, to); verdict == proto.VerdictTaken {
			return
		}
	} else if verdict = s.deliver(ref, body, true); verdict == proto.VerdictTaken {
		c.page, c.pageSince = to, s.now
		return
	}
	s.answers.push(Answer{To: to, Verdict: verdict})
}

// answerPage answers whoever awaits that a page has left, if somebody does. An
// end alone is no answer: what was appended before it is still written.
func (s *Shard) answerPage(c *session, verdict proto.Verdict) {
	if c.page == nil {
		return
	}
	to := c.page
	if p, paced := to.(*pace); paced {
		to, p.to, p.rest = p.to, nil, nil
	}
	s.answers.push(Answer{To: to, Verdict: verdict})
	c.page = nil
}

// Outcome appends the outcome of a SEND for the session of ref, if it is still
// there. text is what its receivers know the text by; receivers is for one to
// everybody.
func (s *Shard) Outcome(ref Ref, id uint64, text proto.TextID, outcome proto.Outcome, code proto.Code, receivers proto.Receivers) {
	if c := s.find(ref); c != nil {
		s.out.take(ref.Slot, c)
		c.pending = proto.AppendGroupOutcome(c.pending, id, text, outcome, code, receivers)
		s.checkUnsent(ref.Slot, c)
	}
}

// checkUnsent ends a session that has too much unsent, and reports whether it
// goes on.
func (s *Shard) checkUnsent(slot uint32, c *session) bool {
	if c.waiting() <= UnsentBytesMax {
		return true
	}
	s.end(slot, c, proto.ReasonSlow)
	return false
}

// NextWrite hands out the bytes that one connection is to be written now: all
// that waits for it. First come sessions with bytes of their own, then, up to
// RotorTurn a turn, the sessions that the rotor passes. The loop writes them
// and calls Wrote before it asks for the next.
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

// Wrote tells how many bytes of slot's connection the socket has not taken
// yet. Past UnsentBytesMax, or with a page that does not leave for PageTicks,
// the session ends. The loop calls it after each
// write, and each tick for those that had some left. It reports whether the
// loop need look again.
func (s *Shard) Wrote(slot uint32, unsent int) (again bool) {
	c := s.at(slot)
	s.setUnsent(c, unsent)
	if c.page != nil && c.waiting() == 0 && c.pageLeft() {
		s.answerPage(c, proto.VerdictTaken)
	}
	if c.state == stateLive && s.checkUnsent(slot, c) && c.page != nil && s.now-c.pageSince >= PageTicks {
		s.end(slot, c, proto.ReasonSlow)
	}
	return unsent > 0
}
