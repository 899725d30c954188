package bench

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/perf/benchmath"

	"cim/bench/report"
)

// runsLeast is how many runs of each side a difference needs to be significant
// at all: with fewer, any order of them can be chance.
const runsLeast = 4

// side is what one side of a comparison got for a figure.
type side struct {
	samples []float64
	benchmath.Summary
}

func newSide(samples []float64) side { return side{samples, summaryOf(samples)} }

// String is the median, and the interval that holds the true one if the runs
// are enough for one.
func (s side) String() string {
	text := report.Number(s.Center)
	if math.IsInf(s.Lo, 0) || math.IsInf(s.Hi, 0) {
		return text
	}
	return fmt.Sprintf("%s (%s to %s)", text, report.Number(s.Lo), report.Number(s.Hi))
}

// difference is one figure of two sides.
type difference struct {
	figure report.Result // its name, unit and bound
	name   string        // of scenario and system
	ours   bool          // it is cim's: what other systems and the floor lose is no loss of ours
	a, b   side
	p      float64 // how probable such a difference is by chance
	alpha  float64
}

// worse is by how much b is worse than a, as a part of a; less than 0 if it is
// better.
func (d difference) worse() float64 {
	change := d.b.Center - d.a.Center
	if d.figure.Bound == AtLeast {
		change = -change
	}
	switch {
	case change == 0:
		return 0
	case d.a.Center == 0:
		return math.Copysign(math.Inf(1), change)
	}
	return change / math.Abs(d.a.Center)
}

func (d difference) significant() bool { return d.p < d.alpha }

func (d difference) lost(threshold float64) bool {
	return d.ours && d.significant() && d.worse() > threshold
}

// verdict says it in words.
func (d difference) verdict(threshold float64) string {
	by := fmt.Sprintf("%.1f %%", 100*math.Abs(d.worse()))
	switch {
	case min(len(d.a.samples), len(d.b.samples)) < runsLeast:
		return fmt.Sprintf("too few to say: at least %d runs of each are needed", runsLeast)
	case !d.significant():
		return "no significant difference"
	case d.lost(threshold):
		return "worse by " + by + ", which is too much"
	case d.worse() > 0 && !d.ours:
		return "worse by " + by + ", not ours"
	case d.worse() > 0:
		return "worse by " + by + ", within the threshold"
	case d.worse() < 0:
		return "better by " + by
	}
	return "differently spread around the same median"
}

// Compare reads the runs of two folders and writes what became of each figure
// from a to b. lost reports whether any is significantly worse by more than
// threshold, a part of 1, or a scenario failed that did not before.
func Compare(out io.Writer, a, b string, threshold float64) (lost bool, err error) {
	before, err := read(a)
	if err != nil {
		return false, err
	}
	after, err := read(b)
	if err != nil {
		return false, err
	}
	differences, alone := compare(before, after)
	if len(differences) == 0 {
		return false, fmt.Errorf("bench: %s and %s have no figure in common", a, b)
	}
	failed := failedAnew(before, after)
	lost = len(failed) > 0 || slices.ContainsFunc(differences, func(d difference) bool { return d.lost(threshold) })
	return lost, writeDifferences(out, differences, append(failed, alone...), threshold)
}

// failedAnew names the scenarios with cim that failed after and not before, since a loss or a
// scenario that could not run has no figure. Losses of other systems do not count.
func failedAnew(before, after []report.Run) (lines []string) {
	failures := func(runs []report.Run) map[string]string {
		first := make(map[string]string)
		for _, run := range runs {
			for _, o := range run.Outcomes {
				if at := o.Name + ", " + o.System; o.Failure != "" && ours(o) && first[at] == "" {
					first[at] = o.Failure
				}
			}
		}
		return first
	}
	known := failures(before)
	anew := failures(after)
	for _, at := range slices.Sorted(maps.Keys(anew)) {
		if known[at] == "" {
			what, _, _ := strings.Cut(anew[at], "\n")
			lines = append(lines, "FAILED after, not before: "+strings.TrimSuffix(at, ", ")+": "+what)
		}
	}
	return lines
}

