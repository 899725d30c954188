package loadgen

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// clock is the one time of all processes of a run: nanoseconds of the kernel's
// monotonic clock. Any goroutine may read it.
type clock struct {
	base      time.Time
	monotonic int64 // CLOCK_MONOTONIC at base, in ns
}

func newClock() (*clock, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return nil, fmt.Errorf("loadgen: monotonic clock: %w", err)
	}
	return &clock{base: time.Now(), monotonic: ts.Nano()}, nil
}

func (c *clock) now() int64 { return c.monotonic + int64(time.Since(c.base)) }

// timespec is the time t of this clock as the kernel counts it.
func (c *clock) timespec(t int64) unix.Timespec { return unix.NsecToTimespec(t) }

// timer is for waits that may be a millisecond late.
func (c *clock) timer(t int64) *time.Timer { return time.NewTimer(time.Duration(t - c.now())) }
