package shard

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"cim/proto"
)

// burst is as much as a route may have under way on its link: 128 KiB.
func burst(route, size int) (bodies [][]byte) {
	for n, sum := 0, 0; ; n++ {
		texts := []string{fmt.Sprintf("%d/%d ", route, n) + strings.Repeat("x", size)}
		if size == 0 {
			texts = slices.Repeat(texts, 100) // longer in dialect v1 than here
		}
		body := bodyFrom(strings.Repeat("n", proto.UserNameMax), texts...)
		if sum += len(body); sum > 128<<10 || n == 256 {
			return bodies
		}
		bodies = append(bodies, body)
	}
}

// TestFullLinks has two and three routes send as much as each may. No session that
// takes its bytes is ended, in any dialect, and each receives all broadcasts, once,
// in order, and a private message in its place.
func TestFullLinks(t *testing.T) {
	for _, routes := range []int{1, 2, 3} {
		for _, size := range []int{30_000, 400, 10, 0} {
			t.Run(fmt.Sprintf("%d routes, %d bytes", routes, size), func(t *testing.T) {
				fullLinks(t, routes, size)
			})
		}
	}
}

func fullLinks(t *testing.T, routes, size int) {
	s := newStand(t)
	var refs []Ref
	for i := range 12 {
		dialect := proto.DialectV2
		if i%2 == 1 {
			dialect = proto.DialectV1
		}
		refs = append(refs, s.live(proto.UserID(i+1), dialect))
	}
	var sent [][]byte
	for route := range routes {
		bodies := burst(route, size)
		for _, body := range bodies {
			s.Broadcast(body, 0, len(sent))
			sent = append(sent, body)
		}
		s.wantRoundBounds()
	}
	last := message("private")
	got := s.push(refs[0], last, false)
	late := s.live(9999, proto.DialectV2)
	for s.run(); s.Turning(); s.run() {
		s.wantRoundBounds()
	}
	if len(s.ends) != 0 {
		t.Fatalf("%d of %d sessions ended, the first %+v", len(s.ends), len(refs), s.ends[0])
	}
	for i, a := range s.answers {
		if a != (Answer{To: i, Verdict: proto.VerdictTaken, Given: len(refs)}) {
			t.Fatalf("answer %d is %+v", i, a)
		}
	}
	for i, ref := range refs {
		bodies := sent
		if i == 0 && got == proto.VerdictTaken {
			bodies = append(slices.Clone(sent), last)
		}
		if want := wireOf(bodies, proto.UserID(i+1), i%2 == 1); string(s.wire[ref.Slot]) != want {
			t.Fatalf("user %d was written %d bytes, want %d others", i+1, len(s.wire[ref.Slot]), len(want))
		}
	}
	if len(s.answers) != len(sent) || len(s.wire[late.Slot]) != 0 || s.rotor.held != (sizes{}) || s.rotor.round != (sizes{}) {
		t.Errorf("%d answers to %d; who came late got %d bytes; left %+v, %+v",
			len(s.answers), len(sent), len(s.wire[late.Slot]), s.rotor.held, s.rotor.round)
	}
	if got != proto.VerdictTaken && got != proto.VerdictBusy {
		t.Errorf("private message: %v", got)
	}
}

// wireOf is the bytes that a receiver of all bodies is written.
func wireOf(bodies [][]byte, receiver proto.UserID, v1 bool) string {
	var wire []byte
	for _, body := range bodies {
		if v1 {
			wire, _ = proto.AppendV1Delivery(wire, body, receiver)
		} else {
			wire = proto.AppendDelivery(wire, body, receiver)
		}
	}
	return string(wire)
}

// wantRoundBounds checks that the broadcasts that go round fit into one write.
func (s *stand) wantRoundBounds() {
	s.t.Helper()
	r, bodies, frames := &s.rotor, 0, 0
	for _, b := range r.active[:r.going] {
		bodies += len(b.body)
		frames += max(len(wireOf([][]byte{b.body}, -1, false)), len(wireOf([][]byte{b.body}, -1, true)))
	}
	if r.going > 1 && (bodies > roundBytesMax || frames > roundFramesMax) || r.going == 0 && len(r.active) > 0 {
		s.t.Fatalf("%d go round with %d bytes, %d in frames", r.going, bodies, frames)
	}
}

// TestBehindWaiting: a private message never overtakes a broadcast that waits. It
// takes those broadcasts with it that there is room for, and is busy beyond that.
func TestBehindWaiting(t *testing.T) {
	big := strings.Repeat("x", 30_000)
	for broadcasts, want := range map[int]proto.Verdict{3: proto.VerdictTaken, 5: proto.VerdictTaken, 6: proto.VerdictBusy} {
		s := newStand(t)
		ref, other := s.live(1, proto.DialectV2), s.live(2, proto.DialectV2)
		for range broadcasts {
			s.Broadcast(message(big), 0, nil)
		}
		if s.rotor.going != 3 {
			t.Fatalf("%d go round, want 3", s.rotor.going)
		}
		if v := s.push(ref, message(big), false); v != want {
			t.Errorf("behind %d: %v, want %v", broadcasts, v, want)
		}
		s.DeliverPage(other, message(big), 0, "page")
		s.runOut()
		if i := slices.IndexFunc(s.answers, func(a Answer) bool { return a.To == "page" }); s.answers[i].Verdict != want {
			t.Errorf("a page behind %d: %v, want %v", broadcasts, s.answers[i].Verdict, want)
		}
		received := broadcasts
		if want == proto.VerdictTaken {
			received++
		}
		if n := len(s.frames(ref)); n != received || len(s.ends) != 0 {
			t.Errorf("%d received, want %d; ends %v", n, received, s.ends)
		}
	}
}

// TestBroadcastBytesBound fills the bytes that may wait, and sends more.
func TestBroadcastBytesBound(t *testing.T) {
	s := newStand(t)
	ref := s.live(1, proto.DialectV2)
	full := BroadcastBytesMax / (32 << 10)
	overhead := len(message(strings.Repeat("x", 30_000))) - 30_000
	body := message(strings.Repeat("x", 32<<10-overhead))
	for range full {
		s.Broadcast(body, 0, "taken")
	}
	s.Broadcast(message(""), 0, "refused")
	if s.runOut(); s.answers[0] != (Answer{To: "refused", Verdict: proto.VerdictBusy}) || len(s.answers) != full+1 {
		t.Errorf("%d answers, the first %v", len(s.answers), s.answers[0])
	}
	if n := len(s.frames(ref)); n != full || len(s.ends) != 0 {
		t.Errorf("%d received, want %d; ends %v", n, full, s.ends)
	}
}
