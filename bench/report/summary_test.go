package report

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// judgedRun is one scenario of ours with the floor and others beside it.
func judgedRun() Run {
	outcome := func(system string, cpu, p99 float64) Outcome {
		return Outcome{Name: "a scenario", System: system, Results: []Result{
			{Name: "CPU a delivery", Unit: "µs", Bound: AtMost, Got: cpu},
			{Name: "p99", Unit: "ms", Bound: AtMost, Got: p99},
			{Name: "deliveries", Unit: "1/s", Bound: AtLeast, Got: 1000 / cpu},
		}}
	}
	run := Run{Outcomes: []Outcome{outcome("cim standalone", 6, 4), outcome(Floor, 5, 1)}}
	ours := run.Outcomes[0].Results
	ours[0].FloorTimes, ours[1].Reach, ours[2].Reach = 1.2, 3, 200
	run.Manifest = Manifest{
		Commit: "0123456789abcdef0123456789abcdef01234567", Go: "go1.26.8", CPUs: 2, CPU: "one with a name", OtherChecks: 5,
		Began: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC), Ended: time.Date(2026, 11, 23, 9, 2, 30, 0, time.UTC),
	}
	return run
}

// rowOf is the summary's line about a figure, its words separated by one blank.
func rowOf(t *testing.T, run Run, figure string) string {
	t.Helper()
	for line := range strings.Lines(string(Summary(run))) {
		if strings.HasPrefix(line, "  "+figure) {
			return strings.Join(strings.Fields(line), " ")
		}
	}
	t.Fatalf("no line about %s:\n%s", figure, Summary(run))
	return ""
}

// TestSummary: a promised ratio is compared on any machine, a promised absolute figure on a quiet
// one only.
func TestSummary(t *testing.T) {
	run := judgedRun()
	const cpu, p99, rate = "CPU a delivery 6 µs 5 µs 1.2 ", "p99 4 ms 1 ms 4 ", "deliveries 167/s 200/s 0.833 "
	for _, c := range []struct {
		name              string
		change            func(*Run)
		wantCPU, wantTail string
		wantRate          string
	}{
		{"quiet, at its edge", func(r *Run) { r.Manifest.OtherCPU = otherMax }, "met: ≤ 1.2", "missed: ≤ 3 ms", "missed: ≥ 200/s"},
		{"busy", func(r *Run) { r.Manifest.OtherCPU = otherMax + 0.001 }, "met: ≤ 1.2", notCompared, notCompared},
		{"profiled", func(r *Run) { r.Manifest.OtherCPU, r.Manifest.Profiled = 0, true }, "met: ≤ 1.2", notCompared, notCompared},
	} {
		c.change(&run)
		if got := rowOf(t, run, "CPU"); got != cpu+c.wantCPU {
			t.Errorf("%s: %q, want %q", c.name, got, cpu+c.wantCPU)
		}
		if got := rowOf(t, run, "p99"); got != p99+c.wantTail {
			t.Errorf("%s: %q, want %q", c.name, got, p99+c.wantTail)
		}
		if got := rowOf(t, run, "deliveries"); got != rate+c.wantRate {
			t.Errorf("%s: %q, want %q", c.name, got, rate+c.wantRate)
		}
	}
	run.Outcomes[0].Results[1].Anywhere = true
	if got := rowOf(t, run, "p99"); got != p99+"missed: ≤ 3 ms" {
		t.Errorf("what holds anywhere: %q", got)
	}
	run.Outcomes[0].Results[0].Got = 6.01
	if got := rowOf(t, run, "CPU"); !strings.HasSuffix(got, "missed: ≤ 1.2") {
		t.Errorf("just above the ratio: %q", got)
	}
	run.Outcomes = run.Outcomes[:1]
	if got := rowOf(t, run, "CPU"); got != "CPU a delivery 6.01 µs – –" {
		t.Errorf("without a floor: %q", got)
	}
}

// TestSummaryTurns: of several turns the ratio is the median of theirs.
func TestSummaryTurns(t *testing.T) {
	run := judgedRun()
	run.Outcomes[0].Results[0].Samples = []float64{6, 9, 5}
	run.Outcomes[1].Results[0].Samples = []float64{3, 3, 5}
	if got := rowOf(t, run, "CPU"); got != "CPU a delivery 6 µs 5 µs 2 missed: ≤ 1.2" {
		t.Errorf("%q, want the median of 2, 3 and 1", got)
	}
	run.Outcomes[1].Results[0].Samples = []float64{3, 3}
	if got := rowOf(t, run, "CPU"); got != "CPU a delivery 6 µs 5 µs 1.2 met: ≤ 1.2" {
		t.Errorf("%q, want the ratio of the medians: one turn is lost", got)
	}
}

