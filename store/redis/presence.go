package redis

import (
	"context"
	"strconv"

	"github.com/redis/rueidis"

	"cim/proto"
	"cim/store"
)

// claimTries bounds how often a claim begins again because a later one has
// come and gone in between.
const claimTries = 3

var (
	// draw gives the next generation, above all that were drawn and above
	// ARGV[1], so that even a counter that was lost does not fall behind its
	// record. A number drawn in vain does no harm.
	draw = newScript(true, luaNow+`
local last = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[1])) + 1
redis.call('SET', KEYS[1], integer(last))
return last`)

	// raise lets a number grow to ARGV[1].
	raise = newScript(true, `
if tonumber(redis.call('GET', KEYS[1]) or '0') >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1`)

	// occupy makes ARGV[1] the record, unless there is one of a generation
	// above ARGV[2], or, if that is empty, any; it answers 1 if it is now. A value is of one claim only:
	// to find it is to have set it.
	occupy = newScript(true, luaGeneration+`
local present = redis.call('GET', KEYS[1])
if present == ARGV[1] then return 1 end
if present and (ARGV[2] == '' or tonumber(generation(present)) > tonumber(ARGV[2])) then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1`)

	// vacate removes the record of generation ARGV[1], and answers 1 if there
	// was one.
	vacate = newScript(false, luaGeneration+`
local present = redis.call('GET', KEYS[1])
if not present or generation(present) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1`)
)

// luaGeneration is the generation in a record's value.
const luaGeneration = `
local function generation(record)
  return string.match(record, '^[^:]*:[^:]*:[^:]*:[^:]*:(%d+)') or '0'
end
`

// Claim is that of Presence: draw a generation, then take the record unless
// somebody has who was not seen. Between the two a later claim may have come
// and even gone again. Then its generation stands in connected: this record is
// given back before anybody hears of it, and one above both is drawn.
func (s *Store) Claim(ctx context.Context, user proto.UserID, place store.Place, seen proto.Generation) (proto.Generation, error) {
	seen = min(seen, generationMax)
	floor := seen
	for range claimTries {
		drawn, err := s.number(ctx, about{what: "draw a generation for", user: user}, draw, generationKey(user), generationText(floor))
		if err != nil {
			return 0, err
		}
		generation := proto.Generation(drawn)
		occupied, latest, err := s.occupy(ctx, user, place, generation, generationText(seen))
		switch {
		case err != nil:
			return 0, err
		case !occupied:
			return 0, store.ErrSuperseded
		case latest < generation:
			return generation, nil
		}
		floor = max(floor, latest)
		if _, err := s.vacate(ctx, user, generation); err != nil {
			return 0, err
		}
	}
	return 0, store.ErrSuperseded
}

// occupy takes the record unless there is one of a generation above seen, or,
// if that is empty, any; it reports whether it did, and the latest
// generation that connected or was given back. The mirror follows: that it
// could not is no fault of the claim.
func (s *Store) occupy(ctx context.Context, user proto.UserID, place store.Place, generation proto.Generation, seen string) (occupied bool, latest proto.Generation, err error) {
	err = s.call(ctx, about{what: "claim", user: user}, true, func(ctx context.Context, c rueidis.Client) error {
		answers := sendClaim(ctx, c, user, placeText(place, generation), seen)
		if err := firstError(answers[:2]); err != nil {
			return err
		}
		s.mirror.note(s.config.Log, answers[2].Error())
		occupied, _ = answers[0].AsBool()
		mark, _ := answers[1].ToString()
		number, _ := strconv.ParseUint(mark, 10, 64)
		latest = proto.Generation(number)
		return nil
	})
	return occupied, latest, err
}

// sendClaim returns the answers to a claim's script, of the connected key, and
// of the mirror.
func sendClaim(ctx context.Context, c rueidis.Client, user proto.UserID, value, seen string) []rueidis.RedisResult {
	commands := func(first ...rueidis.Completed) []rueidis.RedisResult {
		return c.DoMulti(ctx, append(
			first, c.B().Get().Key(connectedKey(user)).Build(),
			c.B().Sadd().Key(loginStatusKey).Member(userText(user)).Build(),
		)...)
	}
	answers := commands(occupy.command(c, routeKey(user), value, seen))
	if !unknown(answers[0].Error()) {
		return answers
	}
	first := occupy.run(ctx, c, routeKey(user), value, seen)
	return append([]rueidis.RedisResult{first}, commands()...)
}

