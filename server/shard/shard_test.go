package shard

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"cim/proto"
)

// stand is a shard with what its loop would have: the bytes written to each
// slot, the ends and the answers.
type stand struct {
	t testing.TB
	*Shard
	wire    map[uint32][]byte
	writes  map[uint32]int
	unsent  map[uint32]int // what the sockets do not take
	ends    []End
	answers []Answer
}

const heartbeat = 300 // ticks

func newStand(t testing.TB) *stand {
	s := New(Config{Number: 3, HeartbeatTicks: heartbeat, Epoch: 9}, 1000)
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

// runOut runs until the rotor stands still.
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
	request, rest := s.Read(ref.Slot, proto.AppendLogin(nil, proto.User{ID: user, Name: name}, dialect, proto.Ticket{}), &view)
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

// read parses all that was written to a slot.
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
	return proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, proto.User{ID: 77, Name: "sender"}, []string{text}))
}

func (s *stand) deliver(ref Ref, text string) proto.Verdict {
	return s.Deliver(ref, message(text), false)
}

// TestLoginInTime walks a connection to the tick before its time to log in is
// over, and to that tick.
func TestLoginInTime(t *testing.T) {
	s := newStand(t)
	ref := s.Open()
	s.Advance(1000 + LoginTicks - 1)
	s.run()
	if len(s.ends) != 0 {
		t.Fatalf("ended one tick early: %v", s.ends)
	}
	s.Advance(1000 + LoginTicks)
	s.run()
	s.wantEnd(ref, proto.ReasonLoginTimeout)
}

// TestSilence walks a session to the tick before its heartbeat time is over
// and past it, once untouched and once with a ping on the way.
func TestSilence(t *testing.T) {
	for _, ping := range []Tick{0, 1, heartbeat - 1} {
		s := newStand(t)
		ref := s.live(1, proto.DialectCIM)
		for now := Tick(1000); now < 1000+ping+heartbeat; now++ {
			s.Advance(now)
			if now == 1000+ping && ping > 0 {
				s.Read(ref.Slot, []byte(proto.Ping), new(proto.View))
			}
		}
		s.run()
		if len(s.ends) != 0 {
			t.Fatalf("ping at %d: ended early: %v", ping, s.ends)
		}
		s.Advance(1000 + ping + heartbeat)
		s.run()
		s.wantEnd(ref, proto.ReasonIdle)
		last := s.frames(ref)[len(s.frames(ref))-1]
		if last.Command != proto.CommandClose || last.Reason != proto.ReasonIdle {
			t.Errorf("the client was told %+v", last)
		}
	}
}

// TestPauseIsNoSilence lets the process stand still for longer than the
// heartbeat time: what clients sent meanwhile has not been read.
func TestPauseIsNoSilence(t *testing.T) {
	s := newStand(t)
	ref := s.live(1, proto.DialectV2)
	s.Advance(1000 + 10*heartbeat)
	s.run()
	if len(s.ends) != 0 {
		t.Fatalf("a pause ended the session: %v", s.ends)
	}
	for now := Tick(1000 + 10*heartbeat); now <= 1000+11*heartbeat; now++ {
		s.Advance(now)
	}
	s.run()
	s.wantEnd(ref, proto.ReasonIdle)
}

// TestLinger: who was told why it ends is closed for good a second later.
func TestLinger(t *testing.T) {
	s := newStand(t)
	ref := s.live(1, proto.DialectCIM)
	s.End(ref, proto.ReasonReplaced)
	s.run()
	if !s.ends[0].Soft || s.ends[0].User != 1 || s.ends[0].Generation != 1 {
		t.Fatalf("end %+v", s.ends[0])
	}
	s.Advance(1000 + LingerTicks - 1)
	s.run()
	if len(s.ends) != 1 {
		t.Fatalf("closed one tick early: %v", s.ends)
	}
	s.Advance(1000 + LingerTicks)
	s.run()
	if last := s.ends[1]; last.Soft || last.Ref != ref || last.Reason != proto.ReasonNone || last.User != 0 {
		t.Errorf("second end %+v", last)
	}
	if user, _ := s.Closed(ref.Slot); user != 0 {
		t.Errorf("the user was logged out twice: %d", user)
	}
}

