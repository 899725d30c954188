package route

import (
	"context"
	"errors"
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
)

// How a catch-up that failed has ended, beside the store's own errors.
var (
	errLeaseTaken = errors.New("another route sends to this user")
	errLeaseLost  = errors.New("the lease was lost")
	errOutdated   = errors.New("the record is of another login")
	errEndless    = errors.New("the box fills as fast as it empties")
)

// fetchOffline sends a user what was stored, if a session of his lives.
func (r *Route) fetchOffline(ctx context.Context, request *proto.FetchOfflineRequest) answer {
	id, err := readUser("receiveUserId", request.ReceiveUserID)
	if err != nil {
		return invalid(err)
	}
	record, found, err := r.store.Lookup(ctx, id, store.Fresh)
	if err != nil {
		return r.storeFailed("look up a user", err)
	}
	at, live := r.session(id, record)
	if !found || !live {
		return answer{code: proto.CodeOffline, message: "the user is offline"}
	}
	ended := make(chan error, 1)
	if err := r.catchups.start(catchup{session: at, ended: []chan<- error{ended}}); err != nil {
		return answer{code: proto.CodeLimit}
	}
	return fetched(ended)
}

func fetched(ended <-chan error) answer {
	timer := time.NewTimer(fetchTimeout)
	defer timer.Stop()
	select {
	case err := <-ended:
		return fetchAnswer(err)
	case <-timer.C:
		return answer{code: proto.CodeSuccess} // it goes on
	}
}

func fetchAnswer(err error) answer {
	switch {
	case err == nil || errors.Is(err, errLeaseTaken):
		return answer{code: proto.CodeSuccess}
	case errors.Is(err, errNoSession):
		return answer{code: proto.CodeOffline, message: "the user is offline"}
	}
	return answer{code: proto.CodeOfflineFetch}
}

// begun is called at a server's word that a session has begun, or is still
// held.
func (r *Route) begun(from *server, record *proto.Record) {
	at := session{record.User, record.Generation, from}
	r.startCatchup(catchup{session: at, confirm: true, held: true, holds: record.Value})
}

// startCatchup lets c run soon. One that is refused starts at the server's
// next word that the session is still held.
func (r *Route) startCatchup(c catchup) {
	if err := r.catchups.start(c); err != nil {
		r.counters.refused.inc("catchup")
		r.notices.say("catch-up refused", "error", err)
	}
}

// catchUp runs c, and follows the user to a newer session if c's has ended
// meanwhile.
func (r *Route) catchUp(ctx context.Context, c catchup) error {
	var err error
	for range sessionsMax {
		if err = r.catchUpOne(ctx, c); err == nil {
			break
		}
		next, found := r.newer(ctx, c.session)
		if !found {
			break
		}
		c = catchup{session: next}
	}
	r.tellCatchup(c, err)
	return err
}

// catchupEnds are the ends of a catch-up that are part of life: they are
// counted, not told.
var catchupEnds = [...]struct {
	err  error
	name string
}{
	{errLeaseTaken, "elsewhere"},
	{errNoSession, "ended"},
	{errOutdated, "outdated"},
	{errLinkDown, "link_down"},
	{errSilence, "silence"},
	{errLeaseLost, "lease_lost"},
	{errEndless, "endless"},
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
	r.notices.say("catch-up failed", "user", c.user, "generation", c.generation, "error", err)
}

// newer returns the user's present session if it is another one than s.
func (r *Route) newer(ctx context.Context, s session) (session, bool) {
	work, stop := context.WithTimeout(ctx, storeTimeout)
	defer stop()
	record, found, err := r.store.Lookup(work, s.user, store.Fresh)
	if err != nil || !found || record.Generation <= s.generation {
		return session{}, false // an error ends the catch-up as the one that led here
	}
	return r.session(s.user, record)
}

// catchUpOne sends one session all that is stored for its user.
func (r *Route) catchUpOne(ctx context.Context, c catchup) error {
	if err := r.confirm(ctx, c); err != nil {
		return err
	}
	b, err := r.openBox(ctx, c.session)
	if err != nil {
		return err
	}
	if err := b.send(ctx, c); err != nil {
		return errors.Join(err, b.abandon())
	}
	return nil
}

// confirm marks the record of a session that has begun. A login that was not
// granted has none.
func (r *Route) confirm(ctx context.Context, c catchup) error {
	if !c.confirm || c.generation == 0 {
		return nil
	}
	work, stop := context.WithTimeout(ctx, storeTimeout)
	defer stop()
	confirmed, err := r.store.Confirm(work, c.user, c.generation)
	if err == nil && !confirmed {
		err = errOutdated
	}
	return err
}
