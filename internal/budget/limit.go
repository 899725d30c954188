package budget

import (
	"bytes"
	"math"
	"os"
	"runtime/debug"
	"strconv"
)

// Bounds of a limit, in bytes.
const (
	// LimitMin is what a busy small server needs.
	LimitMin = 16 << 20
	// LimitMax is past any machine's memory.
	LimitMax = 1 << 50
	// defaultMin and defaultMax bound Default: what 10,000 clients on slow networks
	// may have unsent for a moment, and a sum that slow readers should never take,
	// whatever the memory of the machine.
	defaultMin = 32 << 20
	defaultMax = 1 << 30
	// memoryShare: Default is one part in memoryShare of the memory, since as much
	// again may be uncollected garbage.
	memoryShare = 4
)

// Default is a quarter of the memory that the process may use, from 32 MiB to 1
// GiB. That memory is the least of GOMEMLIMIT, the limit of its container, and the
// machine's memory. If none is known it is 1 GiB.
func Default() int64 {
	least := min(debug.SetMemoryLimit(-1),
		number("/sys/fs/cgroup/memory.max", ""),                   // cgroup v2
		number("/sys/fs/cgroup/memory/memory.limit_in_bytes", ""), // cgroup v1
		number("/proc/meminfo", "MemTotal:"))
	return min(max(least/memoryShare, defaultMin), defaultMax)
}

// number reads the number after label in a file of the kernel, in kB if there is a
// label; math.MaxInt64 if there is none.
func number(file, label string) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return math.MaxInt64
	}
	_, rest, found := bytes.Cut(text, []byte(label))
	fields := bytes.Fields(rest)
	if !found || len(fields) == 0 {
		return math.MaxInt64
	}
	n, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil || n <= 0 {
		return math.MaxInt64 // "max"
	}
	if label != "" {
		n <<= 10
	}
	return n
}
