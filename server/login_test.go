package server

import (
	"net/netip"
	"strconv"
	"testing"
	"time"

	"cim/internal/admission"
	"cim/proto"
	"cim/server/shard"
)

// refused writes a login frame and expects the connection to end; answered: a
// client of ours gets reason.
func (w *world) refused(frame []byte, answered bool, reason proto.Reason) {
	w.Helper()
	p := w.dial()
	p.write(frame)
	if answered {
		if a := p.read(); a.Command != proto.CommandLoginAnswer || a.Reason != reason {
			w.Fatalf("received %+v, want %v", a, reason)
		}
	}
	p.end()
}

// TestLoginNeedsGrant tries to log in a user whom no route has announced.
func TestLoginNeedsGrant(t *testing.T) {
	w := start(t, nil)
	w.refused(proto.AppendLogin(nil, ann, proto.DialectV2, proto.Ticket{}), false, proto.ReasonNoGrant)
	w.refused(proto.AppendLogin(nil, ann, proto.DialectCIM, ticket), true, proto.ReasonNoGrant)
	w.route.grant(ann, 1, true)
	w.refused(proto.AppendLogin(nil, ann, proto.DialectV2, proto.Ticket{}), false, proto.ReasonTicket)
	w.refused(proto.AppendLogin(nil, ann, proto.DialectCIM, proto.Ticket{}), true, proto.ReasonTicket)
	w.refused(proto.AppendLogin(nil, ann, proto.DialectCIM, proto.Ticket{9}), true, proto.ReasonTicket)
	w.refused(proto.AppendLogin(nil, proto.User{ID: ann.ID, Name: "eve"}, proto.DialectCIM, ticket), true, proto.ReasonAccountMismatch)
	w.route.grant(bob, 1, false)
	w.refused(proto.AppendLogin(nil, bob, proto.DialectCIM, proto.Ticket{9}), true, proto.ReasonTicket)
	p := w.dial()
	p.write(proto.AppendLogin(nil, ann, proto.DialectCIM, ticket))
	if a := p.read(); a.Reason != proto.ReasonNone || a.Generation != 1 || a.ID != int64(ann.ID) || a.Heartbeat != 30 {
		t.Fatalf("login answer %+v", a)
	}
	// The grant is used up.
	w.refused(proto.AppendLogin(nil, ann, proto.DialectCIM, ticket), true, proto.ReasonNoGrant)
}

// TestOpenLogin lets any client in, but one session for each user.
func TestOpenLogin(t *testing.T) {
	for _, repeat := range []RepeatLogin{RepeatRefuse, RepeatReplace} {
		w := start(t, func(c *Config) { c.Login, c.RepeatLogin = LoginOpen, repeat })
		old, ours := w.dial(), w.dial()
		old.write(append(proto.AppendLogin(nil, ann, proto.DialectV2, proto.Ticket{}), proto.Ping...))
		if m := old.read(); m.Command != proto.CommandPing {
			t.Fatalf("old client: %+v", m)
		}
		w.refused(proto.AppendLogin(nil, ann, proto.DialectCIM, proto.Ticket{}), true, proto.ReasonRepeatLogin)
		ours.write(proto.AppendLogin(nil, bob, proto.DialectCIM, proto.Ticket{}))
		if a := ours.read(); a.Reason != proto.ReasonNone || a.Generation != 0 {
			t.Fatalf("our client: %+v", a)
		}
		if repeat == RepeatRefuse {
			w.refused(proto.AppendLogin(nil, bob, proto.DialectCIM, proto.Ticket{}), true, proto.ReasonRepeatLogin)
			continue
		}
		newer := w.dial()
		newer.write(proto.AppendLogin(nil, bob, proto.DialectCIM, proto.Ticket{}))
		if a := newer.read(); a.Reason != proto.ReasonNone {
			t.Fatalf("the newest: %+v", a)
		}
		if c := ours.read(); c.Command != proto.CommandClose || c.Reason != proto.ReasonReplaced {
			t.Errorf("the old one received %+v", c)
		}
		ours.end()
		w.refused(proto.AppendLogin(nil, proto.User{ID: 5, Name: " bad"}, proto.DialectCIM, proto.Ticket{}), true, proto.ReasonAccountMismatch)
		// A route's grant does not end a session that came without one.
		if v := w.route.grant(bob, 1, true); v != proto.VerdictLives {
			t.Errorf("grant over an open session: %v", v)
		}
	}
}

