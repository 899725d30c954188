package route

import (
	"context"
	"sync"
	"time"

	"cim/proto"
)

const (
	// missedMax bounds the sessions of one server that wait for its link. One
	// more gets what is stored by its next catch-up: at the next message that
	// finds the link up, at a fetch, or at its user's next login.
	missedMax = 16 << 10
	// missedEpochsMax bounds the servers whose sessions wait; for one more the
	// one that waits longest is forgotten.
	missedEpochsMax = 32
	// missedTime is how long sessions wait for a server that is not live. The
	// registry gives up a server that cannot reach it within seconds, and takes
	// it back, with its epoch, as soon as it can.
	missedTime = 10 * time.Minute
	// missedPause is between two tries to start catch-ups that were refused, as
	// many servers came back in one moment. While their server is live there is
	// no last one.
	missedPause = time.Second
)

// missed are sessions that a stored message could not hold, as their server was
// not live or not linked. They may live, so nobody else would look at their
// boxes, and the next message would overtake what is stored. They are kept by
// epoch: a server that is back in the registry is the same run as before.
type missed struct {
	mu     sync.Mutex
	epochs map[proto.Epoch]*missedSessions // <= missedEpochsMax
}

type missedSessions struct {
	last  time.Time                         // when one was noted
	users map[proto.UserID]proto.Generation // <= missedMax
}

func newMissed() *missed { return &missed{epochs: map[proto.Epoch]*missedSessions{}} }

// note reports whether there was room for all.
func (m *missed) note(epoch proto.Epoch, user proto.UserID, generation proto.Generation, live func(proto.Epoch) bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, room := time.Now(), true
	sessions := m.epochs[epoch]
	if sessions == nil {
		room = m.tidy(now, live)
		sessions = &missedSessions{users: map[proto.UserID]proto.Generation{}}
		m.epochs[epoch] = sessions
	}
	sessions.last = now
	if _, found := sessions.users[user]; !found && len(sessions.users) >= missedMax {
		return false
	}
	sessions.users[user] = max(sessions.users[user], generation)
	return room
}

// tidy makes room for one more epoch, and reports false if that cost sessions
// that might have been caught up. It is called with mu held.
func (m *missed) tidy(now time.Time, live func(proto.Epoch) bool) bool {
	var oldest proto.Epoch
	for epoch, sessions := range m.epochs {
		if now.Sub(sessions.last) > missedTime && !live(epoch) {
			delete(m.epochs, epoch)
		} else if o := m.epochs[oldest]; o == nil || sessions.last.Before(o.last) {
			oldest = epoch
		}
	}
	if len(m.epochs) < missedEpochsMax {
		return true
	}
	delete(m.epochs, oldest)
	return false
}

// take returns those that waited for epoch.
func (m *missed) take(epoch proto.Epoch) map[proto.UserID]proto.Generation {
	m.mu.Lock()
	defer m.mu.Unlock()
	sessions := m.epochs[epoch]
	delete(m.epochs, epoch)
	if sessions == nil {
		return nil
	}
	return sessions.users
}

// miss notes a session until the server of epoch is linked.
func (r *Route) miss(epoch proto.Epoch, user proto.UserID, generation proto.Generation) {
	r.noteMissed(epoch, user, generation)
	if s := r.cluster.server(epoch); s != nil && s.linked() {
		r.catchMissed(s) // it was linked before the note
	}
}

func (r *Route) noteMissed(epoch proto.Epoch, user proto.UserID, generation proto.Generation) {
	live := func(epoch proto.Epoch) bool { return r.cluster.server(epoch) != nil }
	if !r.missed.note(epoch, user, generation, live) {
		r.counters.refused.inc("missed")
		r.notices.say("catch-ups of an unlinked server not noted, or forgotten", "epoch", epoch)
	}
}

// catchMissed starts the catch-ups that wait for s. It is called when the link
// to s has come up, and by retryMissed.
func (r *Route) catchMissed(s *server) {
	for user, generation := range r.missed.take(s.member.Epoch) {
		if !r.startCatchup(catchup{session: session{user, generation, s}}) {
			r.noteMissed(s.member.Epoch, user, generation)
		}
	}
}

// retryMissed starts what catchMissed had no room for, until ctx ends.
func (r *Route) retryMissed(ctx context.Context) {
	again := time.NewTicker(missedPause)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			for _, s := range r.cluster.servers().linked() {
				r.catchMissed(s)
			}
		case <-ctx.Done():
			return
		}
	}
}
