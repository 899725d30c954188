package route

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// stampPause is how often the stamp of a standstill is renewed.
	stampPause = 100 * time.Millisecond
	// standstillMax is the age of the stamp from which on this process stood
	// still. A server ends a link that has said nothing for 2 s, answers the SENDs
	// that it had passed on there as unknown, and passes the next ones of their
	// senders on to another route. A confirm is due each 500 ms, so when that
	// happens this process has stood still for 1.5 s.
	standstillMax = time.Second
)

// errStoodStill ends a link after a standstill: the server may have given up SENDs that came over
// the link, and may have delivered later ones by another route.
var errStoodStill = errors.New("route: this process stood still; the link is made anew")

// standstill counts how often this process stood still: stopped by a signal, frozen with its
// machine, or without a processor. A goroutine renews a stamp; code that is about to handle records
// of servers checks the stamp's age.
//
// Any goroutine may call its methods. A check costs two loads.
type standstill struct {
	started time.Time
	stamp   atomic.Int64  // the time of the last renewal, since started
	counted atomic.Uint64 // standstills so far

	mu sync.Mutex // held while counting or renewing
}

func newStandstill() *standstill { return &standstill{started: time.Now()} }

// run renews the stamp until ctx ends.
func (s *standstill) run(ctx context.Context) {
	ticker := time.NewTicker(stampPause)
	defer ticker.Stop()
	for {
		s.renew(time.Since(s.started))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// count returns how often the process stood still up to now.
func (s *standstill) count() uint64 {
	if now := time.Since(s.started); now-time.Duration(s.stamp.Load()) > standstillMax {
		s.renew(now)
	}
	return s.counted.Load()
}

// renew counts a standstill if the stamp is too old, then renews the stamp. So a goroutine that
// sees the new stamp also sees the count.
func (s *standstill) renew(now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now-time.Duration(s.stamp.Load()) > standstillMax {
		s.counted.Add(1)
	}
	s.stamp.Store(max(s.stamp.Load(), int64(now)))
}
