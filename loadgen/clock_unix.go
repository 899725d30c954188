//go:build unix

package loadgen

import "golang.org/x/sys/unix"

// monotonic is the kernel's monotonic clock, in ns.
func monotonic() (int64, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano(), err
}
