package route

import (
	"sync"
	"time"

	"cim/proto"
)

const (
	// wakeQueueMax bounds the users whose session is yet to be held. They come
	// only from messages that were stored in the moment when the store went
	// away: while it is away none is stored.
	wakeQueueMax = 4096
	// wakePause is between two tries. There is no last one before the drain: a
	// message waits behind a session that may live.
	wakePause = time.Second
)

// wakes holds the sessions of users for whom a message was stored just before
// the store went away, as soon as the store says where they are: else the next
// message would overtake it.
type wakes struct {
	route  *Route
	queue  chan proto.UserID
	ending chan struct{} // closed by drain
	worker sync.WaitGroup
}

func newWakes(r *Route) *wakes {
	w := &wakes{route: r, queue: make(chan proto.UserID, wakeQueueMax), ending: make(chan struct{})}
	w.worker.Go(w.work)
	return w
}

// take queues user. It never blocks.
func (w *wakes) take(user proto.UserID) {
	select {
	case <-w.ending: // a request that the drain did not wait for
		w.lost(user)
		return
	default:
	}
	select {
	case w.queue <- user:
	default:
		w.lost(user)
	}
}

// lost tells of a message that waits for its receiver's next catch-up.
func (w *wakes) lost(user proto.UserID) {
	w.route.counters.refused.inc("wake")
	w.route.notices.say("stored message may wait for a session that lives", "user", user)
}

func (w *wakes) work() {
	for {
		select {
		case user := <-w.queue:
			w.wake(user)
		case <-w.ending:
			return
		}
	}
}

// wake tries until the store answers or the drain begins.
func (w *wakes) wake(user proto.UserID) {
	for !w.try(user) {
		timer := time.NewTimer(wakePause)
		select {
		case <-timer.C:
		case <-w.ending:
			timer.Stop()
			w.lost(user)
			return
		}
	}
}

// try reports whether the store could be reached. Its other faults will not
// pass by themselves.
func (w *wakes) try(user proto.UserID) bool {
	work := newDeadline(storeTimeout)
	defer work.stop()
	err := w.route.wake(work, user, lastRecord{})
	switch {
	case away(err):
		w.route.storeFault("look up the receiver of a stored message", err)
		return false
	case err != nil:
		w.route.notices.say("stored message may wait for a session that lives", "user", user, "error", err)
	}
	return true
}

// drain waits for the try that runs, and tells of those that wait.
func (w *wakes) drain() {
	close(w.ending)
	w.worker.Wait()
	for {
		select {
		case user := <-w.queue:
			w.lost(user)
		default:
			return
		}
	}
}
