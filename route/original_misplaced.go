package route

import (
	"context"
	"errors"
	"sync"
	"time"

	"cim/proto"
	"cim/store"
)

// A login at a route of the original picks a server, and if that is dead another
// one, which its client is sent to; but the record names the first. So a session
// that came without a grant is looked at: its server has told of it, and if its
// record names another server that has no such session the record is put right.
const (
	// misplacedMax bounds the sessions that are to be looked at. One more waits
	// for its server to tell of its sessions again.
	misplacedMax = 16 << 10
	// misplacedPause is between two looks.
	misplacedPause = time.Second
	// misplacedDoubt is how long a session and a record that names a live server of
	// the original must have stood side by side: longer than a connection whose
	// client has gone is kept. That server cannot be asked.
	misplacedDoubt = 40 * time.Second
)

// misplaced are the sessions without a grant whose records are to be looked at.
type misplaced struct {
	mu    sync.Mutex
	users map[proto.UserID]misplacedSession // <= misplacedMax
}

type misplacedSession struct {
	server *server
	since  time.Time
}

func newMisplaced() *misplaced { return &misplaced{users: make(map[proto.UserID]misplacedSession)} }

// note reports whether there was room.
func (m *misplaced) note(user proto.UserID, at *server) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, found := m.users[user]
	switch {
	case found && known.server == at:
		return true
	case !found && len(m.users) >= misplacedMax:
		return false
	}
	m.users[user] = misplacedSession{at, time.Now()}
	return true
}

// all returns what is to be looked at.
func (m *misplaced) all() map[proto.UserID]misplacedSession {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.users) == 0 {
		return nil
	}
	all := make(map[proto.UserID]misplacedSession, len(m.users))
	for user, session := range m.users {
		all[user] = session
	}
	return all
}

// drop ends the looks at a session.
func (m *misplaced) drop(user proto.UserID, of misplacedSession) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.users[user] == of {
		delete(m.users, user)
	}
}

// noteUngranted has the record of a session that a server told of looked at, if
// it came without a grant.
func (r *Route) noteUngranted(at *server, user proto.UserID, generation proto.Generation) {
	if generation != 0 || r.original == nil {
		return
	}
	if !r.misplaced.note(user, at) {
		r.counters.refused.inc("misplaced")
		r.notices.say("records of sessions without a grant not looked at: too many wait", "server", at.member.Name())
	}
}

// putRecordsRight looks at what is noted until ctx ends.
func (r *Route) putRecordsRight(ctx context.Context) {
	again := time.NewTicker(misplacedPause)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			r.lookAtMisplaced(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// lookAtMisplaced looks at each session once; with the store away at none.
func (r *Route) lookAtMisplaced(ctx context.Context) {
	for user, session := range r.misplaced.all() {
		done, err := r.putRecordRight(ctx, user, session)
		if away(err) || ctx.Err() != nil {
			return
		}
		if err != nil {
			r.notices.say("record of a session without a grant not looked at", "user", user, "error", err)
		}
		if done {
			r.misplaced.drop(user, session)
		}
	}
}

// putRecordRight reports whether the record needs no further look.
func (r *Route) putRecordRight(ctx context.Context, user proto.UserID, m misplacedSession) (done bool, err error) {
	work, stop := context.WithTimeout(ctx, storeTimeout)
	defer stop()
	record, found, err := r.lookupFresh(work, user)
	switch {
	case err != nil:
		return false, err
	case !found || record.Generation != 0 || recordName(record.Place) == m.server.member.Name():
		return true, nil
	case r.cluster.server(m.server.member.Epoch) != m.server:
		return true, nil // its sessions are gone, or it tells of them again
	}
	if lives, sure := has(m.server, user); !lives || !sure {
		return sure, nil
	}
	if gone, over := r.goneThere(work, user, record, m.since); !gone {
		return over, nil
	}
	place := m.server.place
	place.Epoch = 0
	err = r.original.ClaimOriginal(work, user, place, unresolved(record))
	if errors.Is(err, store.ErrSuperseded) {
		return false, nil // another login came between: look again
	}
	if err != nil {
		return false, err
	}
	r.counters.putRight.Inc()
	r.notices.say("record put right: it named a server that does not have the session",
		"user", user, "named", recordName(record.Place), "server", m.server.member.Name())
	r.startCatchup(catchup{session: session{user, 0, m.server}})
	return true, nil
}

// has reports whether a server of ours has a session of user that came without a
// grant; sure is false if it does not say. It asks for a resume that is refused to
// any session, since each has been held once.
func has(s *server, user proto.UserID) (lives, sure bool) {
	ask := session{user, 0, s}.record(proto.RecordResume)
	answer := s.ask(&ask)
	if answer.err != nil {
		return false, false
	}
	return answer.verdict == proto.VerdictBehind, answer.verdict != proto.VerdictBusy
}

// goneThere reports whether the server that record names does not have the
// session. over: it has, and there is no need to look again.
func (r *Route) goneThere(ctx context.Context, user proto.UserID, record store.Record, since time.Time) (gone, over bool) {
	named := r.cluster.server(record.Place.Epoch)
	switch {
	case named == nil:
		return true, false
	case named.pusher != nil:
		return time.Since(since) >= misplacedDoubt || !named.pusher.reachable(ctx), false
	}
	lives, sure := has(named, user)
	return !lives && sure, lives && sure
}
