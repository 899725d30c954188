package redis

import (
	"context"
	"strconv"
	"time"

	"cim/proto"
	"cim/store"
)

var (
	// acquire: ARGV[4] is the lease's ttl in ms, [5] the longest of any, past
	// which a lease's end is of a clock that was ahead. It is not repeated: a lease
	// that was given unheard would refuse the next one.
	acquire = newScript(false, luaBox+`
if lease ~= 0 and at < ends and ends - at <= tonumber(ARGV[5]) then return 0 end
given = given + 1
lease, ends = given, at + tonumber(ARGV[4])
save()
return lease`)

	// extend: ARGV[4] is the lease, [5] its ttl in ms.
	extend = newScript(true, luaBox+`
if lease == 0 or lease ~= tonumber(ARGV[4]) then return 0 end
ends = at + tonumber(ARGV[5])
save()
return 1`)

	// releaseIfEmpty: ARGV[4] is the lease, [5] how often foreign texts were noted
	// when they were last counted ("": they are not looked at), [6] the count, and [7]
	// the serial behind which there must be nothing.
	releaseIfEmpty = newScript(true, luaBox+`
if lease == 0 or lease ~= tonumber(ARGV[4]) then return 1 end
expire()
local empty = seek(tonumber(ARGV[7]) + 1) == beyond and (ARGV[5] == '' or noted == tonumber(ARGV[5])) and tonumber(ARGV[6]) == 0
if empty then lease = 0 end
save()
return empty and 1 or 0`)

	// abandon: ARGV[4] is the lease.
	abandon = newScript(true, luaBox+`
if lease == 0 or lease ~= tonumber(ARGV[4]) then return 0 end
lease = 0
save()
return 1`)
)

// leaseLongest is longer than any lease is taken for.
const leaseLongest = time.Minute

func leaseText(lease store.Lease) string { return strconv.FormatUint(uint64(lease), 10) }

// Acquire is that of Offline.
func (s *Store) Acquire(ctx context.Context, user proto.UserID, ttl time.Duration) (store.Lease, error) {
	lease, err := s.number(ctx, about{what: "acquire the lease of", user: user}, acquire, boxKey(user), s.boxArgs(milliseconds(ttl), milliseconds(max(ttl, leaseLongest)))...)
	return store.Lease(lease), err
}

// Extend is that of Offline.
func (s *Store) Extend(ctx context.Context, user proto.UserID, lease store.Lease, ttl time.Duration) (bool, error) {
	ours, err := s.number(ctx, about{what: "extend the lease of", user: user}, extend, boxKey(user), s.boxArgs(leaseText(lease), milliseconds(ttl))...)
	return ours == 1, err
}

// ReleaseIfEmpty is that of Offline.
func (s *Store) ReleaseIfEmpty(ctx context.Context, user proto.UserID, lease store.Lease, after uint64) (bool, error) {
	return s.release(ctx, user, lease, after, "", 0)
}

func (s *Store) release(ctx context.Context, user proto.UserID, lease store.Lease, after uint64, noted string, left int) (bool, error) {
	args := s.boxArgs(leaseText(lease), noted, strconv.Itoa(left), serialText(inside(after)))
	released, err := s.number(ctx, about{what: "release the lease of", user: user}, releaseIfEmpty, boxKey(user), args...)
	return released == 1, err
}

// Abandon is that of Offline.
func (s *Store) Abandon(ctx context.Context, user proto.UserID, lease store.Lease) error {
	_, err := s.number(ctx, about{what: "abandon the lease of", user: user}, abandon, boxKey(user), s.boxArgs(leaseText(lease))...)
	return err
}
