package loadgen

import (
	"bytes"

	"cim/proto"
)

// takeV1 judges one frame of dialect v1, in which a text comes with its
// sender's name in front and nothing else tells of it.
func (s *cimSession) takeV1(in *Inbox, frame []byte) proto.Reason {
	v := &s.view
	if reason := v.Parse(frame); reason != proto.ReasonNone {
		return reason
	}
	switch v.Command {
	case proto.CommandV1Ping:
		in.Ready(nil)
	case proto.CommandV1Message:
		s.takeMessageV1(in, v)
	default:
		in.Fault("type %d was not expected", v.Command)
	}
	return proto.ReasonNone
}

func (s *cimSession) takeMessageV1(in *Inbox, v *proto.View) {
	l := in.lane
	sender, text, named := bytes.Cut(v.Text, []byte(":"))
	if !named || v.ID != int64(s.user.ID) || v.Batch+v.Properties != 0 {
		l.spoil(&l.tally.misdelivered, kindMisdelivered, in.client, heading{}, v.Text)
		return
	}
	in.text(text, func(of *slot) bool { return string(sender) == of.sender.user.Name })
}
