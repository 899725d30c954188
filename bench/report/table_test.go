package report

import (
	"slices"
	"strings"
	"testing"

	"cim/loadgen"
)

// texts is a row as people read it.
func texts(r row) []string {
	var list []string
	for _, c := range r.Cells {
		list = append(list, c.Text)
	}
	return list
}

// TestPeers: systems under one load stand next to each other, with what they
// guarantee and how far they are from the floor; what only one bore is left
// out.
func TestPeers(t *testing.T) {
	runs := []Run{example(t, "example-a")}
	loads, _ := loadsOf(runs)
	got := peers(runs, loads)
	if len(got.Rows) != 6 {
		t.Fatalf("%d rows, want three systems under two loads", len(got.Rows))
	}
	for i, system := range []string{"cim standalone", "nats", Floor} {
		cells := texts(got.Rows[i])
		l := loads[2*i]
		floor := loads[4]
		ours := notMeasured
		if i > 0 {
			ours = Number(l.ServerCPUus/loads[0].ServerCPUus) + ", too few to say: 6 turns are needed"
		}
		want := []string{
			system,
			Number(l.DeliveriesPerSecond), Number(100 * l.DeliveriesPerSecond / floor.DeliveriesPerSecond),
			Number(l.ServerCPUus), Number(l.ServerCPUus / floor.ServerCPUus), notMeasured, ours, Number(l.Latency.P50 / 1000), Number(l.Latency.P99 / 1000),
			"0", "0", "0",
		}
		if !slices.Equal(cells, want) || got.Rows[i].Group != "group, window 16, 1,001 connections, window 16" || got.Rows[i].Ours() != (i == 0) {
			t.Errorf("row %d: %q, want %q", i, cells, want)
		}
	}
	alone := slices.DeleteFunc(loads, func(l load) bool { return l.System != "nats" })
	if got := peers(runs, alone); len(got.Rows) != 0 {
		t.Errorf("one system alone has %d rows", len(got.Rows))
	}
	if got := alone[0].timesFloor(alone); got.Text != notMeasured {
		t.Errorf("without a floor: %q", got.Text)
	}
}

// TestOneFigure: of several runs tables and charts have the same figure, the
// median, whichever run is in the middle.
func TestOneFigure(t *testing.T) {
	trial := func(cpu float64) loadgen.Trial {
		return loadgen.Trial{Conns: 5, Window: 1, ServerCPUus: cpu, DeliveriesPerSecond: 10 * cpu, Latency: loadgen.Quantiles{Count: 1, P99: 1000 * cpu}}
	}
	report := func(cpu float64) loadgen.Report { return loadgen.Report{Trials: []loadgen.Trial{trial(cpu)}} }
	run := Run{Outcomes: []Outcome{{Name: "s", System: "x", Report: report(7.7), Runs: []loadgen.Report{report(7.7), report(1.1), report(3.5)}}}}
	loads, _ := loadsOf([]Run{run})
	rates, times := texts(throughput([]Run{run}, loads).Rows[0]), texts(latencies([]Run{run}, loads).Rows[0])
	if rates[2] != "35" || rates[3] != "3.5" || times[4] != "3.5" {
		t.Errorf("%q, %q: want the medians", rates, times)
	}
	if times[5] != notMeasured || times[6] != notMeasured {
		t.Errorf("%q: of one delivery there is no p99.9", times)
	}
	_, data, err := drawn([]Run{run}, loads, bySize(loads, []string{"s"}))
	if err != nil || data.Loads[0].Sized != 1 || data.Loads[0].Colour == "" {
		t.Errorf("%+v: %v", data.Loads, err)
	}
	for path, text := range files(t, run) {
		if path == "charts/cpu.svg" && !strings.Contains(string(text), ">3.5 µs<") {
			t.Errorf("the bar is not of 3.5:\n%s", text)
		}
	}
}

// TestWarned: what makes a figure doubtful stands on the page and in the text,
// with how often it was so.
func TestWarned(t *testing.T) {
	run := example(t, "example-a")
	run.Outcomes[3].Runs[1].Trials[0].Warnings = []string{"the machine was full"}
	loads, _ := loadsOf([]Run{run})
	got := warnings([]Run{run}, loads)
	if len(got.Rows) != 1 || len(texts(got.Rows[0])) != len(got.Head) || !slices.Contains(texts(got.Rows[0]), "1 of 2") || !slices.Contains(texts(got.Rows[0]), "the machine was full") {
		t.Errorf("%+v", got)
	}
	text, err := Text(run)
	if err != nil || !strings.Contains(string(text), "1 of 2 times: the machine was full") || !strings.Contains(page(t, run), ">the machine was full</td>") {
		t.Errorf("%v:\n%s", err, text)
	}
}

