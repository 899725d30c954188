package server

import (
	"testing"
	"time"

	"cim/proto"
)

// TestRecheck: the sessions are told by turns to the routes, and none is told
// twice while another one's turn is. A route that does not get to the end of what
// it was told has no further turn.
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
			if told := route.sessions(); len(told) != 1 || told[0] != want {
				t.Fatalf("turn %d, route %d: told %v, want %v", i, n, told, want)
			}
		}
	}
	stuck := w.route.kind(proto.RecordSessions) // its store is away, say
	for range 3 {
		if told := second.sessions(); len(told) != 1 || told[0] != want {
			t.Fatalf("told %v, want %v", told, want)
		}
	}
	if v := w.route.ask(proto.Record{Kind: proto.RecordConfirm}); v != proto.VerdictTaken { // behind what it was told
		t.Fatal(v)
	}
	for _, rec := range w.route.aside {
		if rec.Kind == proto.RecordSessions {
			t.Errorf("told %+v before it was through with %d", rec, stuck.ID)
		}
	}
}

// TestRecheckNever: a server whose store loses nothing tells nothing by itself.
func TestRecheckNever(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	w.login(ann, 7, proto.DialectV2)
	w.leap(time.Hour)
	w.server.recheckSessions(w.server.clock())
	if v := w.route.ask(proto.Record{Kind: proto.RecordConfirm}); v != proto.VerdictTaken {
		t.Fatal(v)
	}
	for _, rec := range w.route.aside {
		if rec.Kind == proto.RecordSessions {
			t.Errorf("told %+v", rec)
		}
	}
}
