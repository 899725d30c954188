package shard

import (
	"slices"
	"testing"

	"cim/proto"
)

// TestAckEdges acknowledges the last text that was given, and one beyond.
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

// TestAckWithout: without a grant of acknowledgements, an ACK is unexpected and a
// PING is only a ping.
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

// TestAckIsGranted: only clients of ours with a grant get acknowledgements, and
// only where texts are kept.
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
		s.at(ref.Slot).state = stateLoginRead
		s.Accept(ref.Slot, c.login)
		if got := s.at(ref.Slot).ack; got != c.want {
			t.Errorf("%+v, budget %d: granted %t", c.login, c.budget, got)
		}
	}
}

// TestCounted: live texts and pages count; group messages and texts without ids do
// not.
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

// TestAckWhileReturning: a text that is acknowledged on its way to the box is
// removed after its return, and so is one that may be there.
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

// TestReceipts: received at the acknowledgement; stored after a second without one,
// and then all texts before it are stored too.
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
