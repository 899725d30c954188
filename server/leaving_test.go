package server

import (
	"context"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cim/proto"
)

// TestMoveQuota simulates the ticks: all sessions are handled in time, at 500 a
// second where that is enough, otherwise evenly.
func TestMoveQuota(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		left := rapid.IntRange(0, 100_000).Draw(r, "sessions")
		until := time.Duration(rapid.IntRange(-1000, 600_000).Draw(r, "ms")) * time.Millisecond
		most, ticks := moveQuota(left, until), max(1, int(until/moveEvery))
		if even := (left + ticks - 1) / ticks; most != max(50, even) {
			r.Fatalf("the first portion is %d, evenly %d", most, even)
		}
		for range ticks {
			n := moveQuota(left, until)
			if n > most {
				r.Fatalf("a portion of %d behind one of %d", n, most)
			}
			left = max(0, left-n)
			until -= moveEvery
		}
		if left > 0 {
			r.Fatalf("%d left in the end", left)
		}
	})
}

func isLeaving(rec *proto.Record) bool { return rec.Kind == proto.RecordLeaving }

// TestLeave: each route gets a RecordLeaving, also a route that links later; new
// logins are refused with a reason to come back; existing sessions are served.
func TestLeave(t *testing.T) {
	t.Parallel()
	w := start(t, withSecret)
	p := w.login(ann, 1, proto.DialectCIM)
	w.route.grant(bob, 1, false)
	w.server.Leave()
	w.route.next("leaving", isLeaving)
	w.overTCP().next("leaving", isLeaving)
	if v := w.route.grant(proto.User{ID: 9, Name: "late"}, 1, false); v != proto.VerdictRefused {
		t.Errorf("grant: %v", v)
	}
	if w.server.Ready() == nil {
		t.Error("it is ready")
	}
	ours := w.dial()
	ours.write(proto.AppendLogin(nil, bob, proto.DialectCIM, ticket))
	if m := ours.read(); m.Command != proto.CommandLoginAnswer || m.Reason != proto.ReasonDraining {
		t.Errorf("a client of ours received %+v", m)
	}
	old := w.dial()
	old.write(proto.AppendLogin(nil, bob, proto.DialectV2, proto.Ticket{}))
	old.end()
	if v := w.pushTo(ann.ID, 0); v != proto.VerdictTaken {
		t.Errorf("push: %v", v)
	}
	p.read()
}

// drainBy is a whole drain as a process of a cluster does it.
func (w *world) drainBy(d time.Duration) error {
	ctx, cancel := context.WithTimeout(w.Context(), d)
	defer cancel()
	w.server.Leave()
	moving, stop := context.WithTimeout(ctx, d/2)
	defer stop()
	w.server.Move(moving)
	return w.server.Drain(ctx)
}

// TestMove: clients of ours are asked to move and served until their users have
// logged in elsewhere; old clients are closed; then the server can stop.
func TestMove(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	const users = 120 // more than one quota
	var ours, old []*peer
	for i := range users {
		user := proto.User{ID: proto.UserID(i + 1), Name: "u" + strconv.Itoa(i)}
		dialect := []proto.Dialect{proto.DialectCIM, proto.DialectV2, proto.DialectV1}[i%3]
		p := w.login(user, 1, dialect)
		if dialect == proto.DialectCIM {
			ours = append(ours, p)
		} else {
			old = append(old, p)
		}
	}
	w.eventually("a tick shows them", func() bool { return w.server.live() == users })
	drained := make(chan error, 1)
	begin := time.Now()
	go func() { drained <- w.drainBy(2 * patience) }()
	for _, p := range ours {
		if m := p.read(); m.Command != proto.CommandMove || m.Reason != proto.ReasonDraining {
			t.Errorf("received %+v", m)
		}
	}
	for _, p := range old {
		p.end()
		p.conn.Close()
	}
	for i, p := range ours {
		user := proto.UserID(3*i + 1)
		if v := w.pushTo(user, 0); v != proto.VerdictTaken {
			t.Fatalf("push to one that has not moved yet: %v", v)
		}
		w.route.ask(proto.Record{Kind: proto.RecordRevoke, User: user, Generation: 1, Value: uint64(proto.RevokeReplace)})
		if m := p.read(); string(m.Text) != "text" {
			t.Errorf("the last words: %+v", m)
		}
		if m := p.read(); m.Command != proto.CommandClose || m.Reason != proto.ReasonReplaced {
			t.Errorf("received %+v", m)
		}
		p.end()
		p.conn.Close()
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took >= movedMax {
		t.Errorf("it took %v, though all have moved", took)
	}
}

// TestMoveUnanswered: clients that do not move get the reason that the server is
// going down, and those that do not read are closed; no time is lost on either.
func TestMoveUnanswered(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	p := w.login(ann, 1, proto.DialectCIM)
	w.login(bob, 1, proto.DialectCIM) // never reads, never closes
	begin := time.Now()
	drained := make(chan error, 1)
	go func() { drained <- w.drainBy(2 * patience) }()
	if m := p.read(); m.Command != proto.CommandMove {
		t.Errorf("received %+v", m)
	}
	if m := p.read(); m.Command != proto.CommandClose || m.Reason != proto.ReasonDraining {
		t.Errorf("received %+v", m)
	}
	p.end()
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took < movedMax || took > patience {
		t.Errorf("it took %v", took)
	}
}
