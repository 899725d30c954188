package shard

import "cim/proto"

// ReturnRetryTicks is the time between a failed Return and the next one, 1 s.
const ReturnRetryTicks Tick = 1_000 / TickMillis

// Return is kept texts of User that must be put into the box, in order.
type Return struct {
	Ref        Ref
	User       proto.UserID
	Generation proto.Generation
	Parts      []ReturnPart // in order; one if the session goes on; none is possible at an end
	Through    uint64       // for Returned
	End        bool         // the session has ended: the shard has dropped the texts, and expects no Returned
	// Late, only at an end, is texts that were acknowledged while a Return with
	// them was under way: remove them after that Return is answered.
	Late []proto.TextKey
}

// ReturnPart is the content of one RecordReturn. The caller may keep it.
type ReturnPart struct {
	Body []byte // of a RecordReturn; at most proto.FrameMax
	// Receipts become OutcomeStored when the part is in the box. Set only at an
	// end: otherwise Returned settles them.
	Receipts []ReceiptTo
}

// returning is a Return at an end, or a session for which a Return is to be made.
type returning struct {
	ref Ref
	end *Return
}

// NextReturn hands out the next texts to be put into a box. For a session that goes
// on, the next part comes only after Returned of the one before.
func (s *Shard) NextReturn() (Return, bool) {
	for {
		next, some := s.returns.pop()
		if !some {
			return Return{}, false
		}
		if next.end != nil {
			return *next.end, true
		}
		c := s.find(next.ref)
		if c == nil || c.kept == nil || !c.kept.queued {
			continue
		}
		k := c.kept
		k.queued = false
		if part, through := c.nextPart(k.flushTo); through != 0 {
			k.underWay = through
			part.Receipts = nil
			return Return{
				Ref: next.ref, User: c.user, Generation: c.generation, Parts: []ReturnPart{part}, Through: uint64(through),
			}, true
		}
	}
}

// Returned says whether the Return through of ref's session is in the box. If it is
// not, or may not be, it is handed out again a second later. The session may have
// ended meanwhile, without its connection having closed.
func (s *Shard) Returned(ref Ref, through uint64, ok bool) {
	c := s.connected(ref)
	if c == nil || c.kept == nil || c.kept.underWay != mark(through) || through == 0 {
		return
	}
	k := c.kept
	k.underWay = 0
	if ok {
		s.keptTexts -= k.texts
		s.store(c, mark(through))
		s.keptTexts += k.texts
	} else {
		k.retryAt = s.now + ReturnRetryTicks
		k.markDoubtful(mark(through))
	}
	late := k.late
	k.late = nil
	s.rememberRemoved(ref.Slot, k, late)
	s.removeFromBox(ref.Slot, c, late)
	s.queueReturn(ref, k)
	s.settle(ref.Slot, c)
}

// FlushIsUnderWay reports whether a Return of ref's session has been handed out and
// not been answered by Returned. It is false while texts wait for the next try.
func (s *Shard) FlushIsUnderWay(ref Ref) bool {
	c := s.find(ref)
	return c != nil && c.kept != nil && c.kept.underWay != 0
}

// store records that the live entries up to a mark are in the box.
func (s *Shard) store(c *session, through mark) {
	k := c.kept
	all := k.entries.waiting()
	for i := range all {
		e := &all[i]
		if e.end > through {
			return
		}
		if e.isLive() {
			keys := keysOf(k.body(e))
			e.keys = keys[c.skip(e):]
			k.stored += len(e.keys)
			k.forget(e)
			e.stored = true
			s.settleReceipt(e, proto.OutcomeStored)
		}
	}
}

// markDoubtful records that the live entries up to a mark may be in the box.
func (k *kept) markDoubtful(through mark) {
	all := k.entries.waiting()
	for i := range all {
		if e := &all[i]; e.isLive() && e.end <= through {
			e.inBox = true
		}
	}
}

// skip is how many texts at the start of e are acknowledged.
func (c *session) skip(e *entry) int {
	if !c.ack || c.acked <= e.begin() {
		return 0
	}
	return int(c.acked - e.begin())
}

// flush has all live entries up to a mark put into the box.
func (s *Shard) flush(ref Ref, c *session, upTo mark) {
	k := c.kept
	k.flushTo = max(k.flushTo, upTo)
	s.queueReturn(ref, k)
}

// queueReturn has NextReturn check a session, if there are texts to flush and no
// Return is under way; if the last Return has just failed, later.
func (s *Shard) queueReturn(ref Ref, k *kept) {
	switch e := k.firstLive(); {
	case k.queued || k.underWay != 0 || e == nil || e.end > k.flushTo:
	case s.now < k.retryAt:
		s.setTimer(ref.Slot, k, k.retryAt)
	default:
		k.queued = true
		s.returns.push(returning{ref: ref})
	}
}

// flushPending reports whether some texts that are to be put into the box are not there.
func (k *kept) flushPending() bool {
	if k == nil {
		return false
	}
	e := k.firstLive()
	return k.underWay != 0 || e != nil && e.end <= k.flushTo
}