// TestSummaryPeers: the best of the others stands beside ours, which is ahead,
// level or behind.
func TestSummaryPeers(t *testing.T) {
	for _, c := range []struct {
		ours, best []float64
		want       string
	}{
		{[]float64{6}, []float64{6}, "1, first"},
		{[]float64{6}, []float64{5.9}, "1.02, behind"},
		{[]float64{6, 6, 6, 6, 6, 6}, []float64{7, 7, 7, 7, 7, 7}, "0.857, first"},
		{[]float64{6, 6, 6, 6, 6, 6}, []float64{7, 7, 7, 7, 7, 5}, "0.857, level"},
		{[]float64{6, 6, 6, 6, 6, 6}, []float64{5, 5, 5, 5, 5, 5}, "1.2, behind"},
	} {
		run := judgedRun()
		dear, good := run.Outcomes[1], run.Outcomes[1]
		dear.System, good.System = "dear", "good"
		dear.Results = []Result{{Name: "CPU a delivery", Unit: "µs", Bound: AtMost, Got: 99}}
		good.Results = []Result{{Name: "CPU a delivery", Unit: "µs", Bound: AtMost, Got: median(c.best), Samples: c.best}}
		bare := good
		bare.System, bare.Results = BarePair, []Result{{Name: "CPU a delivery", Got: 0.1}}
		run.Outcomes[0].Results[0].Got, run.Outcomes[0].Results[0].Samples = median(c.ours), c.ours
		run.Outcomes = append(run.Outcomes, dear, good, bare)
		if got := rowOf(t, run, "CPU"); !strings.HasSuffix(got, "good "+united(median(c.best), "µs")+" "+c.want) {
			t.Errorf("%v beside %v: %q, want %q", c.ours, c.best, got, c.want)
		}
	}
	rate := Result{Bound: AtLeast, Got: 100}
	if got := rate.place(Result{Got: 80}).Text; got != "0.8, first" {
		t.Errorf("more deliveries: %q", got)
	}
}

// TestSummaryLongName: the number of another system is complete, also beside a long name.
func TestSummaryLongName(t *testing.T) {
	run := judgedRun()
	other := run.Outcomes[1]
	other.System = strings.Repeat("long ", 20)
	run.Outcomes = append(run.Outcomes, other)
	if got := rowOf(t, run, "deliveries"); !strings.Contains(got, "long long long l… 200/s") {
		t.Errorf("%q", got)
	}
}

// TestSummaryFailure: the cause stands at an error's end, and is shown.
func TestSummaryFailure(t *testing.T) {
	run := judgedRun()
	run.Outcomes[0].Failure = strings.Repeat("because ", 20) + "the disk is full"
	run.Outcomes[1].Failure = "one word " + strings.Repeat("x", 3*summaryWidth) + strings.Repeat(" so long", 60)
	got := string(Summary(run))
	if !strings.Contains(strings.Join(strings.Fields(got), " "), "FAILED: because because because") || !strings.Contains(got, "the disk is full\n") {
		t.Errorf("no cause:\n%s", got)
	}
	for line := range strings.Lines(got) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > summaryWidth {
			t.Errorf("%d characters: %q", n, line)
		}
	}
	if n := len(folded(run.Outcomes[1].Failure)); n != foldedMost {
		t.Errorf("%d lines, want %d", n, foldedMost)
	}
}

// TestSummaryWidth: with any names no line is longer than a terminal of 100 columns.
func TestSummaryWidth(t *testing.T) {
	run := hostileRun(t)
	run.Outcomes[0].Name = strings.Repeat("very ", 50) + "long"
	run.Outcomes[0].Results[0].Got, run.Outcomes[0].Results[0].Unit = 123456789012345, "units"
	for _, stopped := range []string{"", strings.Repeat("why ", 99)} {
		run.Manifest.Stopped = stopped
		for line := range strings.Lines(string(Summary(run))) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > summaryWidth {
				t.Errorf("%d characters: %q", n, line)
			}
		}
	}
	if got := string(Summary(run)); !strings.Contains(got, "Stopped before all was measured") || !strings.Contains(got, "FAILED") {
		t.Errorf("not reported:\n%s", got)
	}
}
