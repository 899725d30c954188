package redis

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"cim/proto"
	"cim/store"
)

const (
	connectPauseMin = 50 * time.Millisecond
	connectPauseMax = time.Second
)

// Store is a store on Redis. Any goroutine calls it.
type Store struct {
	config Config // complete, but for the clock
	option rueidis.ClientOption
	calls  chan struct{} // one for each call under way

	client atomic.Pointer[rueidis.Client] // nil until the first connection
	why    atomic.Pointer[error]          // there is no client yet

	mirror mirror
	shown  shown
	seen   seenForms
	unread atomic.Uint64 // texts of the original that could not be read

	stop context.CancelFunc // ends the background
	done sync.WaitGroup
}

var _ store.Store = (*Store)(nil)

// Open returns the store that config names. It fails for a wrong
// configuration only: while the Redis is away the store waits for it in the
// background, and its calls fail with store.ErrAway.
func Open(ctx context.Context, config Config) (*Store, error) {
	if err := config.Check(); err != nil {
		return nil, err
	}
	option, err := options(config.URLs)
	if err != nil {
		return nil, err
	}
	if config.Store.OfflineTTL == 0 {
		config.Store.OfflineTTL = store.OfflineTTLDefault
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	s := &Store{config: config, option: option, calls: make(chan struct{}, callsMax), shown: shown{users: make(map[proto.UserID]*shownTexts)}}
	if err := s.connect(); misconfigured(err) {
		return nil, fmt.Errorf("redis: %s: %w", strings.Join(option.InitAddress, ", "), err)
	}
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.done.Go(func() { s.background(own) })
	return s, nil
}

// connect makes the client, which makes its connections by itself from then
// on. It ends within the bounds of its dials.
func (s *Store) connect() error {
	client, err := rueidis.NewClient(s.option)
	if err != nil {
		s.why.Store(&err)
		return err
	}
	s.client.Store(&client)
	return nil
}

// misconfigured reports whether err, of a first connection, is an answer that
// waiting does not change: user, password or database. The library has cut ERR
// off.
func misconfigured(err error) bool {
	if err == nil {
		return false
	}
	said := err.Error()
	for _, code := range []string{"WRONGPASS", "NOAUTH", "NOPERM", "AUTH", "DB index", "SELECT", "invalid DB"} {
		if strings.HasPrefix(said, code) {
			return true
		}
	}
	return false
}

// background waits for the first connection if there is none, and then keeps
// the mirror until ctx ends.
func (s *Store) background(ctx context.Context) {
	for pause := connectPauseMin; s.client.Load() == nil; pause = min(2*pause, connectPauseMax) {
		if !sleep(ctx, jitter(pause)) {
			return
		}
		if err := s.connect(); err != nil && pause >= connectPauseMax/2 {
			s.config.Log.Warn("redis: cannot be reached yet", "redis", s.option.InitAddress, "why", err)
		}
	}
	s.repair(ctx)
}

// Ready is that of Store.
func (s *Store) Ready(ctx context.Context) error {
	return s.call(ctx, about{what: "ping"}, true, func(ctx context.Context, c rueidis.Client) error {
		return c.Do(ctx, c.B().Ping().Build()).Error()
	})
}

// Close is that of Store.
func (s *Store) Close() error {
	s.stop()
	s.done.Wait()
	if client := s.client.Load(); client != nil {
		(*client).Close()
	}
	return nil
}

// jitter is between half of d and d, so that processes do not come at once.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// sleep waits for d and reports false if ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
