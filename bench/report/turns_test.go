package report

import (
	"testing"

	"cim/loadgen"
)

// TestAgainst: a system that cost twice the floor's in each turn is at 2,
// however the machine changed between the turns.
func TestAgainst(t *testing.T) {
	turns := func(numbers ...float64) load {
		var l load
		for _, n := range numbers {
			l.again = append(l.again, loadgen.Trial{ServerCPUus: n})
		}
		return l
	}
	floor := turns(1, 4, 10)
	for _, c := range []struct {
		l    load
		want float64
	}{
		{turns(2, 8, 20), 2},
		{turns(2, 8, 99), 2},
		{turns(20, 2, 8), 0.8},
		{turns(8, 16), 3}, // a turn is lost: the medians count
		{turns(), 0},
	} {
		if got := c.l.against(floor, cpuOf); got != c.want {
			t.Errorf("%v times the floor's, want %v", got, c.want)
		}
	}
	if got := turns(1, 2).against(turns(0, 0), cpuOf); got != 0 {
		t.Errorf("%v times nothing", got)
	}
}

// TestBetween: a ratio has the least and the most of its turns.
func TestBetween(t *testing.T) {
	for text, all := range map[string][]float64{"2 to 4": {3, 2, 4}, notMeasured: {3}, "1 to 1": {1, 1}} {
		if got := between(all).Text; got != text {
			t.Errorf("%v: %q, want %q", all, got, text)
		}
	}
	if got := between([]float64{0, 1}).Text; got != notMeasured {
		t.Errorf("a turn without a figure: %q", got)
	}
}

// TestOver: of runs that got no further than the first trial there are fewer.
func TestOver(t *testing.T) {
	trial := func(n float64) loadgen.Trial { return loadgen.Trial{DeliveriesPerSecond: n} }
	o := Outcome{
		Report: loadgen.Report{Trials: []loadgen.Trial{trial(7), trial(5)}},
		Runs: []loadgen.Report{
			{Trials: []loadgen.Trial{trial(9)}},
			{Trials: []loadgen.Trial{trial(7), trial(5)}},
			{Trials: []loadgen.Trial{trial(2), trial(1)}},
		},
	}
	loads, _ := loadsOf([]Run{{Outcomes: []Outcome{o}}})
	if first, second := loads[0].over(deliveriesOf), loads[1].over(deliveriesOf); first != 7 || second != 3 {
		t.Errorf("medians %v and %v, want 7 and 3", first, second)
	}
}
