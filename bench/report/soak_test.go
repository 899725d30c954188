package report

import (
	"math"
	"strings"
	"testing"

	"cim/loadgen"
)

// soaked is a soak of n seconds whose memory is of(part of the time).
func soaked(n int, of func(part float64) float64) Outcome {
	o := Outcome{Name: "a soak", System: "cim standalone"}
	var series []loadgen.Second
	for i := range n {
		o.Soak = append(o.Soak, Sample{
			Second: float64(i), RSS: of(float64(i) / float64(n)), Heap: 1e6, Goroutines: 100, Collections: float64(i), PauseS: 0.001 * float64(i),
		})
		series = append(series, loadgen.Second{Second: i, P50: 100, P99: 1000})
	}
	o.Report.Trials = []loadgen.Trial{{Conns: 10, Rate: 100, Series: series}}
	return o
}

// TestTrend: what settles at first, swings, or steps once is flat; what rises
// all the time by more than the limit grows.
func TestTrend(t *testing.T) {
	for _, c := range []struct {
		name string
		n    int
		of   func(part float64) float64
		want string
	}{
		{"constant", 200, func(float64) float64 { return 50e6 }, "flat"},
		{"settles in the first quarter", 200, func(p float64) float64 { return 50e6 * min(1, 0.2+4*p) }, "flat"},
		{"rises within the limit", 200, func(p float64) float64 { return 50e6 * (1 + 0.05*p) }, "flat"},
		{"rises beyond it", 200, func(p float64) float64 { return 50e6 * (1 + 0.2*p) }, "growing"},
		{"rises and swings", 200, func(p float64) float64 { return 50e6 * (1 + 0.4*p + 0.02*math.Sin(100*p)) }, "growing"},
		{"swings", 200, func(p float64) float64 { return 50e6 * (1 + 0.3*math.Sin(40*p)) }, "flat"},
		{"falls", 200, func(p float64) float64 { return 50e6 * (1 - 0.5*p) }, "flat"},
		{"the least that can tell", 16, func(p float64) float64 { return 50e6 * (1 + p) }, "growing"},
		{"one less", 15, func(p float64) float64 { return 50e6 * (1 + p) }, "growing"},
		{"too short", 12, func(p float64) float64 { return 50e6 * (1 + p) }, "too short to say"},
		{"from nothing", 200, func(p float64) float64 { return max(0, 1e6*(p-0.5)) }, "growing"},
	} {
		trends := soaked(c.n, c.of).trends()
		if got := trends[0].verdict().Text; got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		for _, other := range trends[1:] {
			if got := other.verdict().Text; got != "flat" && !other.short && c.n > 12 && len(other.values) > 15 {
				t.Errorf("%s: %s is %q", c.name, other.name, got)
			}
		}
	}
	if trends := (Outcome{}).trends(); trends != nil {
		t.Errorf("of no soak: %v", trends)
	}
}

// TestTrendOfEvents: of collections that most samples have none of, the rate
// counts.
func TestTrendOfEvents(t *testing.T) {
	for growth, want := range map[float64]string{0: "flat", 2: "growing"} {
		o, count := soaked(400, func(float64) float64 { return 1 }), 0.0
		for i := range o.Soak {
			count += 0.1 * (1 + growth*float64(i)/400)
			o.Soak[i].Collections = math.Floor(count)
		}
		if got := o.trends()[3]; got.verdict().Text != want {
			t.Errorf("growth %v: %q, parts %v", growth, got.verdict().Text, got.parts())
		}
	}
}

// TestHeapOfFewCollections: a heap that grows between collections is no growth, up to the least
// number of collections that shows one.
func TestHeapOfFewCollections(t *testing.T) {
	for collections, want := range map[float64]string{0: "too short to say", 11: "too short to say", 12: "growing"} {
		o := soaked(400, func(float64) float64 { return 1 })
		for i := range o.Soak {
			o.Soak[i].Heap = 1e6 * float64(400+i)
			o.Soak[i].Collections = math.Round(collections * float64(max(0, i-100)) / 299)
		}
		if got := o.trends()[1].verdict().Text; got != want {
			t.Errorf("%v collections: %q, want %q", collections, got, want)
		}
	}
}

// TestSoakShown: the summary, the text, the page and a chart have the verdicts.
func TestSoakShown(t *testing.T) {
	run := Run{Label: "x", Outcomes: []Outcome{soaked(200, func(p float64) float64 { return 50e6 * (1 + p) })}}
	run.Manifest.OtherChecks = 1
	text, err := Text(run)
	if err != nil {
		t.Fatal(err)
	}
	for name, shown := range map[string]string{
		"summary": string(Summary(run)), "text": string(text), "page": page(t, run), "chart": string(files(t, run)["charts/soak.svg"]),
	} {
		for _, want := range []string{"memory, RSS", "growing", "flat", "goroutines", "p99 of each second"} {
			if !strings.Contains(shown, want) {
				t.Errorf("the %s lacks %q:\n%.3000s", name, want, shown)
			}
		}
	}
	checkXML(t, "soak.svg", files(t, run)["charts/soak.svg"])
}
