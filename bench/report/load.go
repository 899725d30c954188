package report

import (
	"fmt"

	"cim/loadgen"
)

// load is one measured load: a trial of one outcome of one run.
type load struct {
	ID       int    // counted from 1 over the whole page
	Run      int    // place of the run in the list
	Scenario int    // place of the outcome's name among the different ones
	Name     string // of the scenario
	System   string
	Promise  string // the system's guarantee
	report   loadgen.Report
	loadgen.Trial
	again []loadgen.Trial // the same trial of each of the outcome's runs, in their order
}

// loadsOf lists the loads of all runs in their order, and the names of the
// scenarios.
func loadsOf(runs []Run) (loads []load, scenarios []string) {
	place := map[string]int{}
	for i, run := range runs {
		for _, o := range run.Outcomes {
			at, known := place[o.Name]
			if !known {
				at = len(scenarios)
				place[o.Name] = at
				scenarios = append(scenarios, o.Name)
			}
			for n, t := range o.Report.Trials {
				loads = append(loads, load{
					ID: len(loads) + 1, Run: i, Scenario: at, Name: o.Name, System: o.system(),
					Promise: o.Guarantee, report: o.Report, Trial: t, again: o.again(n),
				})
			}
		}
	}
	return loads, scenarios
}

// system names the measured system; reports of the first kind had only cim.
func (o Outcome) system() string {
	if o.System == "" {
		return "cim"
	}
	return o.System
}

// size says how much was asked of the system.
func (l load) size() string {
	conns := grouped(fmt.Sprint(l.Conns)) + " connections"
	switch way := l.way(); {
	case way != "":
		return conns + ", " + way
	case l.Phase != "":
		return conns + ", " + l.Phase
	}
	return conns + ", idle"
}

// way is the size without the connections; "" if nothing is sent.
func (l load) way() string {
	switch {
	case l.Window > 0:
		return fmt.Sprintf("window %d", l.Window)
	case l.Rate > 0:
		return grouped(fmt.Sprint(l.Rate)) + " messages/s"
	}
	return ""
}

// sends reports whether messages were sent at all.
func (l load) sends() bool { return l.way() != "" }

// timed reports whether latencies were measured.
func (l load) timed() bool { return l.Latency.Count > 0 }

// same reports whether both are the same load, of any system.
func (l load) same(other load) bool {
	return l.Run == other.Run && l.Scenario == other.Scenario && l.Conns == other.Conns &&
		l.Window == other.Window && l.Rate == other.Rate && l.Phase == other.Phase
}

// file is the load's part of a file's name. It is unique within a run because
// of its number.
func (l load) file() string {
	return fmt.Sprintf("%02d-%s", l.ID, slug(l.Name+" "+l.System+" "+l.size()))
}
