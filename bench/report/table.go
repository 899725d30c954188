package report

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"cim/loadgen"
)

// table is one of the page's.
type table struct {
	ID      string
	Caption string
	Head    []cell
	Rows    []row
}

// everyRun is the Run of a row that is of all of them.
const everyRun = -1

// row is shown for as long as its run and its system are. Rows of one group
// stand below its name.
type row struct {
	Group  string
	Run    int
	System string
	Cells  []cell
}

// Ours reports whether the row is about cim.
func (r row) Ours() bool { return Outcome{System: r.System}.ours() }

// cell is one field of a table. Value is the number behind the text, as
// report.json has it.
type cell struct {
	Text    string
	Value   string
	Numeric bool
	Class   string
	Label   string // the column's head, for a screen that is too narrow for columns
}

// group is rows that follow each other and have their Group in common.
type group struct {
	Name string
	Rows []row
}

// Groups are the rows for the page, each cell with its column's head.
func (t table) Groups() (groups []group) {
	for _, r := range t.Rows {
		if n := len(groups); n == 0 || groups[n-1].Name != r.Group {
			groups = append(groups, group{Name: r.Group})
		}
		for i := range min(len(r.Cells), len(t.Head)) {
			r.Cells[i].Label = t.Head[i].Text
		}
		last := &groups[len(groups)-1]
		last.Rows = append(last.Rows, r)
	}
	return groups
}

func words(list ...string) []cell {
	cells := make([]cell, len(list))
	for i, text := range list {
		cells[i] = cell{Text: text}
	}
	return cells
}

// numbers are the heads of columns with numbers.
func numbers(list ...string) []cell {
	cells := words(list...)
	for i := range cells {
		cells[i].Numeric = true
	}
	return cells
}

func figure(v float64) cell {
	return cell{Text: Number(v), Value: strconv.FormatFloat(v, 'f', -1, 64), Numeric: true}
}

// inUnit is what a result got.
func inUnit(r Result) cell {
	c := figure(r.Got)
	c.Text = united(r.Got, r.Unit)
	return c
}

// measured is the figure, or a mark if there is none.
func measured(v float64, there bool) cell {
	if !there {
		return cell{Text: notMeasured, Numeric: true}
	}
	return figure(v)
}

// timesFloor is how much more that is than the bare sender and receiver spent.
func (l load) timesFloor(loads []load) cell {
	floor, _ := floorOf(l, loads)
	times := l.against(floor, cpuOf)
	return measured(times, times > 0)
}

// wrong are the deliveries that were not as they should be: lost, doubled and
// reordered ones, of all runs. Every system is checked for them.
func (l load) wrong() []cell {
	lost, doubled, reordered := 0, 0, 0
	for _, t := range l.again {
		lost, doubled, reordered = lost+t.Lost+t.Undelivered, doubled+t.Doubled, reordered+t.Reordered
	}
	return []cell{figure(float64(lost)), figure(float64(doubled)), figure(float64(reordered))}
}

// wrongHead is above them.
var wrongHead = []string{"Lost", "Doubled", "Reordered"}

// ms is a latency in µs, shown in ms.
func ms(us float64, there bool) cell { return measured(us/1000, there) }

// figures is the table of promises and results.
func figures(runs []Run) table {
	if len(runs) > 1 {
		return beside(runs)
	}
	t := table{
		ID: "figures", Caption: "What was promised, and what was measured",
		Head: append(words("System", "Figure", "Promise"), append(numbers("Measured"), words("Interval", "Verdict")...)...),
	}
	for _, run := range runs {
		for _, o := range run.Outcomes {
			for _, r := range o.promised() {
				v := run.verdictOn(o, r)
				t.Rows = append(t.Rows, row{o.Name, 0, o.system(), append(words(o.system(), r.Name, r.promise()),
					inUnit(r), cell{Text: r.interval()}, cell{Text: v.Text, Class: v.Class})})
			}
			if o.Failure != "" {
				t.Rows = append(t.Rows, failedRow(0, o, 3))
			}
		}
	}
	return t
}

// failedRow is the row of a failed outcome, with that many empty cells before its last.
func failedRow(run int, o Outcome, empty int) row {
	cells := append(words(o.system(), "FAILED: "+o.Failure), make([]cell, empty)...)
	return row{o.Name, run, o.system(), append(cells, cell{Text: "failed", Class: "missed"})}
}

