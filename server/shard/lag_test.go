package shard

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"cim/proto"
)

// received is what a session was written: each text, and "gap N" for a GAP of N
// texts.
func (s *stand) received(ref Ref) (all []string) {
	for _, v := range s.frames(ref) {
		switch v.Command {
		case proto.CommandGap:
			all = append(all, fmt.Sprint("gap ", v.LeftOut))
		default:
			v.EachText(func(text []byte) { all = append(all, string(text)) })
		}
	}
	return all
}

func (s *stand) wantReceived(ref Ref, want ...string) {
	s.t.Helper()
	if got := s.received(ref); !slices.Equal(got, want) {
		s.t.Errorf("received %q, want %q", got, want)
	}
	if len(s.ends) != 0 {
		s.t.Errorf("ends %v", s.ends)
	}
}

func (s *stand) broadcast(texts ...string) {
	s.Broadcast(proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, proto.User{ID: 77, Name: "sender"}, 0, texts)), 0, texts[0])
	s.runOut()
}

// socketTakes leaves unsent bytes of ref untaken by its socket.
func (s *stand) socketTakes(ref Ref, unsent int) {
	s.unsent[ref.Slot] = unsent
	s.Wrote(ref.Slot, unsent)
	s.run()
}

// TestLaggingIsLeftOut: a session without room gets no broadcasts, is not ended and
// not counted, and gets the number of left-out texts before its next broadcast.
// Others get all.
func TestLaggingIsLeftOut(t *testing.T) {
	s := newStand(t)
	slow, quick := s.live(1, proto.DialectCIM), s.live(2, proto.DialectCIM)
	s.broadcast("a")
	s.socketTakes(slow, lagBytes)
	s.broadcast("b")
	s.broadcast("c1", "c2")
	s.socketTakes(slow, 0)
	s.broadcast("d")
	s.broadcast("e")
	s.wantReceived(slow, "a", "gap 3", "d", "e")
	s.wantReceived(quick, "a", "b", "c1", "c2", "d", "e")
	given := []int{}
	for _, a := range s.answers {
		given = append(given, a.Given)
	}
	if !slices.Equal(given, []int{2, 1, 1, 2, 2}) || s.Stats().LeftOut != 2 {
		t.Errorf("given to %v sessions, %d left out; want 2, 1, 1, 2, 2 and 2", given, s.Stats().LeftOut)
	}
	s.Advance(s.now + 10*LagTicks) // the heartbeat ends both
	s.run()
	for _, e := range s.ends {
		if e.Reason != proto.ReasonIdle {
			t.Errorf("ended as %v", e.Reason)
		}
	}
}

// TestGapWithoutASuccessor: a session gets its GAP within a tick of having room,
// even without another broadcast.
func TestGapWithoutASuccessor(t *testing.T) {
	s := newStand(t)
	slow := s.live(1, proto.DialectCIM)
	s.socketTakes(slow, lagBytes)
	s.broadcast("b")
	s.Advance(s.now + 1)
	s.run()
	s.wantReceived(slow)
	s.socketTakes(slow, lagBytes/2)
	s.Advance(s.now + 1)
	s.run()
	s.wantReceived(slow, "gap 1")
	s.Advance(s.now + 1)
	s.run()
	s.wantReceived(slow, "gap 1")
}

// TestOldClientsAreLeftOut: they get no GAP, and go on.
func TestOldClientsAreLeftOut(t *testing.T) {
	for _, dialect := range []proto.Dialect{proto.DialectV1, proto.DialectV2} {
		s := newStand(t)
		slow := s.live(1, dialect)
		s.socketTakes(slow, lagBytes)
		s.broadcast("b")
		s.socketTakes(slow, 0)
		s.Advance(s.now + 1)
		s.run()
		s.broadcast("c")
		if n := s.writes[slow.Slot]; n != 1 && dialect == proto.DialectV2 {
			t.Errorf("%d writes, want 1", n)
		}
		if dialect == proto.DialectV2 {
			s.wantReceived(slow, "c")
		} else if got := string(s.wire[slow.Slot]); strings.Contains(got, "b") || !strings.Contains(got, "c") {
			t.Errorf("v1 received %q", got)
		}
	}
}

// TestManyShortTextsForV1: a batch of short texts, which is longer in dialect v1,
// ends no session, and the next message arrives.
func TestManyShortTextsForV1(t *testing.T) {
	s := newStand(t)
	old := s.live(1, proto.DialectV1)
	name := strings.Repeat("n", proto.UserNameMax)
	s.Broadcast(proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, proto.User{ID: 77, Name: name}, 0, slices.Repeat([]string{"x"}, proto.BatchMax))), 0, "many")
	s.runOut()
	s.broadcast("after")
	if len(s.ends) != 0 || !strings.Contains(string(s.wire[old.Slot]), "after") {
		t.Errorf("ends %v, %d bytes", s.ends, len(s.wire[old.Slot]))
	}
}

// TestPrivateBehindLag: a private message finds room, whatever broadcasts its
// receiver is due.
func TestPrivateBehindLag(t *testing.T) {
	s := newStand(t)
	slow := s.live(1, proto.DialectV2)
	long := strings.Repeat("l", 31<<10)
	s.socketTakes(slow, lagBytes)
	s.Broadcast(message(long), 0, "b")
	s.Broadcast(message(long), 0, "b")
	if v := s.deliver(slow, long); v != proto.VerdictTaken {
		t.Errorf("a private message before the rotor came: %v", v)
	}
	s.runOut()
	var lengths []int
	for _, text := range s.received(slow) {
		lengths = append(lengths, len(text))
	}
	if !slices.Equal(lengths, []int{len(long), len(long)}) || len(s.ends) != 0 {
		t.Errorf("received %d bytes, want one broadcast and the private message; ends %v", lengths, s.ends)
	}
}

