package bench

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"golang.org/x/perf/benchmath"
)

// confidence is the least confidence of a reported interval. With it five runs are enough for one,
// from the least to the most.
const confidence = 0.9

// outcomeOf sums up the attempts at one scenario. Its error is what went
// wrong in any of them.
func outcomeOf(k kind, s Scenario, attempts []attempt) (Outcome, error) {
	o := Outcome{Name: s.Name, System: k.name, Guarantee: k.guarantee, Load: s.Load}
	var failures, lost []error
	var whole []attempt // those with a report
	for _, a := range attempts {
		failures, lost = append(failures, a.err), append(lost, a.lost)
		if len(a.reports) > 0 {
			whole = append(whole, a)
		}
	}
	if len(whole) > 0 {
		fill(&o, whole)
	}
	err := errors.Join(failures...)
	if told := errors.Join(err, errors.Join(lost...)); told != nil {
		o.Failure = told.Error()
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", s.Name, err)
	}
	return o, err
}

// fill sets the reports and the figures of all attempts. The shown attempt is the median by its
// first figure.
func fill(o *Outcome, whole []attempt) {
	shown := middle(whole)
	o.Report, o.Others = shown.reports[0], shown.reports[1:]
	o.Results = slices.Clone(shown.results)
	o.Soak = shown.soak
	if len(whole) == 1 {
		return
	}
	for _, a := range whole {
		o.Runs = append(o.Runs, a.reports[0])
	}
	for i := range o.Results {
		o.Results[i] = summed(o.Results[i], samplesOf(whole, o.Results[i]))
	}
}

// middle is the attempt with the median of the first figure, the lower one of
// two.
func middle(whole []attempt) attempt {
	sorted := slices.SortedStableFunc(slices.Values(whole), func(a, b attempt) int { return cmp.Compare(first(a), first(b)) })
	return sorted[(len(sorted)-1)/2]
}

func first(a attempt) float64 {
	if len(a.results) == 0 {
		return math.Inf(1)
	}
	return a.results[0].Got
}

// samplesOf collects what the attempts got for one figure.
func samplesOf(whole []attempt, of Result) []float64 {
	var samples []float64
	for _, a := range whole {
		if at := slices.IndexFunc(a.results, func(r Result) bool { return r.Name == of.Name }); at >= 0 {
			samples = append(samples, a.results[at].Got)
		}
	}
	return samples
}

// summed is the figure of several runs: their median, and the interval around
// it if they are enough for one.
func summed(r Result, samples []float64) Result {
	r.Samples = samples
	summary := summaryOf(samples)
	r.Got, r.Met = summary.Center, r.Reached(summary.Center)
	if !math.IsInf(summary.Lo, 0) && !math.IsInf(summary.Hi, 0) {
		r.Low, r.High, r.Confidence = summary.Lo, summary.Hi, summary.Confidence
	}
	return r
}

// sampleOf leaves numbers in their order, as benchmath does not.
func sampleOf(numbers []float64) *benchmath.Sample {
	return benchmath.NewSample(slices.Clone(numbers), &benchmath.DefaultThresholds)
}

// summaryOf assumes nothing about how the numbers are spread.
func summaryOf(numbers []float64) benchmath.Summary {
	return benchmath.AssumeNothing.Summary(sampleOf(numbers), confidence)
}
