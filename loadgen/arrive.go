package loadgen

import "cim/proto"

// isForeign reports whether a text that parsed is a group message of another run. No other run
// sends private messages to the clients of this one.
func (t *trial) isForeign(h heading) bool {
	return h.receiver == allReceivers && t.groupSlots > 0 && h.trial>>seedBits != t.id>>seedBits
}

// slotOf is the slot of a text that parsed; nil: this trial has none such, or
// not with this receiver or length.
func (t *trial) slotOf(h heading, size int) *slot {
	if int(h.slot) >= len(t.slots) || size != t.sizes.of(h.trial, h.slot, h.sequence) {
		return nil
	}
	if s := t.slots[h.slot]; s.trial == h.trial && s.textTo() == h.receiver {
		return s
	}
	return nil
}

// text judges a text of any system whose frame was right: its CRC, run, sender, receiver and
// sequence. named are the users that the frame names; nil: none. id is the text's; 0: it has none.
func (in *Inbox) text(text []byte, id proto.TextID, named *names) (first bool) {
	l := in.loop
	h, ok := in.stamps.parseText(text)
	switch s := l.trial.slotOf(h, len(text)); {
	case !ok:
		l.spoil(&l.tally.corrupt, kindCorrupt, in.client, h, text)
	case l.trial.isForeign(h):
		l.tally.foreign++
	case s == nil:
		l.spoil(&l.tally.misdelivered, kindMisdelivered, in.client, h, nil)
	case named != nil && !named.sender(s):
		l.spoil(&l.tally.wrongSender, kindWrongSender, in.client, h, nil)
	default:
		return l.arrived(in.client, h.stamp, id)
	}
	return false
}

// misdelivered records a text whose frame was for another receiver.
func (in *Inbox) misdelivered(text []byte) {
	h, _ := in.stamps.parseText(text)
	in.loop.spoil(&in.loop.tally.misdelivered, kindMisdelivered, in.client, h, nil)
}

// arrived records the arrival of a text whose frame was right, and reports whether it was the first
// one.
func (l *eventLoop) arrived(c *client, st stamp, id proto.TextID) bool {
	s := l.trial.slots[st.slot]
	next := c.hears(st.slot)
	if next == nil || s == c.ownSlot && !l.trial.echo || st.sequence >= s.sent.Load() {
		l.spoil(&l.tally.misdelivered, kindMisdelivered, c, s.heading(st), nil)
		return false
	}
	if st.sequence == *next {
		*next++
	} else if !l.outOfTurn(c, s, next, st, id) {
		return false
	}
	if s.receiver != nil {
		c.copies.keep(st.sequence, id)
	}
	l.measure(s, st)
	return true
}

// hears is the sequence that c expects next of a slot; nil: c is no receiver of it.
func (c *client) hears(slot uint32) *uint32 {
	if int(slot) < len(c.next) {
		return &c.next[slot]
	}
	if slot == c.privateSlot {
		return &c.privateNext
	}
	return nil
}

// outOfTurn takes an arrival that is not the one due next; false: it should not
// have come at all.
func (l *eventLoop) outOfTurn(c *client, s *slot, next *uint32, st stamp, id proto.TextID) bool {
	switch {
	case st.sequence > *next:
		l.noteMissing(c, s, *next, st.sequence)
		*next = st.sequence + 1
		return true
	case l.tally.found(c.index, st.slot, st.sequence):
		l.spoil(&l.tally.reordered, kindReordered, c, s.heading(st), nil)
		return true
	case s.receiver != nil && c.copies.has(st.sequence, id):
		l.tally.duplicates++
	case !l.trial.verify && s.failed(st.sequence):
		l.spoil(&l.tally.failedDelivered, kindFailedDelivered, c, s.heading(st), nil)
	default:
		l.spoil(&l.tally.doubled, kindDoubled, c, s.heading(st), nil)
	}
	return false
}

// noteMissing remembers the missing sequences from first up to before end. It leaves out messages that
// are known to have failed, since there may be many, unless each message must be accounted for. Of
// a remote slot no message is known to have failed yet.
func (l *eventLoop) noteMissing(c *client, s *slot, first, end uint32) {
	for sequence := first; sequence != end; sequence++ {
		if failed := s.failed(sequence); !failed || l.trial.verify {
			l.tally.addGap(gap{c.index, s.index, sequence}, failed || s.remote)
		}
	}
}

func (l *eventLoop) measure(s *slot, st stamp) {
	t := l.trial
	l.tally.received++
	if l.arrival >= t.start && l.arrival < t.end {
		l.tally.deliveries++
	}
	measured := st.due >= t.start && st.due < t.end
	if measured {
		record(l.tally.latency, l.arrival-st.due)
		if t.window == 0 { // else each leaves when it is due
			record(l.tally.service, l.arrival-st.sent())
		}
	}
	switch {
	case s.receiver == nil:
		l.follow(s, st.sequence, measured)
	case s.windowed:
		s.reachedAll(st.sequence)
	}
}

// takeOutcome records the outcome of a message, whose id is its sequence plus one.
func (l *eventLoop) takeOutcome(c *client, id uint64, became Outcome) {
	s := c.ownSlot
	if s == nil || id == 0 || id > uint64(s.sent.Load()) {
		l.faults.add("client %d: outcome of message %d, which it never sent", c.index, id)
		return
	}
	sequence := uint32(id - 1)
	if s.waiting == nil {
		l.hand(c, s, answer{sequence, became})
		return
	}
	switch due, waited := s.settle(sequence); {
	case waited:
		s.file(sequence, became)
		l.trial.answered(became, due, l.arrival)
	default:
		l.faults.add("client %d: a second outcome of one message", c.index)
	}
}

// hand passes an answer to the sender that waits for it.
func (l *eventLoop) hand(c *client, s *slot, a answer) {
	select {
	case s.answered <- a:
	default:
		l.faults.add("client %d: an outcome that is not awaited", c.index)
	}
}
