package server

import (
	"testing"
	"time"

	"cim/proto"
)

// TestRecheck: the sessions are sent to the routes in turn, and to none twice
// during another route's turn. A route that does not finish a pass gets no other.
func TestRecheck(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *Config) {
		withSecret(c)
		c.Recheck = 200 * time.Millisecond
	})
	second := w.overTCP()
	w.login(ann, 7, proto.DialectV2)
	want := proto.Session{User: ann.ID, Generation: 7}
	for i := range 3 {
		for n, route := range []*routeEnd{w.route, second} {
			if sessions := route.sessions(); len(sessions) != 1 || sessions[0] != want {
				t.Fatalf("turn %d, route %d: received %v, want %v", i, n, sessions, want)
			}
		}
	}
	stuck := w.route.kind(proto.RecordSessions) // as if its store were away
	for range 3 {
		if sessions := second.sessions(); len(sessions) != 1 || sessions[0] != want {
			t.Fatalf("received %v, want %v", sessions, want)
		}
	}
	if v := w.route.ask(proto.Record{Kind: proto.RecordConfirm}); v != proto.VerdictTaken { // behind the sessions
		t.Fatal(v)
	}
	for _, rec := range w.route.aside {
		if rec.Kind == proto.RecordSessions {
			t.Errorf("received %+v before it was through with %d", rec, stuck.ID)
		}
	}
}

// TestRecheckTakesTurns: two routes that answer at once get the sessions in turn,
// one of them each time.
func TestRecheckTakesTurns(t *testing.T) {
	t.Parallel()
	const every = 20 * time.Second // less than pauseTest: a leap is no pause
	w := start(t, func(c *Config) { c.Recheck = every })
	routes := [2]*routeEnd{w.route, newRouteEnd(t, w.server)}
	w.login(ann, 7, proto.DialectV2)
	before := -1
	for range 4 {
		w.leap(every)
		n := nextSessions(t, routes)
		if n == before {
			t.Fatalf("route %d got the sessions twice in a row", n)
		}
		before = n
		other := routes[1-n]
		if v := other.ask(proto.Record{Kind: proto.RecordConfirm}); v != proto.VerdictTaken {
			t.Fatal(v)
		}
		other.wantNoSessions()
	}
}

// TestRecheckPause: the time between two passes grows with the sessions, so that at
// most 10,000 a second are sent.
func TestRecheckPause(t *testing.T) {
	for sessions, want := range map[int]time.Duration{0: 6 * time.Second, 60_000: 6 * time.Second, 65_000: 6500 * time.Millisecond, 1 << 20: 104_857_600 * time.Microsecond} {
		if got := recheckPause(6*time.Second, sessions); got != want {
			t.Errorf("%d sessions: %v, want %v", sessions, got, want)
		}
	}
}

// nextSessions returns which of two routes gets the sessions next, and answers.
func nextSessions(t *testing.T, routes [2]*routeEnd) (n int) {
	t.Helper()
	timeout := time.After(patience)
	for {
		var rec proto.Record
		select {
		case rec = <-routes[0].records:
			n = 0
		case rec = <-routes[1].records:
			n = 1
		case <-timeout:
			t.Fatalf("no route got the sessions within %v", patience)
		}
		if rec.Kind != proto.RecordSessions {
			continue
		}
		routes[n].send(proto.Record{Kind: proto.RecordChecked, ID: rec.ID})
		if v := routes[n].ask(proto.Record{Kind: proto.RecordConfirm}); v != proto.VerdictTaken { // behind the RecordChecked
			t.Fatal(v)
		}
		return n
	}
}

// TestRecheckNotWhileLeaving: a server that goes down sends no sessions; otherwise
// sessions that have moved would be ended before their clients drop them.
func TestRecheckNotWhileLeaving(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *Config) { c.Recheck = 20 * time.Second })
	w.login(ann, 7, proto.DialectV2)
	w.route.grant(bob, 1, false)
	w.server.Leave()
	w.leap(31 * time.Second)       // a grant lasts 30
	w.route.kind(proto.RecordDown) // for the grant, by a tick after the leap
	w.route.wantNoSessions()
}

func (r *routeEnd) wantNoSessions() {
	r.t.Helper()
	for _, rec := range r.aside {
		if rec.Kind == proto.RecordSessions {
			r.t.Errorf("received %+v", rec)
		}
	}
}

// TestRecheckNever: a server whose store loses nothing starts no recheck.
func TestRecheckNever(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	w.login(ann, 7, proto.DialectV2)
	w.leap(time.Hour)
	w.server.recheckSessions(w.server.clock())
	if v := w.route.ask(proto.Record{Kind: proto.RecordConfirm}); v != proto.VerdictTaken {
		t.Fatal(v)
	}
	w.route.wantNoSessions()
}
