package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"cim/proto"
	"cim/store"
)

const (
	// callMax bounds a call whose context ends later.
	callMax = 1500 * time.Millisecond
	// callsMax bounds the calls under way; the next ones wait within their
	// deadline.
	callsMax = 1024
	// againMin and againMax are the pauses before a call is sent again.
	againMin = time.Millisecond
	againMax = 50 * time.Millisecond
	// cacheFor bounds how long a key is cached; a change ends it at once.
	cacheFor = 10 * time.Minute
)

// errNotYet says that there was no connection yet.
var errNotYet = errors.New("not connected yet")

// about is what a call is about, for its error: a user's number, or a key.
type about struct {
	what string
	user proto.UserID
	key  string
}

func (a about) String() string {
	switch {
	case a.user != 0:
		return a.what + " user " + strconv.FormatInt(int64(a.user), 10)
	case a.key != "":
		return a.what + " " + strconv.Quote(a.key)
	}
	return a.what
}

// call lets send talk to the Redis until it has its answer, and names what
// went wrong. What the Redis refused to do for the moment is sent again within
// the deadline, and what a broken connection may have carried or not once more
// if it is repeatable: done twice it is as done once.
func (s *Store) call(ctx context.Context, a about, repeatable bool, send func(context.Context, rueidis.Client) error) error {
	own, cancel := bound(ctx)
	defer cancel()
	if err := own.Err(); err != nil {
		return fault(ctx, a, err)
	}
	select {
	case s.calls <- struct{}{}:
		defer func() { <-s.calls }()
	case <-own.Done():
		return fault(ctx, a, own.Err())
	}
	broken := repeatable
	for pause := againMin; ; pause = min(2*pause, againMax) {
		err := s.attempt(own, send)
		if err != nil {
			s.health.heed(err)
		}
		again := refused(err) || broken && away(err) && own.Err() == nil
		if err == nil || !again || !sleep(own, jitter(pause)) {
			return fault(ctx, a, err)
		}
		broken = broken && !away(err)
	}
}

// bound gives ctx a deadline within callMax. One that has such a deadline is
// spared the cost of another: more than that of a cached lookup.
func bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= callMax {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, callMax)
}

// attempt lets send talk to the Redis once.
func (s *Store) attempt(ctx context.Context, send func(context.Context, rueidis.Client) error) error {
	client := s.client.Load()
	if client == nil {
		if why := s.health.state(); why != nil {
			return fmt.Errorf("%w: %w", errNotYet, why)
		}
		return errNotYet
	}
	return send(ctx, *client)
}

// refused reports whether err is an answer that nothing was done, which will
// change: a slot on its way, a failover, a start.
func refused(err error) bool {
	answer, ok := rueidis.IsRedisErr(err)
	if !ok {
		return false
	}
	for _, code := range []string{"TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY", "BUSY "} {
		if strings.HasPrefix(answer.Error(), code) {
			return true
		}
	}
	return false
}

// away reports whether err is of the connection, not an answer or our own.
func away(err error) bool {
	if err == nil || errors.As(err, new(*valueError)) {
		return false
	}
	_, answered := rueidis.IsRedisErr(err)
	return !answered
}

// fault names what err was about.
func fault(ctx context.Context, a about, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("redis: %v: %w", a, context.Canceled)
	case refused(err) || away(err):
		return fmt.Errorf("redis: %v: %w: %w", a, store.ErrAway, err)
	}
	return fmt.Errorf("redis: %v: %w", a, withoutArgs(err))
}

// withoutArgs is err, without the arguments that a Redis quotes of a command
// that it does not know: a text may be among them.
func withoutArgs(err error) error {
	if said, _, found := strings.Cut(err.Error(), ", with args"); found {
		return errors.New(said)
	}
	return err
}

// valueError says that a key has a value that is none that is written there.
type valueError struct{ key, want string }

func (e *valueError) Error() string {
	return fmt.Sprintf("the value of %q is not %s", e.key, e.want)
}

// orNone is nil for the answer that there is no such key.
func orNone(err error) error {
	if rueidis.IsRedisNil(err) {
		return nil
	}
	return err
}

// firstError is the first error of answers that is more than the absence of a
// key.
func firstError(answers []rueidis.RedisResult) error {
	for _, answer := range answers {
		if err := orNone(answer.Error()); err != nil {
			return err
		}
	}
	return nil
}

// firstErrorButOdd is firstError without those that odd reports.
func firstErrorButOdd(answers []rueidis.RedisResult) error {
	for _, answer := range answers {
		if err := orNone(answer.Error()); err != nil && !odd(err) {
			return err
		}
	}
	return nil
}

// odd reports whether err is that a key holds what we do not write there, of a
// script too: another type, or a text that is no number. It concerns one user.
func odd(err error) bool {
	code := codeOf(err)
	return errors.As(err, new(*valueError)) || strings.Contains(code, "WRONGTYPE") || strings.Contains(code, "attempt to compare")
}

// get reads one key past the cache.
func (s *Store) get(ctx context.Context, a about, key string) (value string, found bool, err error) {
	err = s.call(ctx, a, true, func(ctx context.Context, c rueidis.Client) (err error) {
		value, err = c.Do(ctx, c.B().Get().Key(key).Build()).ToString()
		found = err == nil
		return orNone(err)
	})
	return value, found, err
}

// cached reads one key through the cache.
func (s *Store) cached(ctx context.Context, a about, key string) (value string, found bool, err error) {
	err = s.call(ctx, a, true, func(ctx context.Context, c rueidis.Client) (err error) {
		value, err = c.DoCache(ctx, c.B().Get().Key(key).Cache().ToStaticTTL(), cacheFor).ToString()
		found = err == nil
		return orNone(err)
	})
	return value, found, err
}
