package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"cim/store"
)

// Store is a store on Redis. Any goroutine calls it.
type Store struct {
	config Config // complete, but for the clock
	option rueidis.ClientOption
	calls  chan struct{} // one for each call under way

	client atomic.Pointer[rueidis.Client] // nil until the first connection
	scans  atomic.Bool                    // the keys can be listed
	health health

	mirror mirror

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
	s := &Store{config: config, option: option, calls: make(chan struct{}, callsMax)}
	s.health.poke = make(chan struct{}, 1)
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	err = s.look(own)
	if permanent(err) {
		return nil, errors.Join(fmt.Errorf("redis: %w", err), s.Close())
	}
	s.note(own, err)
	s.done.Go(func() { s.watch(own) })
	s.done.Go(func() { s.background(own) })
	return s, nil
}

// background keeps the mirror, once there is a connection, until ctx ends.
func (s *Store) background(ctx context.Context) {
	for s.client.Load() == nil {
		if !sleep(ctx, jitter(repairEvery)) {
			return
		}
	}
	s.repair(ctx)
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