// TestFaults sends what a peer must not, and looks at the reason.
func TestFaults(t *testing.T) {
	long := func(n int) []byte { // a whole frame of n bytes: an unknown field
		body := protowire.AppendTag(nil, 100, protowire.BytesType)
		body = protowire.AppendVarint(body, uint64(n-len(body)-2-n>>14&1))
		for len(body) < n {
			body = append(body, 0)
		}
		return append(protowire.AppendVarint(nil, uint64(n)), body...)
	}
	ann := proto.User{ID: 1, Name: "ann"}
	login := proto.AppendLogin(nil, ann, proto.DialectCIM, proto.Ticket{})
	for _, c := range []struct {
		name  string
		first bool // before the login
		bytes []byte
		want  proto.Reason
	}{
		{"ping first", true, []byte(proto.Ping), proto.ReasonUnexpected},
		{"frame at the bound before login", true, long(proto.FrameMaxBeforeLogin), proto.ReasonNone},
		{"one byte more before login", true, long(proto.FrameMaxBeforeLogin + 1), proto.ReasonFrameTooLarge},
		{"dialect of the future", true, proto.AppendLogin(nil, ann, 2, proto.Ticket{}), proto.ReasonVersion},
		{"no protocol", true, []byte("\xff\xff\xff\xff\xff\xff"), proto.ReasonMalformed},
		{"frame at the bound", false, append(proto.AppendSend(nil, 1, 2, strings.Repeat("a", proto.TextMax)), proto.Ping...), proto.ReasonNone},
		{"text one byte longer", false, proto.AppendSend(nil, 1, 2, strings.Repeat("a", proto.TextMax+1)), proto.ReasonTextTooLong},
		{"frame too large", false, protowire.AppendVarint(nil, proto.FrameMax+1), proto.ReasonFrameTooLarge},
		{"second login", false, login, proto.ReasonUnexpected},
		{"a server's command", false, proto.AppendClose(nil, 1), proto.ReasonUnexpected},
		{"not UTF-8", false, []byte{3, 0x0a, 1, 0xff}, proto.ReasonNotUTF8},
	} {
		s := newStand(t)
		var ref Ref
		if c.first {
			ref = s.Open()
		} else {
			ref = s.live(1, proto.DialectCIM)
		}
		s.Read(ref.Slot, c.bytes, new(proto.View))
		s.run()
		if c.want == proto.ReasonNone {
			if len(s.ends) != 0 {
				t.Errorf("%s: ended: %v", c.name, s.ends)
			}
			continue
		}
		if len(s.ends) != 1 || s.ends[0].Reason != c.want || !s.ends[0].Soft {
			t.Errorf("%s: %v, want one end for %v", c.name, s.ends, c.want)
		}
		if !c.first {
			if all := s.frames(ref); all[len(all)-1].Command != proto.CommandClose || all[len(all)-1].Reason != c.want {
				t.Errorf("%s: the client was told %+v", c.name, all)
			}
		}
		if request, _ := s.Read(ref.Slot, login, new(proto.View)); request != RequestNone {
			t.Errorf("%s: an ending connection was read from", c.name)
		}
	}
}

// TestOldClientIsNotTold: a session of dialect v2 knows no CLOSE, nor an
// answer to its login.
func TestOldClientIsNotTold(t *testing.T) {
	s := newStand(t)
	ref := s.live(1, proto.DialectV2)
	s.Read(ref.Slot, proto.AppendSend(nil, 1, 2, "x"), new(proto.View))
	s.run()
	s.wantEnd(ref, proto.ReasonUnexpected)
	if len(s.wire[ref.Slot]) != 0 {
		t.Errorf("an old client was written %x", s.wire[ref.Slot])
	}
	other := s.Open()
	s.Read(other.Slot, proto.AppendLogin(nil, proto.User{ID: 2, Name: "b"}, proto.DialectV2, proto.Ticket{}), new(proto.View))
	s.Refuse(other.Slot, proto.DialectV2, proto.ReasonNoGrant)
	s.run()
	s.wantEnd(other, proto.ReasonNoGrant)
	if len(s.wire[other.Slot]) != 0 {
		t.Errorf("a refused old client was written %x", s.wire[other.Slot])
	}
}

// TestLoginAnswers reads what a client of ours is told at its login.
func TestLoginAnswers(t *testing.T) {
	s := newStand(t)
	ref := s.login(5, proto.DialectCIM)
	a := s.frames(ref)[0]
	if a.Command != proto.CommandLoginAnswer || a.Reason != 0 || a.ID != 5 || a.Generation != 1 || a.Heartbeat != 30 || a.Epoch != 9 {
		t.Errorf("accepted: %+v", a)
	}
	refused := s.Open()
	s.Read(refused.Slot, proto.AppendLogin(nil, proto.User{ID: 2, Name: "b"}, proto.DialectCIM, proto.Ticket{}), new(proto.View))
	s.Refuse(refused.Slot, proto.DialectCIM, proto.ReasonTicket)
	s.run()
	if a := s.frames(refused)[0]; a.Command != proto.CommandLoginAnswer || a.Reason != proto.ReasonTicket {
		t.Errorf("refused: %+v", a)
	}
	s.wantEnd(refused, proto.ReasonTicket)
}

