package loadgen

import (
	"bytes"

	"cim/proto"
)

// takeV1 judges one frame of dialect v1, in which only the prefix of a text names its sender.
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

// takeMessageV1 judges the texts of a frame: one, or of many that were stored a
// line each. No text of a run has a line's end in it.
func (s *cimSession) takeMessageV1(in *Inbox, v *proto.View) {
	l := in.loop
	for rest, more := v.Text, true; more; {
		var line []byte
		line, rest, more = bytes.Cut(rest, []byte("\n"))
		sender, text, named := bytes.Cut(line, []byte(":"))
		if !named || v.ID != int64(s.user.ID) || v.Batch+v.Properties != 0 {
			l.spoil(&l.tally.misdelivered, kindMisdelivered, in.client, heading{}, line)
			continue
		}
		in.text(text, 0, &names{senderName: sender, nameOnly: true})
	}
}
