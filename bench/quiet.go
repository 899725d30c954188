package bench

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"
)

// quietWatch is how long the machine is watched before each run of a scenario,
// while nothing of the benchmark runs. With two cores it is 20 of the kernel's
// ticks; the mean over all scenarios is fine enough.
const quietWatch = 100 * time.Millisecond

// otherWork sums up how much of the machine's CPU time other work used each
// time that it was watched. It has one owner, the goroutine of runAll.
type otherWork struct {
	sum    float64
	checks int
}

// watch looks at the machine for d, or until ctx ends. A system that does not
// say its CPU time is not counted.
func (o *otherWork) watch(ctx context.Context, d time.Duration) {
	before, known := readCPUTime("/proc/stat")
	if !known {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return
	}
	after, known := readCPUTime("/proc/stat")
	if total := after.total - before.total; known && total > 0 {
		o.sum += (after.busy - before.busy) / total
		o.checks++
	}
}

// mean is the part of the CPU time that other work used, over all checks.
func (o *otherWork) mean() float64 {
	if o.checks == 0 {
		return 0
	}
	return o.sum / float64(o.checks)
}

// cpuTime is that of the whole machine since it was started, in ticks.
type cpuTime struct{ busy, total float64 }

// The fields of a line of /proc/stat that are no work: idle time, and time that waits for a disk.
const (
	idleAt = 3
	waitAt = 4
	// cpuFields are those that sum up to the whole; what follows them, time of
	// guests, is part of others.
	cpuFields = 8
)

// readCPUTime reads the first line of a file as /proc/stat.
func readCPUTime(path string) (sum cpuTime, known bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return sum, false
	}
	line, _, _ := strings.Cut(string(text), "\n")
	words := strings.Fields(line)
	if len(words) < 1+cpuFields || words[0] != "cpu" {
		return sum, false
	}
	for i, word := range words[1 : 1+cpuFields] {
		ticks, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return sum, false
		}
		sum.total += ticks
		if i != idleAt && i != waitAt {
			sum.busy += ticks
		}
	}
	return sum, true
}
