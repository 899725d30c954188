package redis

import (
	"context"
	"strconv"

	"cim/proto"
)

// refuseBefore keeps the later of two times.
var refuseBefore = newScript(true, `
local kept = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
if tonumber(ARGV[1]) > kept then redis.call('SET', KEYS[1], ARGV[1]) end
return 1`)

// refusedKey is in the slot of the account's key.
func refusedKey(id proto.UserID) string { return "{" + accountKey(id) + "}:refused-before" }

// RefuseTokensBefore is that of Accounts.
func (s *Store) RefuseTokensBefore(ctx context.Context, id proto.UserID, at proto.UnixMilli) error {
	_, err := s.number(ctx, about{what: "refuse the tokens of", user: id}, refuseBefore, refusedKey(id), strconv.FormatInt(int64(at), 10))
	return err
}

// TokensRefusedBefore is that of Accounts.
func (s *Store) TokensRefusedBefore(ctx context.Context, id proto.UserID) (proto.UnixMilli, error) {
	a := about{what: "read which tokens are refused of", user: id}
	value, found, err := s.get(ctx, a, refusedKey(id))
	if err != nil || !found {
		return 0, err
	}
	at, err := strconv.ParseInt(value, 10, 64)
	if err != nil || at < 0 {
		return 0, fault(ctx, a, &valueError{key: refusedKey(id), want: "a time in ms"})
	}
	return proto.UnixMilli(at), nil
}
