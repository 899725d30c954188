package loadgen

import (
	"bytes"

	"cim/proto"
)

// takeV1 judges one frame of dialect v1, in which a text comes with its
// sender's name in front and nothing else tells of it.
func (l *lane) takeV1(c *client, frame []byte) proto.Reason {
	v := &l.view
	if reason := v.Parse(frame); reason != proto.ReasonNone {
		return reason
	}
	switch v.Command {
	case proto.CommandV1Ping:
		c.answerLogin(nil)
	case proto.CommandV1Message:
		l.takeMessageV1(c, v)
	default:
		l.faults.add("client %d: type %d was not expected", c.index, v.Command)
	}
	return proto.ReasonNone
}

func (l *lane) takeMessageV1(c *client, v *proto.View) {
	t := l.trial
	at := len(v.Text) - t.textBytes
	if at < 0 || v.ID != int64(c.user.ID) || v.Batch+v.Properties != 0 {
		l.tally.misdelivered++
		return
	}
	h, ok := parseText(v.Text[at:], t.padding)
	switch {
	case t.isForeign(h, ok) && bytes.HasSuffix(v.Text[:at], []byte(":")):
		l.tally.foreign++
	case !ok || h.trial != t.id || int(h.slot) >= len(t.slots) || string(v.Text[:at]) != t.slots[h.slot].v1Head:
		l.tally.misdelivered++
	default:
		l.arrived(c, h)
	}
}
