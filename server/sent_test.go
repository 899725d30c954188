package server

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"cim/proto"
)

// wantSent reads one message, which must have been sent since before.
func (p *peer) wantSent(text string, toAll, timed bool, before time.Time) {
	p.t.Helper()
	v := p.read()
	var sent proto.UnixMilli
	v.EachReceived(func(r proto.Received) { sent = r.Sent })
	if string(v.Text) != text || v.ToAll != toAll || (v.Sent == 1) != timed {
		p.t.Fatalf("received %q, to all %t, %d times, want %q, %t", v.Text, v.ToAll, v.Sent, text, toAll)
	}
	if at := time.UnixMilli(int64(sent)); timed && (at.Before(before.Truncate(time.Millisecond)) || at.After(time.Now())) {
		p.t.Errorf("%s: sent at %v, want since %v", text, at, before)
	}
}

// TestSentByServer: a client of ours gets the time of sending of messages that a
// server delivers itself, from its own loop, from another, and by /sendMsg; a
// client of the original does not.
func TestSentByServer(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	a := w.login(ann, 1, proto.DialectCIM)
	for i := range 4 { // on both loops
		user := proto.User{ID: proto.UserID(3000 + i), Name: "r" + strconv.Itoa(i)}
		ours := i%2 == 0
		b := w.login(user, 1, map[bool]proto.Dialect{true: proto.DialectCIM, false: proto.DialectV2}[ours])
		before := time.Now()
		a.write(proto.AppendSend(nil, 1, user.ID, "text"))
		a.wantOutcome(1, proto.OutcomeDelivered, proto.CodeSuccess)
		b.wantSent("text", false, ours, before)
		push := `{"userId":%d,"msg":"%s","cmd":"%s","properties":{"sendUserId":"1","sendUserName":"x"}}`
		w.post(proto.PathSendMsg, "POST", fmt.Sprintf(push, user.ID, "pushed", "MESSAGE"))
		b.wantSent("pushed", false, ours, before)
		w.post(proto.PathSendMsg, "POST", fmt.Sprintf(push, user.ID, "stored by the original", "OFFLINE"))
		b.wantSent("stored by the original", false, false, before)
	}
}

// TestReceiversCounted: the answer to a broadcast counts its sessions, over all
// loops and dialects, without the sender's; the outcome of a SEND has the route's
// count.
func TestReceiversCounted(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	a := w.login(ann, 1, proto.DialectCIM)
	if rec := w.route.verdict(w.route.request(proto.Record{Kind: proto.RecordBroadcast, User: ann.ID, Body: body(ann, "x")})); proto.Receivers(rec.Value) != proto.ReceiversOf(0) {
		t.Errorf("with no other session the count is %d", rec.Value)
	}
	for i := range 7 {
		w.login(proto.User{ID: proto.UserID(3000 + i), Name: "r" + strconv.Itoa(i)}, 1, proto.Dialect(i%3))
	}
	if rec := w.route.verdict(w.route.request(proto.Record{Kind: proto.RecordBroadcast, User: ann.ID, Body: body(ann, "x")})); proto.Receivers(rec.Value) != proto.ReceiversOf(7) {
		t.Errorf("the count is %d, want 7 and 1", rec.Value)
	}
	before := time.Now().Truncate(time.Millisecond)
	for _, receivers := range []proto.Receivers{0, proto.ReceiversOf(0), proto.ReceiversOf(12)} {
		a.write(proto.AppendSend(nil, 5, 0, "to all"))
		r := w.route.kind(proto.RecordSend)
		if at := time.UnixMilli(int64(r.Generation)); at.Before(before) || at.After(time.Now()) {
			t.Errorf("the route received that it was sent at %v", at)
		}
		if err := w.route.conn.Send(&proto.Record{
			Kind: proto.RecordOutcome, ID: r.ID, Value: uint64(proto.OutcomeDelivered), Code: proto.CodeSuccess, Generation: proto.Generation(receivers),
		}); err != nil {
			t.Fatal(err)
		}
		if m := a.read(); m.Command != proto.CommandOutcome || m.Receivers != receivers {
			t.Errorf("the outcome is %+v, want the count %d", m, receivers)
		}
	}
}
