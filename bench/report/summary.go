package report

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// summaryWidth bounds a line of the summary, in characters.
const summaryWidth = 100

// Summary is what a run says at its end, in lines of at most 100 characters:
// each figure of ours beside the floor's, and beside the best of the other
// systems if there are any.
func Summary(run Run) []byte {
	var out bytes.Buffer
	for _, line := range slices.Concat(run.summaryHead(), run.summaryRows(), run.summaryNotes()) {
		out.WriteString(cut(strings.TrimRight(OneLine(line), " "), summaryWidth) + "\n")
	}
	return out.Bytes()
}

func (run Run) summaryHead() []string {
	m := run.Manifest
	commit := m.Commit[:min(len(m.Commit), 12)]
	if m.Modified {
		commit += " (modified)"
	}
	took := m.Ended.Sub(m.Began).Round(time.Second)
	lines := []string{fmt.Sprintf("cim %s, %s, %s, %s, took %s", commit, m.Go, m.processor(), m.Began.Format("2006-01-02 15:04 MST"), took)}
	if m.Repeat > 1 {
		lines = append(lines, fmt.Sprintf("Medians of %d turns.", m.Repeat))
	}
	if m.Stopped != "" {
		lines = append(lines, "Stopped before all was measured: "+m.Stopped)
	}
	if m.Profiled {
		lines = append(lines, "Profiles were taken, which cost CPU time: figures of a quiet machine are not compared.")
	}
	if busy := m.busy(); busy != "" {
		lines = append(lines, "Warning: "+busy+".", "Figures of a quiet machine are not compared; ratios of one run still are.")
	}
	return append(lines, "")
}

// The widths of the summary's columns.
const (
	nameWidth    = 44
	besideWidth  = 30 // of the name, with a column for another system
	figureWidth  = 12
	ratioWidth   = 7
	anotherWidth = 23
)

// besideOthers reports whether other systems were measured.
func (run Run) besideOthers() bool { return slices.ContainsFunc(run.Outcomes, Outcome.peer) }

func (run Run) summaryRows() []string {
	beside := run.besideOthers()
	lines := []string{summaryRow(beside, "", "ours", "floor", "ratio", "best other", "verdict")}
	for _, o := range run.Outcomes {
		switch {
		case o.ours():
			lines = append(lines, o.heading())
			for _, r := range o.Results {
				lines = append(lines, run.summaryLine(beside, o, r))
			}
			lines = append(lines, o.soakLines()...)
			if o.Failure != "" {
				lines = append(lines, folded("  FAILED: "+firstOf(o.Failure))...)
			}
		case o.Failure != "":
			lines = append(lines, folded("  "+o.system()+" FAILED: "+firstOf(o.Failure))...)
		}
	}
	return lines
}

// heading is the scenario's name, and what ours was asked for if that is more
// than usual.
func (o Outcome) heading() string {
	if _, asked, is := strings.Cut(o.system(), ", "); is {
		return o.Name + ", " + asked
	}
	return o.Name
}

func (run Run) summaryLine(beside bool, o Outcome, r Result) string {
	floorText, ratio, times := notMeasured, notMeasured, 0.0
	if floor, there := run.figureOf(o, r, Floor); there {
		times = r.times(floor)
		floorText, ratio = united(floor.Got, r.Unit), Number(times)
	}
	another, v := "", r.judge(times, run.Manifest.quiet())
	if system, best, there := run.bestOther(o, r); there {
		got := united(best.Got, r.Unit)
		another = cut(system, anotherWidth-1-utf8.RuneCountInString(got)) + " " + got
		v = r.place(best)
	}
	return summaryRow(beside, "  "+r.Name, united(r.Got, r.Unit), floorText, ratio, another, v.Text)
}

func summaryRow(beside bool, name, ours, floor, ratio, another, verdict string) string {
	width := nameWidth
	if beside {
		width = besideWidth
	}
	line := padded(name, width) + before(ours, figureWidth) + before(floor, figureWidth) + before(ratio, ratioWidth) + "  "
	if beside {
		line += padded(another, anotherWidth) + " "
	}
	return line + verdict
}

func (run Run) summaryNotes() []string {
	lines := []string{
		"",
		"floor: a bare server that reads and writes and does nothing else. ratio: ours to the floor's.",
	}
	if run.besideOthers() {
		lines = append(lines, "verdict: ours to the best other's, less is better; level: the difference is within noise.")
	}
	loads, _ := loadsOf([]Run{run})
	if n := len(warnings([]Run{run}, loads).Rows); n > 0 {
		lines = append(lines, fmt.Sprintf("The load generator warned about %d of the %d loads: see report.txt.", n, len(loads)))
	}
	return lines
}

// united is a number with its unit.
func united(v float64, unit string) string {
	switch unit {
	case "":
		return Number(v)
	case "1/s":
		return Number(v) + "/s"
	}
	return Number(v) + " " + unit
}

// foldedMost bounds the lines of one failure; report.txt has the whole of it.
const foldedMost = 4

// folded divides a text between its words into lines of the summary, so that the
// cause, which stands at the end of an error, is not cut off.
func folded(text string) (lines []string) {
	line := ""
	for i, word := range strings.Split(OneLine(text), " ") {
		if i > 0 && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > summaryWidth && len(lines) < foldedMost-1 {
			lines, line = append(lines, line), "   " // and the blank before the word
		}
		if i > 0 {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// padded fills a text with blanks up to a width, or cuts it.
func padded(text string, width int) string {
	text = cut(text, width)
	return text + strings.Repeat(" ", width-utf8.RuneCountInString(text))
}

// before puts a number at the right end of its column.
func before(text string, width int) string {
	text = cut(text, width)
	return strings.Repeat(" ", width-utf8.RuneCountInString(text)) + text
}

// cut shortens a text to most characters.
func cut(text string, most int) string {
	most = max(1, most)
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}
