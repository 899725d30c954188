package route

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cim/proto"
)

// waiting is how many sessions of epoch wait for its link.
func (m *pendingHolds) waiting(epoch proto.Epoch) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if sessions := m.epochs[epoch]; sessions != nil {
		return len(sessions.users)
	}
	return 0
}

// TestPendingHoldsOfAMember: a message stored while a living session's server is not in
// the registry reaches it when the same run of the server is back, without
// another message or login.
func TestPendingHoldsOfAMember(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.online("ann", false), w.online("ben", false)
	w.deregister(1)
	w.want(proto.CodeOffline, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "stored"))
	if n := w.route.pendingHolds.waiting(1); n != 1 {
		t.Fatalf("%d wait", n)
	}
	w.register(1)
	f := w.servers[1]
	w.eventually("caught up", func() bool { return len(f.texts(ben.ID)) == 1 && w.idle(ben.ID) })
	w.want(proto.CodeSuccess, proto.PathPrivate, privateRequest(ann.ID, ben.ID, "live"))
	if got, want := f.texts(ben.ID), []string{"stored", "live"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := w.route.pendingHolds.waiting(1); n != 0 {
		t.Errorf("%d still wait", n)
	}
}

// TestPendingHoldsCatchUp: a catch-up whose server leaves the registry goes on when
// the same run of it is back.
func TestPendingHoldsCatchUp(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.online("ann", false), w.online("ben", false)
	w.put(ann, ben.ID, "x")
	old := w.route.cluster.server(1)
	w.deregister(1)
	w.eventually("link down", func() bool { return !old.linked() })
	w.route.startCatchup(catchup{session: session{ben.ID, w.record(ben.ID).Generation, old}})
	w.eventually("missed", func() bool { return w.route.pendingHolds.waiting(1) == 1 })
	w.register(1)
	w.eventually("caught up", func() bool { return len(w.servers[1].texts(ben.ID)) == 1 })
}

// TestPendingHoldsFull: a session that catch-ups have no room for, as its server comes
// back, is caught up when they have.
func TestPendingHoldsFull(t *testing.T) {
	w := newWorld(t, 1)
	ann, ben := w.online("ann", false), w.online("ben", false)
	w.put(ann, ben.ID, "x")
	q := w.route.catchups
	fill := func(waiting []proto.UserID) (done bool) {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.workers == q.idle { // else a worker would take one
			q.queue, done = waiting, true
		}
		return done
	}
	w.eventually("full", func() bool { return fill(make([]proto.UserID, catchupsWaitingMax)) })
	w.route.holdLater(ben.ID, sessionOf(w.record(ben.ID)))
	if got := w.counter(`cim_route_refused_total{what="catchup"}`); got == "0" {
		t.Error("nothing was refused")
	}
	w.eventually("noted again", func() bool { return w.route.pendingHolds.waiting(1) == 1 })
	fill(nil)
	w.eventually("caught up", func() bool { return len(w.servers[1].texts(ben.ID)) == 1 })
}

// TestPendingHoldsBound walks the sessions that wait for a link up to their bound and
// one past it.
func TestPendingHoldsBound(t *testing.T) {
	w := newWorld(t, 0)
	for i := range pendingHoldsMax {
		w.route.holdLater(proto.UserID(i+1), sessionKey{1, 1})
	}
	w.route.holdLater(1, sessionKey{1, 2})
	w.route.holdLater(1, sessionKey{1, 1})
	refused := func() string { return w.counter(`cim_route_refused_total{what="missed"}`) }
	if got := w.route.pendingHolds.epochs[1].users[1]; refused() != "0" || got != 2 {
		t.Errorf("at the edge: %s refused, generation %d", refused(), got)
	}
	w.route.holdLater(pendingHoldsMax+1, sessionKey{1, 1})
	if n := w.route.pendingHolds.waiting(1); refused() != "1" || n != pendingHoldsMax {
		t.Errorf("one past: %s refused, %d wait", refused(), n)
	}
}

// TestPendingHoldsEpochs: one epoch more than there is room for costs the one that
// waits longest; one that waits too long is forgotten, unless it is live.
func TestPendingHoldsEpochs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newPendingHolds()
		live := func(epoch proto.Epoch) bool { return epoch == 3 }
		for i := range pendingEpochsMax {
			if !m.add(1, sessionKey{proto.Epoch(i + 1), 1}, live) {
				t.Fatalf("epoch %d: no room", i+1)
			}
			time.Sleep(time.Millisecond)
		}
		if m.add(1, sessionKey{1, 1}, live); m.add(1, sessionKey{100, 1}, live) {
			t.Error("one past: nothing was forgotten")
		}
		if m.waiting(1) != 1 || m.waiting(2) != 0 || len(m.epochs) != pendingEpochsMax {
			t.Errorf("%d and %d wait, of %d epochs", m.waiting(1), m.waiting(2), len(m.epochs))
		}
		time.Sleep(pendingHoldTime + time.Millisecond)
		if !m.add(1, sessionKey{101, 1}, live) || len(m.epochs) != 2 || m.waiting(3) != 1 {
			t.Errorf("after a while: %d epochs, %d wait for the live one", len(m.epochs), m.waiting(3))
		}
	})
}
