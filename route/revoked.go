package route

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cim/proto"
	"cim/route/access"
)

// An operator may have a user's older tokens refused. The time from which on
// they must be issued is kept with the account, so that it holds at all routes.

// refusalCacheTime is how long a route believes what the store has said of a user's
// tokens: so each route refuses them at most that long after the operator.
const refusalCacheTime = 5 * time.Second

var (
	// ErrNoTokens says that the route looks at no tokens.
	ErrNoTokens = errors.New("route: it runs with --auth off, and looks at no tokens")
	// ErrNoAccount says that the user has no account.
	ErrNoAccount = errors.New("route: no such account")
)

// refusedTokens is the time before which a user's tokens are refused, as the
// store had it.
type refusedTokens struct {
	before proto.UnixMilli // 0: none are
	read   time.Time       // when the store was asked
}

// noteRefusal notes what the store has. The time only grows, so of two answers
// that cross, the larger is the newer one.
func (k *caches) noteRefusal(user proto.UserID, seen refusedTokens) {
	k.refusals.putIf(user, seen, func(cached refusedTokens) bool { return cached.before <= seen.before })
}

// refusedBefore returns the time before which tokens of user are refused. While
// the store is away it is the last that is known.
func (r *Route) refusedBefore(ctx context.Context, user proto.UserID) (proto.UnixMilli, error) {
	last, found := r.caches.refusals.get(user)
	if found && (time.Since(last.read) < refusalCacheTime || r.outage.active()) {
		return last.before, nil
	}
	at, err := r.readRefused(ctx, user)
	if storeAway(err) {
		r.outage.noteFailure()
		if found {
			return last.before, nil
		}
	}
	return at, err
}

// readRefused asks the store.
func (r *Route) readRefused(ctx context.Context, user proto.UserID) (proto.UnixMilli, error) {
	begun := time.Now()
	at, err := r.store.TokensRefusedBefore(ctx, user)
	if err == nil {
		r.caches.noteRefusal(user, refusedTokens{at, begun})
	}
	return at, err
}

// refuseRevoked is the refusal for a caller whose token is refused, or cannot be checked; nil: the
// caller may be served.
func (r *Route) refuseRevoked(ctx context.Context, caller access.Caller) *answer {
	user := caller.TokenOf()
	if user == 0 {
		return nil
	}
	at, err := r.refusedBefore(ctx, user)
	return r.judgeToken(caller, at, err)
}

// refuseRevokedLogin is refuseRevoked for a login that a server has granted. It asks the store.
// Either it sees the refusal, or the later steps of the operator, the end of the login by
// RefuseTokens and the kick, see this login.
func (r *Route) refuseRevokedLogin(ctx context.Context, caller access.Caller) *answer {
	user := caller.TokenOf()
	if user == 0 {
		return nil
	}
	at, err := r.readRefused(ctx, user)
	refused := r.judgeToken(caller, at, err)
	if refused == nil || err != nil {
		return refused
	}
	if err := r.endLogin(ctx, user, proto.RevokeSuperseded); err != nil { // its client may have connected
		r.storeFault("end a login whose token is refused", err)
	}
	return refused
}

func (r *Route) judgeToken(caller access.Caller, at proto.UnixMilli, err error) *answer {
	if err != nil {
		failed := r.storeFailed("look up which tokens are refused", err)
		return &failed
	}
	if refusal := caller.IssuedBefore(at); refusal != nil {
		refused := forbidden(refusal)
		return &refused
	}
	return nil
}

// endLogin ends user's last login at its server, if mode allows.
func (r *Route) endLogin(ctx context.Context, user proto.UserID, mode proto.RevokeMode) error {
	record, found, err := r.lookupFresh(ctx, user)
	if err != nil || !found {
		return err
	}
	response := r.revoke(user, record, mode, proto.Ticket{})
	switch {
	case response.err != nil:
		return fmt.Errorf("route: end a login: %w", response.err)
	case response.outcome() != proto.VerdictTaken:
		return nil // it stays, there is none, or its server says when it has ended
	}
	return r.release(ctx, user, record.Place, record.Generation)
}

// RefuseTokens refuses the tokens of user that were issued before now: at this route at once, at
// the others within refusalCacheTime. It also ends a granted login whose client has not connected.
// Sessions stay; a caller that wants to end them does so afterwards. since is the time from which
// on tokens are accepted: the next whole second, since tokens carry whole seconds.
func (r *Route) RefuseTokens(ctx context.Context, user proto.UserID) (since time.Time, err error) {
	if r.config.Access.Mode == access.Off {
		return time.Time{}, ErrNoTokens
	}
	_, found, err := r.account(ctx, user)
	switch {
	case err != nil:
		return time.Time{}, err
	case !found:
		return time.Time{}, fmt.Errorf("%w: %d", ErrNoAccount, user)
	}
	now := time.Now()
	since = now.Truncate(time.Second).Add(time.Second).UTC()
	at := proto.UnixMilli(since.UnixMilli())
	if err := r.store.RefuseTokensBefore(ctx, user, at); err != nil {
		return time.Time{}, err
	}
	r.caches.noteRefusal(user, refusedTokens{at, now})
	if err := r.endLogin(ctx, user, proto.RevokeGrant); err != nil {
		return time.Time{}, fmt.Errorf("the tokens are refused, but a login of before may begin a session yet, so ask again: %w", err)
	}
	return since, nil
}
