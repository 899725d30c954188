package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
)

// Text is the table of the figures for a terminal.
func Text(run Run) ([]byte, error) {
	var out bytes.Buffer
	t := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	m := run.Manifest
	lines := []string{OneLine(fmt.Sprintf("cim %s, %s, %s, kernel %s, %s",
		m.Commit, m.Go, m.processor(), m.Kernel, m.Began.Format("2006-01-02 15:04 MST"))) + "\n"}
	if m.Stopped != "" {
		lines = append(lines, OneLine("Stopped before all was measured: "+m.Stopped)+"\n")
	}
	if busy := m.busy(); busy != "" {
		lines = append(lines, "Warning: "+busy+": figures of a quiet machine are not compared.\n")
	}
	if m.Profiled {
		lines = append(lines, "Profiles were taken: the figures bear their cost.\n")
	}
	repeated := m.Repeat > 1
	if repeated {
		lines = append(lines, fmt.Sprintf("Medians of %d runs.\n", m.Repeat),
			"scenario\tsystem\tfigure\treach\tgot\tinterval\t\n")
	} else {
		lines = append(lines, "scenario\tsystem\tfigure\treach\tgot\t\n")
	}
	for _, o := range run.Outcomes {
		lines = append(lines, run.lines(o, repeated)...)
	}
	for _, o := range run.Outcomes {
		for _, line := range o.soakLines() {
			lines = append(lines, OneLine(line)+"\n")
		}
	}
	lines = append(lines, "\n", "scenario\tsystem\tload\tdeliveries/s\tserver CPU, µs\ttimes the floor's\ttimes ours\tp50, ms\tp99, ms\tp99.9, ms\tlost\tdoubled\treordered\t\n")
	loads, _ := loadsOf([]Run{run})
	for _, l := range besideEachOther(loads) {
		if l.sends() {
			lines = append(lines, l.line(loads))
		}
	}
	lines = append(lines, notes(run, loads)...)
	for _, line := range lines {
		if _, err := io.WriteString(t, line); err != nil {
			return nil, fmt.Errorf("report: text: %w", err)
		}
	}
	if err := t.Flush(); err != nil {
		return nil, fmt.Errorf("report: text: %w", err)
	}
	return out.Bytes(), nil
}

// notes are warnings, and the settings of the systems.
func notes(run Run, loads []load) (lines []string) {
	lines = append(lines, "\n")
	for _, l := range loads {
		if n, first := l.warned(); n > 0 {
			lines = append(lines, OneLine(fmt.Sprintf("warning: %s, %s, %s, %s times: %s", l.Name, l.System, l.size(), timesOf(n, len(l.again)), first))+"\n")
		}
	}
	for _, name := range sortedKeys(run.Manifest.Systems) {
		lines = append(lines, OneLine(name+": "+run.Manifest.Systems[name])+"\n")
	}
	if len(run.Manifest.Programs) > 0 {
		lines = append(lines, OneLine("versions: "+programs(run.Manifest))+"\n")
	}
	if len(lines) == 1 {
		return nil
	}
	return lines
}

// lines is the scenario's rows. Its name and system stand in the first only.
func (run Run) lines(o Outcome, repeated bool) []string {
	var lines []string
	name, system := o.Name, o.system()
	for _, r := range run.inText(o) {
		cells := []string{name, system, r.Name, r.promise(), united(r.Got, r.Unit)}
		if repeated {
			cells = append(cells, r.interval())
		}
		lines = append(lines, tabbed(append(cells, run.verdictOn(o, r).Text)...))
		name, system = "", ""
	}
	if o.Failure != "" {
		lines = append(lines, tabbed(name, system, "FAILED: "+firstOf(o.Failure)))
	}
	return lines
}

// line is the load's row.
func (l load) line(loads []load) string {
	wrong := l.wrong()
	return tabbed(l.Name, l.System, l.size(), Number(l.over(deliveriesOf)), l.usual(cpuOf).Text, l.timesFloor(loads).Text, l.timesOurs(loads).Text,
		ms(l.over(p50Of), l.timed()).Text, ms(l.over(p99Of), l.timed()).Text, ms(l.over(p999Of), l.timed()).Text,
		wrong[0].Text, wrong[1].Text, wrong[2].Text, "")
}

// tabbed is a line of the table.
func tabbed(cells ...string) string {
	for i := range cells {
		cells[i] = OneLine(cells[i])
	}
	return strings.Join(cells, "\t") + "\n"
}

// OneLine keeps out of a text what would break the table.
func OneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp) {
			return ' '
		}
		return r
	}, text)
}

// firstOf keeps a table readable; report.json has the whole text.
func firstOf(failure string) string {
	first, _, more := strings.Cut(failure, "\n")
	if more {
		first += " ..."
	}
	return first
}
