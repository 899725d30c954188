package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"cim/proto"
	"cim/proto/cimpb"
)

// Types of dialect v1's frames, which stand where v2 has its cmd.
const (
	v1Login    = cimpb.Command(1)
	v1Message  = 2
	v1PingPong = 3
)

// v1Pong is the contract's, whole.
const v1Pong = "\x0a\x0a\x04pong\x10\x00\x18\x03"

// oldest makes a user whose client is the original's of dialect v1.
func (s *system) oldest(name string) *user {
	s.t.Helper()
	u := s.user(name, false)
	u.v1 = true
	return u
}

func (u *user) v1Ping() []byte {
	return framed(&cimpb.Frame{Text: "ping", Id: int64(u.ID), Cmd: v1PingPong})
}

// v1Frame is what a frame of dialect v1 says.
type v1Frame struct {
	text string
	id   int64
	kind int32
}

// parseV1 reads as strictly as the article's client, which demands all three
// fields; we write no other.
func parseV1(raw []byte) (f v1Frame, err error) {
	for number := protowire.Number(1); number <= 3; number++ {
		field, kind, n := protowire.ConsumeTag(raw)
		if n < 0 || field != number || (kind == protowire.BytesType) != (number == 1) {
			return f, fmt.Errorf("field %d of type %d, want the fields 1 to 3", field, kind)
		}
		raw = raw[n:]
		var value uint64
		if number == 1 {
			f.text, n = protowire.ConsumeString(raw)
		} else {
			value, n = protowire.ConsumeVarint(raw)
		}
		if n < 0 {
			return f, protowire.ParseError(n)
		}
		raw = raw[n:]
		switch number {
		case 2:
			f.id = int64(value)
		case 3:
			f.kind = int32(value)
		}
	}
	if len(raw) > 0 {
		return f, errors.New("bytes behind the last field")
	}
	return f, nil
}

// hearV1 takes one frame of dialect v1.
func (s *session) hearV1(raw []byte) error {
	s.heard.frames = append(s.heard.frames, raw)
	f, err := parseV1(raw)
	switch {
	case err != nil:
		return err
	case f.kind == v1PingPong:
		s.heard.pongs++
		if f.text != "pong" || f.id != 0 {
			return errors.New("is no pong")
		}
		return nil
	case f.kind != v1Message || f.id != int64(s.user.ID):
		return fmt.Errorf("type %d for %d", f.kind, f.id)
	}
	name, text, found := strings.Cut(f.text, ":")
	sender, known := s.user.system.names.Load(name)
	if !found || !known {
		return fmt.Errorf("%.40q names no sender", f.text)
	}
	from := sender.(proto.User)
	s.heard.take(from, []string{text}, false, from == s.user.system.usher.User)
	return nil
}

// TestV1Bytes holds a message and a pong against the contract, byte by byte.
func TestV1Bytes(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	olga := sys.old("olga")
	s := sys.oldest("vera").logIn()
	before := look(s, func(h *heard) int { return len(h.frames) })
	olga.sendPrivate(proto.CodeSuccess, s.user, "hi: 你好")
	s.until("the message", func(h *heard) bool { return len(h.frames) > before })
	if err := s.ping(); err != nil {
		t.Fatal(err)
	}
	message := []byte("\x0a\x0folga:hi: 你好\x10")
	message = append(binary.AppendUvarint(message, uint64(s.user.ID)), 0x18, v1Message)
	want := [][]byte{message, []byte(v1Pong[1:])}
	got := look(s, func(h *heard) [][]byte { return h.frames[before:] })
	if len(got) != 2 || !bytes.Equal(got[0], want[0]) || !bytes.Equal(got[1], want[1]) {
		t.Errorf("got %x, want %x", got, want)
	}
	s.wantExactly(from(olga, "hi: 你好")...)
}

