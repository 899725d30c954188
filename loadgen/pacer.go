package loadgen

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// napMax bounds a sleep, so that the end of the context is seen.
const napMax = 10 * time.Millisecond

// pace calls send for each message of an open loop when it is due. It has a
// thread of its own, since Go's timers may be a millisecond late, and blocks it
// in the kernel. send must not block.
func (f *fleet) pace(ctx context.Context, t *trial, send func(i int, due int64)) error {
	return pace(ctx, f.clock, t, f.cfg.Arrivals.times(t, f.cfg.Seed), send)
}

func pace(ctx context.Context, clock *clock, t *trial, due func(i int) int64, send func(i int, due int64)) error {
	failed := make(chan error, 1)
	go func() { failed <- paceOnThread(ctx, clock, t, due, send) }()
	return <-failed
}

func paceOnThread(ctx context.Context, clock *clock, t *trial, dueAt func(i int) int64, send func(i int, due int64)) error {
	// Never unlocked: the thread ends with this goroutine, and its timer slack
	// with it.
	runtime.LockOSThread()
	if err := sharpenSleeps(); err != nil {
		return fmt.Errorf("loadgen: timer slack: %w", err)
	}
	for i := 0; ; i++ {
		due := dueAt(i)
		if due >= t.end {
			return nil
		}
		if err := clock.sleepUntil(ctx, due); err != nil {
			return err
		}
		send(i, due)
	}
}

// sleepUntil returns at t, or at once if t has passed. The end of ctx is an error in both cases,
// since a sender that is far behind would never see it otherwise.
func (c *clock) sleepUntil(ctx context.Context, t int64) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		now := c.now()
		if now >= t {
			return nil
		}
		if err := c.nap(min(t, now+int64(napMax))); err != nil {
			return fmt.Errorf("loadgen: sleep: %w", err)
		}
	}
}
