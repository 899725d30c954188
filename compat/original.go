package compat

import (
	"context"

	"cim/proto"
	"cim/store"
)

// Shared is a store whose data the original's processes share.
type Shared interface {
	store.Store
	Original
}

// Original is what such a store does besides. The records of the original's logins
// have neither epoch nor generation: Lookup gives them as connected, with an Epoch
// of 0 and a Generation of 0.
type Original interface {
	// LoggedIn reports whether user stands among those that are logged in,
	// which is all that the original asks about a repeated login.
	LoggedIn(ctx context.Context, user proto.UserID) (bool, error)
	// ClaimOriginal notes user as logged in and then makes its record one for
	// place, as the original's routes do. older is the record that the caller
	// has seen, the zero Record if there was none. The error is ErrSuperseded if
	// the present record is another one, or if there was none and user is noted
	// as logged in all the same. Two logins at once do not both stand here, but
	// one at a route of the original may take the record from either.
	ClaimOriginal(ctx context.Context, user proto.UserID, place store.Place, older store.Record) error
	// ReleaseOriginal removes the record of user if it is one without a
	// generation for place, and reports whether it was. A user who has no
	// record then counts as logged in no more.
	ReleaseOriginal(ctx context.Context, user proto.UserID, place store.Place) (bool, error)
	// OriginalPlaces returns the place of each user whose record has neither
	// epoch nor generation, at most PlacesMax. It reads all records: ctx
	// bounds it.
	OriginalPlaces(ctx context.Context) (map[proto.UserID]store.Place, error)
	// UnreadOriginal is how many stored texts of the original could not be read
	// since the start. They stay where they are, for the version that wrote them.
	UnreadOriginal() uint64
	// AppendOriginal is Append, with at as the time of creation, in the form that the original's routes read. In
	// a box that has texts of our own form behind texts of the original's it
	// takes ours all the same: else these would overtake them. Page, Remove and
	// ReleaseIfEmpty show all forms as one box. Texts that were not written
	// here come as if they had come before all that was stored here since; in a
	// box that AppendOriginal has not written to, in the order of their times.
	AppendOriginal(ctx context.Context, receiver proto.UserID, sender proto.User, id proto.TextID, at proto.UnixMilli, texts []string) error
}

// PlacesMax bounds the users on servers of the original; with more
// than this OriginalPlaces fails.
const PlacesMax = 1 << 20
