package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/redis/rueidis"

	"cim/proto"
)

const (
	accountPrefix = "cim-account:"
	lastUserKey   = "cim-last-user-id"
	// registerTries bounds how many ids that other processes have taken are
	// passed by.
	registerTries = 100
)

var errIDsTaken = errors.New("other processes have taken " + strconv.Itoa(registerTries) + " ids in a row")

// nextUser gives the next id: the time, or one more than the last.
var nextUser = newScript(true, luaNow+`
local id = math.max(now(ARGV[1]), tonumber(redis.call('GET', KEYS[1]) or '0') + 1)
redis.call('SET', KEYS[1], integer(id))
return id`)

func accountKey(id proto.UserID) string { return accountPrefix + userText(id) }

func userText(id proto.UserID) string { return strconv.FormatInt(int64(id), 10) }

// Register is that of Accounts. The account comes first, then the name: who
// finds the name finds the account. Of several that register one name at once
// the first whose name stands has won, and the others take their accounts away.
func (s *Store) Register(ctx context.Context, name string) (proto.User, error) {
	user, found, err := s.Find(ctx, name)
	if err != nil || found {
		return user, err
	}
	if user, err = s.newAccount(ctx, name); err != nil {
		return proto.User{}, err
	}
	won, err := s.setNew(ctx, about{what: "name", user: user.ID}, name, accountKey(user.ID))
	if err != nil || won {
		return user, err
	}
	if err := s.dropAccount(ctx, user.ID); err != nil {
		return proto.User{}, err
	}
	if user, found, err = s.Find(ctx, name); err == nil && !found {
		err = fmt.Errorf("redis: register %q: the name was taken and is gone", name)
	}
	return user, err
}

// Find is that of Accounts.
func (s *Store) Find(ctx context.Context, name string) (proto.User, bool, error) {
	a := about{what: "read the account of", key: name}
	value, found, err := s.get(ctx, a, name)
	if err != nil || !found {
		return proto.User{}, false, err
	}
	text, ours := strings.CutPrefix(value, accountPrefix)
	id, err := strconv.ParseInt(text, 10, 64)
	if !ours || err != nil {
		return proto.User{}, false, fault(ctx, a, &valueError{key: name, want: accountPrefix + "<id>"})
	}
	return proto.User{ID: proto.UserID(id), Name: name}, true, nil
}

// newAccount makes an account with a new id, to which no name leads yet.
func (s *Store) newAccount(ctx context.Context, name string) (proto.User, error) {
	for range registerTries {
		id, err := s.number(ctx, about{what: "give an id"}, nextUser, lastUserKey, s.clock())
		if err != nil {
			return proto.User{}, err
		}
		user := proto.User{ID: proto.UserID(id), Name: name}
		set, err := s.setNew(ctx, about{what: "make the account of", user: user.ID}, accountKey(user.ID), name)
		if err != nil || set {
			return user, err
		}
	}
	return proto.User{}, fmt.Errorf("redis: register %q: %w", name, errIDsTaken)
}

// setNew sets key if it has no value, and reports whether it did.
func (s *Store) setNew(ctx context.Context, a about, key, value string) (set bool, err error) {
	err = s.call(ctx, a, false, func(ctx context.Context, c rueidis.Client) error {
		err := c.Do(ctx, c.B().Set().Key(key).Value(value).Nx().Build()).Error()
		set = err == nil
		return orNone(err)
	})
	return set, err
}

func (s *Store) dropAccount(ctx context.Context, id proto.UserID) error {
	return s.call(ctx, about{what: "drop the account of", user: id}, true, func(ctx context.Context, c rueidis.Client) error {
		return c.Do(ctx, c.B().Del().Key(accountKey(id)).Build()).Error()
	})
}

// Account is that of Accounts. Names never change, so a cached one is right;
// an absent one may be new.
func (s *Store) Account(ctx context.Context, id proto.UserID) (name string, found bool, err error) {
	a := about{what: "read the account of", user: id}
	if name, found, err = s.cached(ctx, a, accountKey(id)); err == nil && !found {
		name, found, err = s.get(ctx, a, accountKey(id))
	}
	if err == nil && found && !fit(name) {
		return "", false, fault(ctx, a, &valueError{key: accountKey(id), want: "a user's name"})
	}
	return name, found, err
}

// fit reports whether a name can travel: in a frame, and in a link's record.
// Other processes may have written any.
func fit(name string) bool { return len(name) <= proto.RecordNameMax && utf8.ValidString(name) }
