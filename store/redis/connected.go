package redis

import (
	"context"
	"slices"
	"strings"

	"github.com/redis/rueidis"

	"cim/proto"
	"cim/store"
)

// chunkMax bounds the users of one round trip.
const chunkMax = 500

// Connected is that of Presence: the users of the mirror whose record is
// connected. Each step has its own deadline; ctx bounds them all.
func (s *Store) Connected(ctx context.Context) ([]store.Present, error) {
	users, err := s.allMembers(ctx)
	if err != nil {
		return nil, err
	}
	var present []store.Present
	for chunk := range slices.Chunk(users, chunkMax) {
		some, err := s.connected(ctx, chunk)
		if err != nil {
			return nil, err
		}
		if err := s.name(ctx, some); err != nil {
			return nil, err
		}
		present = append(present, some...)
	}
	return present, nil
}

// allMembers reads the mirror, in the order of ids.
func (s *Store) allMembers(ctx context.Context) ([]proto.UserID, error) {
	var users []proto.UserID
	for cursor := uint64(0); ; {
		some, next, err := s.members(ctx, cursor, 2*chunkMax)
		if err != nil {
			return nil, err
		}
		users = append(users, some...)
		if cursor = next; cursor == 0 {
			slices.Sort(users)
			return slices.Compact(users), nil
		}
	}
}

// connected returns those of users who are connected, without their names. A
// record that cannot be read is logged; it ends nothing for the rest.
func (s *Store) connected(ctx context.Context, users []proto.UserID) (present []store.Present, err error) {
	err = s.call(ctx, about{what: "look up many"}, true, func(ctx context.Context, c rueidis.Client) error {
		commands := make(rueidis.Commands, 0, 2*len(users))
		for _, user := range users {
			commands = append(commands, c.B().Get().Key(connectedKey(user)).Build(), c.B().Get().Key(routeKey(user)).Build())
		}
		answers := c.DoMulti(ctx, commands...)
		if err := firstErrorButOdd(answers); err != nil {
			return err
		}
		present = nil
		for i, user := range users {
			record, found, err := readRecord(user, answers[2*i], answers[2*i+1])
			if err != nil {
				s.passedBy(user, err)
			}
			if found && record.Connected {
				present = append(present, store.Present{User: proto.User{ID: user}, Record: record})
			}
		}
		return nil
	})
	return present, err
}

// passedBy logs that a user's record, or what belongs to it, cannot be read.
func (s *Store) passedBy(user proto.UserID, why error) {
	s.config.Log.Warn("redis: passed by a record", "user", int64(user), "why", why)
}

// name gives present their names, which never change, so cached ones are
// right; an absent one may be new.
func (s *Store) name(ctx context.Context, present []store.Present) error {
	if len(present) == 0 {
		return nil
	}
	err := s.call(ctx, about{what: "read names"}, true, func(ctx context.Context, c rueidis.Client) error {
		commands := make([]rueidis.CacheableTTL, 0, len(present))
		for _, p := range present {
			commands = append(commands, rueidis.CT(c.B().Get().Key(accountKey(p.User.ID)).Cache().ToStaticTTL(), cacheFor))
		}
		answers := c.DoMultiCache(ctx, commands...)
		for i, answer := range answers {
			name, _ := answer.ToString() // what fails is told below
			present[i].User.Name = strings.ToValidUTF8(name, "\uFFFD")
		}
		return firstErrorButOdd(answers)
	})
	for i := range present {
		if err == nil && present[i].User.Name == "" {
			present[i].User.Name, _, err = s.Account(ctx, present[i].User.ID)
			if odd(err) {
				s.passedBy(present[i].User.ID, err)
				err = nil
			}
		}
	}
	return err
}
