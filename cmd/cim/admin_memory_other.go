//go:build !linux

package main

import "runtime"

// residentMemory is Go's memory, without the program itself, since only Linux reports resident
// memory.
func residentMemory() (uint64, error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Sys - m.HeapReleased, nil
}