// TestRevoke revokes a session of each dialect and a grant, in each mode.
func TestRevoke(t *testing.T) {
	wrong := proto.Ticket{42}
	for _, c := range []struct {
		name    string
		mode    proto.RevokeMode
		ticket  []byte
		v2, cim proto.Verdict
		reason  proto.Reason
	}{
		{"grants only", proto.RevokeGrant, nil, proto.VerdictLives, proto.VerdictLives, 0},
		{"by ticket", proto.RevokeTicket, ticket[:], proto.VerdictLives, proto.VerdictTaken, proto.ReasonReplaced},
		{"by a wrong ticket", proto.RevokeTicket, wrong[:], proto.VerdictLives, proto.VerdictLives, 0},
		{"newest wins", proto.RevokeReplace, nil, proto.VerdictLives, proto.VerdictTaken, proto.ReasonReplaced},
		{"goodbye", proto.RevokeGoodbye, nil, proto.VerdictTaken, proto.VerdictLives, 0},
		{"goodbye with the ticket", proto.RevokeGoodbye, ticket[:], proto.VerdictTaken, proto.VerdictTaken, proto.ReasonEnded},
	} {
		w := start(t, nil)
		revoke := func(user proto.UserID, upTo proto.Generation) proto.Verdict {
			return w.route.ask(proto.Record{Kind: proto.RecordRevoke, User: user, Generation: upTo, Value: uint64(c.mode), Body: c.ticket})
		}
		old, ours := w.login(ann, 5, proto.DialectV2), w.login(bob, 5, proto.DialectCIM)
		if v := revoke(ann.ID, 4); v != proto.VerdictAbsent {
			t.Errorf("%s: an older generation: %v", c.name, v)
		}
		if v := revoke(ann.ID, 5); v != c.v2 {
			t.Errorf("%s: an old client: %v, want %v", c.name, v, c.v2)
		}
		if v := revoke(bob.ID, 5); v != c.cim {
			t.Errorf("%s: one of ours: %v, want %v", c.name, v, c.cim)
		}
		if c.v2 == proto.VerdictTaken {
			old.end()
		}
		if c.cim == proto.VerdictTaken {
			if m := ours.read(); m.Command != proto.CommandClose || m.Reason != c.reason {
				t.Errorf("%s: received %+v, want %v", c.name, m, c.reason)
			}
			ours.end()
			if v := revoke(bob.ID, 5); v != proto.VerdictAbsent {
				t.Errorf("%s: once more: %v", c.name, v)
			}
		}
		w.route.grant(proto.User{ID: 3, Name: "c"}, 1, false)
		w.leap(time.Duration(freshTicks) * shard.TickMillis * time.Millisecond)
		if v := revoke(3, 1); v != proto.VerdictTaken {
			t.Errorf("%s: a grant: %v", c.name, v)
		}
		w.refused(proto.AppendLogin(nil, proto.User{ID: 3, Name: "c"}, proto.DialectV2, proto.Ticket{}), false, proto.ReasonNoGrant)
	}
}

