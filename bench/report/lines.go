package report

import (
	"fmt"
	"math"
	"slices"
)

// The measures of a chart with lines, in pixels.
const (
	lineWidth  = 884
	plotLeft   = 84
	plotRight  = 24
	plotHeight = 270
	legendTop  = 44
	legendStep = 18
	legendRow  = 4 // entries
	// tickRoom is the least distance of two marks of the y axis.
	tickRoom = 18
	// seriesMax bounds the lines of one chart: more cannot be distinguished.
	seriesMax = 24
)

// shown are the percentiles of a chart, at even distances.
var shown = []float64{50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99}

// curveLine is one system's latencies at the percentiles that are shown; 0: there
// is none.
type curveLine struct {
	load load
	ms   []float64
}

// latencyChart has a line for each system under one load, nil if none has
// latencies. Its axis counts powers of ten of a millisecond.
func latencyChart(s sized) ([]byte, error) {
	lines, low, high, err := curveLines(s.loads)
	if err != nil || len(lines) == 0 {
		return nil, err
	}
	c := onPaper()
	title := s.Name
	if s.Title != "" {
		title += ", " + s.Title
	}
	c.text(label{sheetMargin, 26, 16, fromLeft, c.ink, true, cut("Latency: "+title, 90)})
	top := drawLegend(c, lines)
	a := axis{top: top, low: math.Log10(low), high: math.Log10(high)}
	a.draw(c)
	for _, l := range slices.Backward(lines) { // ours on top of the others
		a.drawLine(c, l)
	}
	return c.document(lineWidth, top+plotHeight+52, title, true), nil
}

// curveLines are the lines with their least and greatest latency.
func curveLines(loads []load) (lines []curveLine, low, high float64, err error) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, l := range loads[:min(len(loads), seriesMax)] {
		if !l.timed() {
			continue
		}
		points, err := curve(l.Trial)
		if err != nil {
			return nil, 0, 0, err
		}
		line := curveLine{load: l, ms: make([]float64, len(shown))}
		for i, percentile := range shown {
			if ms, there := at(points, nines(percentile)); there && ms > 0 {
				line.ms[i] = ms
				low, high = min(low, ms), max(high, ms)
			}
		}
		lines = append(lines, line)
	}
	if low > high {
		return nil, 0, 0, nil
	}
	slices.SortStableFunc(lines, func(a, b curveLine) int { return bar{load: a.load}.rank() - bar{load: b.load}.rank() })
	return lines, low / 1.2, high * 1.2, nil
}

// at is the latency at a percentile, between two points by their distance. It
// is not there past the slowest message.
func at(points []point, nines float64) (float64, bool) {
	next := slices.IndexFunc(points, func(p point) bool { return p[0] >= nines })
	switch {
	case next < 0 || next == 0 && points[0][0] > nines:
		return 0, false
	case points[next][0] == nines || next == 0:
		return points[next][1], true
	}
	a, b := points[next-1], points[next]
	return a[1] + (b[1]-a[1])*(nines-a[0])/(b[0]-a[0]), true
}

// drawLegend names the lines, and returns where the plot starts.
func drawLegend(c *canvas, lines []curveLine) float64 {
	step := float64(lineWidth-2*sheetMargin) / legendRow
	for i, l := range lines {
		x, y := sheetMargin+step*float64(i%legendRow), float64(legendTop+legendStep*(i/legendRow))
		c.rect(x, y-8, 18, l.width()+1, colourOf(l.load.System), 1)
		c.text(label{x + 24, y - 2, 12, fromLeft, c.ink, l.load.ours(), cut(l.load.System, 28)})
	}
	return float64(legendTop + legendStep*((len(lines)+legendRow-1)/legendRow) + 8)
}

// width of a line: ours is the widest.
func (l curveLine) width() float64 {
	if l.load.ours() {
		return 3
	}
	return 1.6
}

// axis is where a plot stands and which powers of ten it shows.
type axis struct{ top, low, high float64 }

func (a axis) y(ms float64) float64 {
	return a.top + plotHeight*(1-(math.Log10(ms)-a.low)/(a.high-a.low))
}

func (a axis) x(i int) float64 {
	return plotLeft + (lineWidth-plotLeft-plotRight-30)*float64(i)/float64(len(shown)-1)
}

func (a axis) draw(c *canvas) {
	for _, ms := range ticks(a.low, a.high, plotHeight/tickRoom) {
		c.stroke(plotLeft, a.y(ms), lineWidth-plotRight, a.y(ms))
		c.text(label{plotLeft - 8, a.y(ms) + 4, 12, toRight, c.ink, false, Number(ms) + " ms"})
	}
	for i, p := range shown {
		c.text(label{a.x(i), a.top + plotHeight + 20, 12, inMiddle, c.ink, false, fmt.Sprintf("%g %%", p)})
	}
	c.text(label{plotLeft, a.top + plotHeight + 40, 12, fromLeft, c.soft, false, "of the deliveries were faster than this"})
}

func (a axis) drawLine(c *canvas, l curveLine) {
	var points [][2]float64
	for i, ms := range l.ms {
		if ms > 0 {
			points = append(points, [2]float64{a.x(i), a.y(ms)})
		}
	}
	c.path(points, colourOf(l.load.System), l.width(), "")
}

// ticks are 1, 2 and 5 of each power of ten between two powers, or 1 alone, so that there are at
// most most of them.
func ticks(low, high float64, most int) (list []float64) {
	for _, digits := range [][]float64{{1, 2, 5}, {1, 3}, {1}} {
		list = nil
		for power := math.Floor(low); power <= high; power++ {
			for _, digit := range digits {
				if v := digit * math.Pow(10, power); math.Log10(v) >= low && math.Log10(v) <= high {
					list = append(list, v)
				}
			}
		}
		if len(list) <= most/2 {
			return list
		}
	}
	return list
}
