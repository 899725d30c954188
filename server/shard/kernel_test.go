package shard

import (
	"slices"
	"testing"

	"cim/proto"
)

// TestEndOfOld: what the peer's kernel has when the connection closes is not
// returned, and an announced Return comes even if nothing is left.
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
		s.SetUnacked(ref.Slot, left)
		s.Closed(ref.Slot)
		want := map[int][]proto.TextID{0: nil, 1: {2}, 1 << 30: {1, 2}}[left]
		if r := s.wantReturned(want...); !r.End {
			t.Errorf("%+v", r)
		}
		s.wantKept(0)
	}
	// Discarded bytes never arrived, whatever the kernel has.
	s := newKeeper(t)
	ref := s.live(1, proto.DialectV2)
	s.Deliver(ref, live(1, 1))
	s.run()
	s.Deliver(ref, live(2, 1))
	s.EndAll(proto.ReasonLease)
	s.run()
	s.SetUnacked(ref.Slot, 0)
	s.Closed(ref.Slot)
	s.wantReturned(2)
}

// TestEndOfOldAcknowledged: when the peer's kernel has all bytes of an ended
// session, the announced Return comes at once, and no second one when the
// connection closes.
func TestEndOfOldAcknowledged(t *testing.T) {
	for name, ask := range map[string]func(s *stand, slot uint32, left int){
		"at once": func(s *stand, slot uint32, left int) { s.SetUnacked(slot, left) },
		"by tick": func(s *stand, _ uint32, left int) { s.PollWatched(func(uint32) int { return left }) },
	} {
		s := newKeeper(t)
		ref := s.live(1, proto.DialectV2)
		s.Deliver(ref, live(1, 1))
		s.Deliver(ref, live(2, 1))
		s.run()
		s.End(ref, proto.ReasonEnded)
		s.run()
		ask(s, ref.Slot, 1)
		s.noReturn()
		ask(s, ref.Slot, 0)
		if r := s.wantReturned(); !r.End {
			t.Errorf("%s: %+v", name, r)
		}
		s.wantKept(0)
		s.Closed(ref.Slot)
		s.noReturn()
	}
}

// TestOldIsHeld: a client that does not acknowledge is held, as one that does, when
// its kernel takes nothing. The shard polls the kernel before that, and a client
// whose kernel takes everything is never held. Without a grant, and so without a
// catch-up, it is not held: its oldest texts make room.
func TestOldIsHeld(t *testing.T) {
	for _, c := range []struct {
		name  string
		left  int
		grant proto.Generation
		first proto.TextID // kept in the end
		full  proto.Verdict
	}{
		{"takes nothing", 1 << 30, 1, 1, proto.VerdictReturning},
		{"takes all", 0, 1, 0, proto.VerdictTaken},
		{"takes nothing, without a grant", 1 << 30, 0, 3, proto.VerdictTaken},
	} {
		s := newKeeper(t)
		ref := s.live(1, proto.DialectV2)
		s.at(ref.Slot).generation = c.grant
		looks, last := 0, proto.VerdictTaken
		for i := range OldKeptTextsMax + 2 {
			v, counts := s.Deliver(ref, live(proto.TextID(i+1), 1))
			if v != proto.VerdictTaken && i < OldKeptTextsMax || counts {
				t.Fatalf("%s: text %d: %v, counts %t", c.name, i, v, counts)
			}
			last = v
			s.run()
			for slot, some := s.NextPoll(); some; slot, some = s.NextPoll() {
				looks++
				s.SetUnacked(slot, c.left)
			}
		}
		if last != c.full || looks == 0 {
			t.Errorf("%s: %d looks, at the end %v, want %v", c.name, looks, last, c.full)
		}
		s.Closed(ref.Slot)
		if c.first == 0 {
			continue
		}
		if _, ids := s.nextReturn(); len(ids) == 0 || ids[0] != c.first {
			t.Errorf("%s: %d texts are returned, want those from %d on", c.name, len(ids), c.first)
		}
	}
}

// TestStuck: a peer whose kernel takes nothing is held, a peer whose kernel takes a
// byte now and then is not; the hold can end when the kernel has all.
func TestStuck(t *testing.T) {
	for _, moves := range []bool{true, false} {
		s := newKeeper(t)
		ref := s.live(1, proto.DialectV2)
		s.Deliver(ref, live(1, 1))
		s.run()
		s.DeliverPage(ref, message("no id"), 9, "page")
		s.run()
		left := 100
		for now := Tick(1001); now <= 1100; now++ {
			if s.PollWatched(func(uint32) int { return left }); len(s.answers) != 0 || s.at(ref.Slot).held {
				t.Fatalf("held at %d: %v", now, s.answers)
			}
			if moves && now == 1050 {
				left--
			}
			s.Advance(now)
		}
		s.PollWatched(func(uint32) int { return left })
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
		s.EachHeld(func(Held) { t.Error("a stuck session is announced") })
		s.PollWatched(func(uint32) int { return 0 })
		s.wantAcked(1)
		if _, v := s.Resume(ref, 2); v != proto.VerdictTaken {
			t.Errorf("resume when all has gone: %v", v)
		}
	}
}

