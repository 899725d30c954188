package route

import (
	"fmt"
	"strings"
	"testing"

	"cim/proto"
	"cim/store"
)

// TestOffLine: which goodbye may end which session. The answer is always 9000.
func TestOffLine(t *testing.T) {
	const goodbye = `,"msg":"offLine"`
	right, wrong := "right", strings.Repeat("5a", proto.TicketSize)
	for _, c := range []struct {
		name      string
		ours      bool
		connected bool
		msg       string
		ticket    string
		gone      bool
	}{
		{"an old client says goodbye", false, true, goodbye, "", true},
		{"another client says goodbye for ours", true, true, goodbye, "", false},
		{"ours says goodbye", true, true, goodbye, right, true},
		{"a wrong ticket", true, true, goodbye, wrong, false},
		{"an old server's word while it lives", false, true, `,"msg":"ann"`, "", false},
		{"no msg", false, true, "", "", false},
		{"no msg, a grant", false, false, "", "", true},
		{"goodbye, a grant", true, false, goodbye, "", true},
	} {
		w := newWorld(t, 1)
		ann := w.account("ann")
		ticket := c.ticket
		more := ""
		if c.ours {
			more = ourClient
		}
		body := w.login(ann, more)
		if c.connected {
			w.servers[1].connect(ann.ID, c.ours)
			w.eventually("caught up", func() bool { return w.record(ann.ID).Connected && w.idle(ann.ID) })
		}
		if ticket == right {
			ticket = body.Ticket
		}
		w.want(proto.CodeSuccess, proto.PathOffLine,
			fmt.Sprintf(`{"userId":%d%s,"ticket":%q}`, ann.ID, c.msg, ticket))
		_, lives := w.servers[1].session(ann.ID)
		if gone := w.record(ann.ID) == (store.Record{}); gone != c.gone || lives == c.gone {
			t.Errorf("%s: record gone %v, session lives %v", c.name, gone, lives)
		}
		w.stop()
	}
}

// TestOffLineWithoutSession: a user without a session is gone already.
func TestOffLineWithoutSession(t *testing.T) {
	w := newWorld(t, 1)
	w.want(proto.CodeSuccess, proto.PathOffLine, `{"userId":5,"msg":"offLine"}`)
	w.want(proto.CodeSuccess, proto.PathOffLine, `{"userId":5,"msg":null}`)
	w.want(proto.CodeInvalid, proto.PathOffLine, `{"userId":0,"msg":"offLine"}`)
	w.want(proto.CodeInvalid, proto.PathOffLine, `{"userId":5,"ticket":"x"}`)
}

// TestOffLineDeadServer: a record that names a dead server is removed without asking it. If the
// server has no room, the session stays and the goodbye is refused.
func TestOffLineDeadServer(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.online("ann", false)
	w.servers[1].follow(verdictTo(proto.RecordRevoke, proto.VerdictBusy))
	goodbye := fmt.Sprintf(`{"userId":%d,"msg":"offLine"}`, ann.ID)
	w.want(proto.CodeLimit, proto.PathOffLine, goodbye)
	if w.record(ann.ID) == (store.Record{}) {
		t.Error("a session that may live has no record")
	}
	w.deregister(1)
	w.want(proto.CodeSuccess, proto.PathOffLine, goodbye)
	if got := w.record(ann.ID); got != (store.Record{}) {
		t.Errorf("record %+v is left", got)
	}
}

// TestDown: a session that ended takes its own record with it, and no newer.
func TestDown(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.online("ann", false)
	first := w.record(ann.ID).Generation
	w.servers[1].disconnect(ann.ID)
	w.eventually("released", func() bool { return w.record(ann.ID) == (store.Record{}) })
	w.connect(ann, false)
	f := w.servers[1]
	f.mu.Lock()
	f.sendToAll(&proto.Record{Kind: proto.RecordDown, User: ann.ID, Generation: first})
	f.mu.Unlock()
	w.stop()
	if got := w.record(ann.ID); got.Generation <= first || !got.Connected {
		t.Errorf("record %+v", got)
	}
}

// TestReleasesFull: one release more than have room is counted, and lost on
// purpose.
func TestReleasesFull(t *testing.T) {
	w := newWorld(t, 0)
	rs := &releaseQueue{route: w.route, queue: make(chan endedSession, 1), draining: make(chan struct{})}
	for range 2 {
		rs.add(endedSession{user: 1, generation: 1})
	}
	if got := w.counter(`cim_route_refused_total{what="release"}`); got != "1" {
		t.Errorf("%s refused, want 1", got)
	}
	rs.drain()
}
