package route

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"cim/proto"
	"cim/route/access"
	"cim/store"
)

const (
	// claimTries bounds how often a login starts over because another login of its user has claimed
	// meanwhile.
	claimTries = 3
	// grantTries bounds the servers of ours that one login asks. Each may be silent
	// for askTimeout, and the request has storeTimeout.
	grantTries = 4
)

// login is one login that was accepted so far.
type login struct {
	user           proto.User
	ours           bool         // the client knows members that the contract does not name
	oldTicket      proto.Ticket // of its last login; zero: none shown
	olderEpoch     proto.Epoch  // of the server that may have an older session; 0: none
	move           bool         // the older session goes on until the new one starts
	ack            bool         // the client can acknowledge texts
	from           netip.Addr   // of the client
	rule           proto.AddressRule
	lifetimeMillis uint64 // of the session, in ms from now on; 0: without a bound
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
		l.ack = request.Ack == 1
		l.oldTicket, err = proto.ParseTicket(request.Ticket)
		l.move = request.Move != 0 && !l.oldTicket.IsZero()
	}
	return l, err
}

// login ends the user's older login, picks a server and grants the login there.
func (r *Route) login(ctx context.Context, caller access.Caller, request *proto.LoginRequest) answer {
	l, err := readLogin(request)
	if err != nil {
		return invalid(err)
	}
	l.rule = r.config.addressRule()
	l.from, l.lifetimeMillis = caller.From(), uint64(caller.Lifetime(time.Now()).Milliseconds())
	account, refused := r.accountOf(ctx, "userId", l.user.ID)
	switch {
	case refused != nil:
		return *refused
	case !proto.SameName(account.Name, l.user.Name):
		return answer{code: proto.CodeAccountMismatch}
	}
	l.user = account
	a := r.loginAccount(ctx, l)
	if a.code == proto.CodeSuccess {
		if refused := r.refuseRevokedLogin(ctx, caller); refused != nil {
			return *refused
		}
	}
	return a
}

