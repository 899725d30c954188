package route

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cim/internal/link"
	"cim/proto"
)

// TestGroup: every connected user but the sender gets the message, on every server.
func TestGroup(t *testing.T) {
	config := testConfig()
	config.ServerChoice = ChoiceRoundRobin
	w := newWorldWith(t, 2, config, &hookedStore{})
	ann, ben, cem := w.online("ann", false), w.online("ben", true), w.online("cem", false)
	w.want(proto.CodeSuccess, proto.PathGroup, groupRequest(ann.ID, "to all"))
	w.want(proto.CodeSuccess, proto.PathGroup, fmt.Sprintf(`{"userId":%d,"batchMsg":["x","y"]}`, ann.ID))
	for user, want := range map[proto.UserID][]string{
		ann.ID: nil, ben.ID: {"to all", "x", "y"}, cem.ID: {"to all", "x", "y"},
	} {
		if got := w.serverOf(user).texts(user); !slices.Equal(got, want) {
			t.Errorf("user %d got %q, want %q", user, got, want)
		}
	}
	if w.serverOf(ben.ID) == w.serverOf(cem.ID) {
		t.Error("all on one server: the test shows less than it says")
	}
}

// TestGroupRefused: each argument that is wrong is named.
func TestGroupRefused(t *testing.T) {
	w := newWorld(t, 1)
	ann := w.online("ann", false)
	for _, c := range []struct {
		body string
		code proto.Code
		says string
	}{
		{`{"msg":"x"}`, proto.CodeInvalid, "userId"},
		{fmt.Sprintf(`{"userId":%d}`, ann.ID), proto.CodeInvalid, "msg"},
		{groupRequest(ann.ID+1, "x"), proto.CodeAccountMismatch, "userId"},
		{groupRequest(ann.ID, strings.Repeat("x", proto.TextMax+1)), proto.CodeInvalid, "msg"},
		{groupRequest(ann.ID, strings.Repeat("x", proto.TextMax)), proto.CodeSuccess, ""},
	} {
		a := w.want(c.code, proto.PathGroup, c.body)
		if !strings.Contains(a.Message, c.says) {
			t.Errorf("%.80s: message %q does not name %s", c.body, a.Message, c.says)
		}
	}
}

// TestGroupVerdicts: a server that fails is counted and affects no other server; if all fail, the
// sender gets an error.
func TestGroupVerdicts(t *testing.T) {
	for _, c := range []struct {
		first, second proto.Verdict
		code          proto.Code
		lost          string
	}{
		{proto.VerdictTaken, proto.VerdictTaken, proto.CodeSuccess, "0"},
		{proto.VerdictBusy, proto.VerdictTaken, proto.CodeSuccess, "1"},
		{proto.VerdictTaken, proto.VerdictAbsent, proto.CodeSuccess, "1"},
		{proto.VerdictBusy, proto.VerdictAbsent, proto.CodeLimit, "2"},
		{proto.VerdictAbsent, proto.VerdictAbsent, proto.CodeFailure, "2"},
	} {
		w := newWorld(t, 2)
		ann := w.account("ann")
		w.servers[1].follow(verdictTo(proto.RecordBroadcast, c.first))
		w.servers[2].follow(verdictTo(proto.RecordBroadcast, c.second))
		w.want(c.code, proto.PathGroup, groupRequest(ann.ID, "x"))
		if got := w.counter("cim_route_group_parts_lost_total"); got != c.lost {
			t.Errorf("%v and %v: %s parts lost, want %s", c.first, c.second, got, c.lost)
		}
		w.stop()
	}
}

// TestGroupLinkLost: a link that ends meanwhile ends the wait for it.
func TestGroupLinkLost(t *testing.T) {
	w := newWorld(t, 2)
	ann := w.account("ann")
	w.servers[1].follow(func(r *proto.Record) (*proto.Record, bool) {
		if r.Kind == proto.RecordBroadcast {
			w.servers[1].conns[0].Close()
		}
		return nil, r.Kind == proto.RecordBroadcast
	})
	w.want(proto.CodeSuccess, proto.PathGroup, groupRequest(ann.ID, "x"))
	if got := w.counter("cim_route_group_parts_lost_total"); got != "1" {
		t.Errorf("%s parts lost, want 1", got)
	}
}

// TestGroupUnknown: a server that got the message and does not answer may deliver it. If no other
// server took it, the sender gets unknown, over HTTP and as the outcome of a SEND.
func TestGroupUnknown(t *testing.T) {
	for _, http := range []bool{true, false} {
		w := newWorld(t, 2)
		ann := w.account("ann")
		w.servers[1].follow(verdictTo(proto.RecordBroadcast, proto.VerdictBusy))
		w.servers[2].follow(func(r *proto.Record) (*proto.Record, bool) {
			if r.Kind == proto.RecordBroadcast {
				w.servers[2].conns[0].Close()
			}
			return nil, r.Kind == proto.RecordBroadcast
		})
		if http {
			if a := w.want(proto.CodeFailure, proto.PathGroup, groupRequest(ann.ID, "x")); !strings.Contains(a.Message, "may arrive") {
				t.Errorf("message %q", a.Message)
			}
		} else {
			w.servers[1].send(1, ann, 0, "x")
			if got := w.outcome(); proto.Outcome(got.Value) != proto.OutcomeUnknown || got.Code != proto.CodeFailure {
				t.Errorf("outcome %v, code %v", proto.Outcome(got.Value), got.Code)
			}
		}
		w.stop()
	}
}

