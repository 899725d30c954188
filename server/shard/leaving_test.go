package shard

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"cim/proto"
)

// TestLeaving asks and ends sessions in portions of any size, while others end by
// themselves: each client of ours is asked once, each old client is ended once, and
// no portion is larger than its bound.
func TestLeaving(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := newStand(t)
		var ours, old []Ref
		for user := range rapid.IntRange(0, 2*chunkSize+10).Draw(r, "sessions") {
			dialect := rapid.SampledFrom([]proto.Dialect{proto.DialectCIM, proto.DialectV2, proto.DialectV1}).Draw(r, "dialect")
			ref := s.live(proto.UserID(user+1), dialect)
			if dialect == proto.DialectCIM {
				ours = append(ours, ref)
			} else {
				old = append(old, ref)
			}
		}
		s.Open() // not logged in
		gone := map[Ref]bool{}
		portions := func(what string, work func(n int) int) (sum int) {
			for {
				if all := slices.Concat(ours, old); len(all) > 0 && rapid.Bool().Draw(r, "one ends") {
					ref := rapid.SampledFrom(all).Draw(r, "who")
					if s.find(ref) != nil {
						s.End(ref, proto.ReasonEnded)
						gone[ref] = true
					}
				}
				n := rapid.IntRange(1, 100).Draw(r, what)
				did := work(n)
				s.run()
				if did > n {
					r.Fatalf("%s: %d, want at most %d", what, did, n)
				}
				if sum += did; did < n {
					return sum
				}
			}
		}
		asked := portions("move", s.Move)
		ended := portions("end", func(n int) int { return s.EndOld(n, proto.ReasonDraining) })

		wantAsked, wantEnded := 0, 0
		for _, ref := range ours {
			moves := 0
			for _, v := range s.frames(ref) {
				if v.Command == proto.CommandMove && v.Reason == proto.ReasonDraining {
					moves++
				}
			}
			if wantAsked += moves; moves > 1 || moves == 0 && !gone[ref] || !gone[ref] && s.find(ref) == nil {
				r.Fatalf("a client of ours was asked %d times, gone %t", moves, gone[ref])
			}
		}
		for _, e := range s.ends {
			if e.Reason == proto.ReasonDraining {
				if wantEnded++; gone[e.Ref] || !slices.Contains(old, e.Ref) || !e.Soft {
					r.Fatalf("ended: %+v", e)
				}
			}
		}
		for _, ref := range old {
			if len(s.frames(ref)) != 0 || s.find(ref) != nil {
				r.Fatalf("an old client got %v and lives: %t", s.frames(ref), s.find(ref) != nil)
			}
		}
		if asked != wantAsked || ended != wantEnded {
			r.Fatalf("asked %d and ended %d, counted %d and %d", wantAsked, wantEnded, asked, ended)
		}
		if s.Move(1) != 0 || s.EndOld(1, proto.ReasonDraining) != 0 {
			r.Fatal("a session was left")
		}
	})
}

// TestMoveSlow skips a client with too much unsent: it is about to be ended.
func TestMoveSlow(t *testing.T) {
	s := newStand(t)
	slow := s.live(1, proto.DialectCIM)
	s.Wrote(slow.Slot, UnsentBytesMax)
	if n := s.Move(10); n != 0 {
		t.Errorf("%d were asked", n)
	}
}

// TestLeaseLost: the user of a session may have a newer session by now, so pending
// bytes are not written, a broadcast that goes round does not arrive, and the
// sender of a text learns that it was not taken. A client of ours gets the reason.
func TestLeaseLost(t *testing.T) {
	s := newStand(t)
	ours, old := s.live(1, proto.DialectCIM), s.live(2, proto.DialectV2)
	s.Broadcast(message("to all"), 0, "round")
	for _, ref := range []Ref{ours, old} {
		if v := s.deliver(ref, "late"); v != proto.VerdictTaken {
			t.Fatalf("deliver: %v", v)
		}
	}
	s.EndAll(proto.ReasonLease)
	if s.Written(ours) || s.Written(old) {
		t.Error("a text that was thrown away counts as taken")
	}
	s.run()
	if frames := s.frames(ours); len(frames) != 1 || frames[0].Command != proto.CommandClose || frames[0].Reason != proto.ReasonLease {
		t.Errorf("one of ours was written %v, want why it ends", frames)
	}
	if frames := s.frames(old); len(frames) != 0 {
		t.Errorf("an old client was written %v, want nothing", frames)
	}
	s.wantEnd(ours, proto.ReasonLease)
	s.wantEnd(old, proto.ReasonLease)
}
