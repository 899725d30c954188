package redis

import (
	"context"
	"slices"
	"strconv"

	"github.com/redis/rueidis"

	"cim/proto"
	"cim/store"
)

// known is what the store has of one session's user.
type known struct {
	session proto.Session
	record  store.Record
	found   bool
}

// ours reports whether the record is that of the session at place.
func (k known) ours(place store.Place) bool {
	return k.found && k.record.Generation == k.session.Generation && k.record.Place == place
}

// Restore is that of Presence. It is called for all sessions every few seconds,
// of which nearly all have their record: two reads each. Many sessions have no
// mark yet while many users log in, so all marks of a chunk are one round trip.
func (s *Store) Restore(ctx context.Context, place store.Place, sessions []proto.Session) (restored store.Restored, err error) {
	for chunk := range slices.Chunk(sessions, chunkMax) {
		all, err := s.known(ctx, chunk)
		if err != nil {
			return restored, err
		}
		unmarked, err := s.restore(ctx, place, all, &restored)
		if err == nil {
			err = s.markAll(ctx, unmarked)
		}
		if err != nil {
			return restored, err
		}
	}
	return restored, ctx.Err()
}

// restore gives sessions their record back, or finds them superseded. It returns
// those whose record is to be marked connected.
func (s *Store) restore(ctx context.Context, place store.Place, all []known, restored *store.Restored) (unmarked []proto.Session, err error) {
	for _, k := range all {
		if k.ours(place) {
			if !k.record.Connected {
				unmarked = append(unmarked, k.session)
			}
			continue
		}
		returned, err := s.returned(ctx, place, k)
		switch {
		case odd(err):
			s.passedBy(k.session.User, err)
		case err != nil:
			return unmarked, err
		case returned:
			restored.Returned = append(restored.Returned, k.session)
			unmarked = append(unmarked, k.session)
		default:
			restored.Superseded = append(restored.Superseded, k.session)
		}
	}
	return unmarked, nil
}

// markAll lets the connected key of each session's user grow to its generation,
// in one round trip. A user whose key is odd is logged and passed by.
func (s *Store) markAll(ctx context.Context, sessions []proto.Session) error {
	if len(sessions) == 0 {
		return nil
	}
	commands := make([]Command, len(sessions))
	for i, session := range sessions {
		commands[i] = Command{Key: connectedKey(session.User), Args: []string{generationText(session.Generation)}, script: raise}
	}
	return s.call(ctx, about{what: "mark users"}, raise.repeatable, func(ctx context.Context, c rueidis.Client) error {
		answers := sendAll(ctx, c, commands)
		if err := firstErrorButOdd(answers); err != nil {
			return err
		}
		for i, answer := range answers {
			if err := answer.Error(); odd(err) {
				s.passedBy(sessions[i].User, err)
			}
		}
		return nil
	})
}

// returned gives a session back its record, if the store has lost it, and
// reports whether it has it now.
//
// A record that was lost and one that was given back are told apart by the
// counter: Release lets it grow past the generation before it removes the
// record. So the counter is read behind the record, and once more behind what
// was written: if it has grown by then, the record goes again.
func (s *Store) returned(ctx context.Context, place store.Place, k known) (bool, error) {
	user, generation := k.session.User, k.session.Generation
	last, err := s.last(ctx, user)
	newest := max(last, k.record.Generation)
	if err != nil || generation < newest || generation > generationMax {
		return false, err
	}
	seen := generationText(generation - 1)
	if generation == newest {
		seen = "" // a record that is there now is another one, as of a login at another system's route
	}
	occupied, _, err := s.occupy(ctx, user, place, generation, seen)
	if err != nil || !occupied {
		return false, err
	}
	// Several routes do this at once for the same session.
	_, err = s.number(ctx, about{what: "restore", user: user}, raise, generationKey(user), generationText(generation))
	if err != nil {
		return false, err
	}
	if last, err = s.last(ctx, user); err != nil || last == generation {
		return err == nil, err
	}
	_, err = s.vacate(ctx, user, generation)
	return false, err
}

// last reads the counter of a user's generations.
func (s *Store) last(ctx context.Context, user proto.UserID) (proto.Generation, error) {
	a := about{what: "read the generation of", user: user}
	text, found, err := s.get(ctx, a, generationKey(user))
	if err != nil || !found {
		return 0, err
	}
	last, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fault(ctx, a, &valueError{key: generationKey(user), want: "a generation"})
	}
	return proto.Generation(last), nil
}

// known looks up the users of sessions, but of those of generation 0. One whose
// record cannot be read is logged and left out; it ends nothing for the rest.
func (s *Store) known(ctx context.Context, sessions []proto.Session) (all []known, err error) {
	err = s.call(ctx, about{what: "look up sessions"}, true, func(ctx context.Context, c rueidis.Client) error {
		var asked []proto.Session
		commands := make(rueidis.Commands, 0, 2*len(sessions))
		for _, session := range sessions {
			if user := session.User; session.Generation != 0 {
				asked = append(asked, session)
				commands = append(commands, c.B().Get().Key(connectedKey(user)).Build(), c.B().Get().Key(routeKey(user)).Build())
			}
		}
		all = make([]known, 0, len(asked))
		if len(asked) == 0 {
			return nil
		}
		answers := c.DoMulti(ctx, commands...)
		if err := firstErrorButOdd(answers); err != nil {
			return err
		}
		for i, session := range asked {
			record, found, err := readRecord(session.User, answers[2*i], answers[2*i+1])
			if err != nil {
				s.passedBy(session.User, err)
				continue
			}
			all = append(all, known{session, record, found})
		}
		return nil
	})
	return all, err
}