// beside is the table of the figures of several runs, with a column for each
// run.
func beside(runs []Run) table {
	t := table{ID: "figures", Caption: "What was promised, and what each run measured", Head: words("System", "Figure", "Promise")}
	var failures []row
	at := map[[3]string]int{}
	for i, run := range runs {
		t.Head = append(t.Head, numbers(run.Label)...)
		for _, o := range run.Outcomes {
			for _, r := range o.promised() {
				key := [3]string{o.Name, o.system(), r.Name}
				if _, known := at[key]; !known {
					at[key] = len(t.Rows)
					empty := slices.Repeat([]cell{measured(0, false)}, len(runs))
					t.Rows = append(t.Rows, row{o.Name, everyRun, o.system(), append(words(o.system(), r.Name, r.promise()), empty...)})
				}
				c := inUnit(r)
				c.Class = run.verdictOn(o, r).Class
				t.Rows[at[key]].Cells[len(t.Rows[at[key]].Cells)-len(runs)+i] = c
			}
			if o.Failure != "" {
				failures = append(failures, failedRow(i, o, len(runs)))
			}
		}
	}
	t.Rows = append(t.Rows, failures...)
	return t
}

func newRow(runs []Run, l load, cells ...cell) row {
	first := words(l.System)
	if len(runs) > 1 {
		first = append(first, cell{Text: runs[l.Run].Label})
	}
	return row{l.Name + ", " + l.size(), l.Run, l.System, append(first, cells...)}
}

// loadHead is above the rows of newRow.
func loadHead(runs []Run, more ...string) []cell {
	head := words("System")
	if len(runs) > 1 {
		head = words("System", "Run")
	}
	return append(head, numbers(more...)...)
}

// throughput is the table of deliveries and of what they cost.
func throughput(runs []Run, loads []load) table {
	t := table{
		ID: "throughput", Caption: "Deliveries a second, and CPU time for each",
		Head: loadHead(runs, "Connections", "Deliveries/s", "Server CPU, µs a delivery", "times the floor's", "Load generator's CPU, µs", "Refused", "Stored"),
	}
	for _, l := range loads {
		if !l.sends() {
			continue
		}
		t.Rows = append(t.Rows, newRow(runs, l, figure(float64(l.Conns)), figure(l.over(deliveriesOf)),
			l.usual(cpuOf), l.timesFloor(loads), l.usual(ownCPUOf),
			figure(l.over(refusedOf)), figure(l.over(storedOf))))
	}
	return t
}

// latencies is the table of percentiles.
func latencies(runs []Run, loads []load) table {
	t := table{
		ID: "latency", Caption: "Latency in ms, from the time at which a message was due to its arrival",
		Head: loadHead(runs, "Deliveries", "p50", "p90", "p99", "p99.9", "p99.99", "slowest", "p99 without waiting", "p99, first to last receiver", "p99 of late sends", "answer to the sender, p50", "p99"),
	}
	for _, l := range loads {
		if !l.timed() {
			continue
		}
		latency := func(t loadgen.Trial) loadgen.Quantiles { return t.Latency }
		cells := []cell{figure(l.over(func(t loadgen.Trial) float64 { return float64(t.Latency.Count) }))}
		for _, one := range []struct {
			of    func(loadgen.Quantiles) float64
			least float64 // deliveries, for one to be above it
		}{
			{func(q loadgen.Quantiles) float64 { return q.P50 }, 1},
			{func(q loadgen.Quantiles) float64 { return q.P90 }, 1},
			{p99, 1},
			{func(q loadgen.Quantiles) float64 { return q.P999 }, 1e3},
			{func(q loadgen.Quantiles) float64 { return q.P9999 }, 1e4},
			{func(q loadgen.Quantiles) float64 { return q.Max }, 1},
		} {
			cells = append(cells, l.latency(latency, one.of, one.least))
		}
		cells = append(
			cells,
			l.latency(func(t loadgen.Trial) loadgen.Quantiles { return t.Service }, p99, 1),
			l.latency(func(t loadgen.Trial) loadgen.Quantiles { return t.Skew }, p99, 1),
			l.latency(func(t loadgen.Trial) loadgen.Quantiles { return t.Late }, p99, 1),
			l.latency(func(t loadgen.Trial) loadgen.Quantiles { return t.Outcome }, func(q loadgen.Quantiles) float64 { return q.P50 }, 1),
			l.latency(func(t loadgen.Trial) loadgen.Quantiles { return t.Outcome }, p99, 1),
		)
		t.Rows = append(t.Rows, newRow(runs, l, cells...))
	}
	return t
}

