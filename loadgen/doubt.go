package loadgen

import (
	"fmt"
	"runtime"
	"time"
)

// What makes a figure doubtful: the load generator itself was at its limit.
const (
	lateMaxUS = float64(5*time.Millisecond) / 1000 // p99 of the lateness of sends
	busyMax   = 0.8                                // of the cores that it can use
)

// doubts says why the load generator itself may be what limits the figures.
func (f *fleet) doubts(t *trial, late Quantiles, ownCPU float64) (warnings []string) {
	if late.P99 > lateMaxUS {
		warnings = append(warnings, fmt.Sprintf(
			"1 %% of the sends left more than %.1f ms late: lower --rate, give more HTTP connections, or a machine of its own", late.P99/1000))
	}
	// A loop and the senders, which are one more thread's worth.
	if cores := min(f.cfg.Loops+1, runtime.NumCPU()); ownCPU > busyMax*float64(cores) {
		warnings = append(warnings, fmt.Sprintf(
			"the load generator used %.2f of %d cores: give it more --loops or --procs, or a machine of its own", ownCPU, cores))
	}
	return warnings
}