func (r *Route) loginAccount(ctx context.Context, l login) answer {
	for range claimTries {
		candidates := r.choice.order(r.cluster.servers(), l.user.ID)
		if len(candidates) == 0 {
			return answer{code: proto.CodeNoServer}
		}
		a, err := r.tryLogin(ctx, l, candidates)
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
	older, err := r.currentRecord(ctx, l.user.ID)
	if err != nil {
		return answer{}, err
	}
	if a, done, err := r.join(ctx, l, older); done || err != nil {
		return a, err
	}
	sure, refused := r.endOlder(l, older)
	if refused != nil {
		return *refused, nil
	}
	l.move = l.move && sure && older.Connected
	if !sure || l.move {
		l.olderEpoch = older.Place.Epoch
	}
	stands, asked := older, 0
	for _, s := range candidates {
		if s.guest() {
			if a, done, err := r.tryGuest(ctx, l, s, stands); done || err != nil {
				return a, err
			}
			continue // a connect that is refused costs nothing, and one that is not refused has ctx
		}
		if asked++; asked > grantTries {
			break
		}
		generation, err := r.store.Claim(ctx, l.user.ID, s.place, stands.Generation)
		if err != nil {
			return answer{}, err
		}
		stands = store.Record{Place: s.place, Generation: generation}
		if !sure || !older.Connected {
			r.endOvertakenLogin(l, older)
		}
		if err := ctx.Err(); err != nil {
			return answer{}, errors.Join(err, r.releaseClaim(ctx, l, generation))
		}
		a, done, err := r.tryServer(ctx, l, s, generation)
		if done || err != nil {
			return a, err
		}
	}
	if stands == older {
		return answer{code: proto.CodeNoServer}, nil // none was claimed
	}
	return answer{code: proto.CodeNoServer}, r.releaseClaim(ctx, l, stands.Generation)
}

// joinPause is how long a login waits for another one that has claimed the user but not sent its
// grant yet.
const joinPause = 20 * time.Millisecond

// join adds the login to an older one of the user whose client has not connected yet, at the same
// server. So however often logins are repeated, none takes another one's place, and no client that
// has just logged in is locked out. done is false if there is no such login or its server cannot be
// reached.
func (r *Route) join(ctx context.Context, l login, older store.Record) (a answer, done bool, err error) {
	s := r.cluster.server(older.Place.Epoch)
	if older.Generation == 0 || older.Connected || s == nil || !s.open() || s.guest() {
		return answer{}, false, nil
	}
	ticket := newTicket()
	ask := grantRecord(proto.RecordJoin, l, older.Generation, ticket)
	response := s.ask(&ask)
	if response.err == nil && response.verdict == proto.VerdictAbsent {
		sleep(ctx, joinPause)
		response = s.ask(&ask)
	}
	if response.err != nil || response.verdict != proto.VerdictTaken {
		return answer{}, false, nil
	}
	r.counters.joins.Inc()
	ticket = proto.JoinedTicket(ticket, response.value)
	return r.loginGranted(l, s, older.Generation, ticket), true, r.stillClaimed(ctx, l, s, older.Generation)
}

// newTicket returns a random ticket.
func newTicket() (ticket proto.Ticket) {
	rand.Read(ticket[:]) // ends the process rather than fail
	return ticket
}

// endOvertakenLogin ends the login of an older claim: one of the same user at the same time, which
// endOlder could not see, or one about which endOlder got no answer. It is superseded, so it ends
// whichever client has it. stillClaimed is the counterpart: either this call comes behind the older
// grant, or the older login sees the newer claim. A silent server receives this on its link later.
// A server whose link is down reports the session when the link is up, or another route passes on
// the newer login.
func (r *Route) endOvertakenLogin(l login, older store.Record) {
	r.revoke(l.user.ID, older, proto.RevokeSuperseded, proto.Ticket{})
}

// endOlder ends the user's older login if that is allowed. If it does not refuse, the login has
// ended and the texts that its session kept are in the box; sure reports that the server confirmed
// this.
func (r *Route) endOlder(l login, older store.Record) (sure bool, refused *answer) {
	response := r.revoke(l.user.ID, older, r.loginMode(l), l.oldTicket)
	if r.sessionUncertain(older, response) {
		doubt := uncertainAnswer()
		return false, &doubt
	}
	switch response.outcome() {
	case proto.VerdictLives:
		return false, &answer{code: proto.CodeRepeatLogin}
	case proto.VerdictBusy:
		return false, &answer{code: proto.CodeLimit}
	case proto.VerdictUnknown:
		return false, &answer{code: proto.CodeFailure, message: "whether the older login has ended is not known, try again later"}
	}
	return response.err == nil && response.verdict != proto.VerdictReturning, nil
}

// uncertainMax is how long the link to a live server may be down before its sessions count as dead.
// It is longer than a redial's pause, long enough for the registry to find a dead server, and
// shorter than the contract's heartbeat time, for which a user may be locked out at most.
const uncertainMax = 10 * time.Second

// errUncertain means that it cannot be found out whether a session lives.
var errUncertain = errors.New("the session's server is out of reach")

// sessionUncertain reports whether the session of record may live although answer is
// none: its server is live but not linked, and no dial has found it gone.
func (r *Route) sessionUncertain(record store.Record, answer reply) bool {
	s := r.cluster.server(record.Place.Epoch)
	if !record.Connected || s == nil || !errors.Is(answer.err, errLinkDown) || s.processEnded.Load() || s.unlinkedFor() >= uncertainMax {
		return false
	}
	r.counters.doubts.Inc()
	r.notices.Say("request refused: the server of a session is out of reach", "server", s.member.Name())
	return true
}

// uncertainAnswer is no repeat login: that would end an old client which only wants
// to come back.
func uncertainAnswer() answer {
	return answer{code: proto.CodeFailure, message: "the server of the older login cannot be reached, try again later"}
}

func (r *Route) loginMode(l login) proto.RevokeMode {
	switch {
	case l.move:
		return proto.RevokeMove
	case r.config.RepeatLogin == RepeatReplace:
		return proto.RevokeReplace
	case l.ours && !l.oldTicket.IsZero():
		return proto.RevokeTicket
	}
	return proto.RevokeGrant
}

// revoke asks the server of record to end the user's login there. A server that is not live has
// none.
func (r *Route) revoke(user proto.UserID, record store.Record, mode proto.RevokeMode, ticket proto.Ticket) reply {
	s := r.cluster.server(record.Place.Epoch)
	if s == nil {
		return reply{verdict: proto.VerdictAbsent}
	}
	ask := proto.Record{Kind: proto.RecordRevoke, User: user, Generation: record.Generation, Value: uint64(mode)}
	if !ticket.IsZero() {
		ask.Body = ticket[:]
	}
	return s.ask(&ask)
}

// tryServer grants a claimed login at s. It is done when the client may be
// answered.
func (r *Route) tryServer(ctx context.Context, l login, s *server, generation proto.Generation) (a answer, done bool, err error) {
	ticket := newTicket()
	switch r.grant(s, l, generation, ticket) {
	case proto.VerdictTaken:
		return r.loginGranted(l, s, generation, ticket), true, r.stillClaimed(ctx, l, s, generation)
	case proto.VerdictLives:
		return answer{code: proto.CodeRepeatLogin}, true, r.releaseClaim(ctx, l, generation)
	case proto.VerdictStale: // the server has a newer login of the user
		if err := r.releaseClaim(ctx, l, generation); err != nil {
			return answer{}, true, err
		}
		return answer{}, true, store.ErrSuperseded
	}
	return answer{}, false, nil
}

// stillClaimed checks the claim behind the grant. If another login of the user has claimed
// meanwhile, it takes the grant back and returns ErrSuperseded.
func (r *Route) stillClaimed(ctx context.Context, l login, s *server, generation proto.Generation) error {
	record, _, err := r.lookupFresh(ctx, l.user.ID)
	if err != nil || record.Generation == generation {
		return err
	}
	mine := store.Record{Place: s.place, Generation: generation}
	r.revoke(l.user.ID, mine, proto.RevokeGrant, proto.Ticket{})
	return store.ErrSuperseded
}

func (r *Route) grant(s *server, l login, generation proto.Generation, ticket proto.Ticket) proto.Verdict {
	ask := grantRecord(proto.RecordGrant, l, generation, ticket)
	if l.olderEpoch != s.member.Epoch {
		ask.Value = uint64(l.olderEpoch)
	}
	if l.move {
		ask.Flags |= proto.FlagMove
	}
	return s.ask(&ask).outcome()
}

// grantRecord is the grant or join of a login.
func grantRecord(kind proto.RecordKind, l login, generation proto.Generation, ticket proto.Ticket) proto.Record {
	r := proto.Record{
		Kind: kind, User: l.user.ID, Name: []byte(l.user.Name), Generation: generation,
		Body: proto.AppendGrant(nil, proto.Grant{Ticket: ticket, From: l.from, LifetimeMillis: l.lifetimeMillis, Rule: l.rule}),
	}
	if l.ours {
		r.Flags = proto.FlagDemandTicket
	}
	return r
}

// endOlderSessions ends the older sessions of a user at a server that the route of the newer login
// could not reach. A link's reader calls it, so it does not wait. A server whose link is down
// reports the session when the link is up.
func (r *Route) endOlderSessions(user proto.UserID, newer proto.Generation, at proto.Epoch) {
	s := r.cluster.server(at)
	if s == nil || newer == 0 {
		return
	}
	if on := s.stream.Load(); on != nil {
		record := session{user, newer - 1, s}.record(proto.RecordRevoke)
		record.Value = uint64(proto.RevokeSuperseded)
		on.sendOneWay(&record)
	}
}

// releaseClaim releases a claim that no server took. If the request has no time left, the release
// queue does it.
func (r *Route) releaseClaim(ctx context.Context, l login, generation proto.Generation) error {
	err := r.release(ctx, l.user.ID, store.Place{}, generation)
	if storeAway(err) {
		r.releases.add(endedSession{user: l.user.ID, generation: generation})
		return nil
	}
	return err
}

// loginGranted is the answer to a login that a server has granted.
func (r *Route) loginGranted(l login, s *server, generation proto.Generation, ticket proto.Ticket) answer {
	r.caches.noteLogin(l.user.ID, s.member.Epoch, generation)
	l.ack = l.ack && r.canAcknowledge()
	return loginAnswer(l, s, ticket)
}

func loginAnswer(l login, s *server, ticket proto.Ticket) answer {
	body := proto.LoginBody{IP: s.member.Host, CIMServerPort: s.member.CIMPort, HTTPPort: s.member.HTTPPort}
	if l.ours {
		body.Ticket = ticket.String()
		if l.ack {
			body.Ack = proto.AckVersion
		}
	}
	return answer{code: proto.CodeSuccess, body: body.Body()}
}