// vacate removes the record of user if it is of generation.
func (s *Store) vacate(ctx context.Context, user proto.UserID, generation proto.Generation) (bool, error) {
	gone, err := s.number(ctx, about{what: "release", user: user}, vacate, routeKey(user), generationText(generation))
	return gone == 1, err
}

// Confirm is that of Presence. If a claim comes between the two steps, the
// mark is of a generation that has no record any more.
func (s *Store) Confirm(ctx context.Context, user proto.UserID, generation proto.Generation) (bool, error) {
	ours, err := s.has(ctx, user, generation)
	if err != nil || !ours || generation == 0 {
		return ours, err
	}
	return true, s.mark(ctx, user, generation)
}

// Release is that of Presence. The counter grows first, also if there is no
// record: one that was lost must not come back any more; see returned. The mark
// comes before the end, for claims that have drawn a smaller generation; see
// Claim.
func (s *Store) Release(ctx context.Context, user proto.UserID, generation proto.Generation) (bool, error) {
	if generation != 0 && generation < generationMax {
		_, err := s.number(ctx, about{what: "give back the generation of", user: user}, raise, generationKey(user), generationText(generation+1))
		if err != nil {
			return false, err
		}
	}
	ours, err := s.has(ctx, user, generation)
	if err != nil || !ours {
		return false, err
	}
	if err := s.mark(ctx, user, generation); err != nil {
		return false, err
	}
	gone, err := s.vacate(ctx, user, generation)
	if gone {
		s.mirror.note(s.config.Log, s.forget(ctx, user))
	}
	return gone, err
}

// has reports whether the record of user is of generation.
func (s *Store) has(ctx context.Context, user proto.UserID, generation proto.Generation) (bool, error) {
	record, found, err := s.lookup(ctx, user)
	return found && record.Generation == generation, err
}

// mark lets the connected key of user grow to generation.
func (s *Store) mark(ctx context.Context, user proto.UserID, generation proto.Generation) error {
	_, err := s.number(ctx, about{what: "mark", user: user}, raise, connectedKey(user), generationText(generation))
	return err
}

// Lookup is that of Presence.
func (s *Store) Lookup(ctx context.Context, user proto.UserID, freshness store.Freshness) (store.Record, bool, error) {
	if freshness == store.Fresh {
		return s.lookup(ctx, user)
	}
	a := about{what: "look up", user: user}
	value, found, err := s.cached(ctx, a, routeKey(user))
	if err != nil || !found {
		return store.Record{}, false, err
	}
	record, err := parseRecord(user, value, "")
	return record, err == nil, fault(ctx, a, err)
}

// lookup reads past the cache. The mark is read first: a login between the two
// shows as not connected, as it was.
func (s *Store) lookup(ctx context.Context, user proto.UserID) (record store.Record, found bool, err error) {
	err = s.call(ctx, about{what: "look up", user: user}, true, func(ctx context.Context, c rueidis.Client) (err error) {
		answers := c.DoMulti(ctx, c.B().Get().Key(connectedKey(user)).Build(), c.B().Get().Key(routeKey(user)).Build())
		record, found, err = readRecord(user, answers[0], answers[1])
		return err
	})
	return record, found, err
}

// readRecord reads the answers for a user's mark and record.
func readRecord(user proto.UserID, markAnswer, valueAnswer rueidis.RedisResult) (store.Record, bool, error) {
	mark, err := markAnswer.ToString()
	if orNone(err) != nil {
		return store.Record{}, false, err
	}
	value, err := valueAnswer.ToString()
	if err != nil {
		return store.Record{}, false, orNone(err)
	}
	record, err := parseRecord(user, value, mark)
	return record, err == nil, err
}
