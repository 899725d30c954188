package server

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"cim/internal/link"
	"cim/proto"
)

// pause makes the server notice a pause of its process, and returns the id of the
// echo that it requests from each route.
func (w *world) pause() uint64 {
	w.Helper()
	w.leap(pauseTest + time.Second)
	w.eventually("the pause is noticed", func() bool { _, n := w.server.checkStall(); return n > 0 })
	return w.route.kind(proto.RecordPaused).ID
}

// echo answers a pause and returns the sessions that the server sends then.
func (w *world) echo(id uint64) (sessions []proto.Session) {
	w.Helper()
	w.route.send(proto.Record{Kind: proto.RecordEcho, ID: id})
	return w.route.sessions()
}

// send sends a record that has its own id, or none.
func (r *routeEnd) send(rec proto.Record) {
	r.t.Helper()
	if err := r.conn.Send(&rec); err != nil {
		r.t.Fatalf("send record: %v", err)
	}
}

// sessions receives one chunk of sessions.
func (r *routeEnd) sessions() []proto.Session {
	r.t.Helper()
	rec := r.kind(proto.RecordSessions)
	sessions, err := proto.ParseSessions(rec.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	r.send(proto.Record{Kind: proto.RecordChecked, ID: rec.ID})
	return sessions
}

func (w *world) pushTo(user proto.UserID, flags uint8) proto.Verdict {
	w.Helper()
	return w.route.ask(proto.Record{Kind: proto.RecordPush, User: user, Generation: 1, Flags: flags, Body: body(bob, "text")})
}

// TestConfirm: the reader answers at once.
func TestConfirm(t *testing.T) {
	w := start(t, nil)
	if v := w.route.ask(proto.Record{Kind: proto.RecordConfirm}); v != proto.VerdictTaken {
		t.Errorf("confirm: %v", v)
	}
}

// TestResync: a route asks for all sessions and gets them, once more if a pass was
// running.
func TestResync(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	w.login(ann, 7, proto.DialectV2)
	want := proto.Session{User: ann.ID, Generation: 7}
	w.route.send(proto.Record{Kind: proto.RecordResync})
	first := w.route.kind(proto.RecordSessions)
	w.route.send(proto.Record{Kind: proto.RecordResync})
	w.route.send(proto.Record{Kind: proto.RecordResync})
	if v := w.route.ask(proto.Record{Kind: proto.RecordConfirm}); v != proto.VerdictTaken { // all those are handled
		t.Fatal(v)
	}
	w.route.send(proto.Record{Kind: proto.RecordChecked, ID: first.ID})
	if sessions := w.route.sessions(); len(sessions) != 1 || sessions[0] != want {
		t.Errorf("received again: %v, want %v", sessions, want)
	}
	if v := w.route.ask(proto.Record{Kind: proto.RecordConfirm}); v != proto.VerdictTaken {
		t.Fatal(v)
	}
	for _, rec := range w.route.aside {
		if rec.Kind == proto.RecordSessions {
			t.Errorf("received a third time: %+v", rec)
		}
	}
}

// TestPause: until the route has sent its echo, its records are refused, since the
// route may have given them up. Holds and revokes are carried out. Until all
// sessions have been sent again messages are stored; after that all is as before.
func TestPause(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	p := w.login(ann, 1, proto.DialectV2)
	w.login(bob, 1, proto.DialectV2)
	id := w.pause()
	for _, test := range []struct {
		rec  proto.Record
		want proto.Verdict
	}{
		{proto.Record{Kind: proto.RecordPush, User: ann.ID, Generation: 1, Body: body(bob, "late")}, proto.VerdictAbsent},
		{proto.Record{Kind: proto.RecordPush, User: ann.ID, Generation: 1, Flags: proto.FlagOffline, Body: body(bob, "late")}, proto.VerdictAbsent},
		{proto.Record{Kind: proto.RecordHold, User: ann.ID, Generation: 1}, proto.VerdictTaken},
		{proto.Record{Kind: proto.RecordResume, User: ann.ID, Generation: 1, Value: 2}, proto.VerdictAbsent},
		{proto.Record{Kind: proto.RecordBroadcast, Body: body(bob, "late")}, proto.VerdictBusy},
		{proto.Record{Kind: proto.RecordGrant, User: 7, Generation: 1, Name: []byte("late"), Body: grantBody}, proto.VerdictRefused},
		{proto.Record{Kind: proto.RecordRevoke, User: bob.ID, Generation: 1, Value: uint64(proto.RevokeSuperseded)}, proto.VerdictTaken},
		{proto.Record{Kind: proto.RecordConfirm}, proto.VerdictTaken},
	} {
		if v := w.route.ask(test.rec); v != test.want {
			t.Errorf("record of kind %d before the echo: %v, want %v", test.rec.Kind, v, test.want)
		}
	}
	if n := w.server.metrics.late.Get(); n != 5 {
		t.Errorf("%d were late, want 5", n)
	}
	w.route.send(proto.Record{Kind: proto.RecordEcho, ID: id})
	rec := w.route.kind(proto.RecordSessions)
	if sessions, err := proto.ParseSessions(rec.Body); err != nil || len(sessions) != 1 || sessions[0].User != ann.ID {
		t.Errorf("received %v, %v, want ann", sessions, err)
	}
	if v := w.pushTo(ann.ID, 0); v != proto.VerdictAbsent {
		t.Errorf("a push before all sessions were sent: %v", v)
	}
	if v := w.pushTo(ann.ID, proto.FlagOffline); v != proto.VerdictTaken {
		t.Errorf("a page before all sessions were sent: %v", v)
	}
	w.route.send(proto.Record{Kind: proto.RecordChecked, ID: rec.ID})
	// Each push that was to be stored has held the session, as the hold did.
	if v := w.route.ask(proto.Record{Kind: proto.RecordResume, User: ann.ID, Generation: 1, Value: 4}); v != proto.VerdictTaken {
		t.Errorf("resume: %v", v)
	}
	if v := w.pushTo(ann.ID, 0); v != proto.VerdictTaken {
		t.Errorf("a push when all goes on: %v", v)
	}
	for range 2 {
		if m := p.read(); string(m.Text) != "text" {
			t.Errorf("received %q", m.Text)
		}
	}
}

// TestPauseLetters: letters that wait since before a pause are refused; a SEND goes
// to a route, which knows where its receiver is now.
func TestPauseLetters(t *testing.T) {
	t.Parallel()
	w := start(t, oneLoop)
	w.login(ann, 1, proto.DialectCIM)
	w.login(bob, 1, proto.DialectV2)
	l := w.server.loops[0]
	waiting := func() int {
		l.mailbox.mu.Lock()
		defer l.mailbox.mu.Unlock()
		return len(l.mailbox.letters)
	}
	from, _, _ := w.server.directory.find(ann.ID)
	to, _, _ := w.server.directory.find(bob.ID)
	var pushed, broadcast, held uint64
	l.atOnce(func() {
		pushed = w.route.request(proto.Record{Kind: proto.RecordPush, User: ann.ID, Generation: 1, Body: body(bob, "late")})
		broadcast = w.route.request(proto.Record{Kind: proto.RecordBroadcast, Body: body(bob, "late")})
		held = w.route.request(proto.Record{Kind: proto.RecordHold, User: ann.ID, Generation: 1})
		w.eventually("they wait", func() bool { return waiting() == 3 })
		w.server.pairs.cross(pair{ann.ID, bob.ID}, l.number)
		l.mailbox.post(letter{kind: letterSend, ref: to, send: send{from: from, id: 5, sender: ann, to: bob.ID}}, []byte("sent"))
		w.pause()
	})
	for id, want := range map[uint64]proto.Verdict{pushed: proto.VerdictAbsent, broadcast: proto.VerdictBusy, held: proto.VerdictTaken} {
		if v := w.route.verdict(id).Verdict; v != want {
			t.Errorf("%v, want %v", v, want)
		}
	}
	if r := w.route.kind(proto.RecordSend); string(r.Body) != "sent" || r.Value != uint64(bob.ID) {
		t.Errorf("the route got %+v", r)
	}
}

// TestPauseSends: until all sessions have been sent again, a SEND goes to a route
// even if its receiver seems to be here.
func TestPauseSends(t *testing.T) {
	t.Parallel()
	w := start(t, oneLoop)
	a, b := w.login(ann, 1, proto.DialectCIM), w.login(bob, 1, proto.DialectV2)
	id := w.pause()
	a.write(proto.AppendSend(nil, 1, bob.ID, "by the route"))
	r := w.route.kind(proto.RecordSend)
	w.route.send(proto.Record{Kind: proto.RecordOutcome, ID: r.ID, Value: uint64(proto.OutcomeStored), Code: proto.CodeOffline})
	a.wantOutcome(1, proto.OutcomeStored, proto.CodeOffline)
	w.echo(id)
	w.eventually("all sessions were sent", func() bool { return !w.server.inDoubt(id) })
	a.write(proto.AppendSend(nil, 2, bob.ID, "straight"))
	a.wantOutcome(2, proto.OutcomeDelivered, proto.CodeSuccess)
	if m := b.read(); string(m.Text) != "straight" {
		t.Errorf("received %q", m.Text)
	}
}

// TestPauseNewLink: a link that was connected before a pause and is served only
// after it is asked for an echo; a link that was connected later is not.
func TestPauseNewLink(t *testing.T) {
	t.Parallel()
	w := start(t, withSecret)
	_, before := w.server.checkStall()
	w.pause()
	for _, test := range []struct {
		born  uint64
		asked bool
	}{{before, true}, {before + 1, false}} {
		a, b := link.Pair(1 << 20)
		served := make(chan error, 1)
		go func() { served <- w.server.serveLink(t.Context(), b, "", test.born) }()
		r := &routeEnd{t: t, conn: a, records: make(chan proto.Record, 100), ended: make(chan struct{})}
		go r.read()
		if test.asked {
			r.kind(proto.RecordPaused) // though it sends nothing
		}
		if v := r.ask(proto.Record{Kind: proto.RecordConfirm}); v != proto.VerdictTaken {
			t.Fatal(v)
		}
		for _, rec := range r.aside {
			if rec.Kind == proto.RecordPaused {
				t.Errorf("made at %d, asked for %d", test.born, rec.ID)
			}
		}
		a.Close()
		<-r.ended
		<-served
	}
}

// TestEchoBad: an echo that was not requested ends its link, an older one does not.
func TestEchoBad(t *testing.T) {
	t.Parallel()
	w := start(t, withSecret)
	first := w.pause()
	w.leap(pauseTest + time.Second)
	second := w.route.kind(proto.RecordPaused).ID
	w.route.send(proto.Record{Kind: proto.RecordEcho, ID: first})
	if v := w.route.grant(ann, 1, false); v != proto.VerdictRefused {
		t.Errorf("behind the echo of an older pause: %v", v)
	}
	w.route.send(proto.Record{Kind: proto.RecordEcho, ID: second})
	w.route.send(proto.Record{Kind: proto.RecordEcho, ID: first})
	if v := w.route.grant(ann, 1, false); v != proto.VerdictTaken {
		t.Errorf("behind the last echo: %v", v)
	}
	bad := w.overTCP()
	bad.send(proto.Record{Kind: proto.RecordEcho, ID: second + 1})
	select {
	case <-bad.ended:
	case <-time.After(patience):
		t.Error("the link goes on")
	}
}

func withLease(c *Config) { c.Lease, c.Loops = 10*time.Second, 2 }

// TestLeaseLost: without a confirmation all sessions end, grants and connections
// are refused, and earlier grants are gone; after a confirmation the server works
// again. A pause makes no difference.
func TestLeaseLost(t *testing.T) {
	t.Parallel()
	for name, silence := range map[string]time.Duration{"silence": 11 * time.Second, "pause": 2 * pauseTest} {
		t.Run(name, func(t *testing.T) {
			w := start(t, withLease)
			a, b := w.login(ann, 1, proto.DialectCIM), w.login(bob, 1, proto.DialectV2)
			open := w.dial()
			w.eventually("it is open", func() bool { return w.server.conns.Load() == 3 })
			granted := proto.User{ID: 3, Name: "granted"}
			w.route.grant(granted, 1, false)

			w.leap(silence)
			if m := a.read(); m.Command != proto.CommandClose || m.Reason != proto.ReasonLease {
				t.Errorf("our client received %+v", m)
			}
			for _, p := range []*peer{a, b, open} {
				p.end()
				p.conn.Close()
			}
			w.eventually("no session is left", func() bool { return w.server.directory.len() == 0 && w.server.conns.Load() == 0 })
			if v := w.route.grant(granted, 2, false); v != proto.VerdictRefused {
				t.Errorf("grant: %v", v)
			}
			if err := w.server.Ready(); err == nil {
				t.Error("it is ready")
			}
			w.dial().end()
			if n := w.server.metrics.ends[proto.ReasonLoginTimeout].Get(); n != 0 {
				t.Error("a connection was let in")
			}
			if n := w.server.metrics.leaseLosses.Get(); n != 1 {
				t.Errorf("%d losses, want 1", n)
			}

			if name == "pause" {
				w.route.send(proto.Record{Kind: proto.RecordEcho, ID: w.route.kind(proto.RecordPaused).ID})
			}
			if v := w.route.ask(proto.Record{Kind: proto.RecordConfirm}); v != proto.VerdictTaken {
				t.Errorf("confirm: %v", v)
			}
			if err := w.server.Ready(); err != nil {
				t.Errorf("confirmed: %v", err)
			}
			w.login(ann, 2, proto.DialectCIM)
		})
	}
}

// TestLeaseConfirmed: a lease lasts while a route or the registry confirms it in
// time.
func TestLeaseConfirmed(t *testing.T) {
	t.Parallel()
	w := start(t, withLease)
	p := w.login(ann, 1, proto.DialectCIM)
	for i := range 6 {
		w.leap(6 * time.Second)
		if i%2 == 0 {
			w.server.Confirm()
		} else if v := w.route.ask(proto.Record{Kind: proto.RecordConfirm}); v != proto.VerdictTaken {
			t.Fatal(v)
		}
		p.write([]byte(proto.Ping))
		if m := p.read(); m.Command != proto.CommandPing {
			t.Fatalf("received %+v", m)
		}
	}
}

// TestLeaseStaleConfirm: a confirmation that waited unread through a pause does not
// renew the lease.
func TestLeaseStaleConfirm(t *testing.T) {
	t.Parallel()
	w := start(t, withLease)
	p := w.login(ann, 1, proto.DialectV2)
	w.pause()
	if v := w.route.ask(proto.Record{Kind: proto.RecordConfirm}); v != proto.VerdictTaken {
		t.Errorf("confirm: %v", v)
	}
	p.end()
	if !w.server.lease.lost.Load() {
		t.Error("it was confirmed by what was sent before the pause")
	}
	if _, err := w.dial().tryRead(); !errors.Is(err, io.EOF) && !isReset(err) {
		t.Errorf("a connection was let in: %v", err)
	}
}

// TestLeaseNeverConfirmed: a server that was never confirmed refuses logins,
// reports what it waits for, and has lost no lease.
func TestLeaseNeverConfirmed(t *testing.T) {
	log := &lines{}
	w := startLogging(t, withLease, log)
	w.leap(time.Minute)
	w.eventually("it says what it waits for", func() bool {
		err := w.server.Ready()
		return err != nil && strings.Contains(err.Error(), "has confirmed it yet")
	})
	if v := w.route.grant(ann, 1, false); v != proto.VerdictRefused {
		t.Errorf("grant: %v", v)
	}
	w.route.send(proto.Record{Kind: proto.RecordEcho, ID: w.route.kind(proto.RecordPaused).ID}) // the leap counts as a pause
	if v := w.route.ask(proto.Record{Kind: proto.RecordConfirm}); v != proto.VerdictTaken {
		t.Errorf("confirm: %v", v)
	}
	if v := w.route.grant(ann, 2, false); v != proto.VerdictTaken {
		t.Errorf("grant once it is confirmed: %v", v)
	}
	if n := w.server.metrics.leaseLosses.Get(); n != 0 || strings.Contains(log.String(), "lease") {
		t.Errorf("%d losses; the log: %s", n, log.String())
	}
}