// TestOldPage: a page to a client that cannot acknowledge is answered when it has
// left the process. Its texts are removed from the box when the peer's kernel has
// them and the client has shown life since, or has closed the connection in order.
func TestOldPage(t *testing.T) {
	for _, dialect := range []proto.Dialect{proto.DialectV2, proto.DialectCIM, proto.DialectV1} {
		for _, inOrder := range []bool{false, true} {
			s := newKeeper(t)
			ref := s.live(1, dialect)
			s.DeliverPage(ref, texts(proto.CommandOffline, 1, 3), 9, "page")
			for now := Tick(1000); now < 1005; now++ {
				s.Advance(now)
				s.run()
			}
			if !slices.Equal(s.answers, []Answer{{To: "page", Verdict: proto.VerdictTaken}}) {
				t.Fatalf("dialect %v: %v", dialect, s.answers)
			}
			if h, _ := s.Hold(ref); h.Cursor != 9 {
				t.Errorf("dialect %v: cursor %d", dialect, h.Cursor)
			}
			ping := []byte(proto.Ping)
			if dialect == proto.DialectV1 {
				ping = proto.AppendV1Ping(nil, 1)
			}
			s.PollWatched(func(uint32) int { return 1 })
			s.Advance(1006)
			s.Read(ref.Slot, ping, new(proto.View))
			s.PollWatched(func(uint32) int { return 0 })
			s.Read(ref.Slot, ping, new(proto.View)) // the ping may have been sent before
			s.wantAcked()
			if inOrder {
				s.PeerFinished(ref.Slot)
				s.Closed(ref.Slot)
			} else {
				s.Advance(1007)
				s.Read(ref.Slot, ping, new(proto.View))
			}
			s.wantAcked(1, 2, 3)
			s.Resume(ref, 2)
			s.Advance(1007 + removedTicks)
			s.wantKept(0)
			s.PollWatched(func(uint32) int { t.Error("its kernel is still polled"); return 0 })
		}
	}
}

// TestOldPageUnread: texts that a client leaves unread by a reset, or by falling
// silent, stay in the box, even if its kernel had them. If the client says goodbye
// they are removed as soon as its kernel has them. A next login does not wait for
// that.
func TestOldPageUnread(t *testing.T) {
	for _, c := range []struct {
		name    string
		reason  proto.Reason // none: its connection just closes
		left    int          // in the kernel at the end
		waits   bool         // its end is settled only when its connection has closed
		removed []proto.TextID
	}{
		{"a reset", proto.ReasonNone, 0, false, nil},
		{"silence", proto.ReasonIdle, 0, true, nil},
		{"the server's drain", proto.ReasonDraining, 0, true, nil},
		{"another login", proto.ReasonReplaced, 0, false, nil},
		{"a reset behind a goodbye", proto.ReasonEnded, 1, true, nil},
		{"a goodbye", proto.ReasonEnded, 0, false, []proto.TextID{1, 2, 3}},
	} {
		s := newKeeper(t)
		ref := s.live(1, proto.DialectV2)
		s.DeliverPage(ref, texts(proto.CommandOffline, 1, 3), 9, "page")
		s.run()
		s.PollWatched(func(uint32) int { return c.left })
		s.Advance(1010)
		if c.reason != proto.ReasonNone {
			s.End(ref, c.reason)
			s.run()
			if follows := s.ends[0].Returning; follows != c.waits {
				t.Errorf("%s: its end says that a Return follows: %t", c.name, follows)
			}
		}
		s.wantAcked(c.removed...)
		s.PollWatched(func(uint32) int { return c.left })
		s.SetUnacked(ref.Slot, c.left)
		s.noReturn()
		s.Closed(ref.Slot)
		s.wantAcked()
		if c.waits {
			s.wantReturned()
		}
		s.noReturn()
		s.wantKept(0)
	}
}

// TestOldPageBehindTheEnd: texts that the kernel of a live client takes after the
// end are removed then, and the Return need not wait for the connection to close.
func TestOldPageBehindTheEnd(t *testing.T) {
	s := newKeeper(t)
	ref := s.live(1, proto.DialectV2)
	s.DeliverPage(ref, texts(proto.CommandOffline, 1, 3), 9, "page")
	s.run()
	s.End(ref, proto.ReasonEnded)
	s.run()
	s.noReturn()
	s.PollWatched(func(uint32) int { return 0 })
	s.wantAcked(1, 2, 3)
	if r := s.wantReturned(); !r.End || !s.ends[0].Returning {
		t.Errorf("%+v behind %+v", r, s.ends)
	}
	s.Closed(ref.Slot)
	s.noReturn()
	s.wantKept(0)
}

