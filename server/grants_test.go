package server

import (
	"testing"

	"cim/proto"
	"cim/server/shard"
)

// TestGrantsBound fills the list of grants. One more user's takes the place of
// the oldest; one of a user who has a grant already needs no room.
func TestGrantsBound(t *testing.T) {
	d := newDirectory(LoginGranted, RepeatRefuse, false)
	var gone []proto.UserID
	grant := func(user proto.UserID, generation proto.Generation) {
		t.Helper()
		if !d.makeRoom(user, 2*grantsMax, func(user proto.UserID, _ proto.Generation) { gone = append(gone, user) }) {
			t.Fatalf("no room for %d", user)
		}
		if _, v := d.grant(user, entry{generation: generation}, 0); v != proto.VerdictTaken {
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

// TestOneUserFillsNoGrants: however often one user logs in, one grant is kept.
// What is used or revoked is none any more.
func TestOneUserFillsNoGrants(t *testing.T) {
	d := newDirectory(LoginGranted, RepeatRefuse, false)
	for i := range 1000 {
		d.grant(ann.ID, entry{generation: proto.Generation(i + 1)}, 0)
	}
	d.grant(bob.ID, entry{generation: 1}, 0)
	if n := d.grants.order.Len(); n != 2 {
		t.Fatalf("%d grants are kept, want 2", n)
	}
	if _, v := d.revoke(ann.ID, 1000, proto.RevokeGrant, nil); v != proto.VerdictTaken {
		t.Fatal(v)
	}
	if _, reason := d.claim(bob.ID, &proto.View{}, shard.Ref{Slot: 1, Reuse: 1}); reason != proto.ReasonNone {
		t.Fatal(reason)
	}
	if n := d.grants.order.Len() + len(d.grants.byUser); n != 0 {
		t.Errorf("%d grants are kept, want none", n)
	}
}

// TestGrantsMakeWay: on a server that is full of grants the oldest one makes
// way, its route is told, and sessions stay. On one that is full of sessions a
// grant is refused.
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
		t.Errorf("the route was told that %d is down, want the oldest grant", r.User)
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
