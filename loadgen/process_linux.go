package loadgen

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Clocks of the CPU time of processes and threads, as clock_gettime takes them:
// the complement of the id, shifted by clockShift, with these bits. The kernel's
// scheduler counts them in ns, and a process' clock has the time of threads that
// have ended. A thread that runs at the moment may be behind by one tick of the
// scheduler, 1 to 10 ms.
const (
	clockShift     = 3
	scheduledClock = 2
	threadClock    = 4
)

// clockTick is the unit of times in /proc/pid/stat: USER_HZ, which is 100 on
// every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// Places in /proc/pid/stat behind the command's closing parenthesis, counted
// from 0.
const (
	statUser   = 11
	statSystem = 12
)

// cpuTime is the user and system time that a process has used so far. Where the
// kernel does not offer its clock, as a sandbox may, it is read in ticks.
func cpuTime(pid int) (time.Duration, error) {
	if used, err := clockTime(pid, scheduledClock); err == nil {
		return used, nil
	}
	used, err := statTime("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, fmt.Errorf("loadgen: process %d: %w", pid, err)
	}
	return used, nil
}

// clockTime reads the clock of a process, or of a thread of this one.
func clockTime(id int, which int32) (time.Duration, error) {
	var used unix.Timespec
	if err := unix.ClockGettime(^int32(id)<<clockShift|which, &used); err != nil {
		return 0, err
	}
	return time.Duration(used.Nano()), nil
}

// statTime reads the stat file of a process or a thread.
func statTime(path string) (time.Duration, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	// The command may itself have spaces and parentheses.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) <= statSystem {
		return 0, fmt.Errorf("%s has %d fields", path, len(fields))
	}
	user, err1 := strconv.ParseInt(string(fields[statUser]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[statSystem]), 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("%s: times %q and %q", path, fields[statUser], fields[statSystem])
	}
	return time.Duration(user+system) * clockTick, nil
}

// residentBytes is the memory of a process that is in RAM.
func residentBytes(pid int) (int64, error) {
	path := "/proc/" + strconv.Itoa(pid) + "/status"
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("loadgen: process %d: %w", pid, err)
	}
	_, rest, has := bytes.Cut(b, []byte("VmRSS:"))
	if !has {
		return 0, fmt.Errorf("loadgen: process %d has no memory: it has ended, or is the kernel's", pid)
	}
	line, _, _ := bytes.Cut(rest, []byte("kB"))
	kilobytes, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("loadgen: %s: VmRSS: %w", path, err)
	}
	return kilobytes << 10, nil
}

// threadTimes is the CPU time of each thread of this process so far. A thread that ends meanwhile
// is left out.
func threadTimes() (map[string]time.Duration, error) {
	const folder = "/proc/self/task/"
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("loadgen: threads: %w", err)
	}
	times := make(map[string]time.Duration, len(entries))
	for _, entry := range entries {
		used, err := threadTime(folder, entry.Name())
		if err == nil {
			times[entry.Name()] = used
		} else if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			return nil, err
		}
	}
	return times, nil
}

// threadTime is what a thread of this process has used, by its clock or in ticks.
func threadTime(folder, name string) (time.Duration, error) {
	if id, err := strconv.Atoi(name); err == nil {
		if used, err := clockTime(id, scheduledClock|threadClock); err == nil {
			return used, nil
		}
	}
	return statTime(folder + name + "/stat")
}
