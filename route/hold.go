package route

import (
	"context"
	"errors"
	"sync"
	"time"

	"cim/proto"
	"cim/store"
)

const (
	// pendingLookupsMax bounds the users whose session must still be looked up. They come only from
	// messages that were stored just before the store went away: while it is away none is stored.
	pendingLookupsMax = 4096
	// lookupPause is the time between two tries. Tries end only with the drain, since a message
	// waits for a session that may live.
	lookupPause = time.Second
)

// pendingLookups has the users for whom a message was stored just before the store went away. Once
// the store answers, it looks up their sessions and holds them, so that no later message overtakes
// the stored one.
type pendingLookups struct {
	route    *Route
	queue    chan proto.UserID
	draining chan struct{} // closed by drain
	worker   sync.WaitGroup
}

func newPendingLookups(r *Route) *pendingLookups {
	w := &pendingLookups{route: r, queue: make(chan proto.UserID, pendingLookupsMax), draining: make(chan struct{})}
	w.worker.Go(w.run)
	return w
}

// add queues user. It never blocks.
func (w *pendingLookups) add(user proto.UserID) {
	select {
	case <-w.draining: // a request that the drain did not wait for
		w.drop(user)
		return
	default:
	}
	select {
	case w.queue <- user:
	default:
		w.drop(user)
	}
}

// drop counts and logs a message that must wait for its receiver's next catch-up.
func (w *pendingLookups) drop(user proto.UserID) {
	w.route.counters.refused.inc("wake")
	w.route.notices.Say("stored message may wait for a session that lives", "user", user)
}

func (w *pendingLookups) run() {
	for {
		select {
		case user := <-w.queue:
			w.lookUp(user)
		case <-w.draining:
			return
		}
	}
}

// lookUp tries until the store answers or the drain starts.
func (w *pendingLookups) lookUp(user proto.UserID) {
	for !w.try(user) {
		timer := time.NewTimer(lookupPause)
		select {
		case <-timer.C:
		case <-w.draining:
			timer.Stop()
			w.drop(user)
			return
		}
	}
}

// try reports whether the store could be reached. Its other faults will not
// pass by themselves.
func (w *pendingLookups) try(user proto.UserID) bool {
	work := newDeadline(storeTimeout)
	defer work.stop()
	err := w.route.holdReceiver(work, user, pushTarget{})
	switch {
	case storeAway(err):
		w.route.storeFault("look up the receiver of a stored message", err)
		return false
	case err != nil:
		w.route.notices.Say("stored message may wait for a session that lives", "user", user, "error", err)
	}
	return true
}

// drain waits for the running try, and drops the others.
func (w *pendingLookups) drain() {
	close(w.draining)
	w.worker.Wait()
	for {
		select {
		case user := <-w.queue:
			w.drop(user)
		default:
			return
		}
	}
}

// holdReceiver holds receiver's session, if there is one, and starts its catch-up. It reads the
// record after the message was stored, past the cache. A session that it does not see starts later,
// and finds the message in its own catch-up.
func (r *Route) holdReceiver(ctx context.Context, receiver proto.UserID, before pushTarget) error {
	record, found, err := r.lookupFresh(ctx, receiver)
	if err != nil || !found {
		return err
	}
	return r.holdSession(ctx, receiver, record, before)
}

// holdAfterStore holds receiver's session before the sender of a stored message is answered. If the
// store cannot say which session that is, it holds the cached one.
func (r *Route) holdAfterStore(ctx context.Context, receiver proto.UserID, before pushTarget) {
	err := r.holdReceiver(ctx, receiver, before)
	if err != nil {
		err = errors.Join(err, r.holdCached(ctx, receiver, before))
	}
	r.settleHold(receiver, err)
}

// holdCached holds the session that receiver has according to the cache, so that later messages do
// not overtake the stored one.
func (r *Route) holdCached(ctx context.Context, receiver proto.UserID, before pushTarget) error {
	is, found := r.caches.presenceOf(receiver)
	if !found {
		is = before.session
	}
	if is == (sessionKey{}) {
		return nil
	}
	return r.holdSession(ctx, receiver, store.Record{Place: store.Place{Epoch: is.epoch}, Generation: is.generation}, before)
}

// holdSession holds the session of record. If the server is not live, does not answer or has no
// room, the session gets a pending hold. A server that did not answer the push is not waited for
// again: the hold follows the push on the link, and so comes before anything that is sent after the
// sender's answer. If the session had a pending hold already, its catch-up holds it again.
func (r *Route) holdSession(ctx context.Context, receiver proto.UserID, record store.Record, before pushTarget) error {
	is := sessionOf(record)
	at, live := r.session(receiver, record)
	if !live {
		r.holdLater(receiver, is)
		return nil
	}
	if at.server.guest() {
		return nil // it holds none: the text comes with the next login, or a fetch
	}
	if before.silent && is == before.session {
		at.holdOneWay()
		r.holdLater(receiver, is)
		return nil
	}
	held, err := at.hold(ctx)
	switch {
	case errors.Is(err, errNoSession):
		return nil
	case noAnswer(err):
		at.holdOneWay() // a suspect server was sent nothing
		r.holdLater(receiver, is)
		return nil
	case errors.Is(err, errBusy) || errors.Is(err, errLinkFull):
		r.holdLater(receiver, is)
		return nil
	}
	if err == nil {
		r.backoffs.noteCursor(receiver, held.cursor)
		if held.full {
			return nil // its server announces it once it has room
		}
	}
	r.startCatchup(catchup{session: at, held: err == nil, holdState: held})
	return err
}

// settleHold handles the error of a hold. If the store is away, the receiver is looked up when it
// is back.
func (r *Route) settleHold(receiver proto.UserID, err error) {
	if storeAway(err) {
		r.storeFault("look up the receiver of a stored message", err)
		r.pendingLookups.add(receiver)
	} else if err != nil {
		r.notices.Say("stored message may wait for a session that lives", "user", receiver, "error", err)
	}
}
