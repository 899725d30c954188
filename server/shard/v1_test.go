package shard

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"cim/proto"
)

// v1Message is the frame with a text of bob's to user 1 in dialect v1.
func v1Message(sender, text string) string {
	words := sender + ":" + text
	size := 2 + len(words) + 4
	return string(append([]byte{byte(size), 0x0a, byte(len(words))}, words+"\x10\x01\x18\x02"...))
}

func bodyFrom(sender string, texts ...string) []byte {
	return proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, proto.User{ID: 9, Name: sender}, 0, texts))
}

// TestV1: a session of dialect v1 receives everything in exact bytes: no answer to
// its login, one frame for each text, its own pong.
func TestV1(t *testing.T) {
	s := newStand(t)
	ref := s.login(1, proto.DialectV1)
	if len(s.wire[ref.Slot]) != 0 {
		t.Errorf("its login was answered %x", s.wire[ref.Slot])
	}
	if v := s.push(ref, bodyFrom("bob", "held"), false); v != proto.VerdictBehind {
		t.Errorf("while it is held: %v", v)
	}
	s.DeliverPage(ref, bodyFrom("bob", "p1", "p2"), 0, "page")
	s.run()
	if len(s.answers) != 1 || s.answers[0].Verdict != proto.VerdictTaken {
		t.Errorf("the page: %v", s.answers)
	}
	s.Resume(ref, 1)
	s.Broadcast(bodyFrom("carl", "to all"), 0, nil)
	s.Broadcast(bodyFrom("u1", "own"), 1, nil)
	s.push(ref, bodyFrom("bob", "private"), false)
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

// TestV1Unexpected: a session of dialect v1 sends nothing but its own pings.
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
	// A v1 ping is invalid in a session of another dialect.
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

// TestV1Slow: a batch, which is longer in v1, ends a slow session like any other.
func TestV1Slow(t *testing.T) {
	s := newStand(t)
	ref := s.live(1, proto.DialectV1)
	frame := len(v1Message("b", "x"))
	s.unsent[ref.Slot] = UnsentBytesMax - frame
	s.Wrote(ref.Slot, s.unsent[ref.Slot])
	if v := s.push(ref, bodyFrom("b", "x"), false); v != proto.VerdictTaken {
		t.Errorf("up to the bound: %v", v)
	}
	if v := s.push(ref, bodyFrom("b", ""), false); v != proto.VerdictAbsent {
		t.Errorf("past the bound: %v", v)
	}
	s.run()
	if len(s.ends) != 1 || s.ends[0].Reason != proto.ReasonSlow {
		t.Errorf("ends: %v", s.ends)
	}
}

// small is a client of the original whose pool of threads takes a few frames every
// two ticks, and silently drops the rest.
type small struct {
	room, held int
	read       int // bytes that it has read
	texts      []string
}

func (c *small) hear(s *stand, ref Ref) {
	rest := s.wire[ref.Slot][c.read:]
	c.read += len(rest)
	for len(rest) > 0 {
		frame, size, _ := proto.NextFrame(rest, len(rest))
		rest = rest[size:]
		var v proto.View
		if v.Parse(frame); c.held >= c.room {
			continue
		}
		c.held++
		if v.Batch == 0 {
			c.texts = append(c.texts, strings.Split(string(v.Text), "\n")...)
		}
		v.EachText(func(text []byte) {
			if v.Batch > 0 {
				c.texts = append(c.texts, string(text))
			}
		})
	}
}

// TestPaced sends pages to clients with pools as small as the original's: they
// receive all texts, as fast as their pools allow. A client of a later dialect gets
// its pages at once.
func TestPaced(t *testing.T) {
	for _, c := range []struct {
		name    string
		dialect proto.Dialect
		room    int
		senders int
		ticks   int // that it may take at most
	}{
		{"v1, one sender", proto.DialectV1, 4, 1, 7},
		{"v1, many senders", proto.DialectV1, 4, 90, 46},
		{"v2, one sender", proto.DialectV2, 11, 1, 1},
		{"ours", proto.DialectCIM, 1 << 20, 90, 1},
	} {
		s := newStand(t)
		ref := s.live(1, c.dialect)
		client := small{room: c.room, read: len(s.wire[ref.Slot])}
		var want []string
		for page, ticks := 0, 1; page < c.senders; {
			sender := fmt.Sprint("s", page)
			texts := make([]string, 90/c.senders)
			for i := range texts {
				texts[i] = fmt.Sprint(page, ".", i)
				if c.dialect == proto.DialectV1 {
					want = append(want, sender+":"+texts[i])
				} else {
					want = append(want, texts[i])
				}
			}
			s.answers = nil
			s.DeliverPage(ref, bodyFrom(sender, texts...), 0, "page")
			for s.run(); len(s.answers) == 0; s.run() {
				client.hear(s, ref)
				s.Advance(s.now + 1)
				if ticks++; ticks%2 == 0 {
					client.held = 0
				}
				if ticks > c.ticks {
					t.Fatalf("%s: page %d after %d ticks, want %d", c.name, page, ticks, c.ticks)
				}
			}
			client.hear(s, ref)
			if s.answers[0].Verdict != proto.VerdictTaken {
				t.Fatalf("%s: page %d: %v", c.name, page, s.answers)
			}
			page++
		}
		if !slices.Equal(client.texts, want) {
			t.Errorf("%s: heard %d texts of %d: %q", c.name, len(client.texts), len(want), client.texts)
		}
		s.Advance(s.now + 1)
		if s.Advance(s.now + 1); len(s.paces) != 0 {
			t.Errorf("%s: %d paces are left", c.name, len(s.paces))
		}
	}
}

// TestPacedEnd ends a session in the middle of its page, whose rest never comes:
// the page has not left. A live message and a broadcast overtake the rest of a
// page.
func TestPacedEnd(t *testing.T) {
	s := newStand(t)
	ref := s.live(1, proto.DialectV1)
	s.DeliverPage(ref, bodyFrom("bob", "1", "2", "3", "4"), 0, "page")
	s.run()
	s.push(ref, bodyFrom("eve", "live"), true)
	s.Broadcast(bodyFrom("carl", "to all"), 0, nil)
	s.run()
	want := v1Message("bob", "1") + v1Message("bob", "2") + v1Message("eve", "live") + v1Message("carl", "to all")
	if got := string(s.wire[ref.Slot]); got != want {
		t.Errorf("written %q, want %q", got, want)
	}
	s.DeliverPage(ref, bodyFrom("bob", "5"), 0, "another")
	s.run()
	s.answers = slices.DeleteFunc(s.answers, func(a Answer) bool { return a.To == nil })
	if len(s.answers) != 1 || s.answers[0] != (Answer{To: "another", Verdict: proto.VerdictBusy}) {
		t.Fatalf("a second page: %v", s.answers)
	}
	s.End(ref, proto.ReasonReplaced)
	s.run()
	if len(s.answers) != 2 || s.answers[1] != (Answer{To: "page", Verdict: proto.VerdictAbsent}) {
		t.Errorf("the page: %v", s.answers)
	}
	s.Advance(s.now + 1)
	if s.run(); string(s.wire[ref.Slot]) != want || len(s.paces) != 0 {
		t.Errorf("written behind the end: %q", s.wire[ref.Slot][len(want):])
	}
}