// TestStoppedReaderIsEnded: a reader that takes nothing for LagTicks is ended as
// slow, and one that takes a byte now and then is not.
func TestStoppedReaderIsEnded(t *testing.T) {
	s := newStand(t)
	stopped, creeping := s.live(1, proto.DialectCIM), s.live(2, proto.DialectV2)
	s.socketTakes(stopped, lagBytes)
	s.socketTakes(creeping, lagBytes)
	s.broadcast("b")
	ping := func(ref Ref) { s.Read(ref.Slot, []byte(proto.Ping), new(proto.View)) }
	s.Advance(s.now + 1)
	const pace = 5 // ticks; less than a pause
	for range (LagTicks - 1) / pace {
		s.Advance(s.now + pace)
		ping(stopped)
		ping(creeping)
		s.run()
		s.socketTakes(creeping, s.unsent[creeping.Slot]-1)
	}
	if len(s.ends) != 0 {
		t.Fatalf("too early: %v", s.ends)
	}
	for range 2 * LagTicks / pace {
		s.Advance(s.now + pace)
		ping(creeping)
		s.run()
		s.socketTakes(creeping, s.unsent[creeping.Slot]-1)
	}
	s.wantEnd(stopped, proto.ReasonSlow)
	if slices.ContainsFunc(s.ends, func(e End) bool { return e.Ref == creeping }) {
		t.Errorf("ends %v", s.ends)
	}
}

// TestReaderThatIsGivenSomeGoesOn: a reader that is given broadcasts now and then,
// so that its unsent bytes never fall below their minimum, still counts as taking
// some.
func TestReaderThatIsGivenSomeGoesOn(t *testing.T) {
	s := newStand(t)
	slow := s.live(1, proto.DialectCIM)
	const pace = 5 // ticks; less than a pause
	for range 2 * LagTicks / pace {
		s.Advance(s.now + pace)
		s.Read(slow.Slot, []byte(proto.Ping), new(proto.View))
		s.socketTakes(slow, lagBytes/2+1000)
		s.broadcast("given")
		s.socketTakes(slow, lagBytes)
		s.broadcast("left out")
	}
	if len(s.ends) != 0 {
		t.Errorf("ends %v", s.ends)
	}
}

// TestNoSenderEndsSlowLines: whatever group messages are sent, in whatever sizes,
// readers that take some bytes are not ended, receive in order, and get each text
// or a GAP that counts it.
func TestNoSenderEndsSlowLines(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newStand(t)
		refs := []Ref{s.live(1, proto.DialectCIM), s.live(2, proto.DialectV2), s.live(3, proto.DialectV1), s.live(4, proto.DialectCIM)}
		perTick := rapid.IntRange(1_000, 150_000).Draw(rt, "bytes a tick")
		size := rapid.IntRange(1, 31<<10).Draw(rt, "size")
		sent := 0
		for range rapid.IntRange(1, 30).Draw(rt, "ticks") {
			for range rapid.IntRange(0, 4).Draw(rt, "messages") {
				s.Broadcast(message(fmt.Sprintf("%08d%s", sent, strings.Repeat("x", size))), 0, sent)
				sent++
				if rapid.Bool().Draw(rt, "turn") {
					s.lineTakes(refs, 0)
				}
			}
			s.Advance(s.now + 1)
			s.lineTakes(refs, perTick)
		}
		for range 50 {
			s.Advance(s.now + 1)
			s.lineTakes(refs, UnsentBytesMax)
		}
		if len(s.ends) != 0 {
			rt.Fatalf("ends %v", s.ends)
		}
		for _, ref := range []Ref{refs[0], refs[3]} {
			next := 0
			for _, text := range s.received(ref) {
				var n int
				if _, err := fmt.Sscanf(text, "gap %d", &n); err == nil {
					next += n
					continue
				}
				if _, err := fmt.Sscanf(text, "%08d", &n); err != nil || n != next {
					rt.Fatalf("received text %.10q, want %d", text, next)
				}
				next++
			}
			if next != sent {
				rt.Fatalf("received or counted as left out %d of %d texts", next, sent)
			}
		}
	})
}

// lineTakes writes everything pending. Each line of refs takes that many bytes; the
// rest stays with the socket.
func (s *stand) lineTakes(refs []Ref, bytes int) {
	for _, ref := range refs {
		s.unsent[ref.Slot] = max(0, s.unsent[ref.Slot]-bytes)
		s.Wrote(ref.Slot, s.unsent[ref.Slot])
	}
	for s.BeginTurn(); ; s.BeginTurn() {
		slot, data, some := s.NextWrite()
		if !some {
			if !s.Turning() {
				break
			}
			continue
		}
		s.wire[slot] = append(s.wire[slot], data...)
		s.writes[slot]++
		s.unsent[slot] += len(data)
		s.Wrote(slot, s.unsent[slot])
	}
	for e, some := s.NextEnd(); some; e, some = s.NextEnd() {
		s.ends = append(s.ends, e)
	}
	for a, some := s.NextAnswer(); some; a, some = s.NextAnswer() {
		s.answers = append(s.answers, a)
	}
}
