package bench

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cim/bench/report"
	"cim/loadgen"
)

// TestFolder reads back what a run wrote, and makes its page anew.
func TestFolder(t *testing.T) {
	cfg := fakeConfig(t, "")
	cfg.Seed = 7
	if err := Run(t.Context(), cfg, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	runs, err := read(cfg.Out)
	if err != nil || len(runs) != 1 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	o := runs[0].Outcomes[0]
	if o.System != "cim standalone" || o.Guarantee == "" || o.Report.Seed != 7 || runs[0].Manifest.Seed != 7 || runs[0].Manifest.Repeat != 1 {
		t.Errorf("read back %+v, manifest %+v", o, runs[0].Manifest)
	}
	for _, name := range []string{"report.html", "report.txt", "charts/cpu.svg", "charts/scenario-1-a-small-one.svg"} {
		if info, err := os.Stat(filepath.Join(cfg.Out, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	stale := filepath.Join(cfg.Out, "charts", "stale.svg")
	if err := os.WriteFile(stale, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := Report([]string{cfg.Out}, "")
	if err != nil || path != filepath.Join(cfg.Out, "report.html") {
		t.Errorf("made anew: %q, %v", path, err)
	}
	if _, err := os.Stat(stale); err == nil {
		t.Error("a chart of an earlier run was left")
	}
}

// TestReportOfSeveral makes one page of a folder with runs in it, and leaves
// the folder as it was.
func TestReportOfSeveral(t *testing.T) {
	folder, out := t.TempDir(), filepath.Join(t.TempDir(), "page.html")
	for _, name := range []string{"run-1", "run-2"} {
		writeExample(t, filepath.Join(folder, name), 1, 2, 3)
	}
	if _, err := Report([]string{folder}, out); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(out)
	if err != nil || !bytes.Contains(page, []byte(">run-1<")) || !bytes.Contains(page, []byte(">run-2<")) {
		t.Errorf("the page lacks a run: %v", err)
	}
	if _, err := os.Stat(filepath.Join(folder, "run-1", "report.html")); err == nil {
		t.Error("a folder was written to")
	}
}

// writeExample writes a folder with one figure of these samples.
func writeExample(t *testing.T, folder string, samples ...float64) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	o := Outcome{
		Name: "s", System: "cim standalone", Report: loadgen.Report{Trials: []loadgen.Trial{{Conns: 1, Window: 1}}},
		Results: []Result{{Name: "CPU", Unit: "µs", Bound: AtMost, Reach: 5, Samples: samples}},
	}
	for name, v := range map[string]any{"report.json": []Outcome{o}, "manifest.json": report.Manifest{}} {
		if err := writeJSON(filepath.Join(folder, name), v); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReadFailures: a folder without results is named.
func TestReadFailures(t *testing.T) {
	empty, broken, half := t.TempDir(), t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "report.json"), []byte("["), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(half, "report.json"), []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[string]string{
		empty: "neither", broken: "report.json", half: "manifest.json", filepath.Join(empty, "nosuch"): "no such file",
	} {
		if _, err := read(folder); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestRepeat runs two scenarios in turns and sums up their figures.
func TestRepeat(t *testing.T) {
	cfg := fakeConfig(t, "")
	cfg.Repeat = 3
	second := cfg.Scenarios[0]
	second.Name = "another one"
	cfg.Scenarios = append(cfg.Scenarios, second)
	var progress bytes.Buffer
	if err := Run(t.Context(), cfg, io.Discard, &progress); err != nil {
		t.Fatal(err)
	}
	want := ""
	for turn := 1; turn <= 3; turn++ {
		want += fmt.Sprintf("bench: scenario 1 of 2, turn %d of 3: a small one, cim standalone\n", turn)
		want += fmt.Sprintf("bench: scenario 2 of 2, turn %d of 3: another one, cim standalone\n", turn)
	}
	if progress.String() != want {
		t.Errorf("order %q, want %q", &progress, want)
	}
	runs, err := read(cfg.Out)
	if err != nil {
		t.Fatal(err)
	}
	o := runs[0].Outcomes[1]
	if len(o.Runs) != 3 || !slices.Equal(o.Results[0].Samples, []float64{5, 5, 5}) || o.Results[0].Got != 5 {
		t.Errorf("%+v", o)
	}
	if _, err := os.Stat(filepath.Join(cfg.Out, "2-run-3-standalone.log")); err != nil {
		t.Errorf("the log of the last run: %v", err)
	}
}

// TestKinds runs one scenario with cim and with another system, in turns; the second turn starts
// with the other system, and the manifest says so.
func TestKinds(t *testing.T) {
	cfg := fakeConfig(t, "")
	other := cfg.Scenarios[0]
	other.kind = &kind{
		name: "another", guarantee: "none", start: startStandalone,
		packages: []string{"no-such-package"}, commands: [][]string{{"echo", "version 1"}, {"no-such-command"}},
	}
	cfg.Scenarios, cfg.Repeat = append(cfg.Scenarios, other), 2
	var progress bytes.Buffer
	if err := Run(t.Context(), cfg, io.Discard, &progress); err != nil {
		t.Fatal(err)
	}
	const one, two = "bench: scenario 1 of 1, turn 1 of 2: a small one, ", "bench: scenario 1 of 1, turn 2 of 2: a small one, "
	if want := one + "cim standalone\n" + one + "another\n" + two + "another\n" + two + "cim standalone\n"; progress.String() != want {
		t.Errorf("order %q, want %q", &progress, want)
	}
	runs, err := read(cfg.Out)
	if err != nil {
		t.Fatal(err)
	}
	o, m := runs[0].Outcomes[1], runs[0].Manifest
	if len(m.Turns) != 2 || !slices.Equal(m.Turns[0], []int{1, 2}) || !slices.Equal(m.Turns[1], []int{2, 1}) {
		t.Errorf("turns %v", m.Turns)
	}
	if o.System != "another" || o.Guarantee != "none" || m.Settings["a small one, another"] != "--conns 10" {
		t.Errorf("%+v, settings %v", o, m.Settings)
	}
	if m.Programs["echo"] != "version 1" || m.Programs["no-such-command"] != unknown || m.Programs["package no-such-package"] != unknown {
		t.Errorf("versions %v", m.Programs)
	}
}

// TestSummed: the median, and an interval from five runs on.
func TestSummed(t *testing.T) {
	attempts := func(got ...float64) (list []attempt) {
		for i, v := range got {
			list = append(list, attempt{
				reports: []loadgen.Report{{Seed: uint64(i + 1)}}, results: []Result{{Name: "CPU", Bound: AtMost, Reach: 3, Got: v, Met: v <= 3}},
			})
		}
		return list
	}
	o, err := outcomeOf(standaloneKind, Scenario{}, attempts(9, 1, 2, 3, 4))
	if err != nil {
		t.Fatal(err)
	}
	if r := o.Results[0]; r.Got != 3 || !r.Met || r.Low != 1 || r.High != 9 || r.Confidence < confidence {
		t.Errorf("five runs: %+v", r)
	}
	if o.Report.Seed != 4 || len(o.Runs) != 5 {
		t.Errorf("run %d is shown of %d, want the one in the middle", o.Report.Seed, len(o.Runs))
	}
	o, err = outcomeOf(standaloneKind, Scenario{}, attempts(9, 1, 4, 5))
	if r := o.Results[0]; err != nil || r.Got != 4.5 || r.Met || r.Confidence != 0 {
		t.Errorf("four runs: %+v, %v", r, err)
	}
	o, err = outcomeOf(standaloneKind, Scenario{}, append(attempts(2), attempt{err: os.ErrClosed}))
	if err == nil || o.Failure == "" || o.Results[0].Got != 2 {
		t.Errorf("one of two could not be run: %+v, %v", o, err)
	}
}