// TestTornAnywhere cuts one stream at every place, and into single bytes, and
// compares what comes of it with the stream in one piece.
func TestTornAnywhere(t *testing.T) {
	stream := proto.AppendLogin(nil, proto.User{ID: 1, Name: "ann"}, proto.DialectCIM, proto.Ticket{1})
	stream = append(stream, proto.Ping...)
	stream = proto.AppendSend(stream, 1, 2, strings.Repeat("long ", 100))
	stream = proto.AppendSend(stream, 2, 0, "short")
	stream = append(stream, proto.Ping...)
	happened := func(pieces ...[]byte) (log []string) {
		s := newStand(t)
		ref := s.Open()
		for _, piece := range pieces {
			for rest := piece; ; {
				var view proto.View
				var request Request
				request, rest = s.Read(ref.Slot, rest, &view)
				if request == RequestNone {
					break
				}
				log = append(log, strconv.Itoa(int(request))+" "+string(view.Text))
				if request == RequestLogin {
					s.Accept(ref.Slot, Login{User: 1, Generation: 1, Name: "ann", Dialect: proto.DialectCIM})
				}
			}
		}
		s.run()
		return append(log, string(s.wire[ref.Slot]))
	}
	want := happened(stream)
	if len(want) != 4 {
		t.Fatalf("the whole stream: %q", want)
	}
	for cut := range stream {
		if got := happened(stream[:cut], stream[cut:]); !slices.Equal(got, want) {
			t.Fatalf("cut at %d: %q, want %q", cut, got, want)
		}
	}
	if got := happened(slices.Collect(slices.Chunk(stream, 1))...); !slices.Equal(got, want) {
		t.Fatalf("single bytes: %q, want %q", got, want)
	}
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
	s.Outcome(old, 1, proto.OutcomeDelivered, proto.CodeSuccess)
	s.run()
	if len(s.ends) != 0 || len(s.wire[now.Slot]) != 0 || s.Took(old) {
		t.Errorf("the new session felt it: ends %v, bytes %x", s.ends, s.wire[now.Slot])
	}
}

// TestHold: a held session refuses live private messages, takes pages, and is
// resumed only by who knows how often it was held.
func TestHold(t *testing.T) {
	s := newStand(t)
	ref := s.login(1, proto.DialectV2)
	if v := s.deliver(ref, "early"); v != proto.VerdictBehind {
		t.Fatalf("held from its login: %v", v)
	}
	if v := s.Deliver(ref, message("page"), true); v != proto.VerdictTaken {
		t.Fatalf("a page: %v", v)
	}
	if holds, v := s.Hold(ref); holds != 2 || v != proto.VerdictTaken {
		t.Fatalf("second hold: %d, %v", holds, v)
	}
	if holds, v := s.Resume(ref, 1); holds != 2 || v != proto.VerdictBehind {
		t.Fatalf("resume by the first holder: %d, %v", holds, v)
	}
	seen := 0
	s.EachHeld(func(user proto.UserID, generation proto.Generation, holds uint64) {
		if seen++; user != 1 || generation != 1 || holds != 2 {
			t.Errorf("held: user %d, generation %d, %d holds", user, generation, holds)
		}
	})
	if _, v := s.Resume(ref, 2); v != proto.VerdictTaken || seen != 1 {
		t.Fatalf("resume: %v; %d held sessions, want 1", v, seen)
	}
	if v := s.deliver(ref, "live"); v != proto.VerdictTaken {
		t.Fatalf("after the resume: %v", v)
	}
	s.EachHeld(func(proto.UserID, proto.Generation, uint64) { t.Error("a resumed session is still announced") })
	s.Hold(ref)
	s.EachHeld(func(proto.UserID, proto.Generation, uint64) { seen++ })
	if seen != 2 {
		t.Error("a session that is held again is not announced")
	}
}