func p99(q loadgen.Quantiles) float64 { return q.P99 }

// idles is the table of the loads that only hold connections.
func idles(runs []Run, loads []load) table {
	t := table{
		ID: "idle", Caption: "Connections that are only held",
		Head: loadHead(runs, "Connections", "All logged in after, s", "Memory of the server, bytes a connection"),
	}
	for _, l := range loads {
		if !l.sends() {
			t.Rows = append(t.Rows, newRow(runs, l, figure(float64(l.Conns)),
				l.usual(loginOf), l.usual(memoryOf)))
		}
	}
	return t
}

// warnings is the table of what makes figures doubtful: the load generator or
// the machine was at its limit.
func warnings(runs []Run, loads []load) table {
	t := table{ID: "warnings", Caption: "What makes figures doubtful", Head: append(loadHead(runs), append(numbers("Times"), words("Warning")...)...)}
	for _, l := range loads {
		if n, first := l.warned(); n > 0 {
			t.Rows = append(t.Rows, newRow(runs, l, cell{Text: timesOf(n, len(l.again)), Numeric: true}, cell{Text: first}))
		}
	}
	return t
}

// warned counts the turns with a warning of the load generator, and returns the first one.
func (l load) warned() (n int, first string) {
	for _, t := range l.again {
		if len(t.Warnings) == 0 {
			continue
		}
		if n++; n == 1 {
			first = strings.Join(t.Warnings, "; ")
		}
	}
	return n, first
}

func timesOf(n, all int) string { return strconv.Itoa(n) + " of " + strconv.Itoa(all) }

// settings is the table of the systems: what each guarantees, and how it was
// set up.
func settings(runs []Run) table {
	t := table{ID: "systems", Caption: "The systems, what each guarantees and how it was set up", Head: words("Run", "System", "Guarantee", "Settings")}
	for i, run := range runs {
		known := map[string]bool{}
		for _, o := range run.Outcomes {
			if known[o.system()] {
				continue
			}
			known[o.system()] = true
			t.Rows = append(t.Rows, row{"", i, o.system(), words(run.Label, o.system(), o.Guarantee, cmp.Or(run.Manifest.Systems[o.system()], asItComes))})
		}
	}
	return t
}

// asItComes are the settings of a system of ours.
const asItComes = "as it comes"

// machines is the table of the runs themselves.
func machines(runs []Run) table {
	t := table{
		ID: "runs", Caption: "The runs",
		Head: append(words("Run", "Commit", "Began", "Machine", "Kernel", "Go"), append(numbers("Load average before", "after", "Turns", "Seed"), words("Programs")...)...),
	}
	for i, run := range runs {
		m := run.Manifest
		commit := cut(m.Commit, 12)
		if m.Modified {
			commit += ", modified"
		}
		if m.Stopped != "" {
			commit += "; stopped before all was measured: " + m.Stopped
		}
		if busy := m.busy(); busy != "" {
			commit += "; " + busy
		}
		if m.Profiled {
			commit += "; with profiles, which cost CPU time"
		}
		t.Rows = append(t.Rows, row{Run: i, Cells: []cell{
			{Text: run.Label},
			{Text: commit},
			{Text: m.Began.Format("2006-01-02 15:04 MST")},
			{Text: m.processor()},
			{Text: m.Kernel},
			{Text: m.Go},
			loadCell(m.LoadBegan),
			loadCell(m.LoadEnded),
			figure(float64(max(1, m.Repeat))),
			{Text: strconv.FormatUint(m.Seed, 10), Numeric: true},
			{Text: programs(m)},
		}})
	}
	return t
}

func programs(m Manifest) string {
	var list []string
	for _, name := range sortedKeys(m.Programs) {
		list = append(list, name+" "+m.Programs[name])
	}
	return strings.Join(list, ", ")
}