// TestOldPageWithoutIDs is answered when the peer's kernel has it.
func TestOldPageWithoutIDs(t *testing.T) {
	s := newKeeper(t)
	ref := s.live(1, proto.DialectV2)
	s.DeliverPage(ref, message("x"), 9, "page")
	s.run()
	s.SetUnacked(ref.Slot, 0) // as when its connection closes
	if s.run(); len(s.answers) != 0 {
		t.Fatalf("answered: %v", s.answers)
	}
	s.PollWatched(func(uint32) int { return 0 })
	if s.run(); !slices.Equal(s.answers, []Answer{{To: "page", Verdict: proto.VerdictTaken}}) {
		t.Fatalf("answers %v", s.answers)
	}
}

// TestUnackedCountsBroadcasts: all bytes of a connection count towards what the
// kernel has, including group messages.
func TestUnackedCountsBroadcasts(t *testing.T) {
	s := newKeeper(t)
	ref := s.live(1, proto.DialectV2)
	s.Broadcast(message("to all"), 0, nil)
	s.runOut()
	s.Deliver(ref, live(1, 1))
	s.run()
	all := len(s.wire[ref.Slot])
	s.Broadcast(message("to all"), 0, nil)
	s.runOut()
	behind := len(s.wire[ref.Slot]) - all
	s.SetUnacked(ref.Slot, behind+1)
	s.wantKept(1)
	s.SetUnacked(ref.Slot, behind)
	s.wantKept(0)
}

// TestOldPageTwice: a page whose texts the peer's kernel has, and that are not
// removed from the box yet, is not given a second time.
func TestOldPageTwice(t *testing.T) {
	s := newKeeper(t)
	ref := s.live(1, proto.DialectV2)
	s.DeliverPage(ref, live(1, 1).Body, 9, "first")
	s.run()
	s.PollWatched(func(uint32) int { return 0 })
	s.run()
	before := len(s.wire[ref.Slot])
	s.DeliverPage(ref, live(1, 1).Body, 9, "second")
	if s.run(); len(s.wire[ref.Slot]) != before {
		t.Error("the page was given again")
	}
}

// TestPageFindsNoRoom: a page never ends a session as slow. While there are too
// many unsent bytes it is refused, and comes with the next catch-up.
func TestPageFindsNoRoom(t *testing.T) {
	s := newKeeper(t)
	ref := s.live(1, proto.DialectV2)
	page := texts(proto.CommandOffline, 1, 60)
	s.unsent[ref.Slot] = UnsentBytesMax - len(page)
	s.Wrote(ref.Slot, s.unsent[ref.Slot])
	s.DeliverPage(ref, page, 9, "refused")
	s.run()
	if len(s.ends) != 0 || len(s.answers) != 1 || s.answers[0].Verdict != proto.VerdictBusy {
		t.Fatalf("ends %+v, answers %+v, want one busy", s.ends, s.answers)
	}
	s.unsent[ref.Slot] = 0
	s.Wrote(ref.Slot, 0)
	s.DeliverPage(ref, page, 9, "taken")
	s.run()
	if len(s.answers) != 2 || s.answers[1].Verdict != proto.VerdictTaken {
		t.Errorf("answers %+v, want the second to be taken", s.answers)
	}
}

// TestNeedsUnacked: after a close, the kernel is asked only if the answer makes a
// difference.
func TestNeedsUnacked(t *testing.T) {
	taken := func(s *stand) { s.PollWatched(func(uint32) int { return 0 }) }
	page := func(s *stand, ref Ref) { s.DeliverPage(ref, texts(proto.CommandOffline, 1, 3), 9, "page"); s.run() }
	for _, c := range []struct {
		name string
		want bool
		do   func(s *stand, ref Ref)
	}{
		{"nothing was sent", false, func(*stand, Ref) {}},
		{"a page waits for the kernel", true, page},
		{"a page waits for a sign of the client", true, func(s *stand, ref Ref) { page(s, ref); taken(s) }},
		{"the client has shown that it read the page", false, func(s *stand, ref Ref) {
			page(s, ref)
			taken(s)
			s.Advance(1010)
			s.Read(ref.Slot, []byte(proto.Ping), new(proto.View))
			s.wantAcked(1, 2, 3)
			s.Advance(1011 + removedTicks)
			s.run()
		}},
		{"its end is not settled", true, func(s *stand, ref Ref) { page(s, ref); s.End(ref, proto.ReasonIdle); s.run() }},
	} {
		s := newKeeper(t)
		ref := s.live(1, proto.DialectV2)
		c.do(s, ref)
		if got := s.NeedsUnacked(ref.Slot); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
	s := newKeeper(t)
	ref := s.liveAck(1)
	s.DeliverPage(ref, texts(proto.CommandOffline, 1, 3), 9, "page")
	if s.run(); s.NeedsUnacked(ref.Slot) {
		t.Error("a client that acknowledges says itself what it has")
	}
}
