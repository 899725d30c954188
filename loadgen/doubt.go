package loadgen

import (
	"fmt"
	"runtime"
	"time"
)

// A figure is doubtful if the load generator or the machine was at its limit, or if it lacks many
// of the messages.
const (
	lateMaxUS   = float64(5*time.Millisecond) / 1000   // p99 of the lateness of sends
	lateLeastUS = float64(200*time.Microsecond) / 1000 // below it lateness is no matter
	lateShare   = 0.5                                  // of the latency's p99
	busyMax     = 0.9                                  // of a core, or of all
	refusedMax  = 0.01                                 // of the messages
	skewMax     = 0.01                                 // of the group messages
)

// cores is how many this process may use, as of its start: those of the machine,
// or what a CPU quota (of its container) or GOMAXPROCS leaves of them. A run
// raises GOMAXPROCS itself.
var cores = runtime.GOMAXPROCS(0)

// strain is CPU time of a span, in cores.
type strain struct {
	own     float64
	busiest float64 // of own, the busiest thread's
	servers float64 // of all processes under test
}

// machine says that the whole machine was busy.
func (s strain) machine() []string {
	switch {
	case s.own+s.servers <= busyMax*float64(cores):
		return nil
	case s.servers == 0:
		return []string{fmt.Sprintf("the load generator used %.2f of %d cores: give it a machine of its own", s.own, cores)}
	}
	return []string{fmt.Sprintf(
		"the machine was full: the system under test used %.2f and the load generator %.2f of %d cores, so the figures are of both", s.servers, s.own, cores)}
}

// thread says that one thread was busy all the time, mostly that of an event
// loop.
func (s strain) thread() []string {
	if s.busiest <= busyMax {
		return nil
	}
	return []string{fmt.Sprintf("a thread of the load generator used %.2f of a core: give it more --loops or --procs, or a machine of its own", s.busiest)}
}

// doubts returns reasons why the load generator itself may limit the figures. latency is empty
// while it is unknown.
func (f *fleet) doubts(late, latency Quantiles, used strain) (warnings []string) {
	switch {
	case late.P99 > lateMaxUS:
		warnings = append(warnings, fmt.Sprintf(
			"1 %% of the sends left more than %.1f ms late: lower --rate, give more HTTP connections, or a machine of its own", late.P99/1000))
	// Over HTTP a send also waits for the answer to the one before it, which is
	// the system's part.
	case f.cfg.Via == ViaConn && late.P99 > lateLeastUS && late.P99 > lateShare*latency.P99 && latency.Count > 0:
		warnings = append(warnings, fmt.Sprintf(
			"1 %% of the sends left more than %.2f ms late, which is much of a p99 of %.2f ms: give the load generator a machine of its own", late.P99/1000, latency.P99/1000))
	}
	warnings = append(append(warnings, used.thread()...), used.machine()...)
	return warnings
}

// refusals warns that the figures are of the messages that were taken.
func (t *Trial) refusals() {
	if sent := t.Refused + t.Delivered + t.OutcomeReceived + t.Stored; float64(t.Refused) > refusedMax*float64(sent) {
		t.Warnings = append(t.Warnings, fmt.Sprintf("%d of %d messages were refused: the latencies are of the others only", t.Refused, sent))
	}
}

// addSkew adds the skew of a trial, unless the starter has it: then how long the
// starter's credits took.
func (t *trial) addSkew(r *Trial) {
	if t.join == nil {
		t.reporter.addTo(r.kept)
		return
	}
	owed := t.promisedToAll()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.join.addTo(r, r.kept, owed)
}

// addTo adds the skew to a trial with this number of owed group messages.
func (j *join) addTo(r *Trial, k *histograms, owed int) {
	k.skew.Merge(j.skew)
	r.Unfollowed = max(0, owed-j.whole)
	if float64(r.Unfollowed) > skewMax*float64(owed) {
		r.Warnings = append(r.Warnings, fmt.Sprintf(
			"%d of %d group messages were not followed to their last receiver: the skew is of the others only", r.Unfollowed, owed))
	}
}
