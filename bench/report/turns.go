package report

import (
	"slices"

	"cim/loadgen"
)

// A scenario that runs several times takes turns with the others, so that a disturbance of the
// machine affects all. The report has the median of all turns. How two systems compare is the
// median of the comparisons in each turn.

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
func ownCPUOf(t loadgen.Trial) float64     { return t.OwnCPUus }
func refusedOf(t loadgen.Trial) float64    { return float64(t.Refused) }
func storedOf(t loadgen.Trial) float64     { return float64(t.Stored) }
func loginOf(t loadgen.Trial) float64      { return t.LoginS }
func memoryOf(t loadgen.Trial) float64     { return t.IdleBytes }
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

// usual is the number's median over all turns, with a mark for 0.
func (l load) usual(of number) cell {
	v := l.over(of)
	return measured(v, v > 0)
}

// latency is the median over all turns of one number of each one's latencies
// that q finds, in ms. It is not there of fewer than least.
func (l load) latency(q func(loadgen.Trial) loadgen.Quantiles, of func(loadgen.Quantiles) float64, least float64) cell {
	return ms(l.over(func(t loadgen.Trial) float64 { return of(q(t)) }), l.over(func(t loadgen.Trial) float64 { return float64(q(t).Count) }) >= least)
}

// against is the ratio of l's number to the other's; 0: unknown.
func (l load) against(other load, of number) float64 {
	all := l.quotients(other, of)
	if all == nil {
		return quotient(l.over(of), other.over(of))
	}
	return median(all)
}

// quotients are the ratios of l's number to the other's, in each turn; nil: a turn is lost, and
// which one is unknown.
func (l load) quotients(other load, of number) (all []float64) {
	if len(l.again) != len(other.again) {
		return nil
	}
	for i, t := range l.again {
		all = append(all, quotient(of(t), of(other.again[i])))
	}
	return all
}

// between is the least and the most of several numbers.
func between(all []float64) cell {
	if len(all) < 2 || slices.Min(all) <= 0 {
		return measured(0, false)
	}
	return cell{Text: Number(slices.Min(all)) + " to " + Number(slices.Max(all)), Numeric: true}
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
