package server

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"cim/proto"
	"cim/server/shard"
)

// join adds a login of user to its grant, and returns its ticket.
func (r *routeEnd) join(user proto.User, generation proto.Generation, number uint64, granted proto.Grant, flags uint8) (proto.Ticket, proto.Verdict) {
	r.t.Helper()
	binary.BigEndian.PutUint64(granted.Ticket[:], number)
	answer := r.verdict(r.request(proto.Record{
		Kind: proto.RecordJoin, Flags: flags, User: user.ID, Generation: generation, Name: []byte(user.Name),
		Body: proto.AppendGrant(nil, granted),
	}))
	return proto.JoinedTicket(granted.Ticket, answer.Value), answer.Verdict
}

// loginWith logs in user with a ticket, and returns the reason in the answer.
func (w *world) loginWith(user proto.User, shown proto.Ticket) (*peer, proto.Reason) {
	w.Helper()
	p := w.dial()
	p.write(proto.AppendLogin(nil, user, proto.DialectCIM, shown))
	a := p.read()
	if a.Command != proto.CommandLoginAnswer {
		w.Fatalf("the login is answered by %+v", a)
	}
	return p, a.Reason
}

// TestLoginsTakeNothingFromEachOther: any number of logins of a user can join a
// grant whose client has not connected. Each gets a ticket of its own, and the
// first client that connects has the session, which its ticket identifies later.
// Then the other tickets are invalid.
func TestLoginsTakeNothingFromEachOther(t *testing.T) {
	const logins = 200
	for _, first := range []int{0, 1, logins / 2, logins} {
		w := start(t, nil)
		tickets := []proto.Ticket{ticket}
		w.route.grant(ann, 7, true)
		seen := map[proto.Ticket]bool{ticket: true}
		for i := range logins {
			joined, v := w.route.join(ann, 7, uint64(i), proto.Grant{}, proto.FlagDemandTicket)
			if v != proto.VerdictTaken || seen[joined] {
				t.Fatalf("login %d: %v, ticket %v, seen %v", i, v, joined, seen[joined])
			}
			seen[joined] = true
			tickets = append(tickets, joined)
		}
		if _, reason := w.loginWith(ann, tickets[first]); reason != proto.ReasonNone {
			t.Errorf("login %d of %d: %v, want it in", first, logins, reason)
		}
		if _, reason := w.loginWith(ann, tickets[(first+1)%logins]); reason != proto.ReasonNoGrant {
			t.Errorf("another login after login %d: %v, want no grant", first, reason)
		}
		if _, v := w.route.join(ann, 7, 1, proto.Grant{}, proto.FlagDemandTicket); v != proto.VerdictLives {
			t.Errorf("a login after the client has come: %v, want lives", v)
		}
		revoke := func(shown proto.Ticket) proto.Verdict {
			return w.route.ask(proto.Record{Kind: proto.RecordRevoke, User: ann.ID, Generation: 7, Value: uint64(proto.RevokeTicket), Body: shown[:]})
		}
		if v := revoke(tickets[(first+1)%logins]); v != proto.VerdictLives {
			t.Errorf("another login's ticket: %v, want that the session lives", v)
		}
		if v := revoke(tickets[first]); v != proto.VerdictTaken {
			t.Errorf("the session's own ticket: %v, want taken", v)
		}
	}
}

