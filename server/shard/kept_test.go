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

// liveAck is live of a client that acknowledges.
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

// nextReturn is the next Return, of whose messages it returns the ids that are to
// be stored.
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

// wantAcked wants the keys of the texts with these ids to be handed out.
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

// TestAckEdges goes to the last text that was given, and one beyond.
func TestAckEdges(t *testing.T) {
	for _, c := range []struct {
		name string
		acks []uint64
		kept int
		ends bool
	}{
		{"none", nil, 3, false},
		{"0", []uint64{0}, 3, false},
		{"a part of a batch", []uint64{2}, 2, false},
		{"all", []uint64{1, 3}, 0, false},
		{"all, and fewer behind it", []uint64{3, 1, 3}, 0, false},
		{"one too many", []uint64{4}, 0, true},
		{"one too many behind all", []uint64{3, 4}, 0, true},
		{"far too many", []uint64{1 << 63}, 0, true},
	} {
		for _, ping := range []bool{false, true} {
			s := newKeeper(t)
			ref := s.liveAck(1)
			s.take(ref, live(1, 1))
			s.take(ref, live(2, 2))
			for _, n := range c.acks {
				frame := proto.AppendAck(nil, n)
				if ping {
					frame = proto.AppendAckPing(nil, n)
				}
				s.Read(ref.Slot, frame, new(proto.View))
			}
			s.run()
			if c.ends {
				s.wantEnd(ref, proto.ReasonUnexpected)
			} else if len(s.ends) != 0 {
				t.Errorf("%s: ended: %v", c.name, s.ends)
			}
			s.wantKept(c.kept)
		}
	}
}

// TestAckWithout: where it was not granted, an ACK is unexpected and a PING is none.
func TestAckWithout(t *testing.T) {
	for _, dialect := range []proto.Dialect{proto.DialectCIM, proto.DialectV2} {
		s := newKeeper(t)
		ref := s.live(1, dialect)
		s.Read(ref.Slot, proto.AppendAckPing(nil, 7), new(proto.View))
		s.run()
		if len(s.ends) != 0 {
			t.Fatalf("a PING ended it: %v", s.ends)
		}
		s.ackFrame(ref, 0)
		s.wantEnd(ref, proto.ReasonUnexpected)
	}
}

// TestAckIsGranted only to clients of ours whose routes know them, where texts are
// kept.
func TestAckIsGranted(t *testing.T) {
	for _, c := range []struct {
		login  Login
		budget int
		want   bool
	}{
		{Login{User: 1, Generation: 1, Dialect: proto.DialectCIM, Ack: true}, 1, true},
		{Login{User: 1, Generation: 1, Dialect: proto.DialectCIM}, 1, false},
		{Login{User: 1, Generation: 0, Dialect: proto.DialectCIM, Ack: true}, 1, false},
		{Login{User: 1, Generation: 1, Dialect: proto.DialectV2, Ack: true}, 1, false},
		{Login{User: 1, Generation: 1, Dialect: proto.DialectCIM, Ack: true}, 0, false},
	} {
		s := New(Config{KeptBytesMax: c.budget}, 0)
		ref := s.Open()
		s.at(ref.Slot).state = stateAsked
		s.Accept(ref.Slot, c.login)
		if got := s.at(ref.Slot).ack; got != c.want {
			t.Errorf("%+v, budget %d: granted %t", c.login, c.budget, got)
		}
	}
}

// TestCounted: live texts and pages count, those to everybody and those without ids
// do not.
func TestCounted(t *testing.T) {
	s := newKeeper(t)
	ref := s.liveAck(1)
	s.take(ref, live(1, 2))
	s.push(ref, message("no id"), false)
	s.Broadcast(proto.AppendOurPart(texts(proto.CommandMessage, 9, 1), true, 5), 0, nil)
	s.runOut()
	s.DeliverPage(ref, texts(proto.CommandOffline, 3, 2), 7, "page")
	s.runOut()
	s.DeliverPage(ref, message("no id"), 8, "page")
	s.runOut()
	var counted []bool
	for _, v := range s.frames(ref) {
		counted = append(counted, v.Counted())
	}
	if want := []bool{true, false, false, true, false}; !slices.Equal(counted, want) {
		t.Errorf("frames count: %v, want %v", counted, want)
	}
	s.wantKept(2)
	s.ackFrame(ref, 4)
	s.wantAcked(3, 4)
	s.wantKept(0)
}

// TestFull: what a session may keep, and one text or byte more. It is held, what it
// kept goes to the box first, and what came is stored behind it.
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
			extra = long(1000, 1<<10+1-head)
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

