package bench

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"cim/bench/report"
)

// TestCompare: a loss counts if it is significant and beyond the threshold.
func TestCompare(t *testing.T) {
	steady := []float64{10, 10.1, 10.2, 9.9, 9.8}
	scaled := func(by float64) (list []float64) {
		for _, v := range steady {
			list = append(list, v*by)
		}
		return list
	}
	for _, c := range []struct {
		name      string
		bound     report.Bound
		a, b      []float64
		threshold float64
		lost      bool
		want      string
	}{
		{"the same", AtMost, steady, steady, 0, false, "no significant difference"},
		{"dearer", AtMost, steady, scaled(1.2), 0.05, true, "worse by 20.0 %, which is too much"},
		{"dearer within", AtMost, steady, scaled(1.2), 0.25, false, "worse by 20.0 %, within the threshold"},
		{"cheaper", AtMost, steady, scaled(0.8), 0, false, "better by 20.0 %"},
		{"fewer", AtLeast, steady, scaled(0.8), 0.05, true, "worse by 20.0 %, which is too much"},
		{"more", AtLeast, steady, scaled(1.2), 0, false, "better by 20.0 %"},
		{"noise", AtMost, []float64{1, 20, 3, 14, 9}, []float64{2, 21, 4, 15, 8}, 0, false, "no significant difference"},
		{"four, the least", AtMost, steady[:4], scaled(2)[:4], 0, true, "too much"},
		{"three, one too few", AtMost, steady[:3], scaled(2)[:3], 0, false, "too few to say: at least 4 runs"},
		{"from nothing", AtMost, []float64{0, 0, 0, 0, 0}, steady, 0.05, true, "worse by +Inf %"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := folderOf(t, c.bound, c.a), folderOf(t, c.bound, c.b)
			var out bytes.Buffer
			lost, err := Compare(&out, a, b, c.threshold)
			if err != nil || lost != c.lost || !strings.Contains(out.String(), c.want) {
				t.Errorf("lost %t, %v, want %t and %q:\n%s", lost, err, c.lost, c.want, &out)
			}
		})
	}
}

// folderOf has a folder for each run, as several make bench leave them.
func folderOf(t *testing.T, bound report.Bound, samples []float64) string {
	t.Helper()
	folder := t.TempDir()
	for i, v := range samples {
		run := filepath.Join(folder, fmt.Sprintf("run-%d", i))
		writeExample(t, run, v)
		o := []Outcome{{Name: "s", Results: []Result{{Name: "f", Unit: "x", Bound: bound, Got: v}}}}
		if err := writeJSON(filepath.Join(run, "report.json"), o); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// TestCompareOthers: a floor that became dearer says something of the machine, and
// is no loss of ours.
func TestCompareOthers(t *testing.T) {
	for system, want := range map[string]bool{"cim standalone": true, "cim, want 1": true, "nats": false, report.Floor: false} {
		folder := func(samples ...float64) string {
			folder := t.TempDir()
			o := []Outcome{{Name: "s", System: system, Results: []Result{{Name: "f", Bound: AtMost, Samples: samples}}}}
			for name, v := range map[string]any{"report.json": o, "manifest.json": report.Manifest{}} {
				if err := writeJSON(filepath.Join(folder, name), v); err != nil {
					t.Fatal(err)
				}
			}
			return folder
		}
		var out bytes.Buffer
		lost, err := Compare(&out, folder(1, 1.1, 1.2, 0.9, 0.8), folder(2, 2.1, 2.2, 1.9, 1.8), 0.05)
		if err != nil || lost != want || strings.Contains(out.String(), "not ours") == want {
			t.Errorf("%s: lost %t, %v\n%s", system, lost, err, &out)
		}
	}
}

// TestCompareFailed: what failed after and not before is a loss, of cim.
func TestCompareFailed(t *testing.T) {
	run := func(system, failure string) []report.Run {
		return []report.Run{{Outcomes: []Outcome{{Name: "s", System: system, Failure: failure}}}}
	}
	for _, c := range []struct {
		before, after []report.Run
		want          int
	}{
		{run("cim standalone", ""), run("cim standalone", "lost 1\nx"), 1},
		{run("", ""), run("", "lost 1"), 1},
		{run("cim cluster", ""), run("cim cluster", "lost 1"), 1},
		{run("cim standalone", "lost 1"), run("cim standalone", "lost 1"), 0},
		{run("cim standalone", "lost 1"), run("cim standalone", ""), 0},
		{run("nats", ""), run("nats", "lost 1"), 0},
	} {
		if got := failedAnew(c.before, c.after); len(got) != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// TestCompareKinds: runs in one report and runs in folders of their own are
// compared with each other, and what only one side has is named.
func TestCompareKinds(t *testing.T) {
	repeated := t.TempDir()
	writeExample(t, repeated, 1, 2, 3, 4, 5)
	var out bytes.Buffer
	if _, err := Compare(&out, repeated, folderOf(t, AtMost, []float64{1}), 0); err == nil {
		t.Errorf("nothing in common, and no error:\n%s", &out)
	}
	runs, err := read(repeated)
	if err != nil {
		t.Fatal(err)
	}
	old := runs[0].Outcomes[0]
	old.System = ""
	old.Results = append(old.Results, Result{Name: "gone"})
	differences, alone := compare([]report.Run{{Outcomes: []Outcome{old}}}, runs)
	if len(differences) != 1 || len(differences[0].b.samples) != 5 || len(alone) != 1 || !strings.Contains(alone[0], "only before: s, gone") {
		t.Errorf("%d differences, alone %q", len(differences), alone)
	}
}
