package report

import (
	"cmp"
	"slices"
	"strings"
)

// verdict is what became of a promise.
type verdict struct {
	Text  string
	Class string // of the page: "met", "missed" or ""
}

// notCompared is the verdict on a figure of a quiet machine that was measured
// on a busy one.
const notCompared = "not compared"

// judge compares a figure with its promise. times is the ratio to the floor's figure, 0 if unknown:
// a ratio of one run holds on any machine, so it counts before an absolute figure, which needs a
// quiet one.
func (r Result) judge(times float64, quiet bool) verdict {
	switch {
	case r.FloorTimes > 0 && times > 0:
		return judged(times <= r.FloorTimes, "≤ "+Number(r.FloorTimes))
	case r.Reach == 0:
		return verdict{}
	case !quiet && !r.Anywhere:
		return verdict{Text: notCompared}
	}
	return judged(r.Reached(r.Got), r.limit())
}

func judged(met bool, limit string) verdict {
	if met {
		return verdict{"met: " + limit, "met"}
	}
	return verdict{"missed: " + limit, "missed"}
}

// limit is what a figure must reach on a quiet machine.
func (r Result) limit() string {
	sign := "≤ "
	if r.Bound == AtLeast {
		sign = "≥ "
	}
	return sign + united(r.Reach, r.Unit)
}

// promise is the promise for a figure, "" if there is none.
func (r Result) promise() string {
	var parts []string
	if r.FloorTimes > 0 {
		parts = append(parts, "≤ "+Number(r.FloorTimes)+" times the floor's")
	}
	if r.Reach > 0 {
		parts = append(parts, r.limit())
	}
	return strings.Join(parts, "; ")
}

// verdictOn is judge with the floor of the same run.
func (run Run) verdictOn(o Outcome, r Result) verdict {
	times := 0.0
	if floor, there := run.figureOf(o, r, Floor); there {
		times = r.times(floor)
	}
	return r.judge(times, run.Manifest.quiet())
}

// promised are the figures of an outcome that have a promise.
func (o Outcome) promised() []Result {
	return slices.DeleteFunc(slices.Clone(o.Results), func(r Result) bool { return r.promise() == "" })
}

// inText are the figures that the text has: the promised ones, or all there are in
// a run that promises nothing.
func (run Run) inText(o Outcome) []Result {
	if slices.ContainsFunc(run.Outcomes, func(o Outcome) bool { return len(o.promised()) > 0 }) {
		return o.promised()
	}
	return o.Results
}

// figureOf finds the same figure of another system in the same scenario.
func (run Run) figureOf(o Outcome, r Result, system string) (Result, bool) {
	for _, other := range run.Outcomes {
		if other.Name != o.Name || other.system() != system {
			continue
		}
		at := slices.IndexFunc(other.Results, func(one Result) bool { return one.Name == r.Name })
		if at >= 0 && other.Results[at].Got > 0 {
			return other.Results[at], true
		}
	}
	return Result{}, false
}

// times is the median ratio of r to the other's figure in each turn; 0 if unknown.
func (r Result) times(other Result) float64 {
	ratios := r.ratios(other)
	if ratios == nil {
		return quotient(r.Got, other.Got)
	}
	return median(ratios)
}

// ratios are the ratios of r to the other's figure, in each turn; nil: there was one turn, or one
// is lost, and which one is unknown.
func (r Result) ratios(other Result) (all []float64) {
	if len(r.Samples) == 0 || len(r.Samples) != len(other.Samples) {
		return nil
	}
	for i, v := range r.Samples {
		all = append(all, quotient(v, other.Samples[i]))
	}
	return all
}

// bestOther is the peer with the best of a figure. The floor and the bare pair
// are no peers.
func (run Run) bestOther(o Outcome, r Result) (system string, best Result, found bool) {
	for _, other := range run.Outcomes {
		if !other.peer() || other.Name != o.Name {
			continue
		}
		got, there := run.figureOf(o, r, other.system())
		if there && (!found || r.better(got, best)) {
			system, best, found = other.system(), got, true
		}
	}
	return system, best, found
}

func (r Result) better(a, b Result) bool {
	if r.Bound == AtLeast {
		return cmp.Less(b.Got, a.Got)
	}
	return cmp.Less(a.Got, b.Got)
}

// place says whether ours is ahead of the best of the others.
func (r Result) place(best Result) verdict {
	times := r.times(best)
	if r.Bound == AtLeast {
		times = quotient(1, times)
	}
	switch ratios := r.ratios(best); {
	case times <= 0:
		return verdict{}
	case len(ratios) >= turnsLeast && noise(ratios) == withinNoise:
		return verdict{Number(times) + ", level", ""}
	case times <= 1:
		return verdict{Number(times) + ", first", "met"}
	}
	return verdict{Number(times) + ", behind", "missed"}
}

// ours reports whether it is cim that was measured.
func (o Outcome) ours() bool {
	return o.system() == "cim" || strings.HasPrefix(o.system(), "cim ") || strings.HasPrefix(o.system(), "cim,")
}

// peer reports whether it is a system that one could take in the place of ours.
func (o Outcome) peer() bool { return !o.ours() && o.system() != Floor && o.system() != BarePair }
