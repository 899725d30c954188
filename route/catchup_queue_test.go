package route

import (
	"context"
	"errors"
	"testing"

	"cim/proto"
)

// gate is a run that records its catch-ups and waits.
type gate struct {
	running chan catchup
	release chan error
}

func newGate() (gate, *catchupQueue) {
	g := gate{make(chan catchup, catchupsMax), make(chan error)}
	return g, newCatchupQueue(context.Background(), func(_ context.Context, c catchup) error {
		g.running <- c
		return <-g.release
	})
}

// until lets all end that run, until done is closed.
func (g gate) until(done <-chan struct{}) {
	for {
		select {
		case g.release <- nil:
		case <-g.running:
		case <-done:
			return
		}
	}
}

func of(user proto.UserID, generation proto.Generation) catchup {
	return catchup{session: session{user: user, generation: generation}}
}

// TestOneCatchupPerUser: asked for one that runs, the queue runs one more
// afterwards, for all that asked meanwhile, and for the newest session.
func TestOneCatchupPerUser(t *testing.T) {
	g, q := newGate()
	mustStart(t, q, of(1, 5))
	first := <-g.running
	ended := make(chan error, 1)
	older := of(1, 4)
	older.waiters = []chan<- error{ended}
	newer := of(1, 6)
	newer.held, newer.holds, newer.confirm = true, 3, true
	for _, c := range []catchup{older, newer, of(1, 6), of(1, 5)} {
		mustStart(t, q, c)
	}
	g.release <- nil
	second := <-g.running
	if first.generation != 5 || second.generation != 6 || !second.held || second.holds != 3 || !second.confirm {
		t.Errorf("ran %+v, then %+v", first, second)
	}
	failed := errors.New("no")
	g.release <- failed
	if err := <-ended; err != failed {
		t.Errorf("result %v, want %v", err, failed)
	}
	q.drain()
	if len(g.running) != 0 || len(q.users) != 0 {
		t.Errorf("%d more ran, %d users are known", len(g.running), len(q.users))
	}
}

func mustStart(t *testing.T, q *catchupQueue, c catchup) {
	t.Helper()
	if err := q.start(c); err != nil {
		t.Fatal(err)
	}
}

// TestCatchupsBounds walks what runs and what waits up to their bounds and one
// past each.
func TestCatchupsBounds(t *testing.T) {
	g, q := newGate()
	for i := range catchupsMax + catchupsWaitingMax {
		mustStart(t, q, of(proto.UserID(i+1), 1))
		if i < catchupsMax {
			<-g.running
		}
	}
	if len(g.running) != 0 || q.waiting() != catchupsWaitingMax {
		t.Errorf("%d run beyond the bound, %d wait", len(g.running), q.waiting())
	}
	if err := q.start(of(catchupsMax+catchupsWaitingMax+1, 1)); !errors.Is(err, errCatchupsFull) {
		t.Errorf("one too many: %v", err)
	}
	mustStart(t, q, of(1, 1))                              // runs already: joins
	mustStart(t, q, of(catchupsMax+catchupsWaitingMax, 1)) // waits already: joins
	g.release <- nil
	<-g.running
	if q.waiting() > catchupsWaitingMax {
		t.Errorf("%d wait", q.waiting())
	}
	drained := make(chan struct{})
	go func() { q.drain(); close(drained) }()
	g.until(drained)
	if len(q.users) != 0 || q.waiting() != 0 {
		t.Errorf("after the drain %d users are known, %d wait", len(q.users), q.waiting())
	}
}

// TestCatchupsDrain: waiting catch-ups end with errDraining, also those of a user whose catch-up
// runs, and none starts afterwards.
func TestCatchupsDrain(t *testing.T) {
	g, q := newGate()
	mustStart(t, q, of(1, 1))
	<-g.running
	ended := make(chan error, 1)
	again := of(1, 1)
	again.waiters = []chan<- error{ended}
	mustStart(t, q, again)
	drained := make(chan struct{})
	go func() { q.drain(); close(drained) }()
	eventually(t, "the drain to begin", func() bool { return q.start(of(1, 1)) != nil })
	g.release <- nil
	<-drained
	if err := <-ended; !errors.Is(err, errDraining) {
		t.Errorf("result %v", err)
	}
	if err := q.start(of(3, 1)); !errors.Is(err, errDraining) {
		t.Errorf("start after the drain: %v", err)
	}
}

// TestCatchupWorkersIdle: workers stay for what comes next, up to their bound; the drain
// ends them.
func TestCatchupWorkersIdle(t *testing.T) {
	g, q := newGate()
	for _, first := range []proto.UserID{1, 1001} { // idle workers run the second ones
		for i := range proto.UserID(catchupsIdleMax + 1) {
			mustStart(t, q, of(first+i, 1))
			<-g.running
		}
		if running, waiting := q.count(); running != catchupsIdleMax+1 || waiting != 0 {
			t.Errorf("%d run and %d wait, want all %d to run", running, waiting, catchupsIdleMax+1)
		}
		for range catchupsIdleMax + 1 {
			g.release <- nil
		}
		eventually(t, "all workers but one to rest", func() bool {
			q.mu.Lock()
			defer q.mu.Unlock()
			return q.idle == catchupsIdleMax && q.workers == catchupsIdleMax
		})
	}
	q.drain() // waits for the workers
	if q.workers != 0 {
		t.Errorf("after the drain there are %d workers", q.workers)
	}
}