// TestGroupRoom: a message is refused before any part is sent if one server
// has no room for it, and passes as soon as there is some.
func TestGroupRoom(t *testing.T) {
	w := newWorld(t, 2)
	ann := w.account("ann")
	second := w.route.cluster.server(2).stream.Load()
	for range broadcastsMax {
		if !second.reserve(1) {
			t.Fatal("no room at the edge")
		}
	}
	w.want(proto.CodeLimit, proto.PathGroup, groupRequest(ann.ID, "x"))
	if n := w.servers[1].askedFor(proto.RecordBroadcast); n != 0 {
		t.Errorf("%d parts sent", n)
	}
	second.unreserve(1)
	w.want(proto.CodeSuccess, proto.PathGroup, groupRequest(ann.ID, "x"))
	first := w.route.cluster.server(1).stream.Load()
	if first.broadcasts != 0 || first.broadcastBytes != 0 || second.broadcasts != broadcastsMax-1 {
		t.Errorf("reserved afterwards: %d of %d bytes, and %d", first.broadcasts, first.broadcastBytes, second.broadcasts)
	}
}

// TestRefusedLosesNothing: a message without room on one link does not count as lost at a server
// whose link is down, since it may be sent again. With room it counts once.
func TestRefusedLosesNothing(t *testing.T) {
	w := newWorld(t, 0)
	servers := linkedServers(t, "a:1:1", "b:1:1")
	servers[0].stream.Store(nil)
	full := servers[1].stream.Load()
	if !full.reserve(broadcastBytesMax) {
		t.Fatal("no room")
	}
	b := &broadcast{route: w.route, size: 1}
	for range 2 {
		if b.reserve(newServers(servers)) {
			t.Error("a full link has room")
		}
	}
	full.unreserve(broadcastBytesMax)
	if !b.reserve(newServers(servers)) {
		t.Error("no room on an empty link")
	}
	if got := w.counter("cim_route_group_parts_lost_total"); got != "1" {
		t.Errorf("%s parts lost, want 1", got)
	}
}

// TestReserve walks the room for broadcasts up to both bounds and one past.
func TestReserve(t *testing.T) {
	for _, c := range []struct {
		name  string
		sizes []int
		next  int
		want  bool
	}{
		{"first of any size", nil, broadcastBytesMax + 1, true},
		{"fills the bytes", []int{broadcastBytesMax - 5}, 5, true},
		{"one byte over", []int{broadcastBytesMax - 5}, 6, false},
		{"fills the count", slices.Repeat([]int{1}, broadcastsMax-1), 1, true},
		{"one over", slices.Repeat([]int{1}, broadcastsMax), 1, false},
		{"behind a giant", []int{broadcastBytesMax + 1}, 0, false},
	} {
		near, _ := link.Pair(1)
		s := newStream(near)
		for _, size := range c.sizes {
			if !s.reserve(size) {
				t.Fatalf("%s: size %d refused", c.name, size)
			}
		}
		if got := s.reserve(c.next); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestGroupLinkFull: a link that is full of other records takes its part. One whose server never
// answers is full at last; then the message is refused, as long as no part was sent.
func TestGroupLinkFull(t *testing.T) {
	for _, c := range []struct {
		name     string
		which    int  // of two links
		reserved bool // its reserved room is full too
		code     proto.Code
		lost     int
	}{
		{"first", 0, false, proto.CodeSuccess, 0},
		{"second", 1, false, proto.CodeSuccess, 0},
		{"first, all", 0, true, proto.CodeLimit, 0},
		{"second, all", 1, true, proto.CodeSuccess, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			servers := linkedServers(t, "a:1:1", "b:1:1")
			w := newWorld(t, 0)
			for i, s := range servers {
				if i != c.which {
					w.answerAll(s)
				}
			}
			full := servers[c.which].stream.Load()
			if c.reserved {
				filler := proto.Record{Kind: proto.RecordBroadcast, Body: make([]byte, 1<<10)}
				for full.conn.SendReserved(&filler) == nil {
				}
			} else {
				if _, err := full.start(&proto.Record{Kind: proto.RecordPush}); !errors.Is(err, errLinkFull) {
					t.Fatalf("not full: %v", err)
				}
			}
			body := make([]byte, 1<<10)
			b := &broadcast{route: w.route, size: len(body)}
			a := b.send(newServers(servers), proto.Record{Kind: proto.RecordBroadcast, User: 1, Body: body})
			if !c.reserved {
				full.answer(&proto.Record{ID: 2, Verdict: proto.VerdictTaken}) // 1 was the push that did not fit
			}
			if a.code == proto.CodeSuccess {
				a = b.finish()
			}
			if a.code != c.code {
				t.Errorf("code %v, want %v", a.code, c.code)
			}
			if got := w.counter("cim_route_group_parts_lost_total"); got != fmt.Sprint(c.lost) {
				t.Errorf("%s parts lost, want %d", got, c.lost)
			}
			for _, s := range servers {
				if left := s.stream.Load().broadcasts; left != 0 {
					t.Errorf("%d broadcasts still reserved", left)
				}
				s.stream.Load().conn.Close()
			}
			w.stop()
		})
	}
}

// answerAll gives s a link with room, whose far end takes every record.
func (w *world) answerAll(s *server) {
	f := newFakeServer(w.t, "10.0.0.9:1:1", 9)
	on := newStream(f.dial())
	s.stream.Store(on)
	f.running.Go(func() {
		_ = on.conn.Run(w.t.Context(), func(r *proto.Record) error {
			on.answer(r)
			return nil
		})
	})
}
