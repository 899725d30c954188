package report

import (
	"slices"

	"cim/loadgen"
)

// A scenario that is run several times is run in turns with the others, so
// that what disturbs the machine for a while disturbs all. What is told of all
// turns is the median, and how two systems compare is the median of how they
// did in each turn.

// again is one trial of all runs that got so far.
func (o Outcome) again(trial int) []loadgen.Trial {
	var all []loadgen.Trial
	for _, r := range o.repeated() {
		if trial < len(r.Trials) {
			all = append(all, r.Trials[trial])
		}
	}
	return all
}

// number is one of a trial.
type number func(loadgen.Trial) float64

func deliveriesOf(t loadgen.Trial) float64 { return t.DeliveriesPerSecond }
func cpuOf(t loadgen.Trial) float64        { return t.ServerCPUus }
func p50Of(t loadgen.Trial) float64        { return t.Latency.P50 }
func p99Of(t loadgen.Trial) float64        { return t.Latency.P99 }
func p999Of(t loadgen.Trial) float64       { return t.Latency.P999 }

// over is the number's median over all turns.
func (l load) over(of number) float64 {
	var all []float64
	for _, t := range l.again {
		all = append(all, of(t))
	}
	return median(all)
}

// usualCPU is the median of what the processes under test spent on a delivery.
func (l load) usualCPU() cell {
	us := l.over(cpuOf)
	return measured(us, us > 0)
}

// against is how many times the other's number l's is; 0: that cannot be told.
func (l load) against(other load, of number) float64 {
	if len(l.again) != len(other.again) { // a turn is lost: which is not known
		return quotient(l.over(of), other.over(of))
	}
	var all []float64
	for i, t := range l.again {
		all = append(all, quotient(of(t), of(other.again[i])))
	}
	return median(all)
}

func quotient(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// median is between the two in the middle of an even number.
func median(numbers []float64) float64 {
	if len(numbers) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(numbers))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}
