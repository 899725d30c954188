package shard

import (
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"cim/proto"
)

// TestBroadcastExactlyOnce has broadcasts, private messages, logins and ends in any
// order between turns of any length. Each session receives the messages that came
// while it was live, once, in the order of arrival, except its own.
func TestBroadcastExactlyOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newStand(t)
		want := map[Ref][]string{}
		var live []Ref
		users := map[Ref]proto.UserID{}
		next, done := proto.UserID(1), 0
		check := func(ref Ref) {
			if got := s.texts(ref); !slices.Equal(got, want[ref]) {
				rt.Fatalf("user %d received %q, want %q", users[ref], got, want[ref])
			}
		}
		for step := range rapid.IntRange(1, 60).Draw(rt, "steps") {
			text := strconv.Itoa(step)
			switch op := rapid.IntRange(0, 9).Draw(rt, "op"); {
			case op < 3:
				for range rapid.IntRange(1, 300).Draw(rt, "logins") {
					ref := s.live(next, proto.DialectV2)
					live, users[ref] = append(live, ref), next
					next++
				}
			case op < 4 && len(live) > 0:
				i := rapid.IntRange(0, len(live)-1).Draw(rt, "who leaves")
				ref := live[i]
				s.runOut()
				check(ref)
				s.Closed(ref.Slot)
				delete(s.wire, ref.Slot)
				live = slices.Delete(live, i, i+1)
			case op < 7:
				except := proto.UserID(rapid.IntRange(0, int(next)).Draw(rt, "except"))
				s.Broadcast(message("b"+text), except, text)
				done++
				for _, ref := range live {
					if users[ref] != except {
						want[ref] = append(want[ref], "b"+text)
					}
				}
			case op < 9 && len(live) > 0:
				ref := live[rapid.IntRange(0, len(live)-1).Draw(rt, "to")]
				if v := s.deliver(ref, "p"+text); v != proto.VerdictTaken {
					rt.Fatalf("private: %v", v)
				}
				want[ref] = append(want[ref], "p"+text)
			default:
				s.run()
			}
		}
		s.runOut()
		for _, ref := range live {
			check(ref)
		}
		if len(s.answers) != done {
			rt.Fatalf("%d answers to %d broadcasts", len(s.answers), done)
		}
	})
}

// TestRotorTurn: a turn ends after so many writes, fewer if several broadcasts are
// on their way, and the next continues.
func TestRotorTurn(t *testing.T) {
	for broadcasts, turn := range map[int]uint64{1: RotorTurn, 2: RotorTurnShared, 3: RotorTurnShared} {
		s := newStand(t)
		for i := range turn + 1 {
			s.live(proto.UserID(i+1), proto.DialectV2)
		}
		before := s.Stats().Writes
		for range broadcasts {
			s.Broadcast(message("b"), 0, "done")
		}
		s.run()
		if n := s.Stats().Writes - before; n != turn || !s.Turning() || len(s.answers) != 0 {
			t.Fatalf("%d broadcasts, first turn: %d writes, turning %v, answers %v", broadcasts, n, s.Turning(), s.answers)
		}
		s.run()
		if n := s.Stats().Writes - before; n != turn+1 || s.Turning() || len(s.answers) != broadcasts {
			t.Fatalf("%d broadcasts, second turn: %d writes, turning %v, answers %v", broadcasts, n, s.Turning(), s.answers)
		}
	}
}

// TestRotorCoalesces: a broadcast that arrives during a round joins it, so sixteen
// under way cost about one write for each session and round.
func TestRotorCoalesces(t *testing.T) {
	const users, window, rounds = 2 * RotorTurn, 16, 10
	s := newStand(t)
	for i := range users {
		s.live(proto.UserID(i+1), proto.DialectV2)
	}
	before, sent := s.Stats().Writes, 0
	for len(s.answers) < window*rounds {
		for ; sent < len(s.answers)+window && sent < window*rounds; sent++ {
			s.Broadcast(message(strconv.Itoa(sent)), 0, sent)
		}
		s.run()
	}
	writes := float64(s.Stats().Writes-before) / users
	if frames := window * rounds / writes; frames < 10 {
		t.Errorf("%.1f frames a write, want nearly %d", frames, window)
	}
}

// TestBroadcastBound fills the rotor, and sends one more.
func TestBroadcastBound(t *testing.T) {
	s := newStand(t)
	ref := s.live(1, proto.DialectV2)
	for range BroadcastsMax {
		s.Broadcast(message(""), 0, "taken")
	}
	s.Broadcast(message("one more"), 0, "refused")
	s.runOut()
	if len(s.answers) != BroadcastsMax+1 || s.answers[0] != (Answer{To: "refused", Verdict: proto.VerdictBusy}) {
		t.Fatalf("%d answers, the first %v", len(s.answers), s.answers[0])
	}
	if n := len(s.frames(ref)); n != BroadcastsMax {
		t.Errorf("%d received, want %d", n, BroadcastsMax)
	}
}
