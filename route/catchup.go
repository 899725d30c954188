package route

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cim/proto"
	"cim/store"
)

const (
	// sessionsMax bounds the sessions of one user that a catch-up follows.
	sessionsMax = 3
	// fetchTimeout is how long fetchOfflineMsgs waits for the end of a catch-up. The catch-up
	// continues after it.
	fetchTimeout = 5 * time.Second
	// fetchPause is between its looks while another route sends.
	fetchPause = 200 * time.Millisecond
)

// How a catch-up that failed has ended, beside the store's own errors.
var (
	errLeaseTaken = errors.New("another route sends to this user")
	errLeaseLost  = errors.New("the lease was lost")
	errOutdated   = errors.New("the record is of another login")
	errLate       = errors.New("it takes long")
	errEndless    = errors.New("the box fills as fast as it empties")
	errSlow       = errors.New("the client takes a page slowly: the catch-up continues when the server announces the session again")
)

// fetchOffline sends a user the stored texts, if the user has a session.
func (r *Route) fetchOffline(ctx context.Context, request *proto.FetchOfflineRequest) answer {
	id, err := readUser("receiveUserId", request.ReceiveUserID)
	if err != nil {
		return invalid(err)
	}
	record, found, err := r.lookupFresh(ctx, id)
	if err != nil {
		return r.storeFailed("look up a user", err)
	}
	at, live := r.session(id, record)
	if !found || !live {
		return answer{code: proto.CodeOffline, message: "the user is offline"}
	}
	return r.fetchAnswer(awaitCatchup(func(ended chan<- error) error {
		return r.catchups.start(catchup{session: at, waiters: []chan<- error{ended}})
	}))
}

// awaitCatchup starts a catch-up and waits for its end. While another route sends it
// looks again: when that route is through, or has gone and its lease is over,
// this one finds the box empty, or empties it.
func awaitCatchup(start func(ended chan<- error) error) error {
	late := time.NewTimer(fetchTimeout)
	defer late.Stop()
	again := time.NewTicker(fetchPause)
	defer again.Stop()
	for {
		ended := make(chan error, 1)
		if err := start(ended); err != nil {
			return err
		}
		select {
		case err := <-ended:
			if !errors.Is(err, errLeaseTaken) {
				return err
			}
		case <-late.C:
			return errLate
		}
		select {
		case <-again.C:
		case <-late.C:
			return errLate
		}
	}
}

func (r *Route) fetchAnswer(err error) answer {
	switch {
	case err == nil:
		return answer{code: proto.CodeSuccess}
	case errors.Is(err, errCatchupsFull) || errors.Is(err, errDraining):
		return answer{code: proto.CodeLimit}
	case errors.Is(err, errSlow), errors.Is(err, errLate) && !r.outage.active():
		return answer{code: proto.CodeSuccess} // the catch-up continues
	case errors.Is(err, errNoSession):
		return answer{code: proto.CodeOffline, message: "the user is offline"}
	case storeAway(err) || errors.Is(err, errLate):
		return r.storeFailed("fetch messages", store.ErrAway)
	}
	return answer{code: proto.CodeOfflineFetch}
}

// onSessionUp handles a server's UP: a session has started, or is still held. An error ends the
// link.
func (r *Route) onSessionUp(from *server, record *proto.Record) error {
	state, err := readHoldState(record)
	if err != nil {
		return fmt.Errorf("route: what a server says of a session: %w", err)
	}
	at := session{record.User, record.Generation, from}
	r.caches.noteLogin(at.user, from.member.Epoch, at.generation)
	r.noteUngranted(from, at.user, at.generation)
	r.startCatchup(catchup{
		session: at, confirm: true, held: true, holdState: state,
		delay: r.catchupDelay(at.generation),
	})
	return nil
}

// startCatchup queues c and reports whether there was room. If the catch-up of a held session is
// refused, the server's next UP starts it.
func (r *Route) startCatchup(c catchup) bool {
	err := r.catchups.start(c)
	if err != nil {
		r.counters.refused.inc("catchup")
		r.notices.Say("catch-up refused", "error", err)
	}
	return err == nil
}

