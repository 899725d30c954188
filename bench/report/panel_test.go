package report

import (
	"slices"
	"strings"
	"testing"

	"cim/loadgen"
)

// sizedLoads are the loads of systems with a CPU time a delivery each, ours
// first.
func sizedLoads(cpu map[string]float64) []load {
	var loads []load
	for _, system := range []string{"nats", "cim standalone", Floor, "mosquitto", BarePair} {
		if us, there := cpu[system]; there {
			t := loadgen.Trial{Conns: 5, Window: 1, ServerCPUus: us, DeliveriesPerSecond: 1000 / us}
			loads = append(loads, load{ID: len(loads) + 1, System: system, Trial: t, again: []loadgen.Trial{t}})
		}
	}
	return loads
}

// TestPanel: ours is the first bar, the floor follows the others, and the remark
// says where ours loses, by either direction of better.
func TestPanel(t *testing.T) {
	for _, c := range []struct {
		ours   float64
		metric metric
		order  string
		remark verdict
	}{
		{5, cpuMetric, "cim standalone nats mosquitto floor bare pair", verdict{"first: 0.833 × nats · 1.25 × floor", "met"}},
		{6.1, cpuMetric, "cim standalone nats mosquitto floor bare pair", verdict{"loses to nats: 1.02 × its · 1.52 × floor", "missed"}},
		{5, deliveriesMetric, "cim standalone nats mosquitto floor bare pair", verdict{"first: 1.2 × nats · 0.8 × floor", "met"}},
		{8, deliveriesMetric, "cim standalone nats mosquitto floor bare pair", verdict{"loses to nats: 0.75 × its · 0.5 × floor", "missed"}},
	} {
		loads := sizedLoads(map[string]float64{"cim standalone": c.ours, "nats": 6, "mosquitto": 9, Floor: 4, BarePair: 3})
		p, there := panelOf("", c.metric, loads, make([]Run, 1))
		var order []string
		for _, b := range p.bars {
			order = append(order, b.label)
		}
		if !there || strings.Join(order, " ") != c.order || p.remark != c.remark {
			t.Errorf("%v: %q, remark %q, want %q", c.ours, order, p.remark, c.remark)
		}
	}
	alone, _ := panelOf("", cpuMetric, sizedLoads(map[string]float64{"cim standalone": 5}), make([]Run, 1))
	if alone.remark.Text != "" {
		t.Errorf("ours alone: %q", alone.remark)
	}
	if _, there := panelOf("", outcomeMetric, sizedLoads(map[string]float64{"cim standalone": 5}), make([]Run, 1)); there {
		t.Error("a panel of what was not measured")
	}
}

// TestCPUChart: the chart of a README says where ours loses.
func TestCPUChart(t *testing.T) {
	run := example(t, "example-a")
	run.Outcomes[1].Report.Trials[0].ServerCPUus *= 3
	picture := string(files(t, run)["charts/cpu.svg"])
	for _, want := range []string{"loses to nats: ", "first: ", `font-weight="600">cim standalone<`, colourOf("cim standalone"), colourOf("nats")} {
		if !strings.Contains(picture, want) {
			t.Errorf("lacks %q:\n%s", want, picture)
		}
	}
}

// TestTicks: each mark is between the ends, they rise, and there are not more of
// them than fit.
func TestTicks(t *testing.T) {
	for _, c := range []struct {
		low, high float64
		most      int
		want      []float64
	}{
		{-1, 0, 15, []float64{0.1, 0.2, 0.5, 1}},
		{-0.9, 0.8, 15, []float64{0.2, 0.5, 1, 2, 5}},
		{-2, 1, 15, []float64{0.01, 0.03, 0.1, 0.3, 1, 3, 10}},
		{-3, 3, 15, []float64{0.001, 0.01, 0.1, 1, 10, 100, 1000}},
	} {
		got := ticks(c.low, c.high, c.most)
		if !slices.EqualFunc(got, c.want, func(a, b float64) bool { return Number(a) == Number(b) }) {
			t.Errorf("%v to %v: %v, want %v", c.low, c.high, got, c.want)
		}
	}
}

// TestColours: no two known systems share a colour, and ours has its own in either form, however
// its name is written.
func TestColours(t *testing.T) {
	seen := map[string]string{ourColour: "cim"}
	for system, colour := range colours {
		if seen[colour] != "" {
			t.Errorf("%s and %s have one colour", system, seen[colour])
		}
		seen[colour] = system
	}
	if colourOf("cim cluster") != colourOf("cim standalone") || colourOf("NATS") != colourOf("nats") {
		t.Error("a system has two colours")
	}
}
