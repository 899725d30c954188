//go:build unix && !linux

package loadgen

import (
	"time"

	"golang.org/x/sys/unix"
)

func ownTime() (time.Duration, error) {
	var used unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), err
}