// catchUp runs c. If c's session has ended meanwhile, it catches up the user's newer session.
func (r *Route) catchUp(ctx context.Context, c catchup) error {
	var err error
	for range sessionsMax {
		if err = r.catchUpOne(ctx, c); err == nil || storeAway(err) {
			break
		}
		next, found := r.newerSession(ctx, c.session)
		if !found {
			break
		}
		c = catchup{session: next}
	}
	r.reportCatchup(c, err)
	if noAnswer(err) {
		r.notePendingHold(c.user, sessionKey{c.server.member.Epoch, c.generation})
	}
	return err
}

// catchupOutcomes are the expected ways in which a catch-up fails. They are counted, and logged at
// debug level only.
var catchupOutcomes = [...]struct {
	err  error
	name string
}{
	{store.ErrAway, "store_away"},
	{context.DeadlineExceeded, "store_away"},
	{errLeaseTaken, "elsewhere"},
	{errNoSession, "ended"},
	{errOutdated, "outdated"},
	{errLinkDown, "link_down"},
	{errSilence, "silence"},
	{errLeaseLost, "lease_lost"},
	{errEndless, "endless"},
	{errSlow, "slow"},
	{errBusy, "busy"},
	{context.Canceled, "drain"},
}

func (r *Route) reportCatchup(c catchup, err error) {
	if err == nil {
		r.counters.catchups.inc("done")
		return
	}
	for _, end := range catchupOutcomes {
		if errors.Is(err, end.err) {
			r.counters.catchups.inc(end.name)
			r.log.Debug("catch-up ended", "user", c.user, "generation", c.generation, "outcome", end.name)
			return
		}
	}
	r.counters.catchups.inc("failed")
	r.notices.Say("catch-up failed", "user", c.user, "generation", c.generation, "error", err)
}

// newerSession returns the user's present session if it is another one than s.
func (r *Route) newerSession(ctx context.Context, s session) (session, bool) {
	work := newDeadlineWithin(ctx, storeTimeout)
	defer work.stop()
	record, found, err := r.lookupFresh(work, s.user)
	if err != nil || !found || record.Generation <= s.generation {
		return session{}, false // the catch-up ends with the error that led here
	}
	return r.session(s.user, record)
}

// catchUpOne sends one session all stored texts of its user.
func (r *Route) catchUpOne(ctx context.Context, c catchup) error {
	if c.server.guest() {
		return r.catchUpGuest(ctx, c.session)
	}
	if c.delay > 0 {
		if done, err := r.delayCatchup(c); done || err != nil {
			return err
		}
	}
	if err := r.confirmRecord(ctx, c); err != nil {
		return err
	}
	c, err := r.holdPending(ctx, c)
	if err != nil {
		return err
	}
	r.awaitAcked(ctx, c.user)
	b, err := r.openBox(ctx, c.session)
	if err != nil {
		return err
	}
	if err := b.send(ctx, c); err != nil {
		if storeAway(err) {
			c.notify(err) // those who wait need not wait for two more calls of the store
		}
		return errors.Join(err, b.abandon(err))
	}
	return nil
}

// confirmRecord marks the record of a session that has started. A login without a grant has no
// record. If the record is not the session's, either a newer login has it, and the session ends, or
// the store had lost it, and has it again now.
func (r *Route) confirmRecord(ctx context.Context, c catchup) error {
	if !c.confirm || c.generation == 0 {
		return nil
	}
	work := newDeadlineWithin(ctx, storeTimeout)
	defer work.stop()
	confirmed, err := r.store.Confirm(work, c.user, c.generation)
	if err != nil || confirmed {
		return err
	}
	restored, err := r.store.Restore(work, c.server.place, []proto.Session{{User: c.user, Generation: c.generation}})
	if err != nil || len(restored.Superseded) == 0 {
		return err
	}
	record := c.record(proto.RecordRevoke)
	record.Value = uint64(proto.RevokeSuperseded)
	if err := r.noteSuperseded(c.server, restored.Superseded[0], c.server.ask(&record)); err != nil {
		return err // the session is still held, so its server sends UP again
	}
	return errOutdated
}