// TestRevokeMove: the session of a client that moves goes on, held; without its
// ticket the session is not touched. The new server reports the move when the
// client has connected, not before.
func TestRevokeMove(t *testing.T) {
	w := start(t, nil)
	w.login(ann, 5, proto.DialectV2)
	ours := w.login(bob, 5, proto.DialectCIM)
	move := func(user proto.UserID, shown proto.Ticket) proto.Verdict {
		return w.route.ask(proto.Record{
			Kind: proto.RecordRevoke, User: user, Generation: 5, Value: uint64(proto.RevokeMove), Body: shown[:],
		})
	}
	push := func() proto.Verdict {
		return w.route.ask(proto.Record{Kind: proto.RecordPush, User: bob.ID, Generation: 5, Body: body(ann, "private")})
	}
	if v := move(ann.ID, ticket); v != proto.VerdictLives {
		t.Errorf("an old client: %v", v)
	}
	if v := move(bob.ID, proto.Ticket{42}); v != proto.VerdictLives {
		t.Errorf("a wrong ticket: %v", v)
	}
	if v := push(); v != proto.VerdictTaken {
		t.Errorf("push before the move: %v", v)
	}
	ours.read()
	if v := move(bob.ID, ticket); v != proto.VerdictTaken {
		t.Errorf("move: %v", v)
	}
	if v := push(); v != proto.VerdictBehind {
		t.Errorf("push during the move: %v", v)
	}
	w.route.request(proto.Record{Kind: proto.RecordBroadcast, User: ann.ID, Body: body(ann, "to all")})
	if m := ours.read(); string(m.Text) != "to all" {
		t.Errorf("during the move came %+v", m)
	}
}

// TestMoveIsReported: routes learn of the session that is left when its client has
// begun the new one.
func TestMoveIsReported(t *testing.T) {
	w := start(t, nil)
	v := w.route.ask(proto.Record{
		Kind: proto.RecordGrant, User: ann.ID, Generation: 6, Name: []byte(ann.Name), Body: grantBody,
		Flags: proto.FlagDemandTicket | proto.FlagMove, Value: 77,
	})
	if v != proto.VerdictTaken {
		t.Fatalf("grant: %v", v)
	}
	w.dial().write(proto.AppendLogin(nil, ann, proto.DialectCIM, ticket))
	got := w.route.next("up or overtaken", func(r *proto.Record) bool {
		return r.Kind == proto.RecordUp || r.Kind == proto.RecordOvertaken
	})
	if got.Kind != proto.RecordUp {
		t.Errorf("received %+v before the session began", got)
	}
	if got := w.route.kind(proto.RecordOvertaken); got.User != ann.ID || got.Generation != 6 || got.Value != 77 {
		t.Errorf("received %+v", got)
	}
}

// TestNewGrantEndsOlderSession: the route took silence for death, and granted
// again.
func TestNewGrantEndsOlderSession(t *testing.T) {
	w := start(t, nil)
	p := w.login(ann, 1, proto.DialectCIM)
	if v := w.route.grant(ann, 2, true); v != proto.VerdictTaken {
		t.Fatalf("grant: %v", v)
	}
	if m := p.read(); m.Command != proto.CommandClose || m.Reason != proto.ReasonReplaced {
		t.Errorf("received %+v", m)
	}
	p.end()
	if v := w.route.grant(ann, 1, true); v != proto.VerdictStale {
		t.Errorf("an older grant: %v", v)
	}
	p = w.dial()
	p.write(proto.AppendLogin(nil, ann, proto.DialectCIM, ticket))
	if a := p.read(); a.Reason != proto.ReasonNone || a.Generation != 2 {
		t.Errorf("login against the new grant: %+v", a)
	}
}

// TestGrantOverUnreachable: every route learns of a login over a session that the
// granting route could not reach, and of no other login.
func TestGrantOverUnreachable(t *testing.T) {
	w := start(t, nil)
	other := newRouteEnd(t, w.server)
	defer func() {
		other.conn.Close()
		<-other.ended
	}()
	grant := func(user proto.User, generation proto.Generation, older proto.Epoch) proto.Verdict {
		return w.route.ask(proto.Record{
			Kind: proto.RecordGrant, User: user.ID, Generation: generation, Name: []byte(user.Name), Body: grantBody, Value: uint64(older),
		})
	}
	if v := grant(ann, 3, 0); v != proto.VerdictTaken {
		t.Fatalf("grant: %v", v)
	}
	if v := grant(ann, 2, 77); v != proto.VerdictStale {
		t.Fatalf("grant of an older generation: %v", v)
	}
	if v := grant(bob, 5, 99); v != proto.VerdictTaken {
		t.Fatalf("grant: %v", v)
	}
	for _, r := range []*routeEnd{w.route, other} {
		if got := r.kind(proto.RecordOvertaken); got.User != bob.ID || got.Generation != 5 || got.Value != 99 {
			t.Errorf("received %+v", got)
		}
	}
}

