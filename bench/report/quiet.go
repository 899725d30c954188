package report

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	// otherMax is the part of the machine's CPU time that other work may use on a
	// quiet machine: an idle Linux with its daemons uses 1 to 2 %.
	otherMax = 0.1
	// loadMax is the load average of each CPU up to which a machine counts as quiet, for runs that
	// did not record the CPU time of other work.
	loadMax = 0.3
)

// quiet reports whether the machine had nothing else to do. Figures that belong
// to a quiet machine are compared on such a machine only.
func (m Manifest) quiet() bool { return m.busy() == "" && !m.Profiled }

// processor is the number and kind of CPUs, and how many of them the run had, if not all.
func (m Manifest) processor() string {
	text := fmt.Sprintf("%d × %s", m.CPUs, m.CPU)
	if m.Cores != 0 && m.Cores != m.CPUs {
		text = fmt.Sprintf("%d of ", m.Cores) + text
	}
	return text
}

// busy says how busy the machine was with other work; "": not, or unknown.
func (m Manifest) busy() string {
	if m.OtherChecks > 0 {
		if m.OtherCPU <= otherMax {
			return ""
		}
		return fmt.Sprintf("other work used %.0f %% of the machine's CPU time", 100*m.OtherCPU)
	}
	load, known := loadAverage(m.LoadBegan)
	if !known || load <= loadMax*float64(m.CPUs) {
		return ""
	}
	return fmt.Sprintf("the machine was busy before the run: load average %.2f on %d CPUs", load, m.CPUs)
}

// loadAverage is the first number of a line of /proc/loadavg, that of the last
// minute.
func loadAverage(line string) (load float64, known bool) {
	first, _, _ := strings.Cut(line, " ")
	load, err := strconv.ParseFloat(first, 64)
	return load, err == nil
}

// loadCell is the load average for a table.
func loadCell(line string) cell {
	load, known := loadAverage(line)
	return measured(load, known)
}
