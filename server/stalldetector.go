package server

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// stampEvery is how often the stamp is renewed.
	stampEvery = 50 * time.Millisecond
	// pauseMin is the age of the stamp from which on the process stood still.
	// Routes give an ask up after 300 ms, so what they sent before must not be
	// done behind it.
	pauseMin = 250 * time.Millisecond
)

// stallDetector finds out that the process stood still: stopped by a signal, frozen
// with its machine, or without a processor. A goroutine of its own renews a
// stamp; whoever is about to work looks at the stamp's age. So nobody works
// behind a pause who does not know of it.
//
// All methods may be called by any goroutine. While nothing is wrong a look is
// two loads.
type stallDetector struct {
	pauseMin time.Duration
	// beforePause is called once for each pause, before anybody may know of it and go
	// on. It must not look.
	beforePause func(now time.Duration)

	stamp     atomic.Int64  // the time of the last renewal
	resumedAt atomic.Int64  // the time of the last pause's end
	pauses    atomic.Uint64 // so far, with those of single loops

	mu sync.Mutex // of whoever counts or renews
}

// check returns how many pauses there were up to now, and for how long the
// process stood still if this is the first look behind the last one, else 0.
// now is the caller's present time, by one monotonic clock for all.
func (p *stallDetector) check(now time.Duration) (pauses uint64, stood time.Duration) {
	if now-time.Duration(p.stamp.Load()) > p.pauseMin {
		stood = p.recordPause(now)
	}
	return p.pauses.Load(), stood
}

// recordPause counts a pause and renews the stamp, in this order: who finds the stamp
// renewed finds the pause counted. Whoever comes second counts nothing.
func (p *stallDetector) recordPause(now time.Duration) (stood time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stood = now - time.Duration(p.stamp.Load())
	if stood <= p.pauseMin {
		return 0
	}
	p.beforePause(now)
	p.resumedAt.Store(int64(now))
	p.pauses.Add(1)
	p.stamp.Store(int64(now))
	return stood
}

// recordLoopPause counts the standstill of a single loop, and returns how many pauses
// there were up to now.
func (p *stallDetector) recordLoopPause() (pauses uint64) { return p.pauses.Add(1) }

// renew looks, and renews the stamp.
func (p *stallDetector) renew(now time.Duration) (pauses uint64, stood time.Duration) {
	pauses, stood = p.check(now)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stamp.Store(max(p.stamp.Load(), int64(now)))
	return pauses, stood
}
