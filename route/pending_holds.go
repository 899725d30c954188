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
	// pendingHoldsMax bounds the pending holds at one server. A session above it gets its stored
	// texts by its next catch-up: at the next message that is stored while its server answers, at a
	// fetch, or at the user's next login. Messages before that may overtake the stored texts.
	pendingHoldsMax = 16 << 10
	// pendingEpochsMax bounds the servers with pending holds. For one more, the holds of the server
	// that has waited longest are dropped.
	pendingEpochsMax = 32
	// pendingHoldTime is how long holds wait for a server that is not live. The registry drops a
	// server that cannot reach it within seconds, and takes it back, with its epoch, as soon as it
	// can.
	pendingHoldTime = 10 * time.Minute
	// pendingHoldPause is between two tries to start the catch-ups of servers that
	// answer. While their server is live there is no last one.
	pendingHoldPause = time.Second
)

// pendingHolds are sessions that could not be held when a message was stored for them, because
// their server was not live, not linked or silent. They may still live. Nothing else would make
// their catch-up run, and the next message would overtake the stored one. So a session stays here,
// and this route sends it nothing live, until a catch-up has held it. They are kept by epoch, which
// is one run of a server, also across an absence from the registry.
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
	case !found && len(sessions.users) >= pendingHoldsMax:
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
	if len(m.epochs) < pendingEpochsMax {
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

// contains reports whether s has a pending hold.
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

// remove drops the pending hold of a session that has been held or has ended. All texts that led to
// it were stored before.
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

// ofServer returns the sessions of a server that have a pending hold.
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

// catchUpPending starts the catch-ups of the sessions with a pending hold at s. It is called when
// the link to s comes up, when s answers again, and by retryPendingHolds, which also starts those
// that were refused.
func (r *Route) catchUpPending(s *server) {
	for user, generation := range r.pendingHolds.ofServer(s.member.Epoch) {
		if !r.startCatchup(catchup{session: session{user, generation, s}}) {
			return
		}
	}
}

// retryPendingHolds starts the catch-ups at servers that answer, until ctx ends.
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

// holdPending holds c's session if it has a pending hold, before its box is read. From then on its
// server refuses messages that would overtake the box.
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
