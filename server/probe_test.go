package server

import (
	"strings"
	"testing"
	"time"

	"cim/proto"
)

// stuckRequester blocks the loop that answers it until letGo.
type stuckRequester struct{ standing, letGo chan struct{} }

func (a stuckRequester) answer(uint64, proto.Verdict, uint64) {
	close(a.standing)
	<-a.letGo
}

// hold blocks a loop until the returned function is called, and returns when the
// loop has an unanswered probe.
func (w *world) hold(l *loop) (letGo func()) {
	w.Helper()
	a := stuckRequester{make(chan struct{}), make(chan struct{})}
	l.mailbox.post(letter{kind: letterMove, requester: a}, nil)
	<-a.standing
	w.eventually("the loop is asked", func() bool { return l.probe.asked.Load() != 0 })
	return func() { close(a.letGo) }
}

// block makes a loop stand still for longer than pauseMin.
func (w *world) block(l *loop) (letGo func()) {
	w.Helper()
	letGo = w.hold(l)
	for range 3 {
		w.age(pauseTest / 2)
	}
	w.eventually("it is found", func() bool { return w.server.Ready() != nil })
	return letGo
}

// age lets time pass, less than a pause, while the process runs.
func (w *world) age(d time.Duration) {
	w.Helper()
	w.leap(d)
	now := int64(w.server.clock())
	w.eventually("the pulse goes on", func() bool { return w.server.stalls.stamp.Load() >= now })
}

// onLoop logs in users from first on until one has a session at l.
func (w *world) onLoop(l *loop, first proto.UserID) (proto.User, *peer) {
	w.Helper()
	for id := first; ; id++ {
		user := proto.User{ID: id, Name: "user"}
		p := w.login(user, 1, proto.DialectCIM)
		if ref, _, _ := w.server.directory.find(id); ref.Shard == l.number {
			return user, p
		}
	}
}

// TestLoopStandsStill: while one event loop stands still the server is not ready,
// reports that to its route, and refuses logins; the other loop works. When the
// loop runs again the server works again, and refuses what waited for the loop,
// since its route has given it up.
func TestLoopStandsStill(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *Config) { c.Heartbeat = heartbeatMax })
	well, stuck := w.server.loops[0], w.server.loops[1]
	there, atWell := w.onLoop(well, 100)
	here, atStuck := w.onLoop(stuck, 300)
	letGo := w.block(stuck)

	if err := w.server.Ready(); err == nil || !strings.Contains(err.Error(), "event loop 2 of 2 has stood still for 1m") {
		t.Errorf("Ready: %v", err)
	}
	if n := w.server.loopsBlocked(); n != 1 {
		t.Errorf("%d loops are blocked", n)
	}
	if v := w.route.ask(proto.Record{Kind: proto.RecordConfirm}); v != proto.VerdictRefused {
		t.Errorf("confirm: %v, want refused", v)
	}
	if v := w.route.grant(proto.User{ID: 900, Name: "new"}, 1, true); v != proto.VerdictRefused {
		t.Errorf("grant: %v, want refused", v)
	}
	atWell.write(proto.AppendSend(nil, 1, here.ID, "does not wait"))
	atWell.wantOutcome(1, proto.OutcomeBusy, proto.CodeLimit)
	if v := w.pushTo(there.ID, 0); v != proto.VerdictTaken {
		t.Errorf("push to the other loop: %v", v)
	}
	other := w.dial()
	w.eventually("a stranger is let in", func() bool { return w.server.conns.Load() == 3 })
	w.server.clients.mu.Lock()
	if w.server.clients.leastLoaded() != well {
		t.Error("the next connection is given to a loop that stands still")
	}
	w.server.clients.mu.Unlock()
	other.conn.Close()
	waiting := w.route.request(proto.Record{Kind: proto.RecordPush, User: here.ID, Generation: 1, Body: body(bob, "waits")})

	letGo()
	if v := w.route.verdict(waiting).Verdict; v != proto.VerdictAbsent {
		t.Errorf("what waited for it: %v, want absent", v)
	}
	w.eventually("ready", func() bool { return w.server.Ready() == nil })
	if v := w.route.ask(proto.Record{Kind: proto.RecordConfirm}); v != proto.VerdictTaken {
		t.Errorf("confirm: %v", v)
	}
	w.echo(w.route.kind(proto.RecordPaused).ID)
	w.eventually("its sessions have been sent", func() bool { return !w.server.inDoubt(w.server.stalls.pauses.Load()) })
	// The refused push has held its session, so that the message can be stored in
	// order.
	if v := w.route.ask(proto.Record{Kind: proto.RecordResume, User: here.ID, Generation: 1, Value: 2}); v != proto.VerdictTaken {
		t.Errorf("resume: %v", v)
	}
	if v := w.pushTo(here.ID, 0); v != proto.VerdictTaken {
		t.Errorf("push to it: %v", v)
	}
	if v := atStuck.read(); v.Command != proto.CommandMessage || string(v.Text) != "text" {
		t.Errorf("it is brought %+v", v)
	}
	if n := w.server.metrics.pauses.Get(); n != 1 {
		t.Errorf("%d pauses, want 1", n)
	}
}

// TestProcessStandsStill: a pause of the process does not count as a pause of a
// loop.
func TestProcessStandsStill(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	w.login(ann, 1, proto.DialectV2)
	l := w.server.loops[0]
	letGo := w.hold(l)
	id := w.pause()
	if err := w.server.Ready(); err != nil {
		t.Errorf("behind a pause: %v", err)
	}
	letGo()
	w.echo(id)
	if v := w.route.ask(proto.Record{Kind: proto.RecordConfirm}); v != proto.VerdictTaken {
		t.Errorf("confirm: %v", v)
	}
	asked := l.probe.asked.Load()
	w.eventually("the loop has answered", func() bool { return l.probe.asked.Load() != asked })
	if n := w.server.metrics.pauses.Get(); n != 1 {
		t.Errorf("%d pauses, want 1", n)
	}
}
