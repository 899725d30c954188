package shard

import (
	"strconv"
	"testing"

	"cim/proto"
)

// stand is a shard with what its loop would have: the bytes written to each slot,
// the ends and the answers.
type stand struct {
	t testing.TB
	*Shard
	wire    map[uint32][]byte
	writes  map[uint32]int
	unsent  map[uint32]int // bytes that the sockets do not take
	ends    []End
	answers []Answer
}

const heartbeat, heartbeatV1 = 300, 1500 // ticks

func newStand(t testing.TB) *stand {
	s := New(Config{Number: 3, HeartbeatTicks: heartbeat, HeartbeatTicksV1: heartbeatV1, Epoch: 9}, 1000)
	return &stand{t: t, Shard: s, wire: map[uint32][]byte{}, writes: map[uint32]int{}, unsent: map[uint32]int{}}
}

// run does what a loop does after a call: it writes, and takes ends and answers.
func (s *stand) run() {
	s.BeginTurn()
	for {
		slot, data, some := s.NextWrite()
		if !some {
			break
		}
		s.wire[slot] = append(s.wire[slot], data...)
		s.writes[slot]++
		s.Wrote(slot, s.unsent[slot])
	}
	for e, some := s.NextEnd(); some; e, some = s.NextEnd() {
		s.ends = append(s.ends, e)
	}
	for a, some := s.NextAnswer(); some; a, some = s.NextAnswer() {
		s.answers = append(s.answers, a)
	}
}

// runOut runs until the rotor is idle.
func (s *stand) runOut() {
	for s.run(); s.Turning(); s.run() {
	}
}

// login opens a connection and logs user in; it begins held.
func (s *stand) login(user proto.UserID, dialect proto.Dialect) Ref {
	s.t.Helper()
	ref := s.Open()
	name := "u" + strconv.Itoa(int(user))
	var view proto.View
	first := proto.AppendLogin(nil, proto.User{ID: user, Name: name}, dialect, proto.Ticket{})
	if dialect == proto.DialectV1 {
		first = proto.AppendV1Login(nil, proto.User{ID: user, Name: name})
	}
	request, rest := s.Read(ref.Slot, first, &view)
	if request != RequestLogin || len(rest) != 0 || proto.UserID(view.ID) != user || string(view.Text) != name {
		s.t.Fatalf("login: request %d, %d bytes left, view %+v", request, len(rest), view)
	}
	s.Accept(ref.Slot, Login{User: user, Generation: 1, Name: name, Dialect: dialect})
	s.run()
	return ref
}

// live logs user in and ends the hold.
func (s *stand) live(user proto.UserID, dialect proto.Dialect) Ref {
	s.t.Helper()
	ref := s.login(user, dialect)
	if _, v := s.Resume(ref, 1); v != proto.VerdictTaken {
		s.t.Fatalf("resume: %v", v)
	}
	delete(s.wire, ref.Slot)
	return ref
}

// frames parses all that was written to a slot.
func (s *stand) frames(ref Ref) (all []proto.View) {
	s.t.Helper()
	for data := s.wire[ref.Slot]; len(data) > 0; {
		frame, size, reason := proto.NextFrame(data, proto.FrameMax)
		var v proto.View
		if frame == nil || reason != proto.ReasonNone || v.Parse(frame) != proto.ReasonNone {
			s.t.Fatalf("slot %d was written no frame: %x", ref.Slot, data)
		}
		all = append(all, v)
		data = data[size:]
	}
	return all
}

func (s *stand) texts(ref Ref) (all []string) {
	for _, v := range s.frames(ref) {
		all = append(all, string(v.Text))
	}
	return all
}

func (s *stand) wantEnd(ref Ref, reason proto.Reason) {
	s.t.Helper()
	for _, e := range s.ends {
		if e.Ref == ref && e.Reason == reason {
			return
		}
	}
	s.t.Fatalf("no end of %v for %v, got %v", ref, reason, s.ends)
}

func message(text string) []byte {
	return proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, proto.User{ID: 77, Name: "sender"}, 0, []string{text}))
}

func (s *stand) push(ref Ref, body []byte, pass bool) proto.Verdict {
	verdict, _ := s.Deliver(ref, Delivery{Body: body, Pass: pass})
	return verdict
}

func (s *stand) deliver(ref Ref, text string) proto.Verdict {
	return s.push(ref, message(text), false)
}

// TestReuse: a Ref kept after its slot was reused finds nothing.
func TestReuse(t *testing.T) {
	s := newStand(t)
	old := s.live(1, proto.DialectV2)
	if user, generation := s.Closed(old.Slot); user != 1 || generation != 1 {
		t.Fatalf("closed user %d, generation %d", user, generation)
	}
	now := s.live(2, proto.DialectV2)
	if now.Slot != old.Slot {
		t.Fatalf("slot %d, want the free slot %d", now.Slot, old.Slot)
	}
	if v := s.deliver(old, "for the old one"); v != proto.VerdictAbsent {
		t.Errorf("deliver: %v", v)
	}
	if _, v := s.Hold(old); v != proto.VerdictAbsent {
		t.Errorf("hold: %v", v)
	}
	s.End(old, proto.ReasonReplaced)
	s.Outcome(old, 1, 0, proto.OutcomeDelivered, proto.CodeSuccess, 0)
	s.run()
	if len(s.ends) != 0 || len(s.wire[now.Slot]) != 0 || s.Written(old) {
		t.Errorf("the new session felt it: ends %v, bytes %x", s.ends, s.wire[now.Slot])
	}
}

// TestEndAll ends every connection, logged in or not, once.
func TestEndAll(t *testing.T) {
	s := newStand(t)
	a, b, c := s.live(1, proto.DialectCIM), s.live(2, proto.DialectV2), s.Open()
	s.EndAll(proto.ReasonDraining)
	s.EndAll(proto.ReasonDraining)
	s.run()
	if len(s.ends) != 3 {
		t.Errorf("%d ends, want 3", len(s.ends))
	}
	for _, ref := range []Ref{a, b, c} {
		s.wantEnd(ref, proto.ReasonDraining)
	}
	if f := s.frames(a); len(f) != 1 || f[0].Command != proto.CommandClose {
		t.Errorf("our client got %+v", f)
	}
}

// TestSlotsComeBack opens and closes more connections than a chunk holds.
func TestSlotsComeBack(t *testing.T) {
	s := newStand(t)
	for range 3 {
		var refs []Ref
		for i := range 2*chunkSize + 1 {
			refs = append(refs, s.live(proto.UserID(i+1), proto.DialectV2))
		}
		for _, ref := range refs {
			s.Closed(ref.Slot)
		}
	}
	if open, live := s.Sessions(); open != 0 || live != 0 || len(s.chunks) != 3 || len(s.free) != 3*chunkSize {
		t.Errorf("%d open, %d live, %d chunks, %d free", open, live, len(s.chunks), len(s.free))
	}
}