// TestV1Exchange sends messages of every kind between the three dialects: each arrives once at its
// receivers, and at no other client.
func TestV1Exchange(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	c := &company{
		system: sys,
		olga:   sys.oldest("vera").logIn(), odo: sys.oldest("viktor").logIn(),
		ada: sys.ours("ada").logIn(), abe: sys.old("abe").logIn(),
	}
	batch := []string{"one", "", "three: :"}
	for _, sender := range c.all() {
		for _, receiver := range c.all() {
			text := fmt.Sprintf("%s to %s, 你好", sender.user.Name, receiver.user.Name)
			sender.user.sendPrivate(proto.CodeSuccess, receiver.user, text)
			sender.user.sendPrivate(proto.CodeSuccess, receiver.user, batch...)
			want := append(from(sender.user, text), from(sender.user, batch...)...)
			if sender.ours {
				sender.wantSend(proto.OutcomeDelivered, receiver.user, text)
				want = append(want, from(sender.user, text)...)
			}
			c.wantOnly([]*session{receiver}, want...)
		}
		sender.user.sendGroup("to all")
		sender.user.sendGroup(batch...)
		want := append(from(sender.user, "to all"), from(sender.user, batch...)...)
		if sender.ours {
			sender.wantSend(proto.OutcomeDelivered, nil, "over the connection")
			want = append(want, from(sender.user, "over the connection")...)
		}
		c.wantOnly(c.but(sender), want...)
	}
}

// TestV1Stored keeps messages for a user of dialect v1, who gets each as a
// MESSAGE frame, in order, once; and once more is not to be had.
func TestV1Stored(t *testing.T) {
	t.Parallel()
	const count = 230 // more than two pages
	sys := startSystem(t)
	vera, olga, ada := sys.oldest("vera"), sys.old("olga"), sys.ours("ada")
	onAda := ada.logIn()
	var want []delivery
	for i := range count / 2 {
		over, byHTTP := fmt.Sprint("SEND ", i), fmt.Sprint("HTTP ", i)
		onAda.wantSend(proto.OutcomeStored, vera, over)
		olga.sendPrivate(proto.CodeOffline, vera, byHTTP)
		want = append(append(want, from(ada, over)...), from(olga, byHTTP)...)
	}
	olga.sendPrivate(proto.CodeOffline, vera, "a", "", "batch")
	want = append(want, from(olga, "a", "", "batch")...)
	for range 2 {
		s := vera.logIn()
		vera.want(proto.CodeSuccess, proto.PathFetchOffline, members{"receiveUserId": vera.ID})
		s.wantExactly(want...)
		if err := s.leave(); err != nil {
			t.Fatal(err)
		}
		want = nil
	}
}

// TestV1Silence has a v1 client live on in a silence that ends a v2 client's
// session.
func TestV1Silence(t *testing.T) {
	t.Parallel()
	sys := startSystem(t, "--heartbeat", "2s")
	vera, olga := sys.oldest("vera").logIn(), sys.old("olga").logIn()
	olga.wantEnd(proto.ReasonNone)
	again := olga.user.logIn()
	again.wantEnd(proto.ReasonNone)
	vera.wantExactly()
	if err := vera.ping(); err != nil {
		t.Fatal(err)
	}
}

// TestV1Unexpected has a v1 client send what it may not, which ends its session and no other one.
func TestV1Unexpected(t *testing.T) {
	t.Parallel()
	sys := startSystem(t)
	vera, bystander := sys.oldest("vera"), sys.oldest("viktor").logIn()
	for _, past := range []*cimpb.Frame{
		{Cmd: v1Login, Id: int64(vera.ID), Text: vera.Name},
		{Cmd: v1Message, Id: int64(bystander.user.ID), Text: "hi"},
		{Cmd: cimpb.Command_SEND, Receiver: int64(bystander.user.ID), Text: "hi"},
	} {
		s := vera.logIn()
		vera.wantLogin(proto.CodeRepeatLogin, "")
		if err := s.write(framed(past)); err != nil {
			t.Fatal(err)
		}
		s.wantEnd(proto.ReasonNone)
		bystander.wantExactly()
		eventually(t, "its user is offline", func() bool { return !sys.online()[int64(vera.ID)] })
	}
}
