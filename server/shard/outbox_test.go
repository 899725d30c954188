package shard

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cim/proto"
)

// TestHold: a held session refuses live private messages, takes pages, and is
// resumed only with its count of holds.
func TestHold(t *testing.T) {
	s := newStand(t)
	ref := s.login(1, proto.DialectV2)
	if v := s.deliver(ref, "early"); v != proto.VerdictBehind {
		t.Fatalf("held from its login: %v", v)
	}
	if v := s.push(ref, message("page"), true); v != proto.VerdictTaken {
		t.Fatalf("a page: %v", v)
	}
	if h, v := s.Hold(ref); h.Holds != 2 || v != proto.VerdictTaken {
		t.Fatalf("second hold: %d, %v", h.Holds, v)
	}
	if h, v := s.Resume(ref, 1); h.Holds != 2 || v != proto.VerdictBehind {
		t.Fatalf("resume by the first holder: %d, %v", h.Holds, v)
	}
	seen := 0
	s.EachHeld(func(h Held) {
		if seen++; h.User != 1 || h.Generation != 1 || h.Holds != 2 {
			t.Errorf("held: %+v", h)
		}
	})
	if _, v := s.Resume(ref, 2); v != proto.VerdictTaken || seen != 1 {
		t.Fatalf("resume: %v; %d held sessions, want 1", v, seen)
	}
	if v := s.deliver(ref, "live"); v != proto.VerdictTaken {
		t.Fatalf("after the resume: %v", v)
	}
	s.EachHeld(func(Held) { t.Error("a resumed session is still announced") })
	s.Hold(ref)
	s.EachHeld(func(Held) { seen++ })
	if seen != 2 {
		t.Error("a session that is held again is not announced")
	}
}

// TestHeldWithoutRoom: a held session that has no room for a page is not announced,
// and its hold says so, until it has room.
func TestHeldWithoutRoom(t *testing.T) {
	s := newStand(t)
	ref := s.login(1, proto.DialectV2)
	want := func(when string, room bool) {
		t.Helper()
		announced := 0
		s.EachHeld(func(Held) { announced++ })
		if h, v := s.Hold(ref); v != proto.VerdictTaken || h.Full == room || announced == 1 != room {
			t.Errorf("%s: announced %d times, hold %v full %t; want room %t", when, announced, v, h.Full, room)
		}
	}
	want("after the login", true)
	s.unsent[ref.Slot] = 10
	s.DeliverPage(ref, message("page"), 0, "page")
	s.run()
	want("behind a page", false)
	s.Wrote(ref.Slot, 0)
	s.run()
	want("when the page has left", true)
	most := UnsentBytesMax - tailMax - proto.MessageBytesMax
	s.Wrote(ref.Slot, most)
	want("with room for a page left", true)
	s.Wrote(ref.Slot, most+1)
	want("with a byte less", false)
}

// TestPage: a page is answered after its bytes have left the process, not before;
// or when the session has ended.
func TestPage(t *testing.T) {
	s := newStand(t)
	ref := s.login(1, proto.DialectV2)
	s.unsent[ref.Slot] = 10
	s.DeliverPage(ref, message("page"), 0, "first")
	s.run()
	if len(s.answers) != 0 {
		t.Fatalf("answered while 10 bytes were unsent: %v", s.answers)
	}
	s.DeliverPage(ref, message("page"), 0, "second")
	s.run()
	if !slices.Equal(s.answers, []Answer{{To: "second", Verdict: proto.VerdictBusy}}) {
		t.Fatalf("a page beside another: %v", s.answers)
	}
	if n := len(s.frames(ref)); n != 1 {
		t.Fatalf("%d frames were written, want the first page only", n)
	}
	s.Wrote(ref.Slot, 0)
	s.run()
	if !slices.Equal(s.answers[1:], []Answer{{To: "first", Verdict: proto.VerdictTaken}}) {
		t.Fatalf("all sent: %v", s.answers)
	}
	s.unsent[ref.Slot] = 10
	s.DeliverPage(ref, message("page"), 0, "third")
	s.run()
	s.Closed(ref.Slot)
	s.DeliverPage(ref, message("page"), 0, "fourth")
	s.run()
	if !slices.Equal(s.answers[2:], []Answer{{To: "third", Verdict: proto.VerdictAbsent}, {To: "fourth", Verdict: proto.VerdictAbsent}}) {
		t.Fatalf("gone: %v", s.answers)
	}
}

