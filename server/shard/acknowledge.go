package shard

import "cim/proto"

// ReceiptTicks is how long a text that wants a receipt may stay unacknowledged, 1
// s. After it, the text and all before it are put into the box, and its outcome is
// OutcomeStored.
const ReceiptTicks Tick = 1_000 / TickMillis

// Receipt answers the ReceiptTo of a Delivery.
type Receipt struct {
	To      ReceiptTo
	Outcome proto.Outcome // OutcomeReceived, or OutcomeStored: it is in the box
}

// NextReceipt hands out the next receipt.
func (s *Shard) NextReceipt() (Receipt, bool) { return s.receipts.pop() }

// settleReceipt queues e's receipt, if it wants one and has not had it.
func (s *Shard) settleReceipt(e *entry, outcome proto.Outcome) {
	if e.receipt != (ReceiptTo{}) {
		s.receipts.push(Receipt{e.receipt, outcome})
		e.receipt = ReceiptTo{}
	}
}

// Acked is stored texts of User that must be removed from the box.
type Acked struct {
	User       proto.UserID
	Generation proto.Generation
	Keys       []proto.TextKey // at most proto.TextKeysMax; the caller may keep it
}

// NextAcked hands out the next texts to be removed from a box. The loop calls it
// once a tick until there are none, so that each Acked has many.
func (s *Shard) NextAcked() (Acked, bool) {
	for {
		a, some := s.acked.pop()
		if some {
			return a, true
		}
		ref, some := s.removalRefs.pop()
		if !some {
			return Acked{}, false
		}
		if c := s.connected(ref); c != nil && c.kept != nil {
			c.kept.removalQueued = false
			s.queueRemovals(c, c.kept)
			s.settle(ref.Slot, c)
		}
	}
}

// queueRemovals queues the keys that c's session has to remove for NextAcked.
func (s *Shard) queueRemovals(c *session, k *kept) {
	keys := k.toRemove
	k.toRemove = nil
	for len(keys) > 0 {
		n := min(len(keys), proto.TextKeysMax)
		s.acked.push(Acked{c.user, c.generation, keys[:n:n]})
		keys = keys[n:]
	}
}

// removeFromBox has keys removed from the box.
func (s *Shard) removeFromBox(slot uint32, c *session, keys []proto.TextKey) {
	k := c.kept
	if len(keys) == 0 {
		return
	}
	k.toRemove = append(k.toRemove, keys...)
	if !k.removalQueued {
		k.removalQueued = true
		s.removalRefs.push(Ref{s.config.Number, slot, c.reuse})
	}
}

// ack handles an acknowledgement of the first n counted texts, and reports whether
// it is valid: more than the session was given is a fault.
func (s *Shard) ack(slot uint32, c *session, n uint64) bool {
	upTo := mark(n)
	if upTo > c.counted {
		s.fault(slot, c, proto.ReasonUnexpected)
		return false
	}
	if upTo > c.acked {
		s.acknowledge(slot, c, upTo)
	}
	return true
}

// acknowledge handles what was given up to a mark as received.
func (s *Shard) acknowledge(slot uint32, c *session, upTo mark) {
	k := c.kept
	if k == nil {
		c.acked = upTo
		return
	}
	s.keptTexts -= k.texts
	for !k.entries.empty() {
		e := &k.entries.waiting()[0]
		from, to := c.between(e, upTo)
		if from < to {
			s.acknowledgeTexts(slot, c, e, from, to)
		}
		if e.end > upTo {
			break
		}
		if e.isLive() {
			k.forget(e)
		}
		s.settleReceipt(e, proto.OutcomeReceived)
		k.entries.pop()
	}
	c.acked = upTo
	s.keptTexts += k.texts
	s.settle(slot, c)
}

// between returns which texts of e upTo acknowledges for the first time: in a
// session that counts bytes, all or none.
func (c *session) between(e *entry, upTo mark) (from, to int) {
	switch {
	case c.ack:
		return int(max(c.acked, e.begin()) - e.begin()), int(min(max(upTo, e.begin()), e.end) - e.begin())
	case e.end <= upTo:
		return 0, e.texts
	}
	return 0, 0
}

// acknowledgeTexts has the texts from to to of e removed from the box, if they are
// there or may be there soon.
func (s *Shard) acknowledgeTexts(slot uint32, c *session, e *entry, from, to int) {
	k := c.kept
	switch {
	case e.stored:
		keys := e.takeKeys(to - from)
		k.stored -= len(keys)
		if e.isPage() && !c.ack && !c.saidGoodbye {
			k.arrived, k.arrivedAt = append(k.arrived, keys...), s.now
			return
		}
		if !e.isPage() {
			s.rememberRemoved(slot, k, keys)
		}
		s.removeFromBox(slot, c, keys)
	case e.end <= k.underWay:
		k.late = append(k.late, keysOf(k.body(e))[from:to]...)
	case e.inBox:
		keys := keysOf(k.body(e))[from:to]
		s.rememberRemoved(slot, k, keys)
		s.removeFromBox(slot, c, keys)
	}
}

// takeKeys takes the first n keys of e, or all if there are fewer.
func (e *entry) takeKeys(n int) []proto.TextKey {
	n = min(n, len(e.keys))
	keys := e.keys[:n]
	e.keys = e.keys[n:]
	return keys
}

// removedTicks is how long the removal of a text from the box may take, 5 s: until
// then a catch-up may read it there.
const removedTicks Tick = 5_000 / TickMillis

// rememberRemoved remembers keys of acknowledged texts that may still be in the
// box.
func (s *Shard) rememberRemoved(slot uint32, k *kept, keys []proto.TextKey) {
	if len(keys) == 0 || len(k.removed)+len(keys) > StoredKeysMax {
		return
	}
	k.removed = append(k.removed, keys...)
	k.removedUntil = s.now + removedTicks
	s.setTimer(slot, k, k.removedUntil)
}

// forgetRemoved forgets these keys after their removal has had its time, and in a
// held session not before the end of its catch-up.
func (s *Shard) forgetRemoved(slot uint32, c *session) {
	k := c.kept
	switch {
	case len(k.removed) == 0:
	case k.removedUntil > s.now:
		s.setTimer(slot, k, k.removedUntil)
	case c.held:
		s.setTimer(slot, k, s.now+removedTicks)
	default:
		k.removed = nil
	}
}

// keysOf returns the keys of the texts of a countable body.
func keysOf(body []byte) []proto.TextKey {
	var v proto.View
	if reason := v.Parse(body); reason != proto.ReasonNone {
		panic("shard: a body is " + reason.String())
	}
	keys := make([]proto.TextKey, 0, v.Texts())
	sender := v.Sender()
	v.EachIdentified(func(id proto.TextID, _ []byte) {
		keys = append(keys, proto.TextKey{Sender: sender, ID: id})
	})
	return keys
}
