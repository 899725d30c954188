//go:build !linux

package main

import "runtime"

// residentMemory is what Go holds, since only Linux says what is resident: the
// program itself is missing in it.
func residentMemory() (uint64, error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Sys - m.HeapReleased, nil
}