// firstLive is the oldest live entry, or nil.
func (k *kept) firstLive() *entry {
	all := k.entries.waiting()
	for i := range all {
		if all[i].isLive() {
			return &all[i]
		}
	}
	return nil
}

// nextPart makes a part of the oldest live entries up to a mark, as many as a
// record takes, and returns its end; 0: there are none.
func (c *session) nextPart(upTo mark) (part ReturnPart, through mark) {
	k := c.kept
	all := k.entries.waiting()
	count := 0
	for i := range all {
		e := &all[i]
		if !e.isLive() || e.end <= k.underWay {
			continue
		}
		size := proto.ReturnedSize(e.length)
		if e.end > upTo || count == proto.ReturnedMax || len(part.Body)+size > proto.FrameMax {
			break
		}
		part.Body = proto.AppendReturned(part.Body, proto.Returned{Body: k.body(e), Skip: c.skip(e)})
		if e.receipt != (ReceiptTo{}) {
			part.Receipts = append(part.Receipts, e.receipt)
		}
		count++
		through = e.end
	}
	return part, through
}

// setTimer has the shard check the kept texts of slot's session at a tick, or
// earlier.
func (s *Shard) setTimer(slot uint32, k *kept, at Tick) {
	if k.timerAt == 0 || at < k.timerAt {
		k.timerAt = at
		s.flushes.Set(slot, at)
	}
}

// onFlushTimer checks the kept texts of slot's session: for a Return to be retried,
// a receipt that has waited for too long, and keys to be forgotten.
func (s *Shard) onFlushTimer(slot uint32) {
	c := s.at(slot)
	k := c.kept
	if c.state != stateLive || k == nil {
		return
	}
	k.timerAt = 0
	ref := Ref{s.config.Number, slot, c.reuse}
	waited, next := k.receiptsDue(s.now)
	k.flushTo = max(k.flushTo, waited)
	s.queueReturn(ref, k)
	if next != 0 {
		s.setTimer(slot, k, next)
	}
	s.forgetRemoved(slot, c)
	s.settle(slot, c)
}

// receiptsDue returns the mark behind the last text whose receipt has waited for
// ReceiptTicks, 0 if there is none, and the tick at which the next one will have.
func (k *kept) receiptsDue(now Tick) (waited mark, next Tick) {
	all := k.entries.waiting()
	for i := range all {
		switch e := &all[i]; {
		case e.receipt == (ReceiptTo{}):
		case e.since+ReceiptTicks > now:
			return waited, e.since + ReceiptTicks
		default:
			waited = e.end
		}
	}
	return waited, 0
}

// returnEnded hands out the kept texts of an ended session that are not in the box,
// and drops all that it kept.
func (s *Shard) returnEnded(slot uint32, c *session) {
	r := &Return{Ref: Ref{s.config.Number, slot, c.reuse}, User: c.user, Generation: c.generation, End: true}
	if k := c.kept; k.mustReturn() {
		r.Late, k.late = k.late, nil
		k.underWay = 0 // it may have failed: all of it goes once more
		for k.texts > 0 {
			part, through := c.nextPart(k.end())
			if through == 0 {
				break
			}
			r.Parts = append(r.Parts, part)
			k.underWay = through
		}
	}
	s.returns.push(returning{end: r})
}

// endKept handles the kept texts of a session that ends, and reports whether a
// Return follows. If the client acknowledges, the Return is handed out at once.
// Otherwise the bytes on their way may still arrive, so the Return waits until the
// connection has closed.
func (s *Shard) endKept(slot uint32, c *session) (follows bool) {
	follows = c.kept.mustReturn()
	if !c.ack {
		if c.saidGoodbye && c.kept != nil {
			s.removeArrived(slot, c)
		}
		c.returnDue = c.unsettled()
		return c.returnDue
	}
	if follows {
		s.returnEnded(slot, c)
	}
	s.forgetKept(slot, c)
	return follows
}

// unsettled reports whether a session that counts bytes still has texts to be
// returned, or to be removed from the box, depending on how its connection ends.
func (c *session) unsettled() bool {
	k := c.kept
	return k.mustReturn() || k != nil && !c.replaced && k.stored+len(k.arrived) > 0
}

// settleEnded hands out the Return of an ended session as soon as the rest of its
// connection makes no difference.
func (s *Shard) settleEnded(slot uint32, c *session) {
	if c.state == stateEnding && c.returnDue && !c.unsettled() {
		c.returnDue = false
		s.returnEnded(slot, c)
	}
}

// closeKept handles the kept texts of a closed connection; live: its session had
// not ended before.
func (s *Shard) closeKept(slot uint32, c *session, live bool) {
	if c.returnDue || live && c.kept.mustReturn() {
		s.returnEnded(slot, c)
	}
	s.forgetKept(slot, c)
}

// forgetKept drops the kept texts of an ended session, after its removals are
// queued.
func (s *Shard) forgetKept(slot uint32, c *session) {
	k := c.kept
	if k == nil {
		return
	}
	s.queueRemovals(c, k)
	c.kept = nil
	s.drop(slot, k)
}
