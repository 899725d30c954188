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
	// pendingHoldTime is how long sessions wait for a server that is not live. The
	// registry gives up a server that cannot reach it within seconds, and takes
	// it back, with its epoch, as soon as it can.
	pendingHoldTime = 10 * time.Minute
	// pendingHoldPause is between two tries to start the catch-ups of servers that
	// answer. While their server is live there is no last one.
	pendingHoldPause = time.Second
)

// pendingHolds are sessions that a stored message could not hold, as their server was
// not live, not linked or silent. They may live, so nobody else would look at
// their boxes, and the next message would overtake what is stored. So a session
// stays here, and gets nothing live through this route, until a catch-up has
// held it. They are kept by epoch: a server that is back in the registry is the
// same run as before.
type pendingHolds struct {
	sessions atomic.Int64 // of all epochs: mostly none, which costs a push no lock

	mu     sync.RWMutex
	epochs map[proto.Epoch]*serverHolds // <= missedEpochsMax
}

type serverHolds struct {
	last  time.Time                         // when one was noted
	users map[proto.UserID]proto.Generation // <= missedMax
}

func newPendingHolds() *pendingHolds { return &pendingHolds{epochs: map[proto.Epoch]*serverHolds{}} }

// add reports whether there was room for all.
func (m *pendingHolds) add(user proto.UserID, s sessionKey, live func(proto.Epoch) bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, room := time.Now(), true
	sessions := m.epochs[s.epoch]
	if sessions == nil {
		room = m.makeRoom(now, live)
		sessions = &serverHolds{users: map[proto.UserID]proto.Generation{}}
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

// makeRoom makes room for one more epoch, and reports false if that cost sessions
// that might have been caught up. It is called with mu held.
func (m *pendingHolds) makeRoom(now time.Time, live func(proto.Epoch) bool) bool {
	var oldest proto.Epoch
	for epoch, sessions := range m.epochs {
		if now.Sub(sessions.last) > pendingHoldTime && !live(epoch) {
			m.forgetEpoch(epoch)
		} else if o := m.epochs[oldest]; o == nil || sessions.last.Before(o.last) {
			oldest = epoch
		}
	}
	if len(m.epochs) < missedEpochsMax {
		return true
	}
	m.forgetEpoch(oldest)
	return false
}

// forgetEpoch is called with mu held.
func (m *pendingHolds) forgetEpoch(epoch proto.Epoch) {
	m.sessions.Add(-int64(len(m.epochs[epoch].users)))
	delete(m.epochs, epoch)
}

// contains reports whether s is missed.
func (m *pendingHolds) contains(user proto.UserID, s sessionKey) bool {
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

// remove is for a session that has been held, or has ended, since all of it that
// is noted up to now was stored.
func (m *pendingHolds) remove(user proto.UserID, s sessionKey) {
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

// ofServer returns the missed sessions of a server.
func (m *pendingHolds) ofServer(epoch proto.Epoch) map[proto.UserID]proto.Generation {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if sessions := m.epochs[epoch]; sessions != nil {
		return maps.Clone(sessions.users)
	}
	return nil
}

// holdLater notes a session until it has been held. If its server answers, again or
// all along, that is tried at once.
func (r *Route) holdLater(user proto.UserID, s sessionKey) {
	r.notePendingHold(user, s)
	if at := r.cluster.server(s.epoch); at != nil && at.responsive() {
		r.startCatchup(catchup{session: session{user, s.generation, at}})
	}
}

func (r *Route) notePendingHold(user proto.UserID, s sessionKey) {
	live := func(epoch proto.Epoch) bool { return r.cluster.server(epoch) != nil }
	if !r.pendingHolds.add(user, s, live) {
		r.counters.refused.inc("missed")
		r.notices.Say("catch-ups of a server out of reach not noted, or forgotten", "epoch", s.epoch)
	}
}

// catchUpPending starts the catch-ups of the sessions of s that are missed. It is
// called when the link to s has come up, when s answers again, and by
// retryMissed. What is refused the next call starts.
func (r *Route) catchUpPending(s *server) {
	for user, generation := range r.pendingHolds.ofServer(s.member.Epoch) {
		if !r.startCatchup(catchup{session: session{user, generation, s}}) {
			return
		}
	}
}

// retryPendingHolds starts what is missed at servers that answer, until ctx ends.
func (r *Route) retryPendingHolds(ctx context.Context) {
	again := time.NewTicker(pendingHoldPause)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			for _, s := range r.cluster.servers().filter((*server).responsive) {
				r.catchUpPending(s)
			}
		case <-ctx.Done():
			return
		}
	}
}

// holdPending holds c's session if it is missed, before anybody looks at its box:
// from then on its server refuses what would overtake the box.
func (r *Route) holdPending(ctx context.Context, c catchup) (catchup, error) {
	is := sessionKey{c.server.member.Epoch, c.generation}
	if !r.pendingHolds.contains(c.user, is) {
		return c, nil
	}
	state, err := c.hold(ctx)
	if err == nil || errors.Is(err, errNoSession) {
		r.pendingHolds.remove(c.user, is)
	}
	c.held, c.holdState = err == nil, state
	return c, err
}
