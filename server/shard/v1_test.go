package shard

import (
	"testing"

	"cim/proto"
)

// v1Message is the frame that brings text of bob to user 1 in dialect v1.
func v1Message(sender, text string) string {
	words := sender + ":" + text
	size := 2 + len(words) + 4
	return string(append([]byte{byte(size), 0x0a, byte(len(words))}, words+"\x10\x01\x18\x02"...))
}

func bodyFrom(sender string, texts ...string) []byte {
	return proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, proto.User{ID: 9, Name: sender}, 0, texts))
}

// TestV1 has a session of dialect v1 receive all that there is: exact bytes,
// no answer to its login, one frame for each text, its own pong.
func TestV1(t *testing.T) {
	s := newStand(t)
	ref := s.login(1, proto.DialectV1)
	if len(s.wire[ref.Slot]) != 0 {
		t.Errorf("its login was answered %x", s.wire[ref.Slot])
	}
	if v := s.Deliver(ref, bodyFrom("bob", "held"), false); v != proto.VerdictBehind {
		t.Errorf("while it is held: %v", v)
	}
	s.DeliverPage(ref, bodyFrom("bob", "p1", "p2"), "page")
	s.run()
	if len(s.answers) != 1 || s.answers[0].Verdict != proto.VerdictTaken {
		t.Errorf("the page: %v", s.answers)
	}
	s.Resume(ref, 1)
	s.Broadcast(bodyFrom("carl", "to all"), 0, nil)
	s.Broadcast(bodyFrom("u1", "own"), 1, nil)
	s.Deliver(ref, bodyFrom("bob", "private"), false)
	s.runOut()
	s.Broadcast(bodyFrom("carl", "again", "and again"), 0, nil)
	s.runOut()
	s.Read(ref.Slot, proto.AppendV1Ping(nil, 1), new(proto.View))
	s.run()
	want := v1Message("bob", "p1") + v1Message("bob", "p2") + v1Message("carl", "to all") + v1Message("bob", "private") +
		v1Message("carl", "again") + v1Message("carl", "and again") + proto.PongV1
	if got := string(s.wire[ref.Slot]); got != want {
		t.Errorf("written\n%q, want\n%q", got, want)
	}
	s.End(ref, proto.ReasonReplaced)
	s.run()
	s.wantEnd(ref, proto.ReasonReplaced)
	if got := string(s.wire[ref.Slot]); got != want {
		t.Errorf("at its end it was written %q more", got[len(want):])
	}
}

// TestV1Unexpected: a session of dialect v1 sends nothing but pings of its own.
func TestV1Unexpected(t *testing.T) {
	for name, sends := range map[string][]byte{
		"a second login": proto.AppendV1Login(nil, proto.User{ID: 1, Name: "u1"}),
		"a v2 ping":      []byte(proto.Ping),
		"a v2 login":     proto.AppendLogin(nil, proto.User{ID: 1, Name: "u1"}, proto.DialectV2, proto.Ticket{}),
		"a SEND":         proto.AppendSend(nil, 1, 2, "x"),
	} {
		s := newStand(t)
		ref := s.live(1, proto.DialectV1)
		if request, _ := s.Read(ref.Slot, sends, new(proto.View)); request != RequestNone {
			t.Errorf("%s: request %d", name, request)
		}
		s.run()
		s.wantEnd(ref, proto.ReasonUnexpected)
		if len(s.wire[ref.Slot]) != 0 {
			t.Errorf("%s: it was written %x", name, s.wire[ref.Slot])
		}
	}
	// Nor is a v1 ping anything to a session of another dialect.
	s := newStand(t)
	ref := s.live(1, proto.DialectV2)
	s.Read(ref.Slot, proto.AppendV1Ping(nil, 1), new(proto.View))
	s.run()
	s.wantEnd(ref, proto.ReasonUnexpected)
}

// TestV1Silence: such a session may be silent for longer, up to its own bound.
func TestV1Silence(t *testing.T) {
	s := newStand(t)
	old, new2 := s.live(1, proto.DialectV1), s.live(2, proto.DialectV2)
	for tick := Tick(1); tick < heartbeatV1; tick++ {
		s.Advance(1000 + tick)
	}
	s.run()
	s.wantEnd(new2, proto.ReasonIdle)
	s.ends = nil
	s.Read(old.Slot, proto.AppendV1Ping(nil, 1), new(proto.View))
	for tick := Tick(heartbeatV1); tick < 2*heartbeatV1-1; tick++ {
		s.Advance(1000 + tick)
	}
	if s.run(); s.find(old) == nil {
		t.Fatalf("ended before its time: %v", s.ends)
	}
	s.Advance(1000 + 2*heartbeatV1 - 1)
	s.run()
	s.ends = s.ends[len(s.ends)-1:]
	s.wantEnd(old, proto.ReasonIdle)
}

// TestV1Slow: a batch, which is longer in v1, ends a slow session like any.
func TestV1Slow(t *testing.T) {
	s := newStand(t)
	ref := s.live(1, proto.DialectV1)
	frame := len(v1Message("b", "x"))
	s.unsent[ref.Slot] = UnsentBytesMax - frame
	s.Wrote(ref.Slot, s.unsent[ref.Slot])
	if v := s.Deliver(ref, bodyFrom("b", "x"), false); v != proto.VerdictTaken {
		t.Errorf("up to the bound: %v", v)
	}
	if v := s.Deliver(ref, bodyFrom("b", ""), false); v != proto.VerdictAbsent {
		t.Errorf("past the bound: %v", v)
	}
	s.run()
	if len(s.ends) != 1 || s.ends[0].Reason != proto.ReasonSlow {
		t.Errorf("ends: %v", s.ends)
	}
}
