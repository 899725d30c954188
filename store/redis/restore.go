package redis

import (
	"context"
	"slices"
	"strconv"

	"github.com/redis/rueidis"

	"cim/proto"
	"cim/store"
)

// known is what the store knows of one session's user.
type known struct {
	session proto.Session
	record  store.Record
	last    proto.Generation // the largest that the store knows
}

// Restore is that of Presence. Several routes restore the same sessions at
// once: so the record is written before the counter, and the counter is read
// before the record. Whoever finds the counter grown finds the record, too.
func (s *Store) Restore(ctx context.Context, place store.Place, sessions []proto.Session) (superseded []proto.Session, err error) {
	for chunk := range slices.Chunk(sessions, chunkMax) {
		all, err := s.known(ctx, chunk)
		if err != nil {
			return superseded, err
		}
		for _, k := range all {
			ours, err := s.restore(ctx, place, k)
			if err != nil {
				return superseded, err
			}
			if !ours {
				superseded = append(superseded, k.session)
			}
		}
	}
	return superseded, ctx.Err()
}

// restore reports whether the record of k's user is that of its session now.
func (s *Store) restore(ctx context.Context, place store.Place, k known) (bool, error) {
	user, generation := k.session.User, k.session.Generation
	switch {
	case k.record.Generation == generation && k.record.Place == place:
		if k.record.Connected {
			return true, nil
		}
		return true, s.mark(ctx, user, generation)
	case generation <= k.last || generation > generationMax:
		return false, nil
	}
	occupied, _, err := s.occupy(ctx, user, place, generation, generation-1)
	if err != nil || !occupied {
		return false, err
	}
	_, err = s.number(ctx, about{what: "restore", user: user}, raise, generationKey(user), generationText(generation))
	if err != nil {
		return false, err
	}
	return true, s.mark(ctx, user, generation)
}

// known looks up the users of sessions, but of those of generation 0.
func (s *Store) known(ctx context.Context, sessions []proto.Session) (all []known, err error) {
	err = s.call(ctx, about{what: "look up sessions"}, true, func(ctx context.Context, c rueidis.Client) error {
		all = nil
		commands := make(rueidis.Commands, 0, 3*len(sessions))
		for _, session := range sessions {
			if user := session.User; session.Generation != 0 {
				all = append(all, known{session: session})
				commands = append(
					commands, c.B().Get().Key(generationKey(user)).Build(),
					c.B().Get().Key(connectedKey(user)).Build(), c.B().Get().Key(routeKey(user)).Build(),
				)
			}
		}
		if len(all) == 0 {
			return nil
		}
		answers := c.DoMulti(ctx, commands...)
		if err := firstError(answers); err != nil {
			return err
		}
		for i := range all {
			if err := all[i].read(answers[3*i : 3*i+3]); err != nil {
				return err
			}
		}
		return nil
	})
	return all, err
}

// read reads the answers for counter, mark and record.
func (k *known) read(answers []rueidis.RedisResult) (err error) {
	k.record, _, err = readRecord(k.session.User, answers[1], answers[2])
	if err != nil {
		return err
	}
	text, _ := answers[0].ToString()
	last, err := strconv.ParseUint(text, 10, 64)
	if err != nil && text != "" {
		return &valueError{key: generationKey(k.session.User), want: "a generation"}
	}
	k.last = max(proto.Generation(last), k.record.Generation)
	return nil
}
