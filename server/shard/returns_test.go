package shard

import (
	"testing"

	"cim/proto"
)

// TestHoldFlushes: no message is stored ahead of the kept texts of a session; a
// session without any makes no sender wait.
func TestHoldFlushes(t *testing.T) {
	s := newKeeper(t)
	ref := s.liveAck(1)
	s.take(ref, live(1, 3))
	s.ackFrame(ref, 1)
	if h, v := s.Hold(ref); v != proto.VerdictReturning || h.Holds != 2 {
		t.Fatalf("hold: %v, %+v", v, h)
	}
	if s.FlushIsUnderWay(ref) {
		t.Error("a flush is under way before it has been handed out")
	}
	r := s.wantReturned(2, 3)
	if !s.FlushIsUnderWay(ref) {
		t.Error("no flush is under way before it has been answered")
	}
	if r.User != 1 || r.Generation != 1 || r.Ref != ref || r.End {
		t.Errorf("return %+v", r)
	}
	if _, v := s.Hold(ref); v != proto.VerdictReturning {
		t.Fatalf("before the box has it: %v", v)
	}
	s.noReturn()
	if h, v := s.Resume(ref, 3); v != proto.VerdictReturning || h.Holds != 3 {
		t.Errorf("resume before the box has it: %v, %+v", v, h)
	}
	s.Returned(ref, r.Through+1, true) // for another one
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

// TestReturnFails: a failed Return is handed out again after a second, not before.
func TestReturnFails(t *testing.T) {
	s := newKeeper(t)
	ref := s.liveAck(1)
	s.take(ref, live(1, 1))
	s.Hold(ref)
	s.Returned(ref, s.wantReturned(1).Through, false)
	s.Hold(ref)
	s.noReturn()
	if s.FlushIsUnderWay(ref) {
		t.Error("a flush that has failed is under way")
	}
	s.Advance(1000 + ReturnRetryTicks - 1)
	s.Hold(ref)
	s.noReturn()
	s.Advance(1000 + ReturnRetryTicks)
	s.Returned(ref, s.wantReturned(1).Through, true)
	s.Advance(2000)
	s.noReturn()
}

// TestEndReturns: whatever ends a session, its kept texts are handed out once.
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

// TestUnsentIsFlushed: texts that have not left the process one tick after they
// came go to the box, with all before them; texts in the kernel do not.
func TestUnsentIsFlushed(t *testing.T) {
	for _, ack := range []bool{true, false} {
		s := newKeeper(t)
		ref := s.live(1, proto.DialectV2)
		if ack {
			ref = s.liveAck(1)
		}
		give := func(first proto.TextID) int {
			s.Deliver(ref, live(first, 1))
			s.run()
			return len(s.wire[ref.Slot])
		}
		one := give(1)
		give(2)
		s.Wrote(ref.Slot, one)
		s.noReturn()
		s.Advance(1001)
		give(3)
		s.Wrote(ref.Slot, len(s.wire[ref.Slot])-2*one) // the first two have left
		s.noReturn()
		s.Wrote(ref.Slot, len(s.wire[ref.Slot])-2*one+1)
		r := s.wantReturned(1, 2)
		s.Returned(ref, r.Through, true)
		s.Wrote(ref.Slot, 1)
		s.noReturn()
		if v, _ := s.Deliver(ref, live(4, 1)); v != proto.VerdictTaken {
			t.Fatalf("ack %t: the session is held: %v", ack, v)
		}
		s.run()
		s.Advance(1002)
		s.Wrote(ref.Slot, 1)
		s.wantReturned(3, 4)
	}
}

// TestFlushEndsBehindTheSession: what a flush has put into the box is not returned
// again when the connection of an old client closes.
func TestFlushEndsBehindTheSession(t *testing.T) {
	s := newKeeper(t)
	ref := s.live(1, proto.DialectV2)
	s.Deliver(ref, live(1, 1))
	s.run()
	s.Hold(ref)
	flush := s.wantReturned(1)
	s.End(ref, proto.ReasonEnded)
	s.run()
	s.Returned(ref, flush.Through, true)
	s.noReturn()
	s.Closed(ref.Slot)
	if r := s.wantReturned(); !r.End {
		t.Errorf("%+v", r)
	}
}

// TestStoredTextsAreBounded: a client that acknowledges nothing has at most
// StoredKeysMax texts in the box to be removed, including flushed ones.
func TestStoredTextsAreBounded(t *testing.T) {
	s := newKeeper(t)
	ref := s.liveAck(1)
	for n := 0; n < StoredKeysMax; n += 128 {
		s.take(ref, live(proto.TextID(n+1), 128))
		s.run()
		c := s.at(ref.Slot)
		s.flush(ref, c, c.kept.end())
		r, _ := s.nextReturn()
		s.Returned(ref, r.Through, true)
	}
	if v, _ := s.Deliver(ref, live(1<<20, 1)); v != proto.VerdictBehind {
		t.Errorf("one more: %v", v)
	}
}