// TestPage: the answer to a page comes when its bytes have left, not before;
// or when the session has gone.
func TestPage(t *testing.T) {
	s := newStand(t)
	ref := s.login(1, proto.DialectV2)
	s.unsent[ref.Slot] = 10
	s.DeliverPage(ref, message("page"), "first")
	s.run()
	if len(s.answers) != 0 {
		t.Fatalf("answered while 10 bytes were unsent: %v", s.answers)
	}
	s.DeliverPage(ref, message("page"), "second")
	s.run()
	if !slices.Equal(s.answers, []Answer{{"second", proto.VerdictBusy}}) {
		t.Fatalf("a page beside another: %v", s.answers)
	}
	if n := len(s.frames(ref)); n != 1 {
		t.Fatalf("%d frames were written, want the first page only", n)
	}
	s.Wrote(ref.Slot, 0)
	s.run()
	if !slices.Equal(s.answers[1:], []Answer{{"first", proto.VerdictTaken}}) {
		t.Fatalf("all sent: %v", s.answers)
	}
	s.unsent[ref.Slot] = 10
	s.DeliverPage(ref, message("page"), "third")
	s.run()
	s.Closed(ref.Slot)
	s.DeliverPage(ref, message("page"), "fourth")
	s.run()
	if !slices.Equal(s.answers[2:], []Answer{{"third", proto.VerdictAbsent}, {"fourth", proto.VerdictAbsent}}) {
		t.Fatalf("gone: %v", s.answers)
	}
}

// TestUnsentBound walks the unsent bytes up to their bound and one byte past.
func TestUnsentBound(t *testing.T) {
	frame := len(proto.AppendDelivery(nil, message("x"), 1))
	for _, over := range []int{0, 1} {
		s := newStand(t)
		ref := s.live(1, proto.DialectV2)
		s.Wrote(ref.Slot, UnsentBytesMax-frame+over)
		verdict := s.deliver(ref, "x")
		took := s.Took(ref)
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

// TestSlowReaderIsEndedByBroadcast and by what the socket reports.
func TestSlowReaderIsEnded(t *testing.T) {
	s := newStand(t)
	slow, quick := s.live(1, proto.DialectCIM), s.live(2, proto.DialectCIM)
	s.Wrote(slow.Slot, UnsentBytesMax)
	s.Broadcast(message("b"), 0, "b")
	s.runOut()
	s.wantEnd(slow, proto.ReasonSlow)
	if got := s.texts(quick); !slices.Equal(got, []string{"b"}) {
		t.Errorf("the other session received %q", got)
	}
	if len(s.wire[slow.Slot]) != 0 {
		t.Error("a slow reader was written more")
	}
	s.Wrote(quick.Slot, UnsentBytesMax+1)
	s.run()
	s.wantEnd(quick, proto.ReasonSlow)
}

// TestCoalesced: all that waits for a session is one write.
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

// TestEndAll ends every connection, logged in or not, once.
func TestEndAll(t *testing.T) {
	s := newStand(t)
	a, b, c := s.live(1, proto.DialectCIM), s.live(2, proto.DialectV2), s.Open()
	if n := s.EndAll(proto.ReasonDraining); n != 3 {
		t.Errorf("ended %d, want 3", n)
	}
	if n := s.EndAll(proto.ReasonDraining); n != 0 {
		t.Errorf("ended %d again", n)
	}
	s.run()
	for _, ref := range []Ref{a, b, c} {
		s.wantEnd(ref, proto.ReasonDraining)
	}
	if f := s.frames(a); len(f) != 1 || f[0].Command != proto.CommandClose {
		t.Errorf("our client was told %+v", f)
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

// TestNoAllocation is about the paths of every frame: a ping read and
// answered, a delivery, a broadcast, a tick.
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
		"delivery":  func() { s.Deliver(refs[9], body, false); write() },
		"outcome":   func() { s.Outcome(ours, 1, proto.OutcomeDelivered, proto.CodeSuccess); write() },
		"broadcast": func() { s.Broadcast(body, 3, to); s.Broadcast(body, 4, to); write() },
		"tick":      func() { now++; s.Advance(now); s.Read(refs[now%300].Slot, ping, view); write() },
	} {
		for range 3 {
			hot() // let buffers grow to what they need
		}
		if n := testing.AllocsPerRun(100, hot); n != 0 {
			t.Errorf("%s allocates %v times, want 0", name, n)
		}
	}
}

func BenchmarkBroadcast(b *testing.B) {
	for _, window := range []int{1, 16} {
		b.Run("window="+strconv.Itoa(window), func(b *testing.B) {
			s := newStand(b)
			for i := range 1000 {
				s.live(proto.UserID(i+1), proto.DialectV2)
			}
			body := message(string(bytes.Repeat([]byte{'x'}, 128)))
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
