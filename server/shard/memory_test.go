package shard

import (
	"testing"

	"pgregory.net/rapid"

	"cim/proto"
)

// TestMemoryIsCounted changes sessions at random: the shard's memory is the sum of
// the sessions', and nothing after all have closed.
func TestMemoryIsCounted(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newStand(t)
		var refs []Ref
		for i := range rapid.IntRange(1, 5).Draw(rt, "sessions") {
			refs = append(refs, s.live(proto.UserID(i+1), proto.DialectCIM))
		}
		some := func(rt *rapid.T) Ref {
			if len(refs) == 0 {
				rt.Skip("all have closed")
			}
			return rapid.SampledFrom(refs).Draw(rt, "session")
		}
		var view proto.View
		frame := proto.AppendSend(nil, 1, 2, string(make([]byte, 3000)))
		rt.Repeat(map[string]func(*rapid.T){
			"read a part": func(rt *rapid.T) {
				ref, part := some(rt), rapid.IntRange(1, len(frame)).Draw(rt, "bytes")
				s.Read(ref.Slot, frame[:part], &view)
			},
			"deliver": func(rt *rapid.T) {
				ref := some(rt)
				s.unsent[ref.Slot] = rapid.IntRange(0, UnsentBytesMax+1).Draw(rt, "unsent")
				s.push(ref, proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, proto.User{ID: 9, Name: "x"}, 0, []string{"hi"})), true)
			},
			"shed": func(rt *rapid.T) { s.Shed(rapid.IntRange(0, 1<<20).Draw(rt, "bytes"), 0) },
			"end":  func(rt *rapid.T) { s.End(some(rt), proto.ReasonEnded) },
			"close": func(rt *rapid.T) {
				ref := some(rt)
				s.Closed(ref.Slot)
				for i := range refs {
					if refs[i] == ref {
						refs = append(refs[:i], refs[i+1:]...)
						return
					}
				}
			},
			"": func(rt *rapid.T) {
				s.run()
				want, largest := 0, 0
				for _, ref := range refs {
					c := s.at(ref.Slot)
					want += c.memory()
					if c.state == stateLive {
						largest = max(largest, c.memory())
					}
				}
				if s.Memory() != want || s.Largest() != largest {
					rt.Fatalf("%d held, the largest %d; want %d and %d", s.Memory(), s.Largest(), want, largest)
				}
			},
		})
		for _, ref := range refs {
			s.Closed(ref.Slot)
		}
		if s.Memory() != 0 {
			rt.Fatalf("%d held without a session", s.Memory())
		}
	})
}

// TestShed ends the largest sessions, with ReasonMemory and at once, and none below
// the floor but the first.
func TestShed(t *testing.T) {
	hold := func(s *stand, user proto.UserID, bytes int) Ref {
		ref := s.live(user, proto.DialectCIM)
		if bytes > 0 {
			s.Wrote(ref.Slot, bytes-blockBytes)
		}
		return ref
	}
	for _, c := range []struct {
		bytes, floor int
		want         []int // which of the sessions below
	}{
		{1, 0, []int{3}},
		{100 << 10, 0, []int{3}},
		{100<<10 + 1, 0, []int{3, 1}},
		{1 << 30, 0, []int{3, 1, 4, 2}},
		{1 << 30, 50 << 10, []int{3, 1}},
		{1 << 30, 1 << 30, []int{3}},
		{0, 0, nil},
	} {
		s := newStand(t)
		held := []int{0, 50 << 10, 20 << 10, 100 << 10, 30 << 10}
		refs := make([]Ref, len(held))
		for i, bytes := range held {
			refs[i] = hold(s, proto.UserID(i+1), bytes)
		}
		s.Shed(c.bytes, c.floor)
		s.run()
		if len(s.ends) != len(c.want) {
			t.Errorf("%d bytes, floor %d: %d ended, want %d", c.bytes, c.floor, len(s.ends), len(c.want))
			continue
		}
		for i, at := range c.want {
			if e := s.ends[i]; e.Ref != refs[at] || e.Reason != proto.ReasonMemory || e.Soft {
				t.Errorf("%d bytes, floor %d: end %+v, want session %d, at once", c.bytes, c.floor, e, at)
			}
		}
	}
}

// TestShedTo ends the largest sessions, and no more than necessary; sessions that
// are ending already do not count.
func TestShedTo(t *testing.T) {
	for limit, want := range map[int]int{300 << 10: 0, 200 << 10: 0, 200<<10 - 1: 1, 100 << 10: 1, 50<<10 - 1: 3, 0: 4} {
		s := newStand(t)
		for i, bytes := range []int{50 << 10, 20 << 10, 100 << 10, 30 << 10} {
			s.Wrote(s.live(proto.UserID(i+1), proto.DialectCIM).Slot, bytes-blockBytes)
		}
		s.ShedTo(limit)
		s.ShedTo(limit) // nothing has closed yet
		s.run()
		if len(s.ends) != want {
			t.Errorf("to %d: %d ended, want %d", limit, len(s.ends), want)
		}
	}
}

// TestEvict ends connections that are not logged in, at once, and no session.
func TestEvict(t *testing.T) {
	s := newStand(t)
	live := s.live(1, proto.DialectCIM)
	open, ending := s.Open(), s.live(2, proto.DialectCIM)
	s.End(ending, proto.ReasonEnded)
	s.run()
	s.ends = nil
	for _, ref := range []Ref{live, open, ending, {Shard: 3, Slot: 1 << 20, Reuse: 1}, {Shard: 3, Slot: open.Slot, Reuse: open.Reuse + 1}} {
		s.Evict(ref)
	}
	s.run()
	hard := map[uint32]bool{}
	for _, e := range s.ends {
		hard[e.Ref.Slot] = hard[e.Ref.Slot] || !e.Soft
	}
	if len(hard) != 2 || !hard[open.Slot] || !hard[ending.Slot] {
		t.Errorf("ends %+v, want slots %d and %d ended at once", s.ends, open.Slot, ending.Slot)
	}
}
