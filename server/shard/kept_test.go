package shard

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"cim/proto"
)

const keptBudget = 1 << 20

// newKeeper is a stand whose sessions keep texts.
func newKeeper(t testing.TB) *stand {
	s := newStand(t)
	s.Shard = New(Config{
		Number: 3, HeartbeatTicks: heartbeat, HeartbeatTicksV1: heartbeatV1, Epoch: 9, KeptBytesMax: keptBudget, StuckTicks: 100,
	}, 1000)
	return s
}

// liveAck is live for a client that acknowledges.
func (s *stand) liveAck(user proto.UserID) Ref {
	s.t.Helper()
	ref := s.Open()
	s.Read(ref.Slot, proto.AppendAckLogin(nil, proto.User{ID: user, Name: "u"}, proto.Ticket{}), new(proto.View))
	s.Accept(ref.Slot, Login{User: user, Generation: 1, Name: "u", Dialect: proto.DialectCIM, Ack: true})
	s.run()
	if all := s.frames(ref); len(all) != 1 || all[0].Ack != proto.AckVersion {
		s.t.Fatalf("the login was answered by %+v", all)
	}
	s.Resume(ref, 1)
	delete(s.wire, ref.Slot)
	return ref
}

// texts makes a body of texts of sender 77 with the ids from first on.
func texts(command proto.Command, first proto.TextID, n int) []byte {
	return proto.AppendBody(nil, proto.MessageFrom(command, proto.User{ID: 77, Name: "sender"}, first, make([]string, n)))
}

func live(first proto.TextID, n int) Delivery {
	return Delivery{Body: texts(proto.CommandMessage, first, n)}
}

func (s *stand) ackFrame(ref Ref, n uint64) {
	s.Read(ref.Slot, proto.AppendAck(nil, n), new(proto.View))
	s.run()
}

func (s *stand) take(ref Ref, d Delivery) {
	s.t.Helper()
	if v, counts := s.Deliver(ref, d); v != proto.VerdictTaken || !counts {
		s.t.Fatalf("%v, counts: %t", v, counts)
	}
}

func (s *stand) wantKept(texts int) {
	s.t.Helper()
	if got, bytes := s.Kept(); got != texts || texts == 0 && bytes != 0 {
		s.t.Errorf("%d texts are kept in %d bytes, want %d", got, bytes, texts)
	}
}

// nextReturn returns the next Return, and the ids of its texts that must be stored.
func (s *stand) nextReturn() (r Return, ids []proto.TextID) {
	s.t.Helper()
	r, some := s.NextReturn()
	if !some {
		s.t.Fatal("nothing is returned")
	}
	for _, part := range r.Parts {
		messages, err := proto.ParseReturned(part.Body)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, m := range messages {
			for _, key := range keysOf(m.Body)[m.Skip:] {
				ids = append(ids, key.ID)
			}
		}
	}
	return r, ids
}

func (s *stand) wantReturned(want ...proto.TextID) Return {
	s.t.Helper()
	r, ids := s.nextReturn()
	if !slices.Equal(ids, want) {
		s.t.Errorf("texts %v are returned, want %v", ids, want)
	}
	return r
}

// wantAcked expects the shard to hand out the keys of the texts with these ids.
func (s *stand) wantAcked(want ...proto.TextID) {
	s.t.Helper()
	var ids []proto.TextID
	for a, some := s.NextAcked(); some; a, some = s.NextAcked() {
		if len(a.Keys) > proto.TextKeysMax || a.User == 0 || a.Generation == 0 {
			s.t.Errorf("%d keys of user %d, generation %d", len(a.Keys), a.User, a.Generation)
		}
		for _, key := range a.Keys {
			ids = append(ids, key.ID)
		}
	}
	if !slices.Equal(ids, want) {
		s.t.Errorf("texts %v are to be removed, want %v", ids, want)
	}
}

func (s *stand) noReturn() {
	s.t.Helper()
	if r, some := s.NextReturn(); some {
		s.t.Errorf("returned: %+v", r)
	}
}

