package route

import (
	"context"
	"sync"

	"cim/proto"
	"cim/store"
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
	if err := r.takeOffLine(ctx, id, mode, ticket); err != nil {
		return r.storeFailed("release a user", err)
	}
	return answer{code: proto.CodeSuccess}
}

func (r *Route) takeOffLine(ctx context.Context, id proto.UserID, mode proto.RevokeMode, ticket proto.Ticket) error {
	record, found, err := r.store.Lookup(ctx, id, store.Fresh)
	if err != nil || !found {
		return err
	}
	switch r.revoke(id, record, mode, ticket) {
	case proto.VerdictLives:
		return nil
	case proto.VerdictBusy:
		r.counters.refused.inc("goodbye")
		return nil
	}
	_, err = r.store.Release(ctx, id, record.Generation)
	return err
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
}

func newReleases(r *Route) *releases {
	rs := &releases{route: r, queue: make(chan gone, releaseQueueMax)}
	for range releaseWorkers {
		rs.workers.Go(rs.work)
	}
	return rs
}

// take queues r, which tells of an end. It never blocks. It is not called
// after drain: the links are closed before.
func (rs *releases) take(r *proto.Record) {
	select {
	case rs.queue <- gone{r.User, r.Generation}:
	default:
		rs.route.counters.refused.inc("release")
		rs.route.notices.say("release refused for load")
	}
}

func (rs *releases) work() {
	for g := range rs.queue {
		work := newDeadline(storeTimeout)
		if _, err := rs.route.store.Release(work, g.user, g.generation); err != nil {
			rs.route.notices.say("store failed", "doing", "release a user", "error", err)
		}
		work.stop()
	}
}

// drain works through what waits.
func (rs *releases) drain() {
	close(rs.queue)
	rs.workers.Wait()
}
