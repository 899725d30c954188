//go:build unix

package main

import (
	"syscall"
	"time"
)

func processorTime() (time.Duration, error) {
	var spent syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &spent)
	return time.Duration(spent.Utime.Nano() + spent.Stime.Nano()), err
}