// TestFull keeps as much as a session may, and one text or byte more. Then the
// session is held, its kept texts go to the box first, and the new message is
// stored behind them.
func TestFull(t *testing.T) {
	long := func(id proto.TextID, n int) Delivery {
		return Delivery{Body: proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, proto.User{ID: 77, Name: "s"}, id, []string{strings.Repeat("x", n)}))}
	}
	head := len(long(1, 1000).Body) - 1000
	for name, fill := range map[string][]Delivery{
		"texts": {live(1, 128), live(129, 128)},
		"bytes": {long(1, 30<<10-head), long(2, 30<<10-head), long(3, 30<<10-head), long(4, 30<<10-head), long(5, 30<<10-head), long(6, 30<<10-head), long(7, 11<<10-head)},
	} {
		s := newKeeper(t)
		ref := s.liveAck(1)
		for _, d := range fill {
			s.take(ref, d)
			s.run()
		}
		if len(s.ends) != 0 {
			t.Fatalf("%s: ended: %v", name, s.ends)
		}
		full, _ := s.Kept()
		extra := live(1000, 1)
		if name == "bytes" {
			exact := long(1000, KeptBodiesMax-s.at(ref.Slot).kept.outside()-head+1)
			if extra = exact; len(extra.Body)+s.at(ref.Slot).kept.outside() != KeptBodiesMax+1 {
				t.Fatalf("%d bytes", len(extra.Body))
			}
		}
		if v, counts := s.Deliver(ref, extra); v != proto.VerdictReturning || counts {
			t.Fatalf("%s: one more is %v", name, v)
		}
		for n := 0; ; {
			if v, _ := s.Deliver(ref, extra); v == proto.VerdictBehind {
				if n != full {
					t.Errorf("%s: behind after %d of %d texts", name, n, full)
				}
				break
			}
			r, ids := s.nextReturn()
			s.noReturn()
			n += len(ids)
			s.Returned(ref, r.Through, true)
		}
		if n, _ := s.Kept(); n != 0 {
			t.Errorf("%s: %d texts are kept besides the box", name, n)
		}
		held := 0
		s.EachHeld(func(Held) { held++ })
		if held != 1 || len(s.ends) != 0 {
			t.Errorf("%s: %d sessions are held, ends %v", name, held, s.ends)
		}
		s.ackFrame(ref, uint64(full))
		if a, some := s.NextAcked(); !some || len(a.Keys) != full {
			t.Errorf("%s: %d keys to be removed, want %d", name, len(a.Keys), full)
		}
	}
}

// TestUnsentIsNoEnd: a client that acknowledges and does not read is held, where
// any other client is ended as slow.
func TestUnsentIsNoEnd(t *testing.T) {
	s := newKeeper(t)
	ref := s.liveAck(1)
	s.take(ref, live(1, 1))
	s.unsent[ref.Slot] = UnsentBytesMax
	s.run()
	if v, _ := s.Deliver(ref, live(2, 1)); v != proto.VerdictReturning || len(s.ends) != 0 {
		t.Errorf("%v, ends %v", v, s.ends)
	}
}

// TestBudget: when the sessions together keep what they may, a session is held,
// however little it keeps itself, and still gets pages; texts that stay
// unacknowledged go to the box and make room.
func TestBudget(t *testing.T) {
	s := newKeeper(t)
	var hoarders []Ref
	for user := proto.UserID(100); ; user++ {
		ref := s.liveAck(user)
		hoarders = append(hoarders, ref)
		v := proto.VerdictTaken
		for i := 0; i < 100 && v == proto.VerdictTaken; i++ {
			d := Delivery{Body: proto.AppendSentBody(nil, 77, "s", proto.TextID(i+1), make([]byte, 1500))}
			v, _ = s.Deliver(ref, d)
			s.run()
		}
		if v != proto.VerdictTaken {
			break
		}
		if user == 200 {
			t.Fatal("there is no bound")
		}
	}
	if _, bytes := s.Kept(); bytes > keptBudget+KeptBodiesMax {
		t.Errorf("%d bytes are kept, want about %d", bytes, keptBudget)
	}
	ref := s.liveAck(1)
	if v, _ := s.Deliver(ref, live(1, 1)); v != proto.VerdictBehind {
		t.Errorf("a session that keeps nothing: %v", v)
	}
	s.DeliverPage(ref, texts(proto.CommandOffline, 1, 100), 1, "page")
	s.run()
	if !slices.Equal(s.answers, []Answer{{To: "page", Verdict: proto.VerdictTaken}}) {
		t.Errorf("a page to it: %v", s.answers)
	}
	s.ackFrame(ref, 100)
	s.wantAcked(texts100()...)
	if _, v := s.Resume(ref, 2); v != proto.VerdictTaken {
		t.Errorf("resume: %v", v)
	}
	for now := Tick(1001); now < 1030; now++ {
		s.Advance(now)
		for r, some := s.NextReturn(); some; r, some = s.NextReturn() {
			s.Returned(r.Ref, r.Through, true)
		}
	}
	if _, bytes := s.Kept(); bytes > keptBudget/4*3 {
		t.Errorf("%d bytes are kept though all texts are a second old, want at most three quarters", bytes)
	}
	if v, _ := s.Deliver(ref, live(200, 1)); v != proto.VerdictTaken {
		_, bytes := s.Kept()
		t.Errorf("%v after the hoarders' texts have been stored; %d bytes are kept", v, bytes)
	}
	s.run()
	if len(s.ends) != 0 {
		t.Errorf("ends %v", s.ends)
	}
	for _, r := range append(hoarders, ref) {
		s.Closed(r.Slot)
	}
	s.wantKept(0)
}

