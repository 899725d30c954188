package compat

import (
	"context"
	"errors"
	"maps"
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
	at    proto.Epoch // of its server
	since time.Time
}

func newMisplaced() *misplaced { return &misplaced{users: make(map[proto.UserID]misplacedSession)} }

// note reports whether there was room.
func (m *misplaced) note(user proto.UserID, at proto.Epoch) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, found := m.users[user]
	switch {
	case found && known.at == at:
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
	return maps.Clone(m.users)
}

// drop ends the looks at a session.
func (m *misplaced) drop(user proto.UserID, of misplacedSession) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.users[user] == of {
		delete(m.users, user)
	}
}

// putRecordsRight looks at what is noted until ctx ends.
func (a *Adapter) putRecordsRight(ctx context.Context) {
	again := time.NewTicker(misplacedPause)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			a.lookAtMisplaced(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// lookAtMisplaced looks at each session once; with the store away at none.
func (a *Adapter) lookAtMisplaced(ctx context.Context) {
	for user, session := range a.misplaced.all() {
		done, err := a.putRecordRight(ctx, user, session)
		if errors.Is(err, store.ErrAway) || errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return
		}
		if err != nil {
			a.notices.Say("record of a session without a grant not looked at", "user", user, "error", err)
		}
		if done {
			a.misplaced.drop(user, session)
		}
	}
}

// putRecordRight reports whether the record needs no further look.
func (a *Adapter) putRecordRight(ctx context.Context, user proto.UserID, m misplacedSession) (done bool, err error) {
	work, stop := context.WithTimeout(ctx, storeTimeout)
	defer stop()
	place, there := a.place(m.at)
	record, found, err := a.store.Lookup(work, user, store.Fresh)
	switch {
	case err != nil:
		return false, err
	case !there || !found || record.Generation != 0 || placeName(record.Place) == placeName(place):
		return true, nil
	}
	route := *a.route.Load()
	if lives, sure := route.HasUngranted(user, m.at); !lives || !sure {
		return sure, nil
	}
	if gone, over := a.goneThere(work, route, user, record, m.since); !gone {
		return over, nil
	}
	err = a.store.ClaimOriginal(work, user, place, record)
	if errors.Is(err, store.ErrSuperseded) {
		return false, nil // another login came between: look again
	}
	if err != nil {
		return false, err
	}
	a.counters.putRight.Inc()
	a.notices.Say("record put right: it named a server that does not have the session",
		"user", user, "named", placeName(record.Place), "server", placeName(place))
	route.CatchUpUngranted(user, m.at)
	return true, nil
}

// goneThere reports whether the server that record names does not have the
// session. over: it has, and there is no need to look again.
func (a *Adapter) goneThere(ctx context.Context, route Route, user proto.UserID, record store.Record, since time.Time) (gone, over bool) {
	if m, found := a.guest(record.Place); found {
		return time.Since(since) >= misplacedDoubt || !reachable(ctx, m), false
	}
	lives, sure := route.HasUngranted(user, a.resolved(record).Place.Epoch)
	return !lives && sure, lives && sure
}
