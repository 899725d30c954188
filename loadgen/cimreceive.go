package loadgen

import (
	"encoding/binary"
	"errors"
	"fmt"
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
	if d, ok := s.expected(in, frame); ok {
		in.lane.arrived(in.client, d.stamp, d.id)
		if d.counted {
			s.acks.count(in, 1, len(frame))
		}
		return proto.ReasonNone
	}
	if reason := s.view.Parse(frame); reason != proto.ReasonNone {
		return reason
	}
	if texts := s.takeView(in, &s.view); s.view.Counted() && texts > 0 && s.counted != "" {
		s.acks.count(in, texts, len(frame))
	}
	return proto.ReasonNone
}

// delivery is what differs between the deliveries that one client receives.
type delivery struct {
	stamp
	id      proto.TextID
	counted bool // towards the session's acknowledgements
}

// expected returns the stamp of a delivery whose every other byte is as it must
// be for this receiver and the slot that the text names. The text's id may be
// any but 0. Only a trial that verifies has the CRC looked at here.
func (s *cimSession) expected(in *Inbox, frame []byte) (d delivery, ok bool) {
	t := in.lane.trial
	textEnd := len(t.head) + t.sizes.Most
	if len(frame) < textEnd || string(frame[:len(t.head)]) != t.head {
		return delivery{}, false
	}
	text := frame[len(t.head):textEnd]
	st, ok := in.stamps.read(text)
	if !ok || int(st.slot) >= len(t.slots) {
		return delivery{}, false
	}
	sender := t.slots[st.slot]
	tail := frame[textEnd:]
	idEnd := len(sender.bodyTail) + textIDSize
	end := s.tail
	if s.counted != "" && len(tail) == idEnd+len(s.counted) {
		end, d.counted = s.counted, true
	}
	ok = digitsAt(text, trialAt) == sender.trialDigits && digitsAt(text, receiverAt) == sender.toDigits &&
		string(text[paddingAt:]) == t.padding && (!t.verify || intact(text)) &&
		len(tail) == idEnd+len(end) &&
		string(tail[:len(sender.bodyTail)]) == sender.bodyTail && string(tail[idEnd:]) == end
	if ok {
		d.stamp, d.id = st, proto.TextID(binary.LittleEndian.Uint64(tail[len(sender.bodyTail):]))
	}
	return d, ok && d.id != 0
}

// takeView judges a frame, and returns how many texts it brings.
func (s *cimSession) takeView(in *Inbox, v *proto.View) (texts int) {
	switch v.Command {
	case proto.CommandPing:
		in.Ready(nil)
	case proto.CommandMessage, proto.CommandOffline:
		return s.takeMessage(in, v)
	case proto.CommandLoginAnswer:
		switch {
		case v.Reason != proto.ReasonNone:
			in.Ready(refusal{v.Reason})
		case s.acks.asked && v.Ack != proto.AckVersion:
			in.Ready(fmt.Errorf("want %d: %w", s.want, errNoAcks))
		}
	case proto.CommandOutcome:
		became := outcomeOf(v.Outcome)
		if became == Unknown {
			in.Fault("outcome %s, code %s", v.Outcome, v.Code)
		}
		in.Outcome(v.MessageID, became)
	case proto.CommandGap: // what is missing shows by itself
	case proto.CommandMove:
		in.client.moved = true
	case proto.CommandClose:
		in.client.reason = v.Reason
		in.Ready(refusal{v.Reason})
	default:
		in.Fault("command %d was not expected", v.Command)
	}
	return 0
}

// errNoAcks ends a login whose session does not acknowledge.
var errNoAcks = errors.New("acknowledgements are not granted: a route or a server of an older release, or of the original, is registered")

// refusal is a login that the server refused.
type refusal struct{ reason proto.Reason }

func (r refusal) Error() string { return "refused by the server: " + r.reason.String() }

// takeMessage judges a MESSAGE or OFFLINE frame of any shape. A text that was
// stored by a process of the original has no id; but if one text of a frame
// has an id all must. It returns how many texts there are.
func (s *cimSession) takeMessage(in *Inbox, v *proto.View) (texts int) {
	l := in.lane
	mine := v.ID == int64(s.user.ID) && isID(v.Property(proto.PropertyReceiverID), s.user.ID)
	sender, name := v.Property(proto.PropertySenderID), v.Property(proto.PropertySenderName)
	namesSender := func(of *slot) bool { return isID(sender, of.sender.user.ID) && string(name) == of.sender.user.Name }
	v.EachIdentified(func(id proto.TextID, text []byte) {
		texts++
		if !mine || v.TextIDs > 0 && id == 0 {
			h, _ := parseText(text)
			l.spoil(&l.tally.misdelivered, kindMisdelivered, in.client, h, nil)
			return
		}
		if first := in.text(text, id, namesSender); first && v.Command == proto.CommandOffline {
			l.tally.offline++
		}
	})
	return texts
}

func isID(decimal []byte, id proto.UserID) bool {
	var buf [20]byte
	return string(decimal) == string(strconv.AppendInt(buf[:0], int64(id), 10))
}

func outcomeOf(o proto.Outcome) Outcome {
	switch o {
	case proto.OutcomeDelivered:
		return Delivered
	case proto.OutcomeReceived:
		return Received
	case proto.OutcomeStored:
		return Stored
	case proto.OutcomeBusy:
		return Refused
	}
	return Unknown
}