// TestJoinNeedsItsGrant: a join needs a grant of its generation, and its ticket is
// invalid for another user, for another generation, or with a part of it changed.
func TestJoinNeedsItsGrant(t *testing.T) {
	w := start(t, nil)
	if _, v := w.route.join(ann, 7, 1, proto.Grant{}, 0); v != proto.VerdictAbsent {
		t.Errorf("a join without a grant: %v, want absent", v)
	}
	w.route.grant(ann, 7, true)
	w.route.grant(bob, 7, true)
	if _, v := w.route.join(ann, 6, 1, proto.Grant{}, 0); v != proto.VerdictAbsent {
		t.Errorf("a join of another generation: %v, want absent", v)
	}
	anns, _ := w.route.join(ann, 7, 1, proto.Grant{}, proto.FlagDemandTicket)
	if _, reason := w.loginWith(bob, anns); reason != proto.ReasonTicket {
		t.Errorf("ann's ticket for bob, whom no login joined: %v, want ticket", reason)
	}
	w.route.join(bob, 7, 1, proto.Grant{}, proto.FlagDemandTicket)
	for name, shown := range map[string]proto.Ticket{
		"ann's ticket": anns, "no ticket": {}, "a guess": proto.JoinedTicket(anns, 0),
	} {
		if _, reason := w.loginWith(bob, shown); reason != proto.ReasonTicket {
			t.Errorf("%s for bob: %v, want ticket", name, reason)
		}
	}
	w.route.grant(ann, 8, true)
	w.route.join(ann, 8, 2, proto.Grant{}, proto.FlagDemandTicket)
	if _, reason := w.loginWith(ann, anns); reason != proto.ReasonTicket {
		t.Errorf("a ticket of an older grant: %v, want ticket", reason)
	}
	if id := w.route.request(proto.Record{Kind: proto.RecordJoin, User: ann.ID, Generation: 8, Body: []byte("x")}); w.route.verdict(id).Verdict != proto.VerdictRefused {
		t.Error("a join that is none was not refused")
	}
}

// TestJoinOpens: if a login of a client of the original joins one of ours, a client
// without a ticket may connect, and the session ends with the token that expires
// first.
func TestJoinOpens(t *testing.T) {
	d := newTestDirectory()
	d.grant(ann.ID, 1, pending{name: ann.Name, ticket: ticket, demand: true, at: 5, expires: 900}, netip.Addr{})
	view := proto.View{Text: []byte(ann.Name), ID: int64(ann.ID)}
	if _, refused := d.claim(ann.ID, &view, shard.Ref{Slot: 1, Reuse: 1}, origin{}, 6); refused.reason != proto.ReasonTicket {
		t.Errorf("without a ticket: %v, want ticket", refused.reason)
	}
	d.join(ann.ID, 1, pending{demand: true, at: 7, expires: 700}, netip.Addr{})
	d.join(ann.ID, 1, pending{at: 8, expires: 800}, netip.Addr{})
	claimed, refused := d.claim(ann.ID, &view, shard.Ref{Slot: 1, Reuse: 1}, origin{}, 9)
	if refused.reason != proto.ReasonNone || claimed.expires != 700 || claimed.name != ann.Name || claimed.generation != 1 {
		t.Errorf("%v, %+v, want in until tick 700", refused, claimed)
	}
}

// TestJoinRenewsTheGrant: a grant lasts 30 s from its last login.
func TestJoinRenewsTheGrant(t *testing.T) {
	d := newTestDirectory()
	d.grant(ann.ID, 1, pending{at: 100}, netip.Addr{})
	d.grant(bob.ID, 1, pending{at: 101}, netip.Addr{})
	d.join(ann.ID, 1, pending{at: 200}, netip.Addr{})
	var gone []proto.UserID
	d.expire(199+grantTicks, func(user proto.UserID, _ proto.Generation) { gone = append(gone, user) })
	if len(gone) != 1 || gone[0] != bob.ID {
		t.Errorf("%v ran out, want bob's", gone)
	}
	d.expire(200+grantTicks, func(user proto.UserID, _ proto.Generation) { gone = append(gone, user) })
	if len(gone) != 2 {
		t.Errorf("%v ran out, want ann's too", gone)
	}
}

