package report

import (
	"math"
	"slices"
	"strings"
	"testing"

	"cim/loadgen"
)

// TestChance compares with the binomial distribution.
func TestChance(t *testing.T) {
	for _, c := range []struct {
		above, below int
		want         float64
	}{
		{0, 0, 1}, {1, 0, 1}, {5, 0, 2.0 / 32}, {0, 6, 2.0 / 64}, {1, 5, 14.0 / 64}, {3, 3, 1}, {8, 1, 20.0 / 512},
	} {
		if got := chanceOf(c.above, c.below); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%d above, %d below: %v, want %v", c.above, c.below, got, c.want)
		}
	}
}

// TestNoise goes to the least number of turns and one below it.
func TestNoise(t *testing.T) {
	for _, c := range []struct {
		ratios []float64
		want   string
	}{
		{nil, "too few to say: 6 turns are needed"},
		{[]float64{2, 2, 2, 2, 2}, "too few to say: 6 turns are needed"},
		{[]float64{2, 1.1, 2, 3, 2, 2}, "beyond noise"},
		{[]float64{0.9, 0.9, 0.5, 0.9, 0.9, 0.99}, "beyond noise"},
		{[]float64{2, 2, 2, 2, 2, 0.99}, "within noise"},
		{[]float64{2, 2, 2, 2, 2, 1}, "within noise"},
		{[]float64{0, 2, 2, 2, 2, 2}, "too few to say: 6 turns are needed"}, // one turn has no figure
		{[]float64{2, 2, 2, 0, 2, 2, 2}, "beyond noise"},
		{slices.Repeat([]float64{1}, 9), "within noise"},
	} {
		if got := noise(c.ratios); got != c.want {
			t.Errorf("%v: %q, want %q", c.ratios, got, c.want)
		}
	}
}

// TestTimesOurs: the page's table and the text show the ratio of the others to ours.
func TestTimesOurs(t *testing.T) {
	outcome := func(system string, times float64) Outcome {
		o := Outcome{Name: "s", System: system}
		for turn := range turnsLeast {
			trial := loadgen.Trial{Conns: 5, Window: 1, DeliveriesPerSecond: 10, ServerCPUus: times * float64(1+turn)}
			o.Runs = append(o.Runs, loadgen.Report{Trials: []loadgen.Trial{trial}})
		}
		o.Report = o.Runs[0]
		return o
	}
	run := Run{Outcomes: []Outcome{outcome("cim standalone", 2), outcome("nats", 3), outcome("redis", 2), outcome("idle", 0)}}
	loads, _ := loadsOf([]Run{run})
	var got []string
	for _, l := range loads {
		got = append(got, l.timesOurs(loads).Text)
	}
	if want := []string{notMeasured, "1.5, beyond noise", "1, within noise", notMeasured}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	text, err := Text(run)
	if err != nil || !strings.Contains(string(text), "1.5, beyond noise") {
		t.Errorf("%v\n%s", err, text)
	}
	if cells := texts(peers([]Run{run}, loads).Rows[1]); !slices.Contains(cells, "1.5, beyond noise") {
		t.Errorf("%q", cells)
	}
}