// TestUnsentIsNoEnd: a client that acknowledges and does not read is held, where any
// other ends as slow.
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

// TestHoldFlushes: nothing is stored ahead of what a session keeps, and only what
// it keeps makes anybody wait.
func TestHoldFlushes(t *testing.T) {
	s := newKeeper(t)
	ref := s.liveAck(1)
	s.take(ref, live(1, 3))
	s.ackFrame(ref, 1)
	if h, v := s.Hold(ref); v != proto.VerdictReturning || h.Holds != 2 {
		t.Fatalf("hold: %v, %+v", v, h)
	}
	r := s.wantReturned(2, 3)
	if r.User != 1 || r.Generation != 1 || r.Ref != ref || r.End {
		t.Errorf("return %+v", r)
	}
	if _, v := s.Hold(ref); v != proto.VerdictReturning {
		t.Fatalf("before the box has it: %v", v)
	}
	s.noReturn()
	s.Returned(ref, r.Through+1, true) // of another one
	if _, v := s.Hold(ref); v != proto.VerdictReturning {
		t.Fatalf("before the box has it: %v", v)
	}
	s.Returned(ref, r.Through, true)
	if _, v := s.Hold(ref); v != proto.VerdictTaken {
		t.Fatalf("when the box has it: %v", v)
	}
	if v, _ := s.Deliver(ref, live(4, 1)); v != proto.VerdictBehind {
		t.Errorf("live: %v", v)
	}
	s.wantAcked()
	s.ackFrame(ref, 2)
	s.wantAcked(2)
	s.ackFrame(ref, 3)
	s.wantAcked(3)
}

// TestReturnFails: it is handed out again after a second, not before.
func TestReturnFails(t *testing.T) {
	s := newKeeper(t)
	ref := s.liveAck(1)
	s.take(ref, live(1, 1))
	s.Hold(ref)
	s.Returned(ref, s.wantReturned(1).Through, false)
	s.Hold(ref)
	s.noReturn()
	s.Advance(1000 + ReturnRetryTicks - 1)
	s.Hold(ref)
	s.noReturn()
	s.Advance(1000 + ReturnRetryTicks)
	s.Returned(ref, s.wantReturned(1).Through, true)
	s.Advance(2000)
	s.noReturn()
}

// TestAckWhileReturning: a text that is acknowledged on its way to the box is
// removed behind that, and one that may be there also.
func TestAckWhileReturning(t *testing.T) {
	for _, ok := range []bool{true, false} {
		s := newKeeper(t)
		ref := s.liveAck(1)
		s.take(ref, live(1, 3))
		s.Hold(ref)
		r := s.wantReturned(1, 2, 3)
		s.ackFrame(ref, 2)
		s.wantAcked()
		s.Returned(ref, r.Through, ok)
		s.wantAcked(1, 2)
		s.ackFrame(ref, 3)
		s.wantAcked(3)
	}
	s := newKeeper(t)
	ref := s.liveAck(1)
	s.take(ref, live(1, 2))
	s.Hold(ref)
	s.wantReturned(1, 2)
	s.ackFrame(ref, 1)
	s.End(ref, proto.ReasonReplaced)
	r := s.wantReturned(2)
	if !r.End || len(r.Late) != 1 || r.Late[0] != (proto.TextKey{Sender: 77, ID: 1}) {
		t.Errorf("at the end: %+v", r)
	}
	s.wantAcked()
}

// TestReceipts: received at the acknowledgement, stored when that does not come in a
// second, and then all before it are stored too.
func TestReceipts(t *testing.T) {
	want := func(s *stand, all ...Receipt) {
		t.Helper()
		var got []Receipt
		for r, some := s.NextReceipt(); some; r, some = s.NextReceipt() {
			got = append(got, r)
		}
		if !slices.Equal(got, all) {
			t.Errorf("receipts %v, want %v", got, all)
		}
	}
	asking := func(first proto.TextID, n int) Delivery {
		d := live(first, n)
		d.Receipt = ReceiptTo{From: Ref{1, 2, 3}, ID: uint64(first), Text: first}
		return d
	}
	s := newKeeper(t)
	ref := s.liveAck(1)
	s.take(ref, asking(1, 2))
	s.ackFrame(ref, 1)
	want(s)
	s.ackFrame(ref, 2)
	want(s, Receipt{asking(1, 1).Receipt, proto.OutcomeReceived})
	s.take(ref, live(3, 1))
	s.take(ref, asking(4, 1))
	s.Advance(1005)
	s.take(ref, asking(5, 1))
	s.take(ref, live(6, 1))
	s.Advance(1000 + ReceiptTicks - 1)
	s.noReturn()
	s.Advance(1000 + ReceiptTicks)
	r := s.wantReturned(3, 4)
	want(s)
	s.Returned(ref, r.Through, true)
	want(s, Receipt{asking(4, 1).Receipt, proto.OutcomeStored})
	s.ackFrame(ref, 5)
	want(s, Receipt{asking(5, 1).Receipt, proto.OutcomeReceived})
	s.wantAcked(3, 4)
	s.Advance(1005 + ReceiptTicks)
	s.noReturn()
	s.take(ref, asking(7, 1))
	s.End(ref, proto.ReasonEnded)
	end := s.wantReturned(6, 7)
	if !end.End || !slices.Equal(end.Parts[0].Receipts, []ReceiptTo{asking(7, 1).Receipt}) {
		t.Errorf("at the end: %+v", end)
	}
	want(s)
	s.wantKept(0)
}

