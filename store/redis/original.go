package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"cim/proto"
	"cim/store"
)

var _ store.Original = (*Store)(nil)

var (
	// replace makes ARGV[2] the record if it is ARGV[1] now, which is empty for
	// none, and answers 1 if it is now.
	replace = newScript(false, `
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1`)

	// vacateExact removes the record if it is ARGV[1], and answers 1 if it was.
	vacateExact = newScript(false, `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1`)
)

// originalText is the value of a record of the original.
func originalText(place store.Place) string {
	return strings.Join([]string{place.Host, strconv.Itoa(place.CIMPort), strconv.Itoa(place.HTTPPort)}, ":")
}

// recordText is the value that record was read from, "" for none.
func recordText(record store.Record) string {
	switch {
	case record == store.Record{}:
		return ""
	case record.Place.Epoch == 0 && record.Generation == 0:
		return originalText(record.Place)
	}
	return placeText(record.Place, record.Generation)
}

// LoggedIn is that of Original.
func (s *Store) LoggedIn(ctx context.Context, user proto.UserID) (in bool, err error) {
	err = s.call(ctx, about{what: "look into login-status for", user: user}, true, func(ctx context.Context, c rueidis.Client) (err error) {
		in, err = c.Do(ctx, c.B().Sismember().Key(loginStatusKey).Member(userText(user)).Build()).AsBool()
		return err
	})
	return in, err
}

// ClaimOriginal is that of Original. The mirror comes first, as with the
// original: to its routes that is the login. A claim that ends between the two
// steps leaves a user in the mirror who has no record; it is repaired.
func (s *Store) ClaimOriginal(ctx context.Context, user proto.UserID, place store.Place, older store.Record) error {
	added, err := s.enter(ctx, user)
	switch {
	case err != nil:
		return err
	case !added && older == store.Record{}:
		return store.ErrSuperseded
	}
	a := about{what: "claim for the original", user: user}
	taken, err := s.number(ctx, a, replace, routeKey(user), recordText(older), originalText(place))
	if err == nil && taken == 0 {
		return store.ErrSuperseded
	}
	return err
}

// enter adds user to the mirror, and reports whether he was not there.
func (s *Store) enter(ctx context.Context, user proto.UserID) (added bool, err error) {
	err = s.call(ctx, about{what: "enter into login-status", user: user}, false, func(ctx context.Context, c rueidis.Client) (err error) {
		added, err = c.Do(ctx, c.B().Sadd().Key(loginStatusKey).Member(userText(user)).Build()).AsBool()
		return err
	})
	return added, err
}

// ReleaseOriginal is that of Original.
func (s *Store) ReleaseOriginal(ctx context.Context, user proto.UserID, place store.Place) (bool, error) {
	a := about{what: "release from the original", user: user}
	gone, err := s.number(ctx, a, vacateExact, routeKey(user), originalText(place))
	if err != nil {
		return false, err
	}
	return gone == 1, s.forget(ctx, user)
}

// OriginalPlaces is that of Original. Each page of keys is read in one trip
// with the values of the page before it, and has its own deadline; ctx bounds
// them all.
func (s *Store) OriginalPlaces(ctx context.Context) (map[proto.UserID]store.Place, error) {
	nodes, err := s.nodes(ctx)
	if err != nil {
		return nil, err
	}
	places := make(map[proto.UserID]store.Place)
	for _, node := range nodes {
		scan := &recordScan{store: s, node: node, alone: len(nodes) == 1, places: places}
		if err := scan.run(ctx); err != nil {
			return nil, err
		}
	}
	return places, nil
}

// nodes are the Redis processes that have keys.
func (s *Store) nodes(ctx context.Context) (nodes []rueidis.Client, err error) {
	err = s.call(ctx, about{what: "find the nodes"}, true, func(_ context.Context, c rueidis.Client) error {
		nodes = nil
		for _, node := range c.Nodes() {
			nodes = append(nodes, node)
		}
		return nil
	})
	return nodes, err
}

// recordScan reads the records of one node.
type recordScan struct {
	store  *Store
	node   rueidis.Client
	alone  bool // no cluster: one command may have several keys
	places map[proto.UserID]store.Place
}

func (r *recordScan) run(ctx context.Context) error {
	var users []proto.UserID
	for cursor, begun := uint64(0), false; !begun || cursor != 0 || len(users) > 0; begun = true {
		next, nextCursor, err := r.page(ctx, users, cursor, !begun || cursor != 0)
		if err != nil {
			return err
		}
		if len(r.places) > store.OriginalPlacesMax {
			return fmt.Errorf("redis: more than %d users are on servers of the original", store.OriginalPlacesMax)
		}
		users, cursor = next, nextCursor
	}
	return nil
}

// page reads the records of users, and the page of keys at cursor if there is
// one.
func (r *recordScan) page(ctx context.Context, users []proto.UserID, cursor uint64, more bool) (found []proto.UserID, next uint64, err error) {
	err = r.store.call(ctx, about{what: "scan records"}, true, func(ctx context.Context, _ rueidis.Client) error {
		commands := r.reads(users)
		if more {
			commands = append(commands, r.node.B().Scan().Cursor(cursor).Match(routePrefix+"*").Count(routesPage).Build())
		}
		answers := r.node.DoMulti(ctx, commands...)
		found, next = nil, 0
		if more {
			entry, err := answers[len(answers)-1].AsScanEntry()
			if err != nil {
				return err
			}
			found, next = userIDs(entry.Elements, routePrefix), entry.Cursor
			answers = answers[:len(answers)-1]
		}
		return r.take(users, answers)
	})
	return found, next, err
}

// reads are the commands that read the records of users.
func (r *recordScan) reads(users []proto.UserID) rueidis.Commands {
	if len(users) == 0 {
		return nil
	}
	keys := make([]string, len(users))
	for i, user := range users {
		keys[i] = routeKey(user)
	}
	if r.alone {
		return rueidis.Commands{r.node.B().Mget().Key(keys...).Build()}
	}
	commands := make(rueidis.Commands, len(keys))
	for i, key := range keys {
		commands[i] = r.node.B().Get().Key(key).Build()
	}
	return commands
}

// take keeps the places among the answers to reads. A record that cannot be
// read is logged; it ends nothing for the rest.
func (r *recordScan) take(users []proto.UserID, answers []rueidis.RedisResult) error {
	if err := firstError(answers); err != nil || len(users) == 0 {
		return err
	}
	values := make([]string, len(users))
	if r.alone {
		all, err := answers[0].AsStrSlice()
		if err != nil || len(all) != len(users) {
			return err
		}
		values = all
	} else {
		for i := range answers {
			values[i], _ = answers[i].ToString() // firstError tells; none is ""
		}
	}
	for i, user := range users {
		r.keep(user, values[i])
	}
	return nil
}

func (r *recordScan) keep(user proto.UserID, value string) {
	if value == "" {
		return // it has gone meanwhile
	}
	record, err := parseRecord(user, value, "")
	switch {
	case err != nil:
		r.store.config.Log.Warn("redis: passed by a record", "why", err)
	case record.Place.Epoch == 0 && record.Generation == 0:
		r.places[user] = record.Place
	}
}
