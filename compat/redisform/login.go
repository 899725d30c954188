package redisform

import (
	"context"
	"fmt"

	"cim/compat"
	"cim/proto"
	"cim/store"
)

// ClaimOriginal is that of Original. login-status comes first, as with the
// original: to its routes that is the login. A claim that ends between the two
// steps leaves a user there who has no record; it is repaired.
func (s *Store) ClaimOriginal(ctx context.Context, user proto.UserID, place store.Place, older store.Record) error {
	added, err := s.LogIn(ctx, user)
	switch {
	case err != nil:
		return err
	case !added && older == store.Record{}:
		return store.ErrSuperseded
	}
	place.Epoch = 0
	taken, err := s.ReplaceRecord(ctx, user, older, store.Record{Place: place})
	if err == nil && !taken {
		return store.ErrSuperseded
	}
	return err
}

// ReleaseOriginal is that of Original.
func (s *Store) ReleaseOriginal(ctx context.Context, user proto.UserID, place store.Place) (gone bool, err error) {
	place.Epoch = 0
	if place != (store.Place{}) {
		if gone, err = s.ReplaceRecord(ctx, user, store.Record{Place: place}, store.Record{}); err != nil {
			return false, err
		}
	}
	return gone, s.LogOut(ctx, user)
}

// OriginalPlaces is that of Original.
func (s *Store) OriginalPlaces(ctx context.Context) (map[proto.UserID]store.Place, error) {
	places := make(map[proto.UserID]store.Place)
	err := s.EachRecord(ctx, func(user proto.UserID, record store.Record) error {
		if record.Place.Epoch != 0 || record.Generation != 0 {
			return nil
		}
		places[user] = record.Place
		if len(places) > compat.PlacesMax {
			return fmt.Errorf("redis: more than %d users are on servers of the original", compat.PlacesMax)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return places, nil
}