// TestEndReturns: whatever ends a session, what it kept is handed out once.
func TestEndReturns(t *testing.T) {
	for name, end := range map[string]func(s *stand, ref Ref){
		"closed":   func(s *stand, ref Ref) { s.Closed(ref.Slot) },
		"replaced": func(s *stand, ref Ref) { s.End(ref, proto.ReasonReplaced); s.run(); s.Closed(ref.Slot) },
		"lease":    func(s *stand, ref Ref) { s.EndAll(proto.ReasonLease); s.run(); s.Closed(ref.Slot) },
		"memory": func(s *stand, ref Ref) {
			s.end(ref.Slot, s.at(ref.Slot), proto.ReasonMemory)
			s.run()
			s.Closed(ref.Slot)
		},
		"slow":    func(s *stand, ref Ref) { s.Wrote(ref.Slot, UnsentBytesMax+1); s.run(); s.Closed(ref.Slot) },
		"idle":    func(s *stand, ref Ref) { s.Advance(1000 + heartbeat); s.run(); s.Closed(ref.Slot) },
		"a fault": func(s *stand, ref Ref) { s.ackFrame(ref, 99); s.Closed(ref.Slot) },
	} {
		for _, ack := range []bool{true, false} {
			s := newKeeper(t)
			ref := s.live(1, proto.DialectV2)
			if ack {
				ref = s.liveAck(1)
			}
			s.Deliver(ref, live(1, 1))
			s.run()
			s.Deliver(ref, live(2, 2))
			end(s, ref)
			r := s.wantReturned(1, 2, 3)
			if !r.End || r.User != 1 || r.Generation != 1 || r.Ref != ref {
				t.Errorf("%s, ack %t: %+v", name, ack, r)
			}
			s.noReturn()
			s.wantKept(0)
			for _, e := range s.ends {
				if e.User != 0 && e.Ref == ref && !e.Returning {
					t.Errorf("%s, ack %t: its end does not say that it returns", name, ack)
				}
			}
			if v, _ := s.Deliver(ref, live(9, 1)); v != proto.VerdictAbsent {
				t.Errorf("%s: %v behind the end", name, v)
			}
		}
	}
}

// TestEndOfOld: what the peer's kernel has when the connection closes is not
// returned, and a Return that was announced comes though nothing is left.
func TestEndOfOld(t *testing.T) {
	for _, left := range []int{0, 1, 1 << 30} {
		s := newKeeper(t)
		ref := s.live(1, proto.DialectV2)
		s.Deliver(ref, live(1, 1))
		s.run()
		s.Deliver(ref, live(2, 1))
		s.run()
		s.End(ref, proto.ReasonDraining)
		s.run()
		s.noReturn()
		s.Left(ref.Slot, left)
		s.Closed(ref.Slot)
		want := map[int][]proto.TextID{0: nil, 1: {2}, 1 << 30: {1, 2}}[left]
		if r := s.wantReturned(want...); !r.End {
			t.Errorf("%+v", r)
		}
		s.wantKept(0)
	}
	// What was thrown away never arrived, whatever the kernel has.
	s := newKeeper(t)
	ref := s.live(1, proto.DialectV2)
	s.Deliver(ref, live(1, 1))
	s.run()
	s.Deliver(ref, live(2, 1))
	s.EndAll(proto.ReasonLease)
	s.run()
	s.Left(ref.Slot, 0)
	s.Closed(ref.Slot)
	s.wantReturned(2)
}

