package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// usage is the processor time that this process has taken, and its resident
// memory in bytes.
func usage() (cpu time.Duration, resident uint64, err error) {
	var spent syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &spent); err != nil {
		return 0, 0, fmt.Errorf("admin: processor time: %w", err)
	}
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, 0, fmt.Errorf("admin: resident memory: %w", err)
	}
	fields := bytes.Fields(statm)
	if len(fields) < 2 {
		return 0, 0, fmt.Errorf("admin: resident memory: /proc/self/statm says %q", statm)
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("admin: resident memory: %w", err)
	}
	return time.Duration(spent.Utime.Nano() + spent.Stime.Nano()), pages * uint64(os.Getpagesize()), nil
}
