package loadgen

import (
	"encoding/binary"
	"strconv"

	"cim/proto"
)

// take judges one frame. The hot case, a delivery of the shape that proto
// appends, is compared with what it must be, byte by byte but for the text's
// id; all else is read field by field.
func (l *lane) take(c *client, frame []byte) proto.Reason {
	if c.dialect == proto.DialectV1 {
		return l.takeV1(c, frame)
	}
	if text, ok := l.trial.expected(c, frame); ok {
		l.arrived(c, text)
		return proto.ReasonNone
	}
	if reason := l.view.Parse(frame); reason != proto.ReasonNone {
		return reason
	}
	l.takeView(c, &l.view)
	return proto.ReasonNone
}

// expected returns the text of a delivery whose every other byte is as it must
// be for this receiver and the slot that the text names. The text's id may be
// any but 0.
func (t *trial) expected(c *client, frame []byte) (heading, bool) {
	textEnd := len(t.head) + t.textBytes
	if len(frame) < textEnd || string(frame[:len(t.head)]) != t.head {
		return heading{}, false
	}
	h, ok := parseText(frame[len(t.head):textEnd], t.padding)
	if !ok || h.trial != t.id || int(h.slot) >= len(t.slots) {
		return heading{}, false
	}
	tail := frame[textEnd:]
	sender := t.slots[h.slot].bodyTail
	idEnd := len(sender) + textIDSize
	ok = len(tail) == idEnd+len(c.tail) &&
		string(tail[:len(sender)]) == sender && string(tail[idEnd:]) == c.tail &&
		binary.LittleEndian.Uint64(tail[len(sender):]) != 0
	return h, ok
}

func (l *lane) takeView(c *client, v *proto.View) {
	switch v.Command {
	case proto.CommandPing:
		c.answerLogin(nil)
	case proto.CommandMessage, proto.CommandOffline:
		l.takeMessage(c, v)
	case proto.CommandLoginAnswer:
		if v.Reason != proto.ReasonNone {
			c.answerLogin(refusal{v.Reason})
		}
	case proto.CommandOutcome:
		l.takeOutcome(c, v)
	case proto.CommandClose:
		c.reason = v.Reason
		c.answerLogin(refusal{v.Reason})
	default:
		l.faults.add("client %d: command %d was not expected", c.index, v.Command)
	}
}

// refusal is a login that the server refused.
type refusal struct{ reason proto.Reason }

func (r refusal) Error() string { return "refused by the server: " + r.reason.String() }

// takeMessage judges a MESSAGE or OFFLINE frame of any shape. A text that was
// stored by a process of the original has no id; but if one text of a frame
// has an id all must.
func (l *lane) takeMessage(c *client, v *proto.View) {
	if v.ID != int64(c.user.ID) || !isID(v.Property(proto.PropertyReceiverID), c.user.ID) {
		l.tally.misdelivered += v.Texts()
		return
	}
	sender := v.Property(proto.PropertySenderID)
	v.EachIdentified(func(id proto.TextID, text []byte) {
		h, ok := parseText(text, l.trial.padding)
		if l.trial.isForeign(h, ok) {
			l.tally.foreign++
			return
		}
		if !ok || h.trial != l.trial.id || int(h.slot) >= len(l.trial.slots) || v.TextIDs > 0 && id == 0 ||
			!isID(sender, l.trial.slots[h.slot].sender.user.ID) {
			l.tally.misdelivered++
			return
		}
		if l.arrived(c, h) && v.Command == proto.CommandOffline {
			l.tally.offline++
		}
	})
}

// isForeign reports whether a text that parsed is another run's message to
// everybody. Who could have sent a private one to a client of this run?
func (t *trial) isForeign(h heading, parsed bool) bool {
	return t.group && parsed && h.trial>>seedBits != t.id>>seedBits
}

func isID(decimal []byte, id proto.UserID) bool {
	var buf [20]byte
	return string(decimal) == string(strconv.AppendInt(buf[:0], int64(id), 10))
}

// arrived files the arrival of a text whose frame was right, and reports
// whether it was the first one.
func (l *lane) arrived(c *client, h heading) bool {
	s := l.trial.slots[h.slot]
	heard := h.slot - c.firstSlot // wraps to more than there are if below
	if int64(heard) >= int64(len(c.next)) || s == c.ownSlot || h.sequence >= s.sent.Load() {
		l.tally.misdelivered++
		return false
	}
	if !l.inOrder(c, &c.next[heard], h) {
		return false
	}
	l.measure(h.due)
	if s.windowed {
		s.credit(h.sequence)
	}
	return true
}

// inOrder moves next past the sequence; false: it had arrived before.
func (l *lane) inOrder(c *client, next *uint32, h heading) bool {
	if h.sequence == *next {
		*next++
		return true
	}
	if h.sequence > *next {
		l.tally.missed(c.index, h.slot, *next, h.sequence)
		*next = h.sequence + 1
		return true
	}
	if l.tally.found(c.index, h.slot, h.sequence) {
		l.tally.reordered++
		return true
	}
	l.tally.doubled++
	return false
}

func (l *lane) measure(due int64) {
	t := l.trial
	l.tally.received++
	if l.arrival >= t.start && l.arrival < t.end {
		l.tally.deliveries++
	}
	if due >= t.start && due < t.end {
		record(l.tally.latency, l.arrival-due)
	}
}

// takeOutcome files the outcome of a SEND, whose id is its sequence plus one.
func (l *lane) takeOutcome(c *client, v *proto.View) {
	s := c.ownSlot
	if s == nil || v.MessageID == 0 || v.MessageID > uint64(s.sent.Load()) {
		l.faults.add("client %d: outcome of message %d, which it never sent", c.index, v.MessageID)
		return
	}
	sequence := uint32(v.MessageID - 1)
	became := verdictOf(v.Outcome)
	if became == unknown {
		l.faults.add("client %d: outcome %s, code %s", c.index, v.Outcome, v.Code)
	}
	switch {
	case s.waiting == nil:
		l.hand(c, s, answer{sequence, became})
	case s.settle(sequence):
		s.file(sequence, became)
	default:
		l.faults.add("client %d: a second outcome of one message", c.index)
	}
}

// hand brings an answer to the sender that waits for it.
func (l *lane) hand(c *client, s *slot, a answer) {
	select {
	case s.answered <- a:
	default:
		l.faults.add("client %d: an outcome that nobody waits for", c.index)
	}
}

func verdictOf(o proto.Outcome) verdict {
	switch o {
	case proto.OutcomeDelivered:
		return delivered
	case proto.OutcomeStored:
		return stored
	case proto.OutcomeBusy:
		return refused
	}
	return unknown
}
