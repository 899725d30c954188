package shard

import (
	"bytes"
	"testing"

	"cim/proto"
)

// TestOurPart: a session of ours learns that a message is a group message and when
// it was sent; sessions of the original get the bytes of a body without that, live,
// behind a private message, and in a page.
func TestOurPart(t *testing.T) {
	const at proto.UnixMilli = 1796068800123
	s := newStand(t)
	ours, v2, v1 := s.live(1, proto.DialectCIM), s.live(2, proto.DialectV2), s.live(3, proto.DialectV1)
	all := []Ref{ours, v2, v1}
	bodyOf := func(command proto.Command, toAll bool, texts ...string) (whole, old []byte) {
		m := proto.MessageFrom(command, proto.User{ID: 77, Name: "ann"}, 5, texts)
		old = proto.AppendBody(nil, m)
		m.ToAll, m.Sent = toAll, proto.SameTime(at, len(texts))
		return proto.AppendBody(nil, m), old
	}
	group, oldGroup := bodyOf(proto.CommandMessage, true, "to all")
	private, oldPrivate := bodyOf(proto.CommandMessage, false, "private")
	page, oldPage := bodyOf(proto.CommandOffline, false, "one", "two")

	s.Broadcast(group, 0, "group")
	s.Broadcast(group, 2, "not to 2") // behind the private message
	for _, ref := range all {
		s.push(ref, private, false)
		s.DeliverPage(ref, page, 0, "page")
	}
	s.runOut()
	for _, a := range s.answers {
		if want := map[any]int{"group": 3, "not to 2": 2, "page": 0}[a.To]; a.Given != want {
			t.Errorf("%v was given to %d sessions, want %d", a.To, a.Given, want)
		}
	}

	var want []byte
	for _, body := range [][]byte{oldGroup, oldPrivate, oldPage} {
		want = proto.AppendDelivery(want, body, 2)
	}
	if got := s.wire[v2.Slot]; !bytes.Equal(got, want) {
		t.Errorf("a client of v2 was written\n%x, want\n%x", got, want)
	}
	want = want[:0]
	for _, body := range [][]byte{oldGroup, oldGroup, oldPrivate, oldPage} {
		want, _ = proto.AppendV1Delivery(want, body, 3)
	}
	if got := s.wire[v1.Slot]; !bytes.Equal(got, want) {
		t.Errorf("a client of v1 was written\n%x, want\n%x", got, want)
	}
	frames := s.frames(ours)
	if len(frames) != 4 {
		t.Fatalf("a client of ours was written %d frames, want 4", len(frames))
	}
	for i, toAll := range []bool{true, true, false, false} {
		v := &frames[i]
		if v.ToAll != toAll || v.Sent != v.Texts() {
			t.Errorf("frame %d: to all %t, %d times of %d texts", i, v.ToAll, v.Sent, v.Texts())
		}
		v.EachReceived(func(r proto.Received) {
			if r.Sent != at || r.ID == 0 {
				t.Errorf("frame %d: %q was sent at %d, id %d", i, r.Text, r.Sent, r.ID)
			}
		})
	}
}