// ours reports whether a scenario measured cim; the first reports named no
// system.
func ours(o Outcome) bool {
	return o.System == "" || strings.HasPrefix(o.System, "cim ") || strings.HasPrefix(o.System, "cim,")
}

// samples are the numbers of one figure over all runs.
type samples struct {
	key, name string
	ours      bool
	figure    report.Result
	numbers   []float64
}

// collect lists the figures in the order of their first occurrence.
func collect(runs []report.Run, named bool) []samples {
	var list []samples
	for _, run := range runs {
		for _, o := range run.Outcomes {
			name := o.Name
			if named {
				name += ", " + o.System
			}
			for _, r := range o.Results {
				key := name + "\x00" + r.Name + "\x00" + r.Unit
				at := slices.IndexFunc(list, func(s samples) bool { return s.key == key })
				if at < 0 {
					at = len(list)
					list = append(list, samples{key: key, name: name, ours: ours(o), figure: r})
				}
				list[at].numbers = append(list[at].numbers, numbersOf(r)...)
			}
		}
	}
	return list
}

func numbersOf(r report.Result) []float64 {
	if len(r.Samples) > 0 {
		return r.Samples
	}
	return []float64{r.Got}
}

// named reports whether all outcomes say which system they are of: the first
// reports did not, since there was but one.
func named(runs []report.Run) bool {
	return !slices.ContainsFunc(runs, func(run report.Run) bool {
		return slices.ContainsFunc(run.Outcomes, func(o Outcome) bool { return o.System == "" })
	})
}

// compare tests each figure that both sides have, and names those that only
// one has.
func compare(before, after []report.Run) (differences []difference, alone []string) {
	both := named(before) && named(after)
	a, b := collect(before, both), collect(after, both)
	for _, one := range a {
		at := slices.IndexFunc(b, func(other samples) bool { return other.key == one.key })
		if at < 0 {
			alone = append(alone, "only before: "+one.name+", "+one.figure.Name)
			continue
		}
		differences = append(differences, differ(one, b[at]))
		b = slices.Delete(b, at, at+1)
	}
	for _, one := range b {
		alone = append(alone, "only after: "+one.name+", "+one.figure.Name)
	}
	return differences, alone
}

func differ(a, b samples) difference {
	c := benchmath.AssumeNothing.Compare(sampleOf(a.numbers), sampleOf(b.numbers))
	return difference{
		figure: a.figure, name: a.name, ours: a.ours, a: newSide(a.numbers), b: newSide(b.numbers), p: c.P, alpha: c.Alpha,
	}
}

func writeDifferences(out io.Writer, differences []difference, alone []string, threshold float64) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	lines := []string{"scenario\tfigure\tunit\tbefore\tafter\tp\tn\t\n"}
	name := ""
	for _, d := range differences {
		shown := report.OneLine(d.name)
		if d.name == name {
			shown = ""
		}
		name = d.name
		lines = append(lines, strings.Join([]string{
			shown, report.OneLine(d.figure.Name), report.OneLine(d.figure.Unit), d.a.String(), d.b.String(),
			fmt.Sprintf("%.3f", d.p), fmt.Sprintf("%d+%d", len(d.a.samples), len(d.b.samples)), d.verdict(threshold),
		}, "\t")+"\n")
	}
	for _, one := range alone {
		lines = append(lines, report.OneLine(one)+"\n")
	}
	alpha := benchmath.DefaultThresholds.CompareAlpha
	lines = append(lines, fmt.Sprintf(`
Medians, and intervals that hold the true ones with %g %% confidence at least. p: how probable such a difference is by chance
(Mann-Whitney U test); below %g it counts as significant, so of %d figures that did not change about %.1f seem to.
`, 100*confidence, alpha, len(differences), alpha*float64(len(differences))))
	for _, line := range lines {
		if _, err := io.WriteString(t, line); err != nil {
			return fmt.Errorf("bench: compare: %w", err)
		}
	}
	return t.Flush()
}
