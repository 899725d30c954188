package main

import (
	"fmt"
	"time"
)

// usage is the processor time that this process has taken, and its resident
// memory in bytes.
func usage() (cpu time.Duration, resident uint64, err error) {
	if cpu, err = processorTime(); err != nil {
		return 0, 0, fmt.Errorf("admin: processor time: %w", err)
	}
	if resident, err = residentMemory(); err != nil {
		return 0, 0, fmt.Errorf("admin: resident memory: %w", err)
	}
	return cpu, resident, nil
}
