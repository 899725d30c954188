package loadgen

import (
	"bytes"
	"strings"
	"testing"

	"cim/proto"
)

// heardV1 is heard with a receiver of dialect v1.
func heardV1(tb testing.TB, rounds int) (*eventLoop, *client, []byte) {
	tb.Helper()
	l, c, stream := heard(tb, rounds)
	own(c).dialect = proto.DialectV1
	var own []byte
	for len(stream) > 0 {
		frame, size, _ := proto.NextFrame(stream, proto.FrameMax)
		own, _ = proto.AppendV1Delivery(own, frame, c.user.ID)
		stream = stream[size:]
	}
	return l, c, own
}

// TestReceiveV1 takes right texts, and each once.
func TestReceiveV1(t *testing.T) {
	l, c, stream := heardV1(t, 2)
	for range 2 {
		if reason := split(l, c, stream); reason != proto.ReasonNone {
			t.Fatal(reason)
		}
	}
	if l.tally.received != 32 || l.tally.doubled != 32 || l.tally.misdelivered != 0 {
		t.Errorf("%+v", l.tally)
	}
}

// TestReceiveV1Joined takes texts that come as lines of one frame.
func TestReceiveV1Joined(t *testing.T) {
	l, c, stream := heardV1(t, 1)
	var lines []byte
	for rest := stream; len(rest) > 0; {
		frame, size, _ := proto.NextFrame(rest, proto.FrameMax)
		rest = rest[size:]
		var v proto.View
		if reason := v.Parse(frame); reason != proto.ReasonNone {
			t.Fatal(reason)
		}
		lines = append(append(lines, v.Text...), '\n')
	}
	nameless := proto.AppendBody(nil, proto.Message{Command: proto.CommandMessage, Text: string(lines[:len(lines)-1])})
	frame, _ := proto.AppendV1Delivery(nil, nameless, c.user.ID)
	if reason := split(l, c, frame); reason != proto.ReasonNone || l.tally.received != 16 || l.tally.misdelivered != 0 {
		t.Errorf("%s, %+v", reason, l.tally)
	}
}

// TestReceiveV1Wrong changes one thing of a delivery: it does not count as
// received.
func TestReceiveV1Wrong(t *testing.T) {
	for name, change := range map[string]func(frame []byte, c *client) []byte{
		"sender": func(frame []byte, _ *client) []byte {
			frame[bytes.Index(frame, []byte("load-1-0-0:"))+9]++
			return frame
		},
		"separator": func(frame []byte, _ *client) []byte { frame[bytes.IndexByte(frame, ':')] = ';'; return frame },
		"receiver":  func(frame []byte, _ *client) []byte { frame[len(frame)-3] ^= 1; return frame },
		"trial":     func(frame []byte, _ *client) []byte { frame[bytes.IndexByte(frame, ':')+8] = '7'; return frame },
		"padding":   func(frame []byte, _ *client) []byte { frame[bytes.IndexByte(frame, '.')] = '-'; return frame },
		"short": func(_ []byte, c *client) []byte {
			body := proto.AppendSentBody(nil, 1, "load-1-0-0", 0, []byte("short"))
			frame, _ := proto.AppendV1Delivery(nil, body, c.user.ID)
			return frame
		},
		"of dialect v2": func(_ []byte, c *client) []byte {
			body := proto.AppendBody(nil, proto.Message{Command: 2, Batch: []string{strings.Repeat("x", 200)}})
			return proto.AppendDelivery(nil, body, c.user.ID)
		},
	} {
		l, c, stream := heardV1(t, 1)
		_, size, _ := proto.NextFrame(stream, proto.FrameMax)
		if reason := split(l, c, change(stream[:size], c)); reason != proto.ReasonNone {
			t.Fatalf("%s: %s", name, reason)
		}
		if l.tally.misdelivered+l.tally.wrongSender+l.tally.corrupt != 1 || l.tally.received != 0 {
			t.Errorf("%s: %+v", name, l.tally)
		}
	}
}

// TestReceiveV1Other takes a pong, and a type that it does not know.
func TestReceiveV1Other(t *testing.T) {
	l, c, _ := heardV1(t, 1)
	if reason := split(l, c, []byte(proto.PongV1)); reason != proto.ReasonNone || len(c.loggedIn) != 1 {
		t.Errorf("a pong: %s", reason)
	}
	if n, _ := l.faults.take(); n != 0 {
		t.Errorf("%d faults", n)
	}
	split(l, c, proto.AppendV1Login(nil, c.user))
	if n, _ := l.faults.take(); n != 1 {
		t.Errorf("%d faults", n)
	}
}

// TestReceiveV1Allocates walks whole reads.
func TestReceiveV1Allocates(t *testing.T) {
	l, c, stream := heardV1(t, 1)
	n := testing.AllocsPerRun(100, func() {
		c.forget()
		split(l, c, stream)
	})
	if n != 0 || l.tally.misdelivered+l.tally.doubled != 0 {
		t.Errorf("a read allocates %v times, want 0; %+v", n, l.tally)
	}
}

// TestReceiveForeign distinguishes group messages of another run, which end nothing, from those of
// another trial of this one. No other run sends private messages to these users.
func TestReceiveForeign(t *testing.T) {
	ours, theirs := (Config{Seed: 1}).trialID(0, 1), (Config{Seed: 2}).trialID(0, 1)
	for _, test := range []struct {
		group                 bool
		trial                 uint32
		foreign, misdelivered int
	}{
		{true, theirs, 1, 0},
		{true, ours + 1, 0, 1},
		{false, theirs, 0, 1},
	} {
		for _, heard := range []func(testing.TB, int) (*eventLoop, *client, []byte){heard, heardV1} {
			l, c, _ := heard(t, 1)
			l.trial.id = ours
			to := uint32(allReceivers)
			if !test.group {
				l.trial.groupSlots, to = 0, 5
			}
			text := appendText(nil, heading{trial: test.trial, receiver: to}, l.trial.padding)
			body := proto.AppendSentBody(nil, 5, "load-2-0-0", 0, text)
			frame := proto.AppendDelivery(nil, body, c.user.ID)
			if own(c).dialect == proto.DialectV1 {
				frame, _ = proto.AppendV1Delivery(nil, body, c.user.ID)
			}
			split(l, c, frame)
			if l.tally.foreign != test.foreign || l.tally.misdelivered != test.misdelivered || l.tally.received != 0 {
				t.Errorf("dialect %d, %+v: %+v", own(c).dialect, test, l.tally)
			}
		}
	}
}
