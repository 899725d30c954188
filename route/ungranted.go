package route

import (
	"context"
	"sync/atomic"
	"time"

	"cim/proto"
	"cim/store"
)

// Ungranted handles logins that no route of ours granted: logins at guests, and logins at servers
// of ours that another system's routes let in. Their records have generation 0. Any goroutine may
// call it; only the methods with a context may block.
type Ungranted interface {
	// UnderWay reports whether another system's route counts user as logged in, and
	// so may be about to write the record.
	UnderWay(ctx context.Context, user proto.UserID) (bool, error)
	// Claim makes user's record one for a guest at place, in the place of older; the
	// zero Record: of none. The error is store.ErrSuperseded if there is another.
	Claim(ctx context.Context, user proto.UserID, place store.Place, older store.Record) error
	// Release removes the record of user if it names place. The zero Place removes what another
	// system may keep of a user without a record.
	Release(ctx context.Context, user proto.UserID, place store.Place) error
	// Seen is called for each session of generation 0 that a server reports.
	Seen(user proto.UserID, at proto.Epoch)
	// CatchupPause is how long stored texts are held back from such a session, since its client
	// first asks another system for them; 0: they are sent at once.
	CatchupPause() time.Duration
	// KeepsIDs reports whether every process that may read a box keeps the ids of its texts and
	// removes texts one by one.
	KeepsIDs() bool
}

// underWayPause is how long a login elsewhere may take between its two steps. A user who still has
// no record after it is not logged in.
const underWayPause = 100 * time.Millisecond

// currentRecord reads the record that a login finds. If there is none, another system's
// route may be about to write it.
func (r *Route) currentRecord(ctx context.Context, user proto.UserID) (store.Record, error) {
	record, found, err := r.lookupFresh(ctx, user)
	if err != nil || found || r.ungranted == nil {
		return record, err
	}
	if underWay, err := r.ungranted.UnderWay(ctx, user); err != nil || !underWay {
		return record, err
	}
	sleep(ctx, underWayPause)
	if record, found, err = r.lookupFresh(ctx, user); err == nil && !found {
		err = r.ungranted.Release(ctx, user, store.Place{})
	}
	return record, err
}

// tryGuest claims a login for a guest over the record that stands. It is done when
// the client may be answered.
func (r *Route) tryGuest(ctx context.Context, l login, s *server, standing store.Record) (a answer, done bool, err error) {
	if r.ungranted == nil || ctx.Err() != nil || r.grant(s, l, 0, proto.Ticket{}) != proto.VerdictTaken {
		return answer{}, false, nil
	}
	if err := r.ungranted.Claim(ctx, l.user.ID, s.place, standing); err != nil {
		return answer{}, true, err
	}
	body := proto.LoginBody{IP: s.member.Host, CIMServerPort: s.member.CIMPort, HTTPPort: s.member.HTTPPort}
	return answer{code: proto.CodeSuccess, body: proto.Body(body)}, true, nil
}

// releaseUngranted removes the record of a login without a grant at place; the zero
// Place: what another system may keep of a user without a record.
func (r *Route) releaseUngranted(ctx context.Context, user proto.UserID, place store.Place) error {
	if r.ungranted == nil {
		return nil // no such record is ever written
	}
	return r.ungranted.Release(ctx, user, place)
}

// noteUngranted passes on a session that came without a grant.
func (r *Route) noteUngranted(at *server, user proto.UserID, generation proto.Generation) {
	if generation == 0 && r.ungranted != nil {
		r.ungranted.Seen(user, at.member.Epoch)
	}
}

// catchupDelay is how long stored texts are held back from a session.
func (r *Route) catchupDelay(generation proto.Generation) time.Duration {
	if generation != 0 || r.ungranted == nil {
		return 0
	}
	return r.ungranted.CatchupPause()
}

// delayedMax bounds the catch-ups that wait for their pause. One more user gets what
// is left with the next message that is stored, or by a fetch.
const delayedMax = 64 << 10

// delayedCatchups are the catch-ups that wait for clients to ask elsewhere.
type delayedCatchups struct {
	waiting atomic.Int64 // <= pausedMax
}

// delayCatchup resumes a session at once and starts its catch-up after c.delay: the session's
// client first asks another system for stored texts, and both at once would send each text twice.
// done is false if texts have been stored meanwhile that no other route sends.
func (r *Route) delayCatchup(c catchup) (done bool, err error) {
	if r.pendingHolds.contains(c.user, sessionKey{c.server.member.Epoch, c.generation}) {
		return false, nil
	}
	ask := c.record(proto.RecordResume)
	ask.Value = c.holds
	answer := c.server.ask(&ask)
	if answer.err == nil && (answer.verdict == proto.VerdictBehind || answer.verdict == proto.VerdictReturning) {
		return false, nil
	}
	if err := c.server.failure("resume", answer); err != nil {
		return false, err
	}
	if r.delayed.waiting.Add(1) > delayedMax {
		r.delayed.waiting.Add(-1)
		r.counters.refused.inc("lazy catchup")
		return true, nil
	}
	time.AfterFunc(c.delay, func() {
		r.delayed.waiting.Add(-1)
		r.startCatchup(catchup{session: c.session})
	})
	return true, nil
}

// HasUngranted reports whether the server of an epoch has a session of user that
// came without a grant: not if it is not live. sure is false if it does not say. It
// asks for a resume that is refused to any session, since each has been held once.
func (r *Route) HasUngranted(user proto.UserID, at proto.Epoch) (lives, sure bool) {
	s := r.cluster.server(at)
	if s == nil {
		return false, true
	}
	ask := session{user, 0, s}.record(proto.RecordResume)
	answer := s.ask(&ask)
	if answer.err != nil {
		return false, false
	}
	return answer.verdict == proto.VerdictBehind, answer.verdict != proto.VerdictBusy
}

// CatchUpUngranted starts the catch-up of a session that came without a grant.
func (r *Route) CatchUpUngranted(user proto.UserID, at proto.Epoch) {
	if s := r.cluster.server(at); s != nil {
		r.startCatchup(catchup{session: session{user, 0, s}})
	}
}

// OnTheirWay returns a channel that is closed when the private messages of sender
// to receiver are through that take their time, such as those to a guest; nil: there
// are none.
func (r *Route) OnTheirWay(sender, receiver proto.UserID) <-chan struct{} {
	return r.sends.turns.newest(pair{sender, receiver})
}
