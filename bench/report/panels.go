package report

import (
	"fmt"
	"slices"
)

// size of a load without its system: what a scenario measures, its loads bear
// one after the other.
type sizeKey struct {
	conns, window, rate int
	phase               string
}

func (l load) sizeKey() sizeKey { return sizeKey{l.Conns, l.Window, l.Rate, l.Phase} }

// sized are the loads of one scenario and one size, of all systems and runs.
type sized struct {
	At    int // among all sized, from 1 on
	Name  string
	Title string // distinguishes it from the scenario's other sizes
	loads []load
}

// bySize divides the loads by scenario and size, in their order.
func bySize(loads []load, scenarios []string) (all []sized) {
	for at, name := range scenarios {
		own := ofScenario(loads, at)
		var keys []sizeKey
		for _, l := range own {
			if !slices.Contains(keys, l.sizeKey()) {
				keys = append(keys, l.sizeKey())
			}
		}
		for _, key := range keys {
			s := sized{At: len(all) + 1, Name: name}
			s.loads = slices.DeleteFunc(slices.Clone(own), func(l load) bool { return l.sizeKey() != key })
			s.Title = s.loads[0].differing(keys)
			all = append(all, s)
		}
	}
	return all
}

// differing is the part of the load's size in which these differ; "" if there is only one.
func (l load) differing(keys []sizeKey) string {
	conns := slices.ContainsFunc(keys, func(k sizeKey) bool { return k.conns != l.Conns })
	ways := slices.ContainsFunc(keys, func(k sizeKey) bool { return k.window != l.Window || k.rate != l.Rate })
	phases := slices.ContainsFunc(keys, func(k sizeKey) bool { return k.phase != l.Phase })
	switch {
	case conns && ways || phases:
		return l.size()
	case conns:
		return grouped(fmt.Sprint(l.Conns)) + " connections"
	case ways:
		return l.way()
	}
	return ""
}

func ofScenario(loads []load, at int) []load {
	return slices.DeleteFunc(slices.Clone(loads), func(l load) bool { return l.Scenario != at })
}

// panels are those of a scenario, one size after the other.
func panels(sizes []sized, runs []Run) (list []panel) {
	for _, s := range sizes {
		title := s.Title
		if title == "" {
			title = s.loads[0].size()
		}
		for _, m := range s.loads[0].metrics() {
			if p, there := panelOf(title, m, s.loads, runs); there {
				list = append(list, p)
			}
		}
	}
	return list
}

// cpuPanels are the CPU panels of all scenarios that send.
func cpuPanels(sizes []sized, runs []Run) (list []panel) {
	for _, s := range sizes {
		title := s.Name
		if s.Title != "" {
			title += ", " + s.Title
		}
		if p, there := panelOf(title, cpuMetric, s.loads, runs); there && s.loads[0].sends() {
			list = append(list, p)
		}
	}
	return list
}

// The measures of a sheet of panels, in pixels.
const (
	sheetMargin = 20
	sheetHead   = 48
	sheetGap    = 24
)

// drawing is a small chart: what stands on a sheet.
type drawing interface {
	height() float64
	draw(*canvas)
}

// sheet is a file with small charts in two columns.
func sheet[D drawing](title, subtitle string, list []D) []byte {
	c := onPaper()
	c.text(label{sheetMargin, 28, 17, fromLeft, c.ink, true, cut(title, 88)})
	c.text(label{sheetMargin, 46, 12, fromLeft, c.soft, false, cut(subtitle, 140)})
	y := float64(sheetHead + 14)
	for row := range slices.Chunk(list, 2) {
		height := 0.0
		for i, p := range row {
			c.group(fmt.Sprintf(`transform="translate(%d %.0f)"`, sheetMargin+i*(panelWidth+sheetGap), y), func() { p.draw(c) })
			height = max(height, p.height())
		}
		y += height + sheetGap/2
	}
	columns := min(2, len(list))
	return c.document(float64(2*sheetMargin+columns*panelWidth+(columns-1)*sheetGap), y+sheetMargin/2, title, true)
}

// chartFiles are the pictures of a run for a page that runs no script.
func chartFiles(run Run) ([]File, error) {
	runs := []Run{run}
	loads, scenarios := loadsOf(runs)
	sizes := bySize(loads, scenarios)
	var files []File
	if list := cpuPanels(sizes, runs); len(list) > 0 {
		files = append(files, File{"charts/cpu.svg", sheet("Server CPU for each delivery", sheetNote(run), list)})
	}
	for at, name := range scenarios {
		own := slices.DeleteFunc(slices.Clone(sizes), func(s sized) bool { return s.loads[0].Scenario != at })
		if list := panels(own, runs); len(list) > 0 {
			files = append(files, File{fmt.Sprintf("charts/scenario-%d-%s.svg", at+1, slug(name)), sheet(name, sheetNote(run), list)})
		}
	}
	for _, s := range sizes {
		picture, err := latencyChart(s)
		if err != nil {
			return nil, fmt.Errorf("report: chart of %s: %w", s.Name, err)
		}
		if picture != nil {
			files = append(files, File{fmt.Sprintf("charts/latency-%d-%s.svg", s.At, slug(s.Name+" "+s.Title)), picture})
		}
	}
	return append(files, soakFiles(run)...), nil
}

// sheetNote says when and where a run was made.
func sheetNote(run Run) string {
	m := run.Manifest
	note := fmt.Sprintf("%s, %s", m.Began.Format("2006-01-02"), m.processor())
	if m.Repeat > 1 {
		note += fmt.Sprintf(", medians of %d turns", m.Repeat)
	}
	return note + "; floor: a bare server that reads and writes and does nothing else"
}
