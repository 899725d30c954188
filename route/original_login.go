package route

import (
	"context"
	"time"

	"cim/proto"
	"cim/store"
)

// underWayPause is how long a login of the original may take between its two
// steps: who is noted as logged in and has no record after it is not.
const underWayPause = 100 * time.Millisecond

// standing reads the record that a login finds, where processes of the
// original are too: one of them may be about to write it.
func (r *Route) standing(ctx context.Context, user proto.UserID) (store.Record, error) {
	record, found, err := r.lookupFresh(ctx, user)
	beside := r.beside()
	if err != nil || found || beside == nil {
		return record, err
	}
	if in, err := beside.LoggedIn(ctx, user); err != nil || !in {
		return record, err
	}
	sleep(ctx, underWayPause)
	if record, found, err = r.lookupFresh(ctx, user); err == nil && !found {
		_, err = beside.ReleaseOriginal(ctx, user, store.Place{})
	}
	return record, err
}

// repeats reports whether record is of a login at a server of the original that
// stands: all that is known of it is that the user is noted as logged in.
func (r *Route) repeats(ctx context.Context, user proto.UserID, record store.Record) (bool, error) {
	if r.originalServer(record) == nil || r.original == nil {
		return false, nil
	}
	return r.original.LoggedIn(ctx, user)
}

// tryOriginal claims a login for a server of the original over the record that
// stands. It is done when the client may be answered.
func (r *Route) tryOriginal(ctx context.Context, l login, s *server, standing store.Record) (a answer, done bool, err error) {
	if r.original == nil || !s.pusher.reachable(ctx) {
		return answer{}, false, nil
	}
	if err := r.original.ClaimOriginal(ctx, l.user.ID, s.place, unresolved(standing)); err != nil {
		return answer{}, true, err
	}
	body := proto.LoginBody{IP: s.member.Host, CIMServerPort: s.member.CIMPort, HTTPPort: s.member.HTTPPort}
	return answer{code: proto.CodeSuccess, body: proto.Body(body)}, true, nil
}

// forgetAbsent is a goodbye of somebody who has no record: for the original he
// may count as logged in all the same.
func (r *Route) forgetAbsent(ctx context.Context, user proto.UserID) error {
	beside := r.beside()
	if beside == nil {
		return nil
	}
	_, err := beside.ReleaseOriginal(ctx, user, store.Place{})
	return err
}
