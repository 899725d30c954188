package report

import (
	"fmt"
	"math"
	"slices"
)

// Sample is what the processes under test said of themselves at one time of a
// soak, summed up.
type Sample struct {
	Second      float64 `json:"s"` // since the load began
	RSS         float64 `json:"rss_bytes"`
	Heap        float64 `json:"heap_bytes"` // in use
	Goroutines  float64 `json:"goroutines"`
	Collections float64 `json:"gc_count"`
	PauseS      float64 `json:"gc_pause_s"` // of all collections so far
}

// trend is one number of a soak over time.
type trend struct {
	name   string
	unit   string
	limit  float64 // growth, as a part of the beginning, that still counts as flat
	rate   bool    // of events that most samples have none of: means count, not medians
	short  bool    // the soak was too short for a verdict
	values [][2]float64
}

// The bounds of growth from the first to the last judged part. Memory and goroutines that grow by
// less within half an hour may be the garbage collector's pace or single connections; latencies of
// single seconds on a shared machine differ by a half.
const (
	memoryGrowth    = 0.05
	goroutineGrowth = 0.02
	collectGrowth   = 0.25
	latencyGrowth   = 0.5
)

// trends are the numbers of a soak, none of an outcome that was none.
func (o Outcome) trends() []trend {
	if len(o.Soak) == 0 {
		return nil
	}
	list := []trend{
		{name: "memory, RSS", unit: "MB", limit: memoryGrowth},
		{name: "heap in use", unit: "MB", limit: memoryGrowth},
		{name: "goroutines", limit: goroutineGrowth},
		{name: "collections a minute", limit: collectGrowth, rate: true},
		{name: "GC pauses, of each second", unit: "ms", limit: latencyGrowth, rate: true},
	}
	for i, s := range o.Soak {
		list[0].add(s.Second, s.RSS/1e6)
		list[1].add(s.Second, s.Heap/1e6)
		list[2].add(s.Second, s.Goroutines)
		if i > 0 {
			before := o.Soak[i-1]
			took := max(1e-3, s.Second-before.Second)
			list[3].add(s.Second, 60*(s.Collections-before.Collections)/took)
			list[4].add(s.Second, 1000*(s.PauseS-before.PauseS)/took)
		}
	}
	list[1].short = o.collectionsJudged() < partsJudged
	latency := [2]trend{{name: "latency, p50 of each second", unit: "ms", limit: latencyGrowth}, {name: "latency, p99 of each second", unit: "ms", limit: latencyGrowth}}
	for _, t := range o.Report.Trials {
		for _, s := range t.Series {
			latency[0].add(float64(s.Second), s.P50/1000)
			latency[1].add(float64(s.Second), s.P99/1000)
		}
	}
	return append(list, latency[:]...)
}

// collectionsJudged is the number of collections in the judged part of a soak. Between two
// collections the heap in use grows.
func (o Outcome) collectionsJudged() float64 {
	first := o.Soak[int(settled*float64(len(o.Soak)))]
	return o.Soak[len(o.Soak)-1].Collections - first.Collections
}

func (t *trend) add(second, value float64) { t.values = append(t.values, [2]float64{second, value}) }

const (
	// settled is the first part of a soak, in which caches, pools and the heap grow to their size.
	// It is not judged.
	settled = 0.25
	// partsJudged are the parts of the rest, each with its median.
	partsJudged = 12
	// risingLeast is the part of all pairs in which the later one must be greater, for a growth to
	// be a trend. With parts in random order this happens by chance in fewer than one case in
	// 1,000.
	risingLeast = 0.85
)

// parts are the medians, or means of a rate, of the judged parts, in the order of time; nil: there
// are too few samples.
func (t trend) parts() (middles []float64) {
	kept := t.values[int(settled*float64(len(t.values))):]
	if len(kept) < partsJudged {
		return nil
	}
	for i := range partsJudged {
		var part []float64
		for _, v := range kept[i*len(kept)/partsJudged : (i+1)*len(kept)/partsJudged] {
			part = append(part, v[1])
		}
		if t.rate {
			middles = append(middles, mean(part))
		} else {
			middles = append(middles, median(part))
		}
	}
	return middles
}

func mean(numbers []float64) float64 {
	sum := 0.0
	for _, v := range numbers {
		sum += v
	}
	return sum / float64(len(numbers))
}

// ends are the median of the first and of the last three parts.
func ends(parts []float64) (first, last float64) {
	return median(parts[:3]), median(parts[len(parts)-3:])
}

// grown is by how much the end is above the beginning, as a part of it.
func grown(first, last float64) float64 {
	if first == 0 {
		if last == 0 {
			return 0
		}
		return math.Inf(1)
	}
	return last/first - 1
}

// rising is the part of all pairs in which the later one is greater. Of equal ones a half counts.
func rising(parts []float64) float64 {
	pairs, up := 0.0, 0.0
	for i := range parts {
		for _, later := range parts[i+1:] {
			pairs++
			if later > parts[i] {
				up++
			} else if later == parts[i] {
				up += 0.5
			}
		}
	}
	return up / pairs
}

