package loadgen

import (
	"encoding/binary"
	"strconv"

	"cim/proto"
)

// take judges one frame. The hot case, a delivery of the shape that proto
// appends, is compared with what it must be, byte by byte but for the text's
// id; all else is read field by field.
func (s *cimSession) take(in *Inbox, frame []byte) proto.Reason {
	if s.dialect == proto.DialectV1 {
		return s.takeV1(in, frame)
	}
	if st, ok := s.expected(in, frame); ok {
		in.lane.arrived(in.client, st)
		return proto.ReasonNone
	}
	if reason := s.view.Parse(frame); reason != proto.ReasonNone {
		return reason
	}
	s.takeView(in, &s.view)
	return proto.ReasonNone
}

// expected returns the stamp of a delivery whose every other byte is as it must
// be for this receiver and the slot that the text names. The text's id may be
// any but 0. Only a trial that verifies has the CRC looked at here.
func (s *cimSession) expected(in *Inbox, frame []byte) (stamp, bool) {
	t := in.lane.trial
	textEnd := len(t.head) + t.sizes.Most
	if len(frame) < textEnd || string(frame[:len(t.head)]) != t.head {
		return stamp{}, false
	}
	text := frame[len(t.head):textEnd]
	st, ok := in.stamps.read(text)
	if !ok || int(st.slot) >= len(t.slots) {
		return stamp{}, false
	}
	sender := t.slots[st.slot]
	tail := frame[textEnd:]
	idEnd := len(sender.bodyTail) + textIDSize
	ok = digitsAt(text, trialAt) == sender.trialDigits && digitsAt(text, receiverAt) == sender.toDigits &&
		string(text[paddingAt:]) == t.padding && (!t.verify || intact(text)) &&
		len(tail) == idEnd+len(s.tail) &&
		string(tail[:len(sender.bodyTail)]) == sender.bodyTail && string(tail[idEnd:]) == s.tail &&
		binary.LittleEndian.Uint64(tail[len(sender.bodyTail):]) != 0
	return st, ok
}

func (s *cimSession) takeView(in *Inbox, v *proto.View) {
	switch v.Command {
	case proto.CommandPing:
		in.Ready(nil)
	case proto.CommandMessage, proto.CommandOffline:
		s.takeMessage(in, v)
	case proto.CommandLoginAnswer:
		if v.Reason != proto.ReasonNone {
			in.Ready(refusal{v.Reason})
		}
	case proto.CommandOutcome:
		became := outcomeOf(v.Outcome)
		if became == Unknown {
			in.Fault("outcome %s, code %s", v.Outcome, v.Code)
		}
		in.Outcome(v.MessageID, became)
	case proto.CommandMove:
		in.client.moved = true
	case proto.CommandClose:
		in.client.reason = v.Reason
		in.Ready(refusal{v.Reason})
	default:
		in.Fault("command %d was not expected", v.Command)
	}
}

// refusal is a login that the server refused.
type refusal struct{ reason proto.Reason }

func (r refusal) Error() string { return "refused by the server: " + r.reason.String() }

// takeMessage judges a MESSAGE or OFFLINE frame of any shape. A text that was
// stored by a process of the original has no id; but if one text of a frame
// has an id all must.
func (s *cimSession) takeMessage(in *Inbox, v *proto.View) {
	l := in.lane
	mine := v.ID == int64(s.user.ID) && isID(v.Property(proto.PropertyReceiverID), s.user.ID)
	sender, name := v.Property(proto.PropertySenderID), v.Property(proto.PropertySenderName)
	namesSender := func(of *slot) bool { return isID(sender, of.sender.user.ID) && string(name) == of.sender.user.Name }
	v.EachIdentified(func(id proto.TextID, text []byte) {
		if !mine || v.TextIDs > 0 && id == 0 {
			h, _ := parseText(text)
			l.spoil(&l.tally.misdelivered, kindMisdelivered, in.client, h, nil)
			return
		}
		if first := in.text(text, namesSender); first && v.Command == proto.CommandOffline {
			l.tally.offline++
		}
	})
}

func isID(decimal []byte, id proto.UserID) bool {
	var buf [20]byte
	return string(decimal) == string(strconv.AppendInt(buf[:0], int64(id), 10))
}

func outcomeOf(o proto.Outcome) Outcome {
	switch o {
	case proto.OutcomeDelivered:
		return Delivered
	case proto.OutcomeStored:
		return Stored
	case proto.OutcomeBusy:
		return Refused
	}
	return Unknown
}