// TestPageThenEnd: a page before an end is written even so, and its answer says
// that it has left: its sender must not send it again. A slow end discards it.
func TestPageThenEnd(t *testing.T) {
	for _, unsent := range []int{0, UnsentBytesMax + 1} {
		s := newStand(t)
		ref := s.login(1, proto.DialectV2)
		s.DeliverPage(ref, message("page"), 0, "page")
		want := proto.VerdictTaken
		if unsent > 0 {
			want = proto.VerdictAbsent
			s.Wrote(ref.Slot, unsent)
		}
		s.End(ref, proto.ReasonReplaced)
		s.run()
		if !slices.Equal(s.answers, []Answer{{To: "page", Verdict: want}}) || (len(s.texts(ref)) == 1) != (want == proto.VerdictTaken) {
			t.Errorf("%d unsent: answers %v, written %q", unsent, s.answers, s.texts(ref))
		}
	}
}

// TestPageTime takes a page that does not leave to the tick before its time is
// over, and to that tick.
func TestPageTime(t *testing.T) {
	s := newStand(t)
	ref := s.login(1, proto.DialectV2)
	s.unsent[ref.Slot] = 10
	s.DeliverPage(ref, message("page"), 0, "page")
	s.run()
	for now := Tick(1001); now < 1000+PageTicks; now++ {
		s.Advance(now)
		s.Read(ref.Slot, []byte(proto.Ping), new(proto.View))
		s.Wrote(ref.Slot, 10)
	}
	s.run()
	if len(s.ends) != 0 || len(s.answers) != 0 {
		t.Fatalf("one tick early: %v, %v", s.ends, s.answers)
	}
	s.Advance(1000 + PageTicks)
	s.Wrote(ref.Slot, 10)
	s.run()
	s.wantEnd(ref, proto.ReasonSlow)
	if !slices.Equal(s.answers, []Answer{{To: "page", Verdict: proto.VerdictAbsent}}) {
		t.Errorf("in time: %v", s.answers)
	}
}

// TestUnsentBound increases the unsent bytes to their bound and one byte past.
func TestUnsentBound(t *testing.T) {
	frame := len(proto.AppendDelivery(nil, message("x"), 1))
	for _, over := range []int{0, 1} {
		s := newStand(t)
		ref := s.live(1, proto.DialectV2)
		s.Wrote(ref.Slot, UnsentBytesMax-frame+over)
		verdict := s.deliver(ref, "x")
		took := s.Written(ref)
		s.run()
		if over == 0 && (verdict != proto.VerdictTaken || !took || len(s.ends) != 0 || s.writes[ref.Slot] == 0) {
			t.Errorf("just full: %v, ends %v", verdict, s.ends)
		}
		if over == 1 {
			s.wantEnd(ref, proto.ReasonSlow)
			if verdict != proto.VerdictAbsent || took || s.ends[0].Soft || s.writes[ref.Slot] != 0 {
				t.Errorf("one byte over: %v, took %v, %+v, %d writes", verdict, took, s.ends[0], s.writes[ref.Slot])
			}
		}
	}
}

// TestSlowReaderIsEnded by the unsent bytes that its socket reports.
func TestSlowReaderIsEnded(t *testing.T) {
	s := newStand(t)
	slow := s.live(1, proto.DialectCIM)
	s.Wrote(slow.Slot, UnsentBytesMax+1)
	s.run()
	s.wantEnd(slow, proto.ReasonSlow)
	if len(s.wire[slow.Slot]) != 0 {
		t.Error("a slow reader was written more")
	}
}

