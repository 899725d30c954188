package e2e

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	protobuf "google.golang.org/protobuf/proto"

	"cim/proto"
	"cim/proto/cimpb"
)

// fillerField is a field that no client or server knows.
const fillerField = 100

// filled is a frame of size bytes, without its length, that says what frame
// says.
func filled(t *testing.T, frame *cimpb.Frame, size int) []byte {
	t.Helper()
	body, err := protobuf.Marshal(frame)
	if err != nil {
		t.Fatal(err)
	}
	body = protowire.AppendTag(body, fillerField, protowire.BytesType)
	room := size - len(body)
	for n := room; n >= 0; n-- {
		if protowire.SizeBytes(n) == room {
			body = protowire.AppendBytes(body, make([]byte, n))
			return append(protowire.AppendVarint(nil, uint64(size)), body...)
		}
	}
	t.Fatalf("no filler makes a frame of %d bytes", size)
	return nil
}

// TestFrameBeforeLogin logs in with a frame of 1 KiB, and is closed for one
// byte more.
func TestFrameBeforeLogin(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	for _, u := range []*user{sys.old("olga"), sys.ours("ada")} {
		at := u.wantLogin(proto.CodeSuccess, "")
		login := new(cimpb.Frame)
		_, prefix := protowire.ConsumeVarint(u.loginFrame(at.ticket))
		if err := protobuf.Unmarshal(u.loginFrame(at.ticket)[prefix:], login); err != nil {
			t.Fatal(err)
		}
		for _, over := range []int{1, 0} {
			s, err := u.dial(at.address)
			if err == nil {
				err = s.write(filled(t, login, frameMaxBeforeLogin+over))
			}
			if err != nil {
				t.Fatal(err)
			}
			if over == 0 {
				s.wantExactly()
				continue
			}
			s.wantEnd(proto.ReasonNone)
			if look(s, func(h *heard) bool { return h.answer != nil }) {
				t.Errorf("a login of %s with too large a frame was answered", u.Name)
			}
		}
	}
}

// fault is what one client of ours sends, and for which reason it is closed;
// ReasonNone: it is not, and the SEND in it has this outcome.
type fault struct {
	name    string
	stream  []byte
	reason  proto.Reason
	outcome proto.Outcome
}

// faults are the bounds of a frame, each at its edge and one past it, and what
// is no frame at all. Every SEND has the id 1 and goes to receiver.
func faults(t *testing.T, receiver *user) []fault {
	send := func(change func(f *cimpb.Frame)) *cimpb.Frame {
		f := &cimpb.Frame{Cmd: cimpb.Command_SEND, MessageId: 1, Receiver: int64(receiver.ID), Text: "within bounds"}
		if change != nil {
			change(f)
		}
		return f
	}
	text := func(n int) *cimpb.Frame {
		return send(func(f *cimpb.Frame) { f.Text = string(bytes.Repeat([]byte("x"), n)) })
	}
	properties := func(n int) *cimpb.Frame {
		return send(func(f *cimpb.Frame) {
			f.Properties = map[string]string{}
			for i := range n {
				f.Properties[fmt.Sprint("key", i)] = ""
			}
		})
	}
	batch := func(n int) *cimpb.Frame { return send(func(f *cimpb.Frame) { f.Batch = make([]string, n) }) }
	notUTF8 := bytes.Replace(framed(send(nil)), []byte("within"), []byte("w\xffthin"), 1)
	return []fault{
		{"frame", filled(t, send(nil), frameMax), 0, proto.OutcomeDelivered},
		{"frame too large", filled(t, send(nil), frameMax+1), proto.ReasonFrameTooLarge, 0},
		{"text", framed(text(textMax)), 0, proto.OutcomeDelivered},
		{"text too long", framed(text(textMax + 1)), proto.ReasonTextTooLong, 0},
		{"properties", framed(properties(propertiesMax)), 0, proto.OutcomeDelivered},
		{"many properties", framed(properties(propertiesMax + 1)), proto.ReasonManyProperties, 0},
		{"batch", framed(batch(batchMax)), 0, proto.OutcomeFailed},
		{"many texts", framed(batch(batchMax + 1)), proto.ReasonManyTexts, 0},
		{"not UTF-8", notUTF8, proto.ReasonNotUTF8, 0},
		{"length of six bytes", []byte("\x80\x80\x80\x80\x80\x01"), proto.ReasonMalformed, 0},
		{"no field", []byte("\x02\x07\x07"), proto.ReasonMalformed, 0},
		{"empty frame", []byte("\x00"), proto.ReasonUnexpected, 0},
		{"second login", framed(&cimpb.Frame{Text: "ada", Dialect: 1}), proto.ReasonUnexpected, 0},
		{"unknown cmd", framed(&cimpb.Frame{Cmd: 4}), proto.ReasonUnexpected, 0},
		{"frame of a server", framed(&cimpb.Frame{Cmd: cimpb.Command_MESSAGE, Text: "hi"}), proto.ReasonUnexpected, 0},
	}
}

