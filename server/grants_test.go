package server

import (
	"fmt"
	"net/netip"
	"testing"

	"cim/internal/admission"
	"cim/proto"
	"cim/server/shard"
)

// TestGrantsBound fills the table of grants. A grant of one more user evicts the
// oldest; a new grant of a user who has one needs no room.
func TestGrantsBound(t *testing.T) {
	d := newDirectory(LoginGranted, RepeatRefuse, false, admission.DefaultPolicy())
	var gone []proto.UserID
	grant := func(user proto.UserID, generation proto.Generation) {
		t.Helper()
		if !d.makeRoom(user, 2*grantsMax, func(user proto.UserID, _ proto.Generation) { gone = append(gone, user) }) {
			t.Fatalf("no room for %d", user)
		}
		if _, v := d.grant(user, generation, pending{}, netip.Addr{}); v != proto.VerdictTaken {
			t.Fatalf("grant of %d: %v", user, v)
		}
	}
	for i := range grantsMax {
		grant(proto.UserID(i+1), 1)
	}
	grant(1, 2) // now the youngest
	if len(gone) != 0 {
		t.Fatalf("%v had to go for a user who had a grant", gone)
	}
	grant(grantsMax+1, 1)
	grant(grantsMax+2, 1)
	if len(gone) != 2 || gone[0] != 2 || gone[1] != 3 {
		t.Errorf("%v had to go, want 2 and 3", gone)
	}
	if d.len() != grantsMax {
		t.Errorf("%d entries, want %d", d.len(), grantsMax)
	}
}

// TestOneUserFillsNoGrants: one user has at most one grant, however often the user
// logs in. A used or revoked grant is removed.
func TestOneUserFillsNoGrants(t *testing.T) {
	d := newDirectory(LoginGranted, RepeatRefuse, false, admission.DefaultPolicy())
	for i := range 1000 {
		d.grant(ann.ID, proto.Generation(i+1), pending{}, netip.Addr{})
	}
	d.grant(bob.ID, 1, pending{}, netip.Addr{})
	if n := d.grants.len(); n != 2 {
		t.Fatalf("%d grants are kept, want 2", n)
	}
	if _, v := d.revoke(ann.ID, 1000, proto.RevokeGrant, nil, 0); v != proto.VerdictTaken {
		t.Fatal(v)
	}
	if _, refused := d.claim(bob.ID, &proto.View{}, shard.Ref{Slot: 1, Reuse: 1}, origin{}, 0); refused.reason != proto.ReasonNone {
		t.Fatal(refused.reason)
	}
	if n := d.grants.len() + len(d.grants.byUser); n != 0 {
		t.Errorf("%d grants are kept, want none", n)
	}
}

// TestGrantsMakeWay: on a server that is full of grants the oldest is evicted, its
// route gets a RecordDown, and sessions stay. On a server that is full of sessions
// a grant is refused.
func TestGrantsMakeWay(t *testing.T) {
	w := start(t, func(c *Config) { c.SessionsMax = 3 })
	first := w.login(ann, 1, proto.DialectCIM)
	users := []proto.User{{ID: 1, Name: "u1"}, {ID: 2, Name: "u2"}, {ID: 3, Name: "u3"}}
	for _, user := range users {
		if v := w.route.grant(user, 1, false); v != proto.VerdictTaken {
			t.Fatalf("grant of %s: %v", user.Name, v)
		}
	}
	if r := w.route.kind(proto.RecordDown); r.User != 1 {
		t.Errorf("the route received that %d is down, want the oldest grant", r.User)
	}
	w.refused(proto.AppendLogin(nil, users[0], proto.DialectCIM, ticket), true, proto.ReasonNoGrant)
	for _, user := range users[1:] {
		p := w.dial()
		p.write(proto.AppendLogin(nil, user, proto.DialectCIM, ticket))
		if a := p.read(); a.Reason != proto.ReasonNone {
			t.Fatalf("login of %s: %v", user.Name, a.Reason)
		}
	}
	if v := w.route.grant(bob, 1, false); v != proto.VerdictRefused {
		t.Errorf("a grant on a server full of sessions: %v, want refused", v)
	}
	first.write([]byte(proto.Ping))
	if m := first.read(); m.Command != proto.CommandPing {
		t.Errorf("the session that was there: %+v", m)
	}
	if n := w.server.metrics.grantsEvicted.Get(); n != 1 {
		t.Errorf("%d grants made way, want 1", n)
	}
}

// TestFloodOfLoginsFromOneAddress: logins of many accounts from one address fill
// the server. The grants of other addresses stay, however few grants the sessions
// leave room for: the oldest grant of the flooding address is evicted.
func TestFloodOfLoginsFromOneAddress(t *testing.T) {
	const sessions, room = 12, 12
	w := start(t, func(c *Config) { c.SessionsMax = sessions + room })
	for i := range sessions {
		w.login(proto.User{ID: proto.UserID(6000 + i), Name: fmt.Sprint("session", i)}, 1, proto.DialectCIM)
	}
	others := make([]proto.User, room/2)
	for i := range others {
		others[i] = proto.User{ID: proto.UserID(7000 + i), Name: fmt.Sprint("other", i)}
		if v := w.route.grantFrom(others[i], 1, fmt.Sprintf("198.51.100.%d", i+1)); v != proto.VerdictTaken {
			t.Fatalf("grant of %s: %v", others[i].Name, v)
		}
	}
	flood := func(first, count int) {
		t.Helper()
		for i := first; i < first+count; i++ {
			user := proto.User{ID: proto.UserID(5000 + i), Name: fmt.Sprint("flood", i)}
			if v := w.route.grantFrom(user, 1, "203.0.113.9"); v != proto.VerdictTaken {
				t.Fatalf("grant of %s: %v", user.Name, v)
			}
		}
	}
	flood(0, 3*room)
	late := proto.User{ID: 8000, Name: "late"}
	if v := w.route.grantFrom(late, 1, "198.51.100.200"); v != proto.VerdictTaken {
		t.Fatalf("grant in the flood: %v", v)
	}
	flood(3*room, 3*room)
	for _, user := range append(others, late) {
		p := w.dial()
		p.write(proto.AppendLogin(nil, user, proto.DialectCIM, ticket))
		if a := p.read(); a.Reason != proto.ReasonNone {
			t.Errorf("login of %s: %v, want it in", user.Name, a.Reason)
		}
	}
}

// TestFloodFromExempt: among loopback addresses, and unknown ones as from a route
// of an older release, the oldest grant is evicted.
func TestFloodFromExempt(t *testing.T) {
	for _, from := range []string{"127.0.0.1", ""} {
		d := newDirectory(LoginGranted, RepeatRefuse, false, admission.DefaultPolicy())
		var gone []proto.UserID
		for i := range 8 {
			user := proto.UserID(i + 1)
			d.makeRoom(user, 4, func(user proto.UserID, _ proto.Generation) { gone = append(gone, user) })
			addr := netip.MustParseAddr("198.51.100.1")
			if i > 0 {
				addr, _ = netip.ParseAddr(from)
			}
			d.grant(user, 1, pending{}, addr)
		}
		if len(gone) != 4 || gone[0] != 1 {
			t.Errorf("from %q: %v made way, want the four oldest", from, gone)
		}
	}
}