func texts100() (ids []proto.TextID) {
	for i := range 100 {
		ids = append(ids, proto.TextID(i+1))
	}
	return ids
}

// TestEntrySizes compares the constants of the shard's accounting with the
// compiler's sizes.
func TestEntrySizes(t *testing.T) {
	if n := int(unsafe.Sizeof(entry{})); n != entryBytes {
		t.Errorf("an entry takes %d bytes, want %d", n, entryBytes)
	}
	if n := int(reflect.TypeFor[proto.TextKey]().Size()); n != keyBytes {
		t.Errorf("a key takes %d bytes, want %d", n, keyBytes)
	}
}

// TestLongBody: a message that does not fit into a RecordReturn is delivered and
// not kept.
func TestLongBody(t *testing.T) {
	for length, want := range map[int]bool{proto.ReturnedBodyMax: true, proto.ReturnedBodyMax + 1: false} {
		s := newKeeper(t)
		ref := s.liveAck(1)
		body := texts(proto.CommandMessage, 1, 2)
		for len(body) < length {
			n := min(length-len(body)-7, proto.TextMax)
			m := proto.MessageFrom(proto.CommandMessage, proto.User{ID: 77, Name: "sender"}, 1, []string{"", strings.Repeat("x", n)})
			m.Properties = append(m.Properties, proto.Property{Key: "k", Value: ""})
			m.Properties[2].Value = strings.Repeat("y", length-len(proto.AppendBody(nil, m))-4)
			if body = proto.AppendBody(nil, m); len(body) != length {
				t.Fatalf("%d bytes, want %d", len(body), length)
			}
		}
		if v, counts := s.Deliver(ref, Delivery{Body: body}); v != proto.VerdictTaken || counts != want {
			t.Errorf("%d bytes: %v, counts %t", length, v, counts)
		}
		s.End(ref, proto.ReasonEnded)
		if _, some := s.NextReturn(); some != want {
			t.Errorf("%d bytes: returned %t", length, some)
		}
	}
}

// TestKeepingAllocatesNothing after the buffers have grown to their busiest size.
func TestKeepingAllocatesNothing(t *testing.T) {
	s := newKeeper(t)
	write := func() {
		for slot, _, some := s.NextWrite(); some; slot, _, some = s.NextWrite() {
			s.Wrote(slot, 0)
		}
	}
	ours, old := s.liveAck(1), s.live(2, proto.DialectV2)
	d, view, n := live(1, 1), new(proto.View), uint64(0)
	d.Receipt = ReceiptTo{Link: s, ID: 1}
	frame := make([]byte, 0, 64)
	for name, hot := range map[string]func(){
		"acknowledged": func() {
			for range 3 {
				s.Deliver(ours, d)
				write()
				n++
			}
			frame = proto.AppendAck(frame[:0], n)
			s.Read(ours.Slot, frame, view)
			for _, some := s.NextReceipt(); some; _, some = s.NextReceipt() {
			}
			s.NextAcked()
			s.NextReturn()
		},
		"of an old client": func() { s.Deliver(old, d); write(); s.SetUnacked(old.Slot, 0) },
	} {
		for range 3 {
			hot()
		}
		if allocs := testing.AllocsPerRun(100, hot); allocs != 0 {
			t.Errorf("%s: %v allocations, want 0", name, allocs)
		}
	}
}
