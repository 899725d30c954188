package shard

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"cim/proto"
)

// TestLoginInTime takes a connection to the tick before its time to log in is over,
// and to that tick.
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

// TestSilence takes a session to the tick before its heartbeat time is over and
// past it, without a ping and with one.
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
			t.Errorf("the client got %+v", last)
		}
	}
}

// TestPauseIsNoSilence: after a pause of the process that is longer than the
// heartbeat time, sessions go on, since what clients sent meanwhile has not been
// read.
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

// TestLinger: a connection that got its reason is closed for good a second later.
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

// TestFaults sends what a peer must not send, and checks the reason.
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
		{"a message of dialect v1 first", true, []byte("\x02\x18\x02"), proto.ReasonUnexpected},
		{"our login with v1's command", true, []byte("\x05\x18\x01\x80\x01\x01"), proto.ReasonUnexpected},
		{"the number of v1, which never travels", true, proto.AppendLogin(nil, ann, proto.DialectV1, proto.Ticket{}), proto.ReasonVersion},
		{"dialect of the future", true, proto.AppendLogin(nil, ann, 3, proto.Ticket{}), proto.ReasonVersion},
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
				t.Errorf("%s: the client got %+v", c.name, all)
			}
		}
		if request, _ := s.Read(ref.Slot, login, new(proto.View)); request != RequestNone {
			t.Errorf("%s: an ending connection was read from", c.name)
		}
	}
}

// TestOldClientGetsNoClose: a session of dialect v2 gets neither a CLOSE nor an
// answer to its login.
func TestOldClientGetsNoClose(t *testing.T) {
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

// TestLoginAnswers reads the answer to the login of a client of ours.
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
	short := s.Open()
	s.Read(short.Slot, []byte{0x06, 0x80, 0x01, 0x01, 0x8a, 0x01, 0x00}, new(proto.View)) // dialect 1, an empty ticket
	s.run()
	if a := s.frames(short)[0]; a.Command != proto.CommandLoginAnswer || a.Reason != proto.ReasonTicket {
		t.Errorf("a ticket of no bytes: %+v", a)
	}
}

// TestSplitAnywhere splits one stream at every place, and into single bytes, and
// compares the results with those of the stream in one piece.
func TestSplitAnywhere(t *testing.T) {
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