// TestSettings: the page and the text say how the systems were set up.
func TestSettings(t *testing.T) {
	run := example(t, "example-a")
	run.Manifest.Systems = map[string]string{"nats": "max_pending 64 MiB"}
	got := settings([]Run{run})
	if len(got.Rows) != 3 || !slices.Equal(texts(got.Rows[0]), []string{"example-a", "cim standalone", "taken or stored, in order", asItComes}) ||
		!slices.Equal(texts(got.Rows[1]), []string{"example-a", "nats", "at most once", "max_pending 64 MiB"}) {
		t.Errorf("%+v", got.Rows)
	}
	text, err := Text(run)
	if err != nil || !strings.Contains(string(text), "nats: max_pending 64 MiB\n") || !strings.Contains(page(t, run), "max_pending 64 MiB") {
		t.Errorf("%v:\n%s", err, text)
	}
}

// TestBusy: the report says if the machine was busy before a run.
func TestBusy(t *testing.T) {
	for load, busy := range map[string]bool{"0.60 0 0": false, "0.61 0 0": true, "unknown": false} {
		const said = "the machine was busy before the run"
		run := example(t, "example-a")
		run.Manifest.LoadBegan = load
		text, err := Text(run)
		if err != nil || strings.Contains(string(text), said) != busy || strings.Contains(page(t, run), said) != busy {
			t.Errorf("%s: %v\n%s", load, err, text)
		}
	}
}

// TestProcessor: a run that was given a part of the machine says so.
func TestProcessor(t *testing.T) {
	for cores, want := range map[int]string{0: "8 × one", 8: "8 × one", 2: "2 of 8 × one"} {
		if got := (Manifest{CPUs: 8, CPU: "one", Cores: cores}).processor(); got != want {
			t.Errorf("%d cores: %q, want %q", cores, got, want)
		}
	}
}

// TestBeside: the figures of several runs have a column each, and a run that
// lacks one has a mark.
func TestBeside(t *testing.T) {
	a, b := example(t, "example-a"), example(t, "example-b")
	b.Outcomes = b.Outcomes[1:]
	b.Outcomes[0].Failure = "lost 7"
	got := figures([]Run{a, b})
	if head := got.Head[len(got.Head)-2:]; head[0].Text != "example-a" || head[1].Text != "example-b" {
		t.Errorf("head %+v", head)
	}
	first, second, last := texts(got.Rows[0]), texts(got.Rows[1]), texts(got.Rows[len(got.Rows)-1])
	if first[3] != united(a.Outcomes[0].Results[0].Got, "µs") || first[4] != notMeasured {
		t.Errorf("only in one run: %q", first)
	}
	if second[3] != united(a.Outcomes[1].Results[0].Got, "µs") || second[4] != united(b.Outcomes[0].Results[0].Got, "µs") {
		t.Errorf("in both: %q", second)
	}
	if last[1] != "FAILED: lost 7" || len(last) != len(got.Head) {
		t.Errorf("failed: %q", last)
	}
	single := figures([]Run{b})
	for _, r := range single.Rows {
		if len(r.Cells) != len(single.Head) {
			t.Errorf("%q has not the %d columns", texts(r), len(single.Head))
		}
	}
}

// TestText has the figures, and each load with its distance from the floor.
func TestText(t *testing.T) {
	run := example(t, "example-a")
	text := func() string {
		b, err := Text(run)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	got := text()
	for _, want := range []string{"missed: ≤ 1.2 ms", "times the floor's", "floor           1,001 connections, window 16", "6.14 ms"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "Medians") || strings.Contains(got, "Profiles") {
		t.Errorf("mentions what was not done:\n%s", got)
	}
	run.Manifest.Repeat, run.Manifest.Profiled, run.Outcomes[0].Failure = 2, true, "lost 7\nand more"
	got = text()
	for _, want := range []string{"Medians of 2 runs.", "0.5 to 1.9", "bear their cost", "FAILED: lost 7 ..."} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
}
