package route

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"cim/proto"
)

const (
	// missedMax bounds the sessions of one server that are missed. One more gets
	// what is stored by its next catch-up: at the next message that is stored
	// while its server answers, at a fetch, or at its user's next login; what
	// comes before that may overtake it.
	missedMax = 16 << 10
	// missedEpochsMax bounds the servers whose sessions wait; for one more the
	// one that waits longest is forgotten.
	missedEpochsMax = 32
	// missedTime is how long sessions wait for a server that is not live. The
	// registry gives up a server that cannot reach it within seconds, and takes
	// it back, with its epoch, as soon as it can.
	missedTime = 10 * time.Minute
	// missedPause is between two tries to start the catch-ups of servers that
	// answer. While their server is live there is no last one.
	missedPause = time.Second
)

// missed are sessions that a stored message could not hold, as their server was
// not live, not linked or silent. They may live, so nobody else would look at
// their boxes, and the next message would overtake what is stored. So a session
// stays here, and gets nothing live through this route, until a catch-up has
// held it. They are kept by epoch: a server that is back in the registry is the
// same run as before.
type missed struct {
	sessions atomic.Int64 // of all epochs: mostly none, which costs a push no lock

	mu     sync.RWMutex
	epochs map[proto.Epoch]*missedSessions // <= missedEpochsMax
}

type missedSessions struct {
	last  time.Time                         // when one was noted
	users map[proto.UserID]proto.Generation // <= missedMax
}

func newMissed() *missed { return &missed{epochs: map[proto.Epoch]*missedSessions{}} }

// note reports whether there was room for all.
func (m *missed) note(user proto.UserID, s lastRecord, live func(proto.Epoch) bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, room := time.Now(), true
	sessions := m.epochs[s.epoch]
	if sessions == nil {
		room = m.tidy(now, live)
		sessions = &missedSessions{users: map[proto.UserID]proto.Generation{}}
		m.epochs[s.epoch] = sessions
	}
	sessions.last = now
	known, found := sessions.users[user]
	switch {
	case !found && len(sessions.users) >= missedMax:
		return false
	case !found:
		m.sessions.Add(1)
	}
	sessions.users[user] = max(known, s.generation)
	return room
}

// tidy makes room for one more epoch, and reports false if that cost sessions
// that might have been caught up. It is called with mu held.
func (m *missed) tidy(now time.Time, live func(proto.Epoch) bool) bool {
	var oldest proto.Epoch
	for epoch, sessions := range m.epochs {
		if now.Sub(sessions.last) > missedTime && !live(epoch) {
			m.forget(epoch)
		} else if o := m.epochs[oldest]; o == nil || sessions.last.Before(o.last) {
			oldest = epoch
		}
	}
	if len(m.epochs) < missedEpochsMax {
		return true
	}
	m.forget(oldest)
	return false
}

// forget is called with mu held.
func (m *missed) forget(epoch proto.Epoch) {
	m.sessions.Add(-int64(len(m.epochs[epoch].users)))
	delete(m.epochs, epoch)
}

// has reports whether s is missed.
func (m *missed) has(user proto.UserID, s lastRecord) bool {
	if m.sessions.Load() == 0 {
		return false
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	sessions := m.epochs[s.epoch]
	if sessions == nil {
		return false
	}
	generation, found := sessions.users[user]
	return found && generation == s.generation
}

// drop is for a session that has been held, or has ended, since all of it that
// is noted up to now was stored.
func (m *missed) drop(user proto.UserID, s lastRecord) {
	if m.sessions.Load() == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	sessions := m.epochs[s.epoch]
	if sessions == nil {
		return
	}
	if generation, found := sessions.users[user]; !found || generation > s.generation {
		return
	}
	delete(sessions.users, user)
	m.sessions.Add(-1)
	if len(sessions.users) == 0 {
		delete(m.epochs, s.epoch)
	}
}

// of returns the missed sessions of a server.
func (m *missed) of(epoch proto.Epoch) map[proto.UserID]proto.Generation {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if sessions := m.epochs[epoch]; sessions != nil {
		return maps.Clone(sessions.users)
	}
	return nil
}

// miss notes a session until it has been held. If its server answers, again or
// all along, that is tried at once.
func (r *Route) miss(user proto.UserID, s lastRecord) {
	r.noteMissed(user, s)
	if at := r.cluster.server(s.epoch); at != nil && at.answers() {
		r.startCatchup(catchup{session: session{user, s.generation, at}})
	}
}

func (r *Route) noteMissed(user proto.UserID, s lastRecord) {
	live := func(epoch proto.Epoch) bool { return r.cluster.server(epoch) != nil }
	if !r.missed.note(user, s, live) {
		r.counters.refused.inc("missed")
		r.notices.Say("catch-ups of a server out of reach not noted, or forgotten", "epoch", s.epoch)
	}
}

// catchMissed starts the catch-ups of the sessions of s that are missed. It is
// called when the link to s has come up, when s answers again, and by
// retryMissed. What is refused the next call starts.
func (r *Route) catchMissed(s *server) {
	for user, generation := range r.missed.of(s.member.Epoch) {
		if !r.startCatchup(catchup{session: session{user, generation, s}}) {
			return
		}
	}
}

// retryMissed starts what is missed at servers that answer, until ctx ends.
func (r *Route) retryMissed(ctx context.Context) {
	again := time.NewTicker(missedPause)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			for _, s := range r.cluster.servers().which((*server).answers) {
				r.catchMissed(s)
			}
		case <-ctx.Done():
			return
		}
	}
}

// holdMissed holds c's session if it is missed, before anybody looks at its box:
// from then on its server refuses what would overtake the box.
func (r *Route) holdMissed(ctx context.Context, c catchup) (catchup, error) {
	is := lastRecord{c.server.member.Epoch, c.generation}
	if !r.missed.has(c.user, is) {
		return c, nil
	}
	state, err := c.hold(ctx)
	if err == nil || errors.Is(err, errNoSession) {
		r.missed.drop(c.user, is)
	}
	c.held, c.holdState = err == nil, state
	return c, err
}
