package loadgen

import (
	"errors"

	"golang.org/x/sys/unix"
)

// timerSlackNs is what the kernel may add to a sleep; its default is 50 µs.
const timerSlackNs = 1

// sharpenSleeps has the sleeps of this thread end when they are due.
func sharpenSleeps() error { return unix.Prctl(unix.PR_SET_TIMERSLACK, timerSlackNs, 0, 0, 0) }

// nap blocks the thread in the kernel until t of this clock, or until a signal.
func (c *clock) nap(t int64) error {
	wake := unix.NsecToTimespec(t)
	err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &wake, nil)
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	return err
}
