package compat

import (
	"testing"

	"cim/internal/link"
	"cim/proto"
)

// TestGroupQueueBound fills the messages to everybody on their way to one server,
// and one more: it is lost there, and its route is answered so.
func TestGroupQueueBound(t *testing.T) {
	w := newWorld(t, 0)
	near, far := link.Pair(link.WaitingMaxDefault)
	s := &farEnd{adapter: w.adapter, conn: far}
	s.groups = newGroupQueue(s)
	frame := proto.AppendBody(nil, proto.MessageFrom(proto.CommandMessage, proto.User{ID: 1, Name: "ann"}, 7, []string{"text"}))
	for i := range groupQueueMax + 1 {
		if err := s.take(&proto.Record{Kind: proto.RecordBroadcast, ID: uint64(i + 1), User: 1, Body: frame}); err != nil {
			t.Fatal(err)
		}
	}
	var answers []proto.Record
	far.Close()
	_ = near.Run(t.Context(), func(r *proto.Record) error { answers = append(answers, *r); return nil })
	if len(answers) != 1 || answers[0].ID != groupQueueMax+1 || answers[0].Verdict != proto.VerdictAbsent {
		t.Errorf("answers %+v", answers)
	}
	if n := w.counter("cim_route_original_deliveries_lost_total"); n != "1" {
		t.Errorf("%s are lost, want 1", n)
	}
	for range groupQueueMax {
		(<-s.groups.waiting).soon.Stop()
	}
}

// TestMessageNumbers counts a message once for all servers, and one without an id
// each time; a message is forgotten when many have come behind it.
func TestMessageNumbers(t *testing.T) {
	s := newScans(nil)
	first := s.number(messageKey{1, 7})
	if again := s.number(messageKey{1, 7}); again != first {
		t.Errorf("the same message has the numbers %d and %d", first, again)
	}
	if other := s.number(messageKey{2, 7}); other == first {
		t.Error("another sender's message has the same number")
	}
	if a, b := s.number(messageKey{1, 0}), s.number(messageKey{1, 0}); a == b {
		t.Error("messages without an id are one")
	}
	for i := range messagesKnownMax {
		s.number(messageKey{3, proto.TextID(i + 1)})
	}
	if len(s.numbers) != messagesKnownMax || len(s.order) != messagesKnownMax || s.number(messageKey{1, 7}) == first {
		t.Errorf("%d messages are known, %d in order", len(s.numbers), len(s.order))
	}
}
