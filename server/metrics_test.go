package server

import (
	"testing"

	"cim/proto"
)

// TestPublish: each frame and each write is published once, however often a loop
// publishes.
func TestPublish(t *testing.T) {
	t.Parallel()
	w := start(t, oneLoop)
	p := w.login(ann, 7, proto.DialectV2)
	if v := w.route.ask(proto.Record{Kind: proto.RecordPush, User: ann.ID, Generation: 7, Body: body(bob, "text")}); v != proto.VerdictTaken {
		t.Fatal(v)
	}
	p.read()
	l, m := w.server.loops[0], w.server.metrics
	release := w.hold(l)
	defer release()
	want := l.shard.Stats()
	if want.FramesIn == 0 || want.Deliveries == 0 || want.Writes == 0 || want.BytesOut == 0 {
		t.Fatalf("nothing is counted: %+v", want)
	}
	for range 2 {
		l.publish() // in place of the loop, which stands still
		got := [...]uint64{m.framesIn.Get(), m.deliveries.Get(), m.writes.Get(), m.bytesOut.Get()}
		if got != [...]uint64{want.FramesIn, want.Deliveries, want.Writes, want.BytesOut} {
			t.Errorf("published %v, want %+v", got, want)
		}
	}
	if open, live := l.gauge.open.Load(), l.gauge.live.Load(); open != 1 || live != 1 {
		t.Errorf("%d sessions, %d live, want 1 of each", open, live)
	}
}