// verdict says whether the number grew.
func (t trend) verdict() verdict {
	parts := t.parts()
	if parts == nil || t.short {
		return verdict{Text: "too short to say"}
	}
	if first, last := ends(parts); grown(first, last) > t.limit && rising(parts) >= risingLeast {
		return verdict{"growing", "missed"}
	}
	return verdict{"flat", "met"}
}

// change is from where to where the number went.
func (t trend) change() (from, to, by string) {
	parts := t.parts()
	if parts == nil {
		return notMeasured, notMeasured, notMeasured
	}
	first, last := ends(parts)
	by = notMeasured
	if g := grown(first, last); !math.IsInf(g, 0) {
		by = fmt.Sprintf("%+.1f %%", 100*g)
	}
	return united(first, t.unit), united(last, t.unit), by
}

// soakLines are what the summary and the text say of a soak.
func (o Outcome) soakLines() []string {
	trends := o.trends()
	if len(trends) == 0 {
		return nil
	}
	lines := []string{padded("  over time", nameWidth) + before("from", figureWidth) + before("to", figureWidth) + before("by", ratioWidth+2) + "  verdict"}
	for _, t := range trends {
		from, to, by := t.change()
		lines = append(lines, padded("  "+t.name, nameWidth)+before(from, figureWidth)+before(to, figureWidth)+before(by, ratioWidth+2)+"  "+t.verdict().Text)
	}
	return append(lines, "  The first quarter is not judged: caches and pools find their size in it.")
}

// soaks is the table of what changed over time.
func soaks(runs []Run) table {
	t := table{
		ID: "soak", Caption: "What changed over time. The first quarter is not judged: caches and pools find their size in it",
		Head: append(words("Figure"), append(numbers("From", "To", "By"), words("Verdict")...)...),
	}
	for i, run := range runs {
		for _, o := range run.Outcomes {
			for _, one := range o.trends() {
				from, to, by := one.change()
				v := one.verdict()
				t.Rows = append(t.Rows, row{o.Name + ", " + run.Label, i, o.system(), []cell{
					{Text: one.name}, {Text: from, Numeric: true}, {Text: to, Numeric: true}, {Text: by, Numeric: true}, {Text: v.Text, Class: v.Class},
				}})
			}
		}
	}
	return t
}

// The measures of a small chart over time, in pixels.
const (
	soakPlot = 110
	soakLeft = 72
)

func (t trend) height() float64 { return panelHead + soakPlot + 24 }

// draw draws the number over time from the canvas' origin. The part that is not judged is grey.
func (t trend) draw(c *canvas) {
	v := t.verdict()
	from, to, by := t.change()
	colour := map[string]string{"met": c.good, "missed": c.bad, "": c.soft}[v.Class]
	unit := ""
	if t.unit != "" {
		unit = ", " + t.unit
	}
	c.text(label{0, 14, 13, fromLeft, c.ink, true, t.name + unit})
	c.text(label{0, 30, 12, fromLeft, colour, false, v.Text + ": " + from + " to " + to + " (" + by + ")"})
	most := 0.0
	for _, p := range t.values {
		most = max(most, p[1])
	}
	most = max(most*1.08, 1e-9)
	y := func(value float64) float64 { return panelHead - 10 + soakPlot*(1-value/most) }
	for _, part := range []float64{0, 0.5, 1} {
		mark := part * most / 1.08
		c.stroke(soakLeft, y(mark), panelWidth, y(mark))
		c.text(label{soakLeft - 6, y(mark) + 4, 11, toRight, c.soft, false, Number(mark)})
	}
	t.drawTime(c, y)
}

// drawTime draws the line and the axis of time.
func (t trend) drawTime(c *canvas, y func(float64) float64) {
	if len(t.values) == 0 {
		return
	}
	end := max(1, t.values[len(t.values)-1][0])
	x := func(second float64) float64 { return soakLeft + (panelWidth-soakLeft-4)*second/end }
	var points [][2]float64
	for _, p := range t.values {
		points = append(points, [2]float64{x(p[0]), y(p[1])})
	}
	judged := min(int(settled*float64(len(points))), len(points)-1)
	c.path(points[:judged+1], floorColour, 1.5, "")
	c.path(points[judged:], ourColour, 1.5, "")
	for _, part := range []float64{0, 0.5, 1} {
		anchor := map[float64]string{0: fromLeft, 0.5: inMiddle, 1: toRight}[part]
		c.text(label{x(part * end), panelHead + soakPlot + 8, 11, anchor, c.soft, false, clock(part * end)})
	}
}

// clock is a time since the beginning, in the unit that fits.
func clock(seconds float64) string {
	switch {
	case seconds >= 2*3600:
		return Number(seconds/3600) + " h"
	case seconds >= 120:
		return Number(seconds/60) + " min"
	}
	return Number(seconds) + " s"
}

// soakSheet is a file with the charts of a soak.
func soakSheet(run Run, o Outcome) []byte {
	return sheet(o.Name, sheetNote(run), o.trends())
}

// soakFiles are the charts of all soaks of a run.
func soakFiles(run Run) (files []File) {
	at := slices.IndexFunc(run.Outcomes, func(o Outcome) bool { return len(o.Soak) > 0 })
	if at < 0 {
		return nil
	}
	return []File{{"charts/soak.svg", soakSheet(run, run.Outcomes[at])}}
}
