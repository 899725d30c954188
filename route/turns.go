package route

import (
	"sync"
	"sync/atomic"
	"time"

	"cim/proto"
)

// turnsMax bounds the private messages of clients' connections that have left their worker:
// messages to guests, messages to a session that returns texts, and those waiting behind one of the
// same pair. One more is refused as busy.
const turnsMax = 1024

// turns make the messages of one sender to one receiver wait for each other. They keep their order
// while a server is slow, and do not block a worker.
type turns struct {
	mu   sync.Mutex
	last map[pair]chan struct{} // closed when the newest of the pair is through
	all  atomic.Int64           // <= turnsMax; changed with mu held
}

type pair struct{ sender, receiver proto.UserID }

// newest is closed when all messages of the pair that have a turn are through;
// nil: none has one.
func (t *turns) newest(p pair) <-chan struct{} {
	if t.all.Load() == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if newest, found := t.last[p]; found {
		return newest
	}
	return nil
}

// awaitTurn waits until before is closed; nil: it is. It ends at by.
func awaitTurn(before <-chan struct{}, by time.Time) {
	if before == nil {
		return
	}
	late := time.NewTimer(time.Until(by))
	defer late.Stop()
	select {
	case <-before:
	case <-late.C:
	}
}

// take takes the pair's next turn, which starts when before is closed; nil: now. leave ends the
// turn; it is nil if there is no room.
func (t *turns) take(p pair) (before <-chan struct{}, leave func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all.Load() >= turnsMax {
		return nil, nil
	}
	if t.last == nil {
		t.last = make(map[pair]chan struct{})
	}
	if newest, found := t.last[p]; found {
		before = newest
	}
	done := make(chan struct{})
	t.last[p] = done
	t.all.Add(1)
	return before, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.all.Add(-1)
		if t.last[p] == done {
			delete(t.last, p)
		}
		close(done)
	}
}
