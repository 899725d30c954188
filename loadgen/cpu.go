package loadgen

import "time"

// CPUTime is the user and system time that a process has used so far.
func CPUTime(pid int) (time.Duration, error) { return cpuTime(pid) }
