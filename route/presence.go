package route

import (
	"context"
	"errors"
	"sync"

	"cim/proto"
)

// offLine is a goodbye: from a client, whose session it ends, or from one of
// the original's servers, whose session has ended.
func (r *Route) offLine(ctx context.Context, request *proto.OffLineRequest) answer {
	id, err := readUser("userId", request.UserID)
	if err != nil {
		return invalid(err)
	}
	ticket, err := proto.ParseTicket(request.Ticket)
	if err != nil {
		return invalid(err)
	}
	mode := proto.RevokeGrant
	if request.Msg == proto.GoodbyeMsg {
		mode = proto.RevokeGoodbye
	}
	err = r.takeOffLine(ctx, id, mode, ticket)
	switch {
	case errors.Is(err, errDoubt):
		return doubtful()
	case err != nil:
		return r.storeFailed("release a user", err)
	}
	return answer{code: proto.CodeSuccess}
}

func (r *Route) takeOffLine(ctx context.Context, id proto.UserID, mode proto.RevokeMode, ticket proto.Ticket) error {
	record, found, err := r.lookupFresh(ctx, id)
	if err != nil || !found {
		return err
	}
	answer := r.revoke(id, record, mode, ticket)
	if r.inDoubt(record, answer) {
		return errDoubt
	}
	switch answer.outcome() {
	case proto.VerdictLives:
		return nil
	case proto.VerdictBusy:
		r.counters.refused.inc("goodbye")
		return nil
	}
	return r.release(ctx, id, record.Generation)
}

const (
	// releaseWorkers write down who has gone. A store may gather the writes
	// that wait, so there are several.
	releaseWorkers = 16
	// releaseQueueMax bounds what waits for them: more than the sessions that
	// one server may lose at once. What is refused is found by the next push,
	// revoke or claim.
	releaseQueueMax = 16 << 10
)

// gone is one session or grant that has ended.
type gone struct {
	user       proto.UserID
	generation proto.Generation
}

// releases removes the records of those who have gone.
type releases struct {
	route   *Route
	queue   chan gone
	workers sync.WaitGroup

	mu     sync.RWMutex
	closed bool
}

func newReleases(r *Route) *releases {
	rs := &releases{route: r, queue: make(chan gone, releaseQueueMax)}
	for range releaseWorkers {
		rs.workers.Go(rs.work)
	}
	return rs
}

// take queues g. It never blocks. After drain only a request that the drain
// did not wait for may call it.
func (rs *releases) take(g gone) {
	rs.route.known.left(g.user, g.generation)
	if !rs.enter(g) {
		rs.route.counters.refused.inc("release")
		rs.route.notices.say("release refused for load")
	}
}

func (rs *releases) enter(g gone) bool {
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

func (rs *releases) work() {
	for g := range rs.queue {
		work := newDeadline(storeTimeout)
		if err := rs.route.release(work, g.user, g.generation); err != nil {
			rs.route.storeFault("release a user", err)
		}
		work.stop()
	}
}

// drain works through what waits.
func (rs *releases) drain() {
	rs.mu.Lock()
	rs.closed = true
	close(rs.queue)
	rs.mu.Unlock()
	rs.workers.Wait()
}