// TestFrameFaults breaks every rule of the long connection, one login each. The receiver gets what
// was within bounds, and no other client is affected.
func TestFrameFaults(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	receiver := sys.old("olga").logIn()
	ada := sys.ours("ada")
	for _, f := range faults(t, receiver.user) {
		s := ada.logIn()
		if err := s.write(f.stream); err != nil {
			t.Fatal(err)
		}
		var want []delivery
		if f.reason != proto.ReasonNone {
			s.wantEnd(f.reason)
		} else if outcome, code, err := s.outcome(1); err != nil || outcome != f.outcome {
			t.Errorf("%s: %s, code %s, %v, want %s", f.name, outcome, code, err, f.outcome)
		}
		if f.outcome == proto.OutcomeDelivered {
			text := "within bounds"
			if f.name == "text" {
				text = string(bytes.Repeat([]byte("x"), textMax))
			}
			want = from(ada, text)
		}
		receiver.wantExactly(want...)
		if f.reason == proto.ReasonNone {
			if err := s.leave(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestFrameOld sends an old client's frames at the bound and past it, and one
// that only clients of ours may send.
func TestFrameOld(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	bystander, olga := sys.old("odo").logIn(), sys.old("olga")
	ping := &cimpb.Frame{Cmd: cimpb.Command_PING, Text: "ping", Id: int64(olga.ID)}
	send := &cimpb.Frame{Cmd: cimpb.Command_SEND, Text: "hi", Receiver: int64(bystander.user.ID)}
	for _, past := range [][]byte{filled(t, ping, frameMax+1), framed(send)} {
		s := olga.logIn()
		if err := s.write(filled(t, ping, frameMax)); err != nil {
			t.Fatal(err)
		}
		s.until("a pong", func(h *heard) bool { return h.pongs == 1 })
		if err := s.write(past); err != nil {
			t.Fatal(err)
		}
		s.wantEnd(proto.ReasonNone)
		bystander.wantExactly()
	}
}

// TestLoginTimeout connects and says nothing, or half a login: 5 s later the
// connection is closed.
func TestLoginTimeout(t *testing.T) {
	t.Parallel()
	const least, most = 4500 * time.Millisecond, 15 * time.Second
	sys := startSystem(t)
	ada := sys.ours("ada")
	at := ada.wantLogin(proto.CodeSuccess, "")
	frame := ada.loginFrame(at.ticket)
	began := time.Now()
	var silent []*session
	for _, said := range [][]byte{nil, frame[:1], frame[:len(frame)-1]} {
		s, err := ada.dial(at.address)
		if err == nil {
			err = s.write(said)
		}
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, s)
	}
	for _, s := range silent {
		s.wantEnd(proto.ReasonNone)
		if waited := time.Since(began); waited < least || waited > most {
			t.Errorf("closed after %v, want about 5 s", waited)
		}
	}
	ada.join(at).wantExactly() // the grant waits for longer
}
