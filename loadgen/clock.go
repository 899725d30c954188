package loadgen

import (
	"fmt"
	"math"
	"time"
)

// clock is the one time of all processes of a run: nanoseconds of the kernel's
// monotonic clock. Any goroutine may read it.
type clock struct {
	base      time.Time
	monotonic int64 // of the kernel at base, in ns
}

func newClock() (*clock, error) { return newClockBy(monotonic) }

// A process may be descheduled between the readings of both clocks, and would be wrong by that time
// for good. So they are read until both readings are within readTogether, or readingsMax times; the
// closest pair counts.
const (
	readTogether = 5 * time.Microsecond
	readingsMax  = 1000
)

func newClockBy(monotonic func() (int64, error)) (*clock, error) {
	c, least := &clock{}, time.Duration(math.MaxInt64)
	for range readingsMax {
		before := time.Now()
		now, err := monotonic()
		if err != nil {
			return nil, fmt.Errorf("loadgen: monotonic clock: %w", err)
		}
		if took := time.Since(before); took < least {
			least, c.base, c.monotonic = took, before.Add(took/2), now
		}
		if least <= readTogether {
			break
		}
	}
	return c, nil
}

func (c *clock) now() int64 { return c.monotonic + int64(time.Since(c.base)) }

// timer is for waits that may be a millisecond late.
func (c *clock) timer(t int64) *time.Timer { return time.NewTimer(time.Duration(t - c.now())) }
