package shard

import (
	"slices"
	"strings"
	"testing"

	"cim/proto"
)

// TestPageIsFiltered: texts that the session has had are left out of a page.
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
	if h, _ := s.Hold(ref); h.Cursor != 5 {
		t.Errorf("cursor %d behind a page that it had, want 5", h.Cursor)
	}
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

// TestStoredKeysMax: pages are taken until that many stored texts are not
// acknowledged.
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
	s.DeliverPage(ref, next, StoredKeysMax+1, "page")
	s.ackFrame(ref, 1) // a removal counts until it is handed out
	s.DeliverPage(ref, next, StoredKeysMax+1, "page")
	s.run()
	s.wantAcked(1)
	s.DeliverPage(ref, next, StoredKeysMax+1, "page")
	s.run()
	if want := []Answer{{"page", proto.VerdictBusy, 0}, {"page", proto.VerdictBusy, 0}, {"page", proto.VerdictTaken, 0}}; !slices.Equal(s.answers, want) {
		t.Errorf("answers %v, want %v", s.answers, want)
	}
	s.ackFrame(ref, StoredKeysMax+1)
	s.Closed(ref.Slot) // a removal outlives its session
	count, parts := 0, 0
	for a, some := s.NextAcked(); some; a, some = s.NextAcked() {
		count, parts = count+len(a.Keys), parts+1
	}
	if count != StoredKeysMax || parts != 3 {
		t.Errorf("%d keys in %d parts, want %d in 3", count, parts, StoredKeysMax)
	}
}

// TestStoredBesides: a kept text that another route has stored under the same id is
// left out of a page, and removed from the box when it is acknowledged.
func TestStoredBesides(t *testing.T) {
	s := newKeeper(t)
	ref := s.liveAck(1)
	s.take(ref, live(1, 2))
	s.DeliverPage(ref, texts(proto.CommandOffline, 2, 2), 9, "page")
	s.run()
	if all := s.frames(ref); len(all) != 2 || all[1].Texts() != 1 || all[1].TextID() != 3 {
		t.Errorf("came %+v", all)
	}
	s.ackFrame(ref, 3)
	s.wantAcked(1, 2, 3) // 1 came in one message with 2, so it may be stored too
	s.Advance(1000 + removedTicks)
	s.wantKept(0)
}

// TestPageAgain: a page that is sent again, or a part of it with new texts, gives
// no text twice: its sender may not have learnt that it came.
func TestPageAgain(t *testing.T) {
	for _, dialect := range []proto.Dialect{proto.DialectV2, proto.DialectCIM, proto.DialectV1} {
		for _, ack := range []bool{false, dialect == proto.DialectCIM} {
			s := newKeeper(t)
			ref := s.live(1, dialect)
			if ack {
				ref = s.liveAck(1)
			}
			page := func(cursor uint64, first proto.TextID, n int) {
				t.Helper()
				s.answers = nil
				s.DeliverPage(ref, texts(proto.CommandOffline, first, n), cursor, "page")
				for end := s.now + 5; s.now < end; s.Advance(s.now + 1) {
					s.run()
				}
				if !slices.Equal(s.answers, []Answer{{To: "page", Verdict: proto.VerdictTaken}}) {
					t.Fatalf("dialect %v: %v", dialect, s.answers)
				}
			}
			again := func(last proto.TextID) {
				t.Helper()
				page(uint64(last), 1, int(last))
				page(uint64(last)+1, 1, int(last)+1)
			}
			page(2, 1, 2)
			again(2)
			s.PollWatched(func(uint32) int { return 0 })
			again(3)
			s.PollWatched(func(uint32) int { return 0 })
			s.Advance(s.now + 1)
			ping := []byte(proto.Ping)
			if dialect == proto.DialectV1 {
				ping = proto.AppendV1Ping(nil, 1)
			}
			s.Read(ref.Slot, ping, new(proto.View))
			again(4)
			s.NextAcked()
			again(5)
			got := 0
			for _, v := range s.frames(ref) {
				if string(v.Text) != "pong" {
					got += v.Texts()
				}
			}
			if got != 6 {
				t.Errorf("dialect %v, ack %t: %d texts came, want 6", dialect, ack, got)
			}
		}
	}
}
