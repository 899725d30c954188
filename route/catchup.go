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
	// fetchTimeout is how long fetchOfflineMsgs waits for the end of a
	// catch-up, which goes on without it.
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
)

// fetchOffline sends a user what was stored, if a session of his lives.
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
	return r.fetchAnswer(fetched(func(ended chan<- error) error {
		return r.catchups.start(catchup{session: at, ended: []chan<- error{ended}})
	}))
}

// fetched starts a catch-up and waits for its end. While another route sends it
// looks again: when that route is through, or has gone and its lease is over,
// this one finds the box empty, or empties it.
func fetched(start func(ended chan<- error) error) error {
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
	case errors.Is(err, errLate) && !r.outage.lasts():
		return answer{code: proto.CodeSuccess} // it goes on
	case errors.Is(err, errNoSession):
		return answer{code: proto.CodeOffline, message: "the user is offline"}
	case away(err) || errors.Is(err, errLate):
		return r.storeFailed("fetch messages", store.ErrAway)
	}
	return answer{code: proto.CodeOfflineFetch}
}

// begun is called at a server's word that a session has begun, or is still
// held. An error ends the link.
func (r *Route) begun(from *server, record *proto.Record) error {
	state, err := stateOf(record)
	if err != nil {
		return fmt.Errorf("route: what a server says of a session: %w", err)
	}
	at := session{record.User, record.Generation, from}
	r.known.sits(at.user, from.member.Epoch, at.generation)
	r.noteUngranted(from, at.user, at.generation)
	r.startCatchup(catchup{
		session: at, confirm: true, held: true, holdState: state,
		pause: r.catchupPause(at.generation),
	})
	return nil
}

// startCatchup lets c run soon, and reports whether it will. One of a held
// session that is refused starts at the server's next word that it is held.
func (r *Route) startCatchup(c catchup) bool {
	err := r.catchups.start(c)
	if err != nil {
		r.counters.refused.inc("catchup")
		r.notices.Say("catch-up refused", "error", err)
	}
	return err == nil
}

// catchUp runs c, and follows the user to a newer session if c's has ended
// meanwhile.
func (r *Route) catchUp(ctx context.Context, c catchup) error {
	var err error
	for range sessionsMax {
		if err = r.catchUpOne(ctx, c); err == nil || away(err) {
			break
		}
		next, found := r.newer(ctx, c.session)
		if !found {
			break
		}
		c = catchup{session: next}
	}
	r.tellCatchup(c, err)
	if noAnswer(err) {
		r.noteMissed(c.user, lastRecord{c.server.member.Epoch, c.generation})
	}
	return err
}

// catchupEnds are the ends of a catch-up that are part of life: they are
// counted, not told.
var catchupEnds = [...]struct {
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
	{errBusy, "busy"},
	{context.Canceled, "drain"},
}

func (r *Route) tellCatchup(c catchup, err error) {
	if err == nil {
		r.counters.catchups.inc("done")
		return
	}
	for _, end := range catchupEnds {
		if errors.Is(err, end.err) {
			r.counters.catchups.inc(end.name)
			r.log.Debug("catch-up ended", "user", c.user, "generation", c.generation, "outcome", end.name)
			return
		}
	}
	r.counters.catchups.inc("failed")
	r.notices.Say("catch-up failed", "user", c.user, "generation", c.generation, "error", err)
}

// newer returns the user's present session if it is another one than s.
func (r *Route) newer(ctx context.Context, s session) (session, bool) {
	work := newDeadlineWithin(ctx, storeTimeout)
	defer work.stop()
	record, found, err := r.lookupFresh(work, s.user)
	if err != nil || !found || record.Generation <= s.generation {
		return session{}, false // an error ends the catch-up as the one that led here
	}
	return r.session(s.user, record)
}

// catchUpOne sends one session all that is stored for its user.
func (r *Route) catchUpOne(ctx context.Context, c catchup) error {
	if c.server.guest() {
		return r.catchUpGuest(ctx, c.session)
	}
	if c.pause > 0 {
		if done, err := r.catchUpLater(c); done || err != nil {
			return err
		}
	}
	if err := r.confirm(ctx, c); err != nil {
		return err
	}
	c, err := r.holdMissed(ctx, c)
	if err != nil {
		return err
	}
	r.awaitAcked(ctx, c.user)
	b, err := r.openBox(ctx, c.session)
	if err != nil {
		return err
	}
	if err := b.send(ctx, c); err != nil {
		if away(err) {
			c.tell(err) // who waits is not to wait for two calls more
		}
		return errors.Join(err, b.abandon(err))
	}
	return nil
}

// confirm marks the record of a session that has begun. A login that was not
// granted has none. A record that is not the session's has either gone to a
// newer login, then the session ends, or the store has lost it and has it now.
func (r *Route) confirm(ctx context.Context, c catchup) error {
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
	if err := r.ended(c.server, restored.Superseded[0], c.server.ask(&record)); err != nil {
		return err // the session is still held, so its server tells of it again
	}
	return errOutdated
}