// TestOldestMakesRoom: of a client that cannot acknowledge the oldest texts are
// given up, and it is not held.
func TestOldestMakesRoom(t *testing.T) {
	s := newKeeper(t)
	ref := s.live(1, proto.DialectV2)
	var want []proto.TextID
	for i := range KeptTextsMax + 2 {
		if v, counts := s.Deliver(ref, live(proto.TextID(i+1), 1)); v != proto.VerdictTaken || counts {
			t.Fatalf("%v, counts %t", v, counts)
		}
		s.run()
		if i >= 2 {
			want = append(want, proto.TextID(i+1))
		}
	}
	s.wantKept(KeptTextsMax)
	s.Closed(ref.Slot)
	s.wantReturned(want...)
}

// TestStuck: a peer whose kernel takes nothing is held, one that takes a byte now
// and then is not; it is released once all has gone.
func TestStuck(t *testing.T) {
	for _, moves := range []bool{true, false} {
		s := newKeeper(t)
		ref := s.live(1, proto.DialectV2)
		s.Deliver(ref, live(1, 1))
		s.run()
		s.DeliverPage(ref, texts(proto.CommandOffline, 5, 2), 9, "page")
		s.run()
		left := 100
		for now := Tick(1001); now <= 1100; now++ {
			if s.EachWatched(func(uint32) int { return left }); len(s.answers) != 0 || s.at(ref.Slot).held {
				t.Fatalf("held at %d: %v", now, s.answers)
			}
			if moves && now == 1050 {
				left--
			}
			s.Advance(now)
		}
		s.EachWatched(func(uint32) int { return left })
		s.run()
		if v, _ := s.Deliver(ref, live(2, 1)); (v == proto.VerdictTaken) != moves {
			t.Fatalf("after 10 s: %v, moves %t", v, moves)
		}
		if moves {
			continue
		}
		if !slices.Equal(s.answers, []Answer{{To: "page", Verdict: proto.VerdictBusy}}) {
			t.Fatalf("answers %v", s.answers)
		}
		s.Returned(ref, s.wantReturned(1).Through, true)
		if v, _ := s.Deliver(ref, live(2, 1)); v != proto.VerdictBehind {
			t.Errorf("when the box has it: %v", v)
		}
		s.DeliverPage(ref, texts(proto.CommandOffline, 8, 1), 10, "another")
		s.run()
		if _, v := s.Resume(ref, 2); v != proto.VerdictBusy || s.answers[1].Verdict != proto.VerdictBusy {
			t.Errorf("resume %v, page %v", v, s.answers[1])
		}
		s.EachWatched(func(uint32) int { return 0 })
		s.wantAcked(1, 5, 6)
		if _, v := s.Resume(ref, 2); v != proto.VerdictTaken {
			t.Errorf("resume when all has gone: %v", v)
		}
	}
}

// TestOldPage: a page to a client that cannot acknowledge is answered once the
// peer's kernel has it, and its texts are removed by that answer alone.
func TestOldPage(t *testing.T) {
	for _, dialect := range []proto.Dialect{proto.DialectV2, proto.DialectCIM, proto.DialectV1} {
		s := newKeeper(t)
		ref := s.live(1, dialect)
		s.DeliverPage(ref, texts(proto.CommandOffline, 1, 3), 9, "page")
		for now := Tick(1000); now < 1005; now++ {
			s.Advance(now)
			s.run()
		}
		s.EachWatched(func(uint32) int { return 1 })
		if s.run(); len(s.answers) != 0 {
			t.Fatalf("dialect %v: answered with a byte in the kernel", dialect)
		}
		s.EachWatched(func(uint32) int { return 0 })
		if s.run(); !slices.Equal(s.answers, []Answer{{To: "page", Verdict: proto.VerdictTaken}}) {
			t.Fatalf("dialect %v: %v", dialect, s.answers)
		}
		s.wantAcked()
		s.wantKept(0)
		if h, _ := s.Hold(ref); h.Cursor != 9 {
			t.Errorf("dialect %v: cursor %d", dialect, h.Cursor)
		}
		s.EachWatched(func(uint32) int { t.Error("its kernel is still asked"); return 0 })
	}
}

