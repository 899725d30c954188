package server

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"

	"cim/proto"
)

// moving revokes bob's session as for a client that moves, and returns the id of
// the revoke.
func (w *world) moving() uint64 {
	w.Helper()
	return w.route.request(proto.Record{
		Kind: proto.RecordRevoke, User: bob.ID, Generation: 1, Value: uint64(proto.RevokeMove), Body: ticket[:],
	})
}

// TestMovingStored: the kept texts of a session reach the box before its event loop
// checks whether any are on the way. That is no failure.
func TestMovingStored(t *testing.T) {
	w := start(t, nil)
	p := w.loginAck(bob, 1)
	w.pushText(bob.ID, "a", 1, 0)
	p.wantText("a", true)
	ref, _, _ := w.server.directory.find(bob.ID)
	l := w.server.loops[ref.Shard]
	held, stored, answer := make(chan struct{}), make(chan struct{}), make(verdicts, 1)
	err := l.events.Execute(w.Context(), gnet.RunnableFunc(func(context.Context) error {
		l.holdNow(ref)
		close(held)
		<-stored
		l.holdMoving(&letter{kind: letterMoving, ref: ref, user: bob.ID, requester: answer})
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	<-held
	w.route.wantReturned(proto.VerdictTaken, "a")
	w.eventually("it is in the box", func() bool { return !w.server.returns.has(bob.ID) })
	close(stored)
	if v := <-answer; v != proto.VerdictTaken {
		t.Errorf("the move: %v", v)
	}
}

// TestMovingOfMuch: the kept texts of a session take several records, and the
// answer waits for the last one.
func TestMovingOfMuch(t *testing.T) {
	w := start(t, nil)
	p := w.loginAck(bob, 1)
	for i := range 3 {
		text := strings.Repeat(string(rune('a'+i)), proto.TextMax-1000) // two of them in one record
		if v := w.pushText(bob.ID, text, proto.TextID(i+1), 0); v != proto.VerdictTaken {
			t.Fatal(v)
		}
		p.wantText(text, true)
	}
	id := w.moving()
	for i, want := range []int{2, 1} {
		rec, texts := w.route.returned()
		if len(texts) != want {
			t.Fatalf("record %d has %d texts, want %d", i, len(texts), want)
		}
		w.route.behindAll()
		if slices.ContainsFunc(w.route.aside, func(r proto.Record) bool { return r.Kind == proto.RecordAnswer && r.ID == id }) {
			t.Fatalf("answered before record %d was in the box", i)
		}
		w.route.answer(rec, proto.VerdictTaken)
	}
	if v := w.route.verdict(id).Verdict; v != proto.VerdictTaken {
		t.Errorf("the move: %v", v)
	}
}

// TestMovingRefused: the box has no room for the kept texts. The session still has
// them, and the route gets VerdictReturning.
func TestMovingRefused(t *testing.T) {
	w := start(t, nil)
	p := w.loginAck(bob, 1)
	w.pushText(bob.ID, "a", 1, 0)
	p.wantText("a", true)
	id := w.moving()
	w.route.wantReturned(proto.VerdictRefused, "a")
	if v := w.route.verdict(id).Verdict; v != proto.VerdictReturning {
		t.Errorf("the move: %v", v)
	}
	w.leapSecond()
	w.route.wantReturned(proto.VerdictTaken, "a")
	w.eventually("it is in the box", func() bool { return !w.server.returns.has(bob.ID) })
	if v := w.route.verdict(w.moving()).Verdict; v != proto.VerdictTaken {
		t.Errorf("the move: %v", v)
	}
}

// TestMovingBound: a move is answered even if the session is given new texts again
// and again.
func TestMovingBound(t *testing.T) {
	w := start(t, nil)
	p := w.loginAck(bob, 1)
	w.pushText(bob.ID, "a", 1, 0)
	p.wantText("a", true)
	ref, _, _ := w.server.directory.find(bob.ID)
	l, answer := w.server.loops[ref.Shard], make(verdicts, 1)
	l.mailbox.post(letter{kind: letterMoving, ref: ref, user: bob.ID, requester: answer, value: movingTurnsMax}, nil)
	select {
	case v := <-answer:
		if v != proto.VerdictReturning {
			t.Errorf("after so many turns: %v", v)
		}
	case <-time.After(patience):
		t.Fatal("after so many turns: no answer")
	}
	l.mailbox.post(letter{kind: letterMoving, ref: ref, user: bob.ID, requester: answer, value: movingTurnsMax - 1}, nil)
	w.route.wantReturned(proto.VerdictTaken, "a")
	if v := <-answer; v != proto.VerdictTaken {
		t.Errorf("in the last turn: %v", v)
	}
}
