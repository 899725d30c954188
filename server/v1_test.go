package server

import (
	"io"
	"testing"
	"time"

	"cim/proto"
)

// readBytes reads exactly n bytes.
func (p *peer) readBytes(n int) string {
	p.t.Helper()
	b := make([]byte, n)
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(p.conn, b); err != nil {
		p.t.Fatalf("read: %v", err)
	}
	return string(b)
}

// TestV1: a client of dialect v1 logs in by a grant, receives a private message, a
// group message, and a message of a client of ours, and says goodbye.
func TestV1(t *testing.T) {
	w := start(t, nil)
	old := w.login(ann, 1, proto.DialectV1)
	ours := w.login(bob, 1, proto.DialectCIM)
	want := func(texts ...string) (frames []byte) {
		frames, _ = proto.AppendV1Delivery(nil, proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, bob, 0, texts)), ann.ID)
		return frames
	}
	if v := w.route.ask(proto.Record{Kind: proto.RecordPush, User: ann.ID, Generation: 1, Body: body(bob, "private")}); v != proto.VerdictTaken {
		t.Errorf("push: %v", v)
	}
	if v := w.route.ask(proto.Record{Kind: proto.RecordBroadcast, User: bob.ID, Body: body(bob, "group")}); v != proto.VerdictTaken {
		t.Errorf("broadcast: %v", v)
	}
	ours.write(proto.AppendSend(nil, 7, ann.ID, "sent"))
	if m := ours.read(); m.Command != proto.CommandOutcome || m.Outcome != proto.OutcomeDelivered {
		t.Errorf("outcome %+v", m)
	}
	old.write(proto.AppendV1Ping(nil, ann.ID))
	all := string(want("private")) + string(want("group")) + string(want("sent")) + proto.PongV1
	if got := old.readBytes(len(all)); got != all {
		t.Errorf("received\n%q, want\n%q", got, all)
	}
	goodbye := proto.Record{Kind: proto.RecordRevoke, User: ann.ID, Generation: 1, Value: uint64(proto.RevokeReplace)}
	if v := w.route.ask(goodbye); v != proto.VerdictLives {
		t.Errorf("a later login replaces an old client's session: %v", v)
	}
	goodbye.Value = uint64(proto.RevokeGoodbye)
	if v := w.route.ask(goodbye); v != proto.VerdictTaken {
		t.Errorf("goodbye: %v", v)
	}
	if n, err := old.conn.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("at its end it received %d bytes, %v", n, err)
	}
}

// TestV1Refused: a login with another name, or without a grant, is closed without
// an answer; a v1 client cannot show a demanded ticket.
func TestV1Refused(t *testing.T) {
	w := start(t, nil)
	if v := w.route.grant(ann, 1, false); v != proto.VerdictTaken {
		t.Fatalf("grant: %v", v)
	}
	if v := w.route.grant(bob, 1, true); v != proto.VerdictTaken {
		t.Fatalf("grant: %v", v)
	}
	for _, user := range []proto.User{{ID: ann.ID, Name: "another"}, {ID: 77, Name: "nobody"}, bob} {
		p := w.dial()
		p.write(proto.AppendV1Login(nil, user))
		_ = p.conn.SetReadDeadline(time.Now().Add(patience))
		if n, err := p.conn.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%s: received %d bytes, %v", user.Name, n, err)
		}
	}
}