// TestFloodJoinsNoOthers: an address that logs in many users, some of whom have
// just logged in elsewhere, does not take over their grants.
func TestFloodJoinsNoOthers(t *testing.T) {
	d := newTestDirectory()
	const room = 16
	var gone []proto.UserID
	flood := netip.MustParseAddr("203.0.113.9")
	grant := func(user proto.UserID, from netip.Addr) {
		d.makeRoom(user, room, func(user proto.UserID, _ proto.Generation) { gone = append(gone, user) })
		d.grant(user, 1, pending{}, from)
	}
	for i := range proto.UserID(room) {
		grant(1000+i, flood)
	}
	for i := range proto.UserID(4) {
		own := netip.MustParseAddr(fmt.Sprintf("198.51.100.%d", i+1))
		grant(1+i, own)
		d.join(1+i, 1, pending{}, flood)
		grant(5+i, flood)
		d.join(5+i, 1, pending{}, own) // either login may be first
	}
	for i := range proto.UserID(3 * room) {
		grant(2000+i, flood)
	}
	for _, user := range gone {
		if user < 1000 {
			t.Errorf("the grant of user %d made way", user)
		}
	}
	if len(gone) == 0 || d.len() != room {
		t.Errorf("%d made way, %d are left, want %d left", len(gone), d.len(), room)
	}
}

// TestGoodbyeSparesNewLogin: a goodbye without the ticket of a login does not end
// that login while its client may be on the way. With several logins no ticket
// does, since it may belong to another of them.
func TestGoodbyeSparesNewLogin(t *testing.T) {
	const at = 100
	wrong := proto.Ticket{42}
	for _, c := range []struct {
		name  string
		mode  proto.RevokeMode
		shown []byte
		old   bool // from a client of the original
		join  bool
		now   shard.Tick
		want  proto.Verdict
	}{
		{"goodbye", proto.RevokeGoodbye, nil, false, false, at + freshTicks - 1, proto.VerdictLives},
		{"goodbye, a wrong ticket", proto.RevokeGoodbye, wrong[:], false, false, at + freshTicks - 1, proto.VerdictLives},
		{"goodbye later", proto.RevokeGoodbye, nil, false, false, at + freshTicks, proto.VerdictTaken},
		{"goodbye with the ticket", proto.RevokeGoodbye, ticket[:], false, false, at, proto.VerdictTaken},
		{"goodbye with one ticket of two", proto.RevokeGoodbye, ticket[:], false, true, at + freshTicks, proto.VerdictLives}, // the second is younger
		{"gone", proto.RevokeGone, nil, false, false, at + freshTicks - 1, proto.VerdictLives},
		{"gone later", proto.RevokeGone, nil, false, false, at + freshTicks, proto.VerdictTaken},
		{"another login's end", proto.RevokeGrant, nil, false, false, at, proto.VerdictTaken},
		{"goodbye of an old client", proto.RevokeGoodbye, nil, true, false, at, proto.VerdictTaken},
		{"goodbye of an old client beside one of ours", proto.RevokeGoodbye, nil, true, true, at, proto.VerdictLives},
		{"superseded", proto.RevokeSuperseded, nil, false, true, at, proto.VerdictTaken},
	} {
		d := newTestDirectory()
		d.grant(ann.ID, 1, pending{ticket: ticket, demand: !c.old, ours: !c.old, at: at}, netip.Addr{})
		if c.join {
			d.join(ann.ID, 1, pending{demand: true, ours: true, at: at + 1}, netip.Addr{})
		}
		_, v := d.revoke(ann.ID, 1, c.mode, c.shown, c.now)
		if v != c.want || (d.len() == 0) != (v == proto.VerdictTaken) {
			t.Errorf("%s: %v, want %v; %d entries left", c.name, v, c.want, d.len())
		}
	}
}

// TestLifetimeOfAGrant: the session ends with the lifetime of its grant.
func TestLifetimeOfAGrant(t *testing.T) {
	w := start(t, func(c *Config) { c.Heartbeat = time.Hour })
	w.route.ask(proto.Record{
		Kind: proto.RecordGrant, Flags: proto.FlagDemandTicket, User: ann.ID, Generation: 1, Name: []byte(ann.Name),
		Body: proto.AppendGrant(nil, proto.Grant{Ticket: ticket, LifetimeMillis: 20_000}),
	})
	p, reason := w.loginWith(ann, ticket)
	if reason != proto.ReasonNone {
		t.Fatal(reason)
	}
	w.leap(20 * time.Second)
	if m := p.read(); m.Command != proto.CommandClose || m.Reason != proto.ReasonExpired {
		t.Errorf("%+v, want closed as expired", m)
	}
	p.end()
}
