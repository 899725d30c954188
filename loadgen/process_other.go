//go:build !linux

package loadgen

import (
	"fmt"
	"os"
	"runtime"
	"time"
)

// cpuTime is the user and system time that this process has used so far. It is
// an error of others, whose time this system does not show.
func cpuTime(pid int) (time.Duration, error) {
	if pid != os.Getpid() {
		return 0, otherProcess(pid)
	}
	used, err := ownTime()
	if err != nil {
		return 0, fmt.Errorf("loadgen: processor time: %w", err)
	}
	return used, nil
}

func residentBytes(pid int) (int64, error) { return 0, otherProcess(pid) }

func otherProcess(pid int) error {
	return fmt.Errorf("loadgen: process %d: what a process uses can be read on Linux only, not on %s: leave --server-pid out", pid, runtime.GOOS)
}

// threadTimes are unknown here, so no thread is said to be the busiest.
func threadTimes() (map[string]time.Duration, error) { return nil, nil }
