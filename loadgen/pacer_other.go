//go:build !linux

package loadgen

import "time"

// sharpenSleeps does nothing: only Linux lets a thread choose.
func sharpenSleeps() error { return nil }

// nap sleeps until t of this clock. It may be a millisecond late or more;
// latencies are counted from when a message was due, so they have that in them.
func (c *clock) nap(t int64) error {
	time.Sleep(time.Duration(t - c.now()))
	return nil
}