// TestPageIsFiltered: what the session has had is left out of a page.
func TestPageIsFiltered(t *testing.T) {
	s := newKeeper(t)
	ref := s.liveAck(1)
	s.take(ref, live(1, 2))
	s.Hold(ref)
	s.Returned(ref, s.wantReturned(1, 2).Through, true)
	s.ackFrame(ref, 1)
	delete(s.wire, ref.Slot)
	page := func(cursor uint64, ids ...proto.TextID) {
		m := proto.MessageFrom(proto.CommandOffline, proto.User{ID: 77, Name: "sender"}, 0, make([]string, len(ids)))
		m.IDs, m.Batch = ids, make([]string, len(ids))
		for i, id := range ids {
			m.Batch[i] = strings.Repeat("x", int(id))
			m.Sent = append(m.Sent, proto.UnixMilli(id))
		}
		s.answers = nil
		s.DeliverPage(ref, proto.AppendBody(nil, m), cursor, "page")
		s.run()
		if !slices.Equal(s.answers, []Answer{{To: "page", Verdict: proto.VerdictTaken}}) {
			t.Fatalf("page %v: %v", ids, s.answers)
		}
	}
	page(5, 1, 2)
	page(9, 2, 3, 1, 4)
	page(10, 4, 5)
	other := proto.AppendBody(nil, proto.MessageFrom(proto.CommandOffline, proto.User{ID: 78, Name: "other"}, 1, []string{"x"}))
	s.DeliverPage(ref, other, 11, "page") // the same id, of another sender
	s.run()
	type got struct {
		sender proto.UserID
		id     proto.TextID
		length int
		sent   proto.UnixMilli
	}
	var all []got
	for _, v := range s.frames(ref) {
		v.EachReceived(func(r proto.Received) { all = append(all, got{v.Sender(), r.ID, len(r.Text), r.Sent}) })
	}
	if want := []got{{77, 3, 3, 3}, {77, 4, 4, 4}, {77, 5, 5, 5}, {78, 1, 1, 0}}; !slices.Equal(all, want) {
		t.Errorf("came %v, want %v", all, want)
	}
	if h, _ := s.Hold(ref); h.Cursor != 11 {
		t.Errorf("cursor %d, want 11", h.Cursor)
	}
	s.ackFrame(ref, 6)
	s.wantAcked(1, 2, 3, 4, 5, 1)
}

// TestStoredKeysMax: pages come until that many stored texts are not acknowledged.
func TestStoredKeysMax(t *testing.T) {
	s := newKeeper(t)
	ref := s.liveAck(1)
	for n := 0; n < StoredKeysMax; n += 128 {
		s.DeliverPage(ref, texts(proto.CommandOffline, proto.TextID(n+1), 128), uint64(n), n)
		s.run()
	}
	for _, a := range s.answers {
		if a.Verdict != proto.VerdictTaken {
			t.Fatalf("%+v", a)
		}
	}
	s.answers = nil
	next := texts(proto.CommandOffline, StoredKeysMax+1, 1)
	s.DeliverPage(ref, next, 1, "page")
	s.ackFrame(ref, 1) // a debt counts until it is paid
	s.DeliverPage(ref, next, 1, "page")
	s.wantAcked(1)
	s.DeliverPage(ref, next, 1, "page")
	s.run()
	if want := []Answer{{"page", proto.VerdictBusy, 0}, {"page", proto.VerdictBusy, 0}, {"page", proto.VerdictTaken, 0}}; !slices.Equal(s.answers, want) {
		t.Errorf("answers %v, want %v", s.answers, want)
	}
	s.ackFrame(ref, StoredKeysMax+1)
	s.Closed(ref.Slot) // a debt outlives its session
	count, parts := 0, 0
	for a, some := s.NextAcked(); some; a, some = s.NextAcked() {
		count, parts = count+len(a.Keys), parts+1
	}
	if count != StoredKeysMax || parts != 3 {
		t.Errorf("%d keys in %d parts, want %d in 3", count, parts, StoredKeysMax)
	}
}

// TestBudget: past what all sessions may keep a session is held, however little it
// keeps itself, and pages still come; texts that nobody acknowledges make room.
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

// TestEntrySizes holds the constants of the shard's accounts against the compiler's.
func TestEntrySizes(t *testing.T) {
	if n := int(unsafe.Sizeof(entry{})); n != entryBytes {
		t.Errorf("an entry takes %d bytes, want %d", n, entryBytes)
	}
	if n := int(reflect.TypeFor[proto.TextKey]().Size()); n != keyBytes {
		t.Errorf("a key takes %d bytes, want %d", n, keyBytes)
	}
}

// TestLongBody: a message that no record could return is delivered and not kept.
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

// TestKeepingAllocatesNothing once the rings of the busiest moment are there.
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
		"of an old client": func() { s.Deliver(old, d); write(); s.Left(old.Slot, 0) },
	} {
		for range 3 {
			hot()
		}
		if allocs := testing.AllocsPerRun(100, hot); allocs != 0 {
			t.Errorf("%s: %v allocations, want 0", name, allocs)
		}
	}
}
