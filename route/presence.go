package route

import (
	"context"
	"errors"
	"sync"
	"time"

	"cim/proto"
	"cim/store"
)

// offLine serves a goodbye: of a client, whose session it ends, or of another system's server,
// whose session has ended.
func (r *Route) offLine(ctx context.Context, request *proto.OffLineRequest) answer {
	id, err := readUser("userId", request.UserID)
	if err != nil {
		return invalid(err)
	}
	ticket, err := proto.ParseTicket(request.Ticket)
	if err != nil {
		return invalid(err)
	}
	mode := proto.RevokeGone
	if request.Msg == proto.GoodbyeMsg {
		mode = proto.RevokeGoodbye
	}
	err = r.endSession(ctx, id, mode, ticket)
	switch {
	case errors.Is(err, errUncertain):
		return uncertainAnswer()
	case errors.Is(err, errLinkFull):
		return answer{code: proto.CodeLimit}
	case err != nil:
		return r.storeFailed("release a user", err)
	}
	return answer{code: proto.CodeSuccess}
}

func (r *Route) endSession(ctx context.Context, id proto.UserID, mode proto.RevokeMode, ticket proto.Ticket) error {
	record, found, err := r.lookupFresh(ctx, id)
	switch {
	case err != nil:
		return err
	case !found:
		return r.releaseUngranted(ctx, id, store.Place{})
	}
	answer := r.revoke(id, record, mode, ticket)
	if r.sessionUncertain(record, answer) {
		return errUncertain
	}
	switch {
	case r.sessionEnding(record, answer):
		return nil // its server says when it is through
	case answer.outcome() == proto.VerdictLives:
		return nil
	case answer.outcome() == proto.VerdictBusy:
		r.counters.refused.inc("goodbye")
		return errLinkFull
	}
	return r.release(ctx, id, record.Place, record.Generation)
}

// sessionEnding reports whether a session is being ended by a server that answers,
// and what it kept is not in the box yet. Its record stays until the server says
// that it has ended.
func (r *Route) sessionEnding(record store.Record, answer reply) bool {
	s := r.cluster.server(record.Place.Epoch)
	return s != nil && s.responsive() && (errors.Is(answer.err, errSilence) || answer.err == nil && answer.verdict == proto.VerdictReturning)
}

const (
	// releaseWorkers is the number of workers that release records. A store may batch waiting
	// writes, so there are several.
	releaseWorkers = 16
	// releaseQueueMax bounds the waiting releases: more than the sessions that one server may lose
	// at once. The record of a refused one is found outdated by the next push, revoke or claim.
	releaseQueueMax = 16 << 10
	// releasePause is between two tries while the store is away. There is no
	// last one: a record that stays shows its user as online.
	releasePause = time.Second
)

// endedSession is one session or grant that has ended.
type endedSession struct {
	user       proto.UserID
	place      store.Place
	generation proto.Generation
}

// releaseQueue removes the records of sessions that have ended.
type releaseQueue struct {
	route    *Route
	queue    chan endedSession
	workers  sync.WaitGroup
	draining chan struct{} // closed by drain

	mu     sync.RWMutex
	closed bool
}

func newReleaseQueue(r *Route) *releaseQueue {
	rs := &releaseQueue{route: r, queue: make(chan endedSession, releaseQueueMax), draining: make(chan struct{})}
	for range releaseWorkers {
		rs.workers.Go(rs.work)
	}
	return rs
}

// add queues g. It never blocks. After drain only a request that the drain
// did not wait for may call it.
func (rs *releaseQueue) add(g endedSession) {
	rs.route.caches.forgetLogin(g.user, g.generation)
	if !rs.enqueue(g) {
		rs.route.counters.refused.inc("release")
		rs.route.notices.Say("release refused for load")
	}
}

func (rs *releaseQueue) enqueue(g endedSession) bool {
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	if rs.closed {
		return false
	}
	select {
	case rs.queue <- g:
		return true
	default:
		return false
	}
}

func (rs *releaseQueue) work() {
	for g := range rs.queue {
		done := rs.shouldGiveUp()
		for !done {
			done = rs.release(g) || !rs.pause()
		}
	}
}

// shouldGiveUp reports whether the drain finds the store away: it does not wait
// for one call's deadline after another.
func (rs *releaseQueue) shouldGiveUp() bool {
	select {
	case <-rs.draining:
		return rs.route.outage.active()
	default:
		return false
	}
}

// release reports whether there is nothing more to do for g: not if the store
// is away.
func (rs *releaseQueue) release(g endedSession) bool {
	work := newDeadline(storeTimeout)
	defer work.stop()
	err := rs.route.release(work, g.user, g.place, g.generation)
	if err != nil {
		rs.route.storeFault("release a user", err)
	}
	return !storeAway(err)
}

// pause reports whether to try again: not at the drain.
func (rs *releaseQueue) pause() bool {
	timer := time.NewTimer(releasePause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-rs.draining:
		return false
	}
}

// drain works through what waits.
func (rs *releaseQueue) drain() {
	rs.mu.Lock()
	rs.closed = true
	close(rs.draining)
	close(rs.queue)
	rs.mu.Unlock()
	rs.workers.Wait()
}
