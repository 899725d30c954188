package report

import (
	"cmp"
	"fmt"
	"slices"

	"cim/loadgen"
)

// metric is a number that a panel shows of each system.
type metric struct {
	name string
	unit string
	of   number
	more bool // more of it is better
}

var (
	cpuMetric        = metric{"server CPU a delivery", "µs", cpuOf, false}
	deliveriesMetric = metric{"deliveries", "1/s", deliveriesOf, true}
	p50Metric        = metric{"latency, half below (p50)", "ms", inMs(p50Of), false}
	p99Metric        = metric{"latency, 99 % below (p99)", "ms", inMs(p99Of), false}
	outcomeMetric    = metric{"answer to the sender, p99", "ms", inMs(func(t loadgen.Trial) float64 { return t.Outcome.P99 }), false}
	memoryMetric     = metric{"memory a connection", "bytes", memoryOf, false}
	loginCPUMetric   = metric{"server CPU a login", "µs", func(t loadgen.Trial) float64 { return t.LoginCPUus }, false}
	loginMetric      = metric{"time until all are logged in", "s", loginOf, false}
)

func inMs(of number) number { return func(t loadgen.Trial) float64 { return of(t) / 1000 } }

// metrics are the important figures of a load: the rate if the system paces it, the latency if it
// has a schedule.
func (l load) metrics() []metric {
	switch {
	case l.Window > 0:
		return []metric{cpuMetric, deliveriesMetric}
	case l.Rate > 0:
		return []metric{cpuMetric, p50Metric, p99Metric, outcomeMetric}
	}
	return []metric{memoryMetric, loginCPUMetric, loginMetric}
}

// panel is a small chart: one number under one load, a bar for each system.
type panel struct {
	title  string
	metric metric
	remark verdict // how ours stands
	bars   []bar
}

// bar is one system's.
type bar struct {
	load  load
	label string
	value float64
}

// barsMax bounds the bars of a panel; the tables have all.
const barsMax = 32

// panelOf shows the metric of these loads, which differ in system and run only.
// It is not there if no load has the number.
func panelOf(title string, m metric, loads []load, runs []Run) (p panel, there bool) {
	for _, l := range loads {
		v := l.over(m.of)
		if v <= 0 {
			continue
		}
		label := l.System
		if len(runs) > 1 {
			label += ", " + runs[l.Run].Label
		}
		p.bars = append(p.bars, bar{l, label, v})
	}
	slices.SortStableFunc(p.bars, func(a, b bar) int {
		order := cmp.Compare(a.value, b.value)
		if m.more {
			order = -order
		}
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), order)
	})
	p.title, p.metric, p.remark = title, m, standing(m, p.bars, len(runs))
	p.bars = p.bars[:min(len(p.bars), barsMax)]
	return p, len(p.bars) > 0
}

// rank puts ours first, and the floor last.
func (b bar) rank() int {
	switch {
	case b.load.ours():
		return 0
	case b.load.System == Floor:
		return 2
	case b.load.System == BarePair:
		return 3
	}
	return 1
}

// standing says how ours does beside the best of the others, and beside the
// floor, in one run.
func standing(m metric, bars []bar, runs int) verdict {
	if runs > 1 || len(bars) == 0 || bars[0].rank() != 0 {
		return verdict{}
	}
	our := bars[0].load
	v := verdict{}
	if at := slices.IndexFunc(bars, func(b bar) bool { return b.rank() == 1 }); at >= 0 {
		v = m.beside(our, bars[at].load)
	}
	at := slices.IndexFunc(bars, func(b bar) bool { return b.load.System == Floor })
	if at < 0 {
		return v
	}
	if times := our.against(bars[at].load, m.of); times > 0 {
		if v.Text != "" {
			v.Text += " · "
		}
		v.Text += Number(times) + " × floor"
	}
	return v
}

// beside compares ours with the best of the others.
func (m metric) beside(our, best load) verdict {
	times := our.against(best, m.of)
	behind := times > 1
	if m.more {
		behind = times < 1
	}
	ratios := our.quotients(best, m.of)
	switch {
	case times <= 0:
		return verdict{}
	case len(ratios) >= turnsLeast && noise(ratios) == withinNoise:
		return verdict{fmt.Sprintf("level with %s within noise (%s ×)", best.System, Number(times)), ""}
	case behind:
		return verdict{fmt.Sprintf("loses to %s: %s × its", best.System, Number(times)), "missed"}
	}
	return verdict{fmt.Sprintf("first: %s × %s", Number(times), best.System), "met"}
}

// The measures of a panel, in pixels.
const (
	panelWidth = 420
	panelHead  = 54
	barStep    = 23
	barHeight  = 16
	labelWidth = 150
	valueWidth = 92
	panelFoot  = 10
)

func (p panel) height() float64 { return panelHead + barStep*float64(len(p.bars)) + panelFoot }

// draw draws the panel from the canvas' origin.
func (p panel) draw(c *canvas) {
	better := "less is better"
	if p.metric.more {
		better = "more is better"
	}
	colour := map[string]string{"met": c.good, "missed": c.bad, "": c.soft}[p.remark.Class]
	c.text(label{0, 14, 13, fromLeft, c.ink, true, cut(p.title, 56)})
	c.text(label{0, 30, 12, fromLeft, c.soft, false, p.metric.name + ", " + unitName(p.metric.unit) + ", " + better})
	c.text(label{0, 46, 12, fromLeft, colour, false, cut(p.remark.Text, 64)})
	most := 0.0
	for _, b := range p.bars {
		most = max(most, b.value)
	}
	for i, b := range p.bars {
		c.group(fmt.Sprintf(`class="bar" data-run="%d" data-system="%s"`, b.load.Run, safe(b.load.System)), func() {
			b.draw(c, panelHead+barStep*float64(i), most, p.metric)
		})
	}
}

// draw draws the bar; ours is in bold and full, the others' are pale.
func (b bar) draw(c *canvas, y, most float64, m metric) {
	ours := b.load.ours()
	opacity := 0.6
	if ours {
		opacity = 1
	}
	width := max(1, b.value/most*(panelWidth-labelWidth-valueWidth))
	c.text(label{labelWidth - 8, y + 12.5, 12, toRight, c.ink, ours, cut(b.label, 21)})
	c.rect(labelWidth, y, width, barHeight, colourOf(b.load.System), opacity)
	c.text(label{labelWidth + width + 6, y + 12.5, 12, fromLeft, c.ink, ours, united(b.value, m.unit)})
}

// unitName is a unit in words, where it stands alone.
func unitName(unit string) string {
	if unit == "1/s" {
		return "a second"
	}
	return unit
}
