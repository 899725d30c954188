package loadgen

import (
	"errors"
	"fmt"

	"cim/proto"
)

// take judges one frame, read field by field: a comparison with the bytes that
// are expected would be cheaper than what the sessions of other systems do.
func (s *cimSession) take(in *Inbox, frame []byte) proto.Reason {
	switch {
	case s.dialect == proto.DialectV1:
		return s.takeV1(in, frame)
	case s.message.read(frame):
		s.takeText(in, &s.message, len(frame))
		return proto.ReasonNone
	}
	if reason := s.view.Parse(frame); reason != proto.ReasonNone {
		return reason
	}
	if texts := s.takeView(in, &s.view); s.acks.asked && s.view.Counted() && texts > 0 {
		s.acks.count(in, texts, len(frame))
	}
	return proto.ReasonNone
}

// takeText judges a MESSAGE of one text in a frame of size bytes.
func (s *cimSession) takeText(in *Inbox, m *message, size int) {
	if s.isMine(m.user, &m.names) && m.id != 0 {
		in.text(m.text, m.id, &m.names)
	} else {
		in.misdelivered(m.text)
	}
	if s.acks.asked && m.counted {
		s.acks.count(in, 1, size)
	}
}

// isMine reports whether a frame names the session's user as its receiver.
func (s *cimSession) isMine(user int64, n *names) bool {
	return user == int64(s.user.ID) && string(n.receiverID) == s.userID
}

// takeView judges a frame, and returns its number of texts.
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
	case proto.CommandGap: // the missing texts are counted anyway
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
	n := &s.message.names
	*n = names{}
	v.EachProperty(n.set)
	mine := s.isMine(v.ID, n)
	v.EachIdentified(func(id proto.TextID, text []byte) {
		texts++
		if !mine || v.TextIDs > 0 && id == 0 {
			in.misdelivered(text)
			return
		}
		if first := in.text(text, id, n); first && v.Command == proto.CommandOffline {
			in.loop.tally.offline++
		}
	})
	return texts
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
