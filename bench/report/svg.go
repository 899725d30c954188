package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/go-analyze/charts"
)

// Size of a chart in pixels.
const (
	chartWidth = 900
	lineHeight = 420
	barHeight  = 26 // of one bar with its gap
	barsRest   = 110
	// legendHeight is what a line's name may take.
	legendHeight = 14
	// seriesMax bounds the lines of one chart: more cannot be told apart.
	seriesMax = 12
)

// charts are the pictures of a run for a page that runs no script.
func chartFiles(run Run) ([]File, error) {
	loads, scenarios := loadsOf([]Run{run})
	var files []File
	add := func(name string, picture []byte, err error) error {
		if err != nil {
			return fmt.Errorf("report: chart %s: %w", name, err)
		}
		if picture != nil {
			files = append(files, File{"charts/" + name + ".svg", picture})
		}
		return nil
	}
	picture, err := cpuChart(loads)
	if err := add("cpu", picture, err); err != nil {
		return nil, err
	}
	picture, err = throughputChart(loads)
	if err := add("throughput", picture, err); err != nil {
		return nil, err
	}
	for at, name := range scenarios {
		picture, err := latencyChart(name, ofScenario(loads, at))
		if err := add(fmt.Sprintf("latency-%d-%s", at+1, slug(name)), picture, err); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func ofScenario(loads []load, at int) []load {
	return slices.DeleteFunc(slices.Clone(loads), func(l load) bool { return l.Scenario != at })
}

// label of a line: no more than what tells it from the others.
func (l load) label(others []load) string {
	if slices.ContainsFunc(others, func(o load) bool { return o.System != l.System }) {
		return plain(l.System + ", " + l.size())
	}
	return plain(l.size())
}

// latencyChart has a line for each load of a scenario, nil if none has
// latencies. Its axis counts powers of ten of a millisecond.
func latencyChart(name string, loads []load) ([]byte, error) {
	loads = slices.DeleteFunc(slices.Clone(loads), func(l load) bool { return !l.timed() })
	loads = loads[:min(len(loads), seriesMax)]
	if len(loads) == 0 {
		return nil, nil
	}
	var lines charts.LineSeriesList
	low, high := math.Inf(1), math.Inf(-1)
	for _, l := range loads {
		points, err := curve(l.Trial)
		if err != nil {
			return nil, err
		}
		line := charts.LineSeries{Name: roomy(l.label(loads))}
		for _, percentile := range shown {
			v := charts.GetNullValue()
			if ms, there := at(points, nines(percentile)); there && ms > 0 {
				v = math.Log10(ms)
				low, high = min(low, v), max(high, v)
			}
			line.Values = append(line.Values, v)
		}
		lines = append(lines, line)
	}
	if low > high {
		return nil, nil
	}
	opt := charts.NewLineChartOptionWithSeries(lines)
	opt.Title.Text = plain(name)
	opt.XAxis = charts.XAxisOption{Labels: percentLabels(), LabelCount: len(shown), Title: "percentile"}
	low, high = math.Floor(low), math.Ceil(high)
	if low == high {
		high++
	}
	opt.YAxis = []charts.YAxisOption{{
		Title: "latency in ms", Min: &low, Max: &high, LabelCount: int(high-low) + 1,
		ValueFormatter: func(v float64) string { return Number(math.Pow(10, v)) },
	}}
	opt.Legend = legend()
	opt.Symbol = charts.Symbol{Shape: charts.SymbolNone}
	opt.LineStrokeWidth = 2
	return paint(lineHeight+legendHeight*len(lines), func(p *charts.Painter) error { return p.LineChart(opt) })
}

// shown are the percentiles of a chart, at even distances.
var shown = []float64{50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99}

func percentLabels() []string {
	labels := make([]string, len(shown))
	for i, p := range shown {
		labels[i] = fmt.Sprintf("%g %%", p)
	}
	return labels
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

// throughputChart has a line for each system and kind of load, over the
// numbers of connections; nil if none was paced by the system.
func throughputChart(loads []load) ([]byte, error) {
	loads = slices.DeleteFunc(slices.Clone(loads), func(l load) bool { return l.Window == 0 })
	if len(loads) == 0 {
		return nil, nil
	}
	conns, names := connsOf(loads), []string{}
	values := map[string][]float64{}
	for _, l := range loads {
		name := plain(l.System + ", " + l.kind())
		if _, known := values[name]; !known {
			names = append(names, name)
			values[name] = slices.Repeat([]float64{charts.GetNullValue()}, len(conns))
		}
		values[name][slices.Index(conns, l.Conns)] = l.over(deliveriesOf)
	}
	var lines charts.LineSeriesList
	for _, name := range names[:min(len(names), seriesMax)] {
		lines = append(lines, charts.LineSeries{Name: roomy(name), Values: values[name]})
	}
	opt := charts.NewLineChartOptionWithSeries(lines)
	opt.Title.Text = "Deliveries a second"
	opt.XAxis = charts.XAxisOption{Title: "connections", Labels: make([]string, len(conns))}
	for i, n := range conns {
		opt.XAxis.Labels[i] = Number(float64(n))
	}
	zero := 0.0
	opt.YAxis = []charts.YAxisOption{{Min: &zero, ValueFormatter: Number}}
	opt.Legend = legend()
	return paint(lineHeight+legendHeight*len(lines), func(p *charts.Painter) error { return p.LineChart(opt) })
}

func connsOf(loads []load) []int {
	var conns []int
	for _, l := range loads {
		conns = append(conns, l.Conns)
	}
	slices.Sort(conns)
	return slices.Compact(conns)
}

// cpuChart has a bar for each load whose server CPU was measured, the first on
// top; nil if there is none.
func cpuChart(loads []load) ([]byte, error) {
	var labels []string
	var values []float64
	for _, l := range slices.Backward(loads) {
		if us := l.over(cpuOf); l.sends() && us > 0 {
			labels = append(labels, roomy(plain(l.System+": "+string(l.report.Mode)+", "+l.size())))
			values = append(values, us)
		}
	}
	if len(values) == 0 {
		return nil, nil
	}
	opt := charts.NewBarChartOptionWithData([][]float64{values})
	opt.Horizontal = true
	opt.Title.Text = "Server CPU, µs a delivery"
	opt.CategoryAxis.Labels = labels
	zero := 0.0
	opt.ValueAxis = []charts.ValueAxisOption{{Min: &zero, ValueFormatter: Number}}
	opt.SeriesList[0].Label = charts.SeriesLabel{Show: charts.Ptr(true), ValueFormatter: Number}
	opt.Legend.Show = charts.Ptr(false)
	opt.Padding = charts.NewBox(16, 16, 72, 16)
	return paint(barsRest+barHeight*len(values), func(p *charts.Painter) error { return p.BarChart(opt) })
}

// roomy ends a text with blanks: whoever shows the picture may have a wider
// font than the one that the library measures texts by.
func roomy(text string) string {
	return text + strings.Repeat("\u00a0", len(text)/4)
}

// legend stands between the title and the chart.
func legend() charts.LegendOption {
	return charts.LegendOption{Offset: charts.OffsetStr{Left: "40", Top: "32"}, Padding: charts.NewBox(0, 0, 0, 16)}
}

func paint(height int, draw func(*charts.Painter) error) ([]byte, error) {
	p := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: chartWidth, Height: height, Theme: charts.GetTheme(charts.ThemeLight)})
	if err := draw(p); err != nil {
		return nil, err
	}
	return p.Bytes()
}

// labelMax bounds a text in a chart, in characters.
const labelMax = 80

// plain keeps out of a chart's text what a picture has no use for: the library
// writes texts as they are.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`<>&"'`, r) {
			return ' '
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > labelMax {
		text = string(runes[:labelMax-1]) + "…"
	}
	return text
}
