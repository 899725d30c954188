package route

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"cim/proto"
	"cim/store"
)

const (
	// claimTries bounds how often a login looks again after another login of
	// its user has claimed meanwhile.
	claimTries = 3
	// grantTries bounds the servers that one login asks. Each may be silent
	// for askTimeout, and the request has storeTimeout.
	grantTries = 4
)

// login is one login that was accepted so far.
type login struct {
	user proto.User
	ours bool         // the client knows members that the contract does not name
	old  proto.Ticket // of its last login; zero: none shown
}

func readLogin(request *proto.LoginRequest) (login, error) {
	id, err := readUser("userId", request.UserID)
	if err != nil {
		return login{}, err
	}
	if request.UserName == "" {
		return login{}, errors.New("userName is missing")
	}
	if request.Client != 0 && request.Client != 1 {
		return login{}, fmt.Errorf("client is %d, want 1 or nothing", request.Client)
	}
	l := login{user: proto.User{ID: id, Name: request.UserName}, ours: request.Client == 1}
	if l.ours {
		l.old, err = proto.ParseTicket(request.Ticket)
	}
	return l, err
}

// login ends what its user had, picks a server and tells it to expect the
// client.
func (r *Route) login(ctx context.Context, request *proto.LoginRequest) answer {
	l, err := readLogin(request)
	if err != nil {
		return invalid(err)
	}
	account, refused := r.known(ctx, "userId", l.user.ID)
	switch {
	case refused != nil:
		return *refused
	case account != l.user:
		return answer{code: proto.CodeAccountMismatch}
	}
	return r.loginAccount(ctx, l)
}

func (r *Route) loginAccount(ctx context.Context, l login) answer {
	for range claimTries {
		candidates := r.choice.order(r.cluster.servers(), l.user.ID)
		if len(candidates) == 0 {
			return answer{code: proto.CodeNoServer}
		}
		a, err := r.tryLogin(ctx, l, candidates[:min(len(candidates), grantTries)])
		switch {
		case err == nil:
			return a
		case !errors.Is(err, store.ErrSuperseded):
			return r.storeFailed("claim a user", err)
		}
	}
	return answer{code: proto.CodeRepeatLogin} // others log in as this user, over and over
}

// tryLogin ends the older login, claims the user for one candidate after
// another until one takes the grant, and gives the claim back if none does.
// The error is the store's.
func (r *Route) tryLogin(ctx context.Context, l login, candidates []*server) (answer, error) {
	older, _, err := r.store.Lookup(ctx, l.user.ID, store.Fresh)
	if err != nil {
		return answer{}, err
	}
	if refused := r.endOlder(l, older); refused != nil {
		return *refused, nil
	}
	generation := older.Generation
	for _, s := range candidates {
		if generation, err = r.store.Claim(ctx, l.user.ID, s.place, generation); err != nil {
			return answer{}, err
		}
		r.endOvertaken(l, older)
		a, done, err := r.tryServer(ctx, l, s, generation)
		if done || err != nil {
			return a, err
		}
	}
	return answer{code: proto.CodeNoServer}, r.giveBack(l, generation)
}

// endOvertaken ends what came of an older claim after endOlder had found
// nothing: a login of the same user at the same time. It was overtaken, so it
// ends whoever's it is. stillClaimed is the other half: either this comes
// behind the older grant, or the older login sees the newer claim.
func (r *Route) endOvertaken(l login, older store.Record) {
	if older.Connected {
		return
	}
	for _, mode := range [...]proto.RevokeMode{proto.RevokeReplace, proto.RevokeGoodbye} {
		if r.revoke(l.user.ID, older, mode, proto.Ticket{}) != proto.VerdictLives {
			return
		}
	}
}

// endOlder ends the user's older login as far as that is allowed. The answer
// is nil if nothing is left of it.
func (r *Route) endOlder(l login, older store.Record) *answer {
	switch r.revoke(l.user.ID, older, r.loginMode(l), l.old) {
	case proto.VerdictLives:
		return &answer{code: proto.CodeRepeatLogin}
	case proto.VerdictBusy:
		return &answer{code: proto.CodeLimit}
	}
	return nil
}

func (r *Route) loginMode(l login) proto.RevokeMode {
	switch {
	case r.config.RepeatLogin == RepeatReplace:
		return proto.RevokeReplace
	case l.ours && !l.old.IsZero():
		return proto.RevokeTicket
	}
	return proto.RevokeGrant
}

// revoke asks the server of record to end what user has there. A server that
// is not live has nothing any more.
func (r *Route) revoke(user proto.UserID, record store.Record, mode proto.RevokeMode, ticket proto.Ticket) proto.Verdict {
	s := r.cluster.server(record.Place.Epoch)
	if s == nil {
		return proto.VerdictAbsent
	}
	ask := proto.Record{Kind: proto.RecordRevoke, User: user, Generation: record.Generation, Value: uint64(mode)}
	if !ticket.IsZero() {
		ask.Body = ticket[:]
	}
	return s.ask(&ask).outcome()
}

// tryServer grants a claimed login at s. It is done when the client may be
// answered.
func (r *Route) tryServer(ctx context.Context, l login, s *server, generation proto.Generation) (a answer, done bool, err error) {
	var ticket proto.Ticket
	rand.Read(ticket[:]) // ends the process rather than fail
	switch r.grant(s, l, generation, ticket) {
	case proto.VerdictTaken:
		return loggedIn(l, s, ticket), true, r.stillClaimed(ctx, l, s, generation)
	case proto.VerdictLives:
		return answer{code: proto.CodeRepeatLogin}, true, r.giveBack(l, generation)
	case proto.VerdictStale: // the server has a newer login of the user
		return answer{}, true, store.ErrSuperseded
	}
	return answer{}, false, nil
}

// stillClaimed takes the grant back and returns ErrSuperseded if another login
// of the user has claimed meanwhile.
func (r *Route) stillClaimed(ctx context.Context, l login, s *server, generation proto.Generation) error {
	record, _, err := r.store.Lookup(ctx, l.user.ID, store.Fresh)
	if err != nil || record.Generation == generation {
		return err
	}
	mine := store.Record{Place: s.place, Generation: generation}
	r.revoke(l.user.ID, mine, proto.RevokeGrant, proto.Ticket{})
	return store.ErrSuperseded
}

func (r *Route) grant(s *server, l login, generation proto.Generation, ticket proto.Ticket) proto.Verdict {
	ask := proto.Record{
		Kind: proto.RecordGrant, User: l.user.ID, Name: []byte(l.user.Name),
		Generation: generation, Body: ticket[:],
	}
	if l.ours {
		ask.Flags = proto.FlagDemandTicket
	}
	return s.ask(&ask).outcome()
}

// giveBack releases a claim that no server took, with a deadline of its own:
// the request's may be used up.
func (r *Route) giveBack(l login, generation proto.Generation) error {
	work := newDeadline(storeTimeout)
	defer work.stop()
	_, err := r.store.Release(work, l.user.ID, generation)
	return err
}

func loggedIn(l login, s *server, ticket proto.Ticket) answer {
	body := proto.LoginBody{IP: s.member.Host, CIMServerPort: s.member.CIMPort, HTTPPort: s.member.HTTPPort}
	if l.ours {
		body.Ticket = ticket.String()
	}
	return answer{code: proto.CodeSuccess, body: proto.Body(body)}
}
