package compat

import (
	"context"
	"time"

	"cim/proto"
	"cim/store"
)

// catchupPause is when a session that came by a route of the original is sent what
// is stored: its client asks that route itself, 5 s after its start, and both at
// once would bring each text twice. What is left then comes from here.
const catchupPause = 10 * time.Second

// UnderWay implements route.Ungranted.
func (a *Adapter) UnderWay(ctx context.Context, user proto.UserID) (bool, error) {
	if !a.members.seen().original {
		return false, nil
	}
	return a.store.LoggedIn(ctx, user)
}

// Claim implements route.Ungranted.
func (a *Adapter) Claim(ctx context.Context, user proto.UserID, place store.Place, older store.Record) error {
	place.Epoch = 0
	return a.store.ClaimOriginal(ctx, user, place, unresolved(older))
}

// Release implements route.Ungranted.
func (a *Adapter) Release(ctx context.Context, user proto.UserID, place store.Place) error {
	place.Epoch = 0
	if place == (store.Place{}) && !a.members.seen().original {
		return nil
	}
	_, err := a.store.ReleaseOriginal(ctx, user, place)
	return err
}

// Seen implements route.Ungranted: the session's record is looked at.
func (a *Adapter) Seen(user proto.UserID, at proto.Epoch) {
	if !a.misplaced.note(user, at) {
		a.counters.refused.Inc()
		a.notices.Say("records of sessions without a grant not looked at: too many wait", "epoch", at)
	}
}

// CatchupPause implements route.Ungranted.
func (a *Adapter) CatchupPause() time.Duration {
	if a.members.seen().original {
		return catchupPause
	}
	return 0
}

// KeepsIDs implements route.Ungranted: the original's processes do not.
func (a *Adapter) KeepsIDs() bool { return !a.members.seen().original }
