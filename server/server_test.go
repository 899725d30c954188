package server

import (
	"strconv"
	"testing"

	"cim/proto"
)

var (
	ann = proto.User{ID: 1001, Name: "ann"}
	bob = proto.User{ID: 1002, Name: "bob"}
)

// TestPrivate pushes to a session of each dialect.
func TestPrivate(t *testing.T) {
	for _, dialect := range []proto.Dialect{proto.DialectV2, proto.DialectCIM} {
		w := start(t, nil)
		p := w.login(ann, 1, dialect)
		v := w.route.ask(proto.Record{Kind: proto.RecordPush, User: ann.ID, Generation: 1, Body: body(bob, "hello")})
		if v != proto.VerdictTaken {
			t.Fatalf("push: %v", v)
		}
		m := p.read()
		if string(m.Text) != "hello" || m.ID != int64(ann.ID) || string(m.Property(proto.PropertySenderID)) != "1002" ||
			string(m.Property(proto.PropertySenderName)) != "bob" || string(m.Property(proto.PropertyReceiverID)) != "1001" {
			t.Errorf("dialect %d: received %+v", dialect, m)
		}
	}
}

// TestVerdicts pushes to sessions that are absent, or of another generation.
func TestVerdicts(t *testing.T) {
	w := start(t, nil)
	push := proto.Record{Kind: proto.RecordPush, User: ann.ID, Generation: 7, Body: body(bob, "x")}
	if v := w.route.ask(push); v != proto.VerdictAbsent {
		t.Errorf("absent: %v", v)
	}
	p := w.login(ann, 7, proto.DialectV2)
	push.Generation = 6
	if v := w.route.ask(push); v != proto.VerdictStale {
		t.Errorf("an older generation: %v", v)
	}
	p.conn.Close()
	if down := w.route.kind(proto.RecordDown); down.User != ann.ID || down.Generation != 7 {
		t.Errorf("down %+v", down)
	}
	push.Generation = 7
	if v := w.route.ask(push); v != proto.VerdictAbsent {
		t.Errorf("after the end: %v", v)
	}
}

// TestBroadcast reaches all but the sender, in order, once each.
func TestBroadcast(t *testing.T) {
	const users, messages = 40, 50
	w := start(t, nil)
	var peers []*peer
	for i := range users {
		dialect := proto.Dialect(i % 2)
		peers = append(peers, w.login(proto.User{ID: proto.UserID(2000 + i), Name: "u" + strconv.Itoa(i)}, 1, dialect))
	}
	sender := proto.User{ID: 2000, Name: "u0"}
	var ids []uint64
	for i := range messages {
		ids = append(ids, w.route.request(proto.Record{Kind: proto.RecordBroadcast, User: sender.ID, Body: body(sender, strconv.Itoa(i))}))
	}
	for _, id := range ids {
		if v := w.route.verdict(id).Verdict; v != proto.VerdictTaken {
			t.Fatalf("broadcast: %v", v)
		}
	}
	for i, p := range peers[1:] {
		for n := range messages {
			if m := p.read(); string(m.Text) != strconv.Itoa(n) || m.ID != int64(2001+i) {
				t.Fatalf("user %d received %q (id %d), want %d", 2001+i, m.Text, m.ID, n)
			}
		}
	}
	// The sender has got nothing: its first frame is the pong.
	peers[0].write([]byte(proto.Ping))
	if m := peers[0].read(); m.Command != proto.CommandPing {
		t.Errorf("the sender received %+v", m)
	}
}