// TestWrittenBeforeSlow: messages that the socket had before the session became
// slow count as taken, and are not stored as well.
func TestWrittenBeforeSlow(t *testing.T) {
	s := newStand(t)
	ref := s.live(1, proto.DialectV2)
	s.unsent[ref.Slot] = UnsentBytesMax - 10
	if v := s.push(ref, message("x"), false); v != proto.VerdictTaken {
		t.Fatal(v)
	}
	s.run()
	s.Wrote(ref.Slot, UnsentBytesMax+1)
	s.run()
	s.wantEnd(ref, proto.ReasonSlow)
	if got := s.texts(ref); !slices.Equal(got, []string{"x"}) || !s.Written(ref) {
		t.Errorf("written %q, took %v", got, s.Written(ref))
	}
}

// TestCoalesced: all pending messages of a session are one write.
func TestCoalesced(t *testing.T) {
	s := newStand(t)
	ref := s.live(1, proto.DialectV2)
	before := s.writes[ref.Slot]
	for i := range 16 {
		s.deliver(ref, strconv.Itoa(i))
	}
	s.run()
	if n := s.writes[ref.Slot] - before; n != 1 || len(s.texts(ref)) != 16 {
		t.Errorf("%d writes for %d messages, want 1 for 16", n, len(s.texts(ref)))
	}
}

// TestNoAllocation covers the paths of every frame: a ping read and answered, a
// delivery, a broadcast, a tick.
func TestNoAllocation(t *testing.T) {
	s := newStand(t)
	var refs []Ref
	for i := range 300 {
		refs = append(refs, s.live(proto.UserID(i+1), proto.DialectV2))
	}
	write := func() {
		for s.BeginTurn(); ; s.BeginTurn() {
			slot, _, some := s.NextWrite()
			if !some && !s.Turning() {
				break
			}
			if some {
				s.Wrote(slot, 0)
			}
		}
		for _, some := s.NextAnswer(); some; _, some = s.NextAnswer() {
		}
	}
	body, to, now := message("x"), any("asker"), s.now
	send := proto.AppendSend(nil, 1, 2, strings.Repeat("x", 128))
	view, ping := new(proto.View), []byte(proto.Ping)
	ours := s.live(1000, proto.DialectCIM)
	for name, hot := range map[string]func(){
		"ping":      func() { s.Read(refs[7].Slot, ping, view); write() },
		"send":      func() { s.Read(ours.Slot, send, view) },
		"delivery":  func() { s.push(refs[9], body, false); write() },
		"outcome":   func() { s.Outcome(ours, 1, 1<<63, proto.OutcomeDelivered, proto.CodeSuccess, 0); write() },
		"broadcast": func() { s.Broadcast(body, 3, to); s.Broadcast(body, 4, to); write() },
		"tick":      func() { now++; s.Advance(now); s.Read(refs[now%300].Slot, ping, view); write() },
	} {
		for range 3 {
			hot() // let buffers grow to their size
		}
		if n := testing.AllocsPerRun(100, hot); n != 0 {
			t.Errorf("%s allocates %v times, want 0", name, n)
		}
	}
}

func BenchmarkBroadcast(b *testing.B) {
	for _, c := range []struct {
		name    string
		window  int
		dialect proto.Dialect
	}{
		{"window=1", 1, proto.DialectV2},
		{"window=16", 16, proto.DialectV2},
		{"window=16_cim", 16, proto.DialectCIM},
		{"window=16_v1", 16, proto.DialectV1},
	} {
		window := c.window
		b.Run(c.name, func(b *testing.B) {
			s := newStand(b)
			for i := range 1000 {
				s.live(proto.UserID(i+1), c.dialect)
			}
			body := proto.AppendOurPart(message(string(bytes.Repeat([]byte{'x'}, 128))), true, 1796068800123)
			for b.Loop() {
				for range window {
					s.Broadcast(body, 0, nil)
				}
				for s.Turning() {
					s.BeginTurn()
					for slot, _, some := s.NextWrite(); some; slot, _, some = s.NextWrite() {
						s.Wrote(slot, 0)
					}
				}
				for _, some := s.NextAnswer(); some; _, some = s.NextAnswer() {
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*window*1000), "ns/delivery")
		})
	}
}
