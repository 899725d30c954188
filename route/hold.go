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
	// wakeQueueMax bounds the users whose session is yet to be held. They come
	// only from messages that were stored in the moment when the store went
	// away: while it is away none is stored.
	wakeQueueMax = 4096
	// lookupPause is between two tries. There is no last one before the drain: a
	// message waits behind a session that may live.
	lookupPause = time.Second
)

// pendingLookups holds the sessions of users for whom a message was stored just before
// the store went away, as soon as the store says where they are: else the next
// message would overtake it.
type pendingLookups struct {
	route    *Route
	queue    chan proto.UserID
	draining chan struct{} // closed by drain
	worker   sync.WaitGroup
}

func newPendingLookups(r *Route) *pendingLookups {
	w := &pendingLookups{route: r, queue: make(chan proto.UserID, wakeQueueMax), draining: make(chan struct{})}
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

// drop tells of a message that waits for its receiver's next catch-up.
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

// lookUp tries until the store answers or the drain begins.
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

// drain waits for the try that runs, and tells of those that wait.
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

// holdReceiver holds receiver's session, if it has one, and starts its catch-up. Its
// record is read after the store, past the cache: a session that this misses
// begins later, and finds the message by its own catch-up.
func (r *Route) holdReceiver(ctx context.Context, receiver proto.UserID, before pushTarget) error {
	record, found, err := r.lookupFresh(ctx, receiver)
	if err != nil || !found {
		return err
	}
	return r.holdSession(ctx, receiver, record, before)
}

// holdAfterStore wakes receiver before the sender of what was stored has his answer.
// If the store cannot say which session that is, the one that is known is held.
func (r *Route) holdAfterStore(ctx context.Context, receiver proto.UserID, before pushTarget) {
	err := r.holdReceiver(ctx, receiver, before)
	if err != nil {
		err = errors.Join(err, r.holdCached(ctx, receiver, before))
	}
	r.settleHold(receiver, err)
}

// holdCached holds the session that receiver has as far as is known without the
// store, so that what is sent next is not brought before what was stored.
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

// holdSession holds the session of record. One that cannot be held, as its server
// is not live, does not answer or has no room, is missed. A server that was silent
// before is not waited for once more: the hold follows the push to it, so that it
// comes before whatever is sent when the sender has his answer. One that was
// missed before this was stored is held once more by its catch-up.
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
	}
	r.startCatchup(catchup{session: at, held: err == nil, holdState: held})
	return err
}

// settleHold deals with the error of a wake: if the store is away, the session
// that it names is held as soon as it is back.
func (r *Route) settleHold(receiver proto.UserID, err error) {
	if storeAway(err) {
		r.storeFault("look up the receiver of a stored message", err)
		r.pendingLookups.add(receiver)
	} else if err != nil {
		r.notices.Say("stored message may wait for a session that lives", "user", receiver, "error", err)
	}
}