// TestGrantExpires looks at the directory a tick before 30 s and at 30 s.
func TestGrantExpires(t *testing.T) {
	d := newDirectory(LoginGranted, RepeatRefuse, false, admission.DefaultPolicy())
	d.grant(ann.ID, 3, pending{name: "ann", at: 100}, netip.Addr{})
	d.grant(bob.ID, 4, pending{name: "bob", at: 101}, netip.Addr{})
	var gone []proto.UserID
	note := func(user proto.UserID, _ proto.Generation) { gone = append(gone, user) }
	d.expire(100+grantTicks-1, note)
	if len(gone) != 0 || d.len() != 2 {
		t.Fatalf("one tick early: %v gone, %d left", gone, d.len())
	}
	d.expire(100+grantTicks, note)
	if len(gone) != 1 || gone[0] != ann.ID || d.len() != 1 {
		t.Fatalf("in time: %v gone, %d left", gone, d.len())
	}
	// Neither a renewed grant nor one that was used ends with the old time.
	d.grant(bob.ID, 5, pending{name: "bob", at: 150}, netip.Addr{})
	d.expire(101+grantTicks, note)
	if len(gone) != 1 {
		t.Fatalf("a renewed grant ended: %v", gone)
	}
}

// TestSurplusConnections fills the server; the next connection is closed, the
// others live, and when one leaves there is room again.
func TestSurplusConnections(t *testing.T) {
	w := start(t, func(c *Config) { c.SessionsMax = 3 })
	var peers []*peer
	for i := range 3 {
		peers = append(peers, w.login(proto.User{ID: proto.UserID(i + 1), Name: "u" + strconv.Itoa(i)}, 1, proto.DialectV2))
	}
	w.dial().end()
	if v := w.route.grant(bob, 1, false); v != proto.VerdictRefused {
		t.Errorf("a grant on a full server: %v", v)
	}
	peers[0].write([]byte(proto.Ping))
	if m := peers[0].read(); m.Command != proto.CommandPing {
		t.Errorf("a session on a full server: %+v", m)
	}
	peers[1].conn.Close()
	w.route.kind(proto.RecordDown)
	if p := w.login(bob, 1, proto.DialectV2); p == nil {
		t.Error("no room after one has left")
	}
}

// TestLoginTimeout connects and sends nothing.
func TestLoginTimeout(t *testing.T) {
	w := start(t, nil)
	began := time.Now()
	w.dial().end()
	if took := time.Since(began); took < 4*time.Second {
		t.Errorf("ended after %v, want 5 s", took)
	}
}

// TestLoginBySpelling: a client that spells its user's name in another form is that
// user, and its messages carry the account's name.
func TestLoginBySpelling(t *testing.T) {
	w := start(t, nil)
	rene := proto.User{ID: 77, Name: "ren\u00e9"}
	b := w.login(bob, 1, proto.DialectCIM)
	w.route.grant(rene, 1, true)
	w.refused(proto.AppendLogin(nil, proto.User{ID: rene.ID, Name: "rene"}, proto.DialectCIM, ticket), true, proto.ReasonAccountMismatch)
	p := w.dial()
	p.write(proto.AppendLogin(nil, proto.User{ID: rene.ID, Name: "rene\u0301"}, proto.DialectCIM, ticket))
	if a := p.read(); a.Reason != proto.ReasonNone {
		t.Fatalf("login answer %+v", a)
	}
	p.write(proto.AppendSend(nil, 1, bob.ID, "x"))
	m := b.read()
	if name := m.Property(proto.PropertySenderName); string(name) != rene.Name {
		t.Errorf("it came from %+q, want %+q", name, rene.Name)
	}
}
