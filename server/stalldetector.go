package server

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// stampEvery is how often the stamp is renewed.
	stampEvery = 50 * time.Millisecond
	// pauseMin is the age of the stamp that counts as a pause of the process.
	// Routes give up a request after 300 ms, so the server must not carry out what
	// they sent before the pause.
	pauseMin = 250 * time.Millisecond
)

// stallDetector notices that the process stood still: stopped by a signal, frozen
// with its machine, or without a processor. One goroutine renews a stamp; all
// others check its age before they work. So no goroutine works after a pause
// without noticing it.
//
// Any goroutine may call the methods. While nothing is wrong, a check costs two
// loads.
type stallDetector struct {
	pauseMin time.Duration
	// beforePause is called once for each pause, before any goroutine can see the
	// new count. It must not call check.
	beforePause func(now time.Duration)

	stamp     atomic.Int64  // the time of the last renewal
	resumedAt atomic.Int64  // the time of the last pause's end
	pauses    atomic.Uint64 // of single loops too

	mu sync.Mutex // held to count or to renew
}

// check returns the number of pauses so far, and how long the process stood still
// if this call is the first to notice; else 0. now is the present time, by one
// monotonic clock for all callers.
func (d *stallDetector) check(now time.Duration) (pauses uint64, stood time.Duration) {
	if now-time.Duration(d.stamp.Load()) > d.pauseMin {
		stood = d.recordPause(now)
	}
	return d.pauses.Load(), stood
}

// recordPause counts a pause and then renews the stamp, so a goroutine that reads
// the new stamp also reads the new count. Only the first of several callers counts.
func (d *stallDetector) recordPause(now time.Duration) (stood time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	stood = now - time.Duration(d.stamp.Load())
	if stood <= d.pauseMin {
		return 0
	}
	d.beforePause(now)
	d.resumedAt.Store(int64(now))
	d.pauses.Add(1)
	d.stamp.Store(int64(now))
	return stood
}

// recordLoopPause counts the pause of a single loop, and returns the number of
// pauses so far.
func (d *stallDetector) recordLoopPause() (pauses uint64) { return d.pauses.Add(1) }

// renew checks for a pause, and renews the stamp.
func (d *stallDetector) renew(now time.Duration) (pauses uint64, stood time.Duration) {
	pauses, stood = d.check(now)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stamp.Store(max(d.stamp.Load(), int64(now)))
	return pauses, stood
}
