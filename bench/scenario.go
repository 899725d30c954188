package bench

import (
	"errors"
	"fmt"

	"cim/bench/report"
	"cim/loadgen"
)

// Scenario is one run of a fresh system under one load.
type Scenario struct {
	Name string
	// Load is the flags of cim loadgen, without the server's address.
	Load []string
	// Processes are the load generators that run at once, each with users of
	// its own; 0 is one.
	Processes int
	Figures   []Figure

	kind *kind // the system to measure; nil: cim, as Config says
}

// label distinguishes the scenario from the same one with another system.
func (s Scenario) label() string {
	if s.kind == nil {
		return s.Name
	}
	return s.Name + ", " + s.kind.name
}

// Figure is one number of a scenario and its promise.
type Figure struct {
	Name  string
	Unit  string
	Trial int     // whose number it is, counted from 0
	Reach float64 // on a quiet reference machine; 0: nothing is promised
	Bound Bound
	// FloorTimes is how many times the floor's figure it may be at most, on any
	// machine; 0: nothing is promised.
	FloorTimes float64
	Anywhere   bool // Reach holds on a busy machine, too
	Number     func(loadgen.Trial) float64
	// Merge makes one number of those of several load generators; nil: the
	// first one's counts.
	Merge func(a, b float64) float64
}

// Bound says on which side of Reach a number must be.
type Bound = report.Bound

// The bounds.
const (
	AtMost  = report.AtMost
	AtLeast = report.AtLeast
)

// Result is a figure as it came out.
type Result = report.Result

// judge compares the reported figures with their promises. wrong are wrong deliveries, err is a
// report that lacks a figure.
func (s Scenario) judge(reports []loadgen.Report) (results []Result, wrong, err error) {
	for _, r := range reports {
		wrong = errors.Join(wrong, r.Failed())
	}
	var failures []error
	for _, f := range s.Figures {
		r, err := f.result(reports)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		results = append(results, r)
	}
	return results, wrong, errors.Join(failures...)
}

// result looks the figure up. An error is a report without the figure's trial.
func (f Figure) result(reports []loadgen.Report) (Result, error) {
	if f.Merge == nil {
		reports = reports[:1]
	}
	got := 0.0
	for i, one := range reports {
		if f.Trial >= len(one.Trials) {
			return Result{}, fmt.Errorf("bench: %s: the load generator reported %d trials, want %d",
				f.Name, len(one.Trials), f.Trial+1)
		}
		n := f.Number(one.Trials[f.Trial])
		if i > 0 {
			n = f.Merge(got, n)
		}
		got = n
	}
	r := Result{Name: f.Name, Unit: f.Unit, Bound: f.Bound, Reach: f.Reach, FloorTimes: f.FloorTimes, Anywhere: f.Anywhere, Got: got}
	r.Met = r.Reached(got)
	return r, nil
}

// loginsMeasured is the number of clients of the scenario about logins and
// memory.
const loginsMeasured = 10_000

// Figures is the scenarios that the project promises, of a standalone or of a
// cluster.
func Figures(cluster bool) []Scenario {
	if cluster {
		return clusterFigures()
	}
	return standaloneFigures()
}

// The allowed ratios of our CPU to the floor's: of group messages one at a time and sixteen at a
// time, and of private ones over the connection, whose sender gets an answer from ours and none
// from the floor.
const (
	groupFloor   = 1.12
	windowFloor  = 1.2
	privateFloor = 1.45
)

// wantedBase is what a message of want 0 may cost, in µs of the system's CPU; one
// of want 1 costs 1.15 times as much at most.
const wantedBase = 36

func standaloneFigures() []Scenario {
	measured := []string{"--warmup", "2s", "--duration", "5s"}
	with := func(load ...string) []string { return append(load, measured...) }
	return []Scenario{
		{
			Name: "group, 1,000 receivers", Load: with("--mode", "group", "--via", "http", "--conns", "1001", "--window", "1,16"),
			Figures: []Figure{
				cpu("window 1, CPU a delivery", 0, 6.5).timesFloor(groupFloor), rate("window 1, deliveries", 0, 140_000),
				cpu("window 16, CPU a delivery", 1, 0.6).timesFloor(windowFloor), rate("window 16, deliveries", 1, 1_500_000),
			},
		},
		{
			Name: "group, 10,000 receivers", Load: with("--mode", "group", "--via", "http", "--conns", "10001", "--window", "1,16"),
			Figures: []Figure{
				cpu("window 1, CPU a delivery", 0, 8).timesFloor(groupFloor),
				cpu("window 16, CPU a delivery", 1, 0.6).timesFloor(windowFloor), rate("window 16, deliveries", 1, 1_500_000),
			},
		},
		{
			Name: "private over HTTP, 1,000 clients, 5,000/s", Load: with("--mode", "private", "--via", "http", "--conns", "1000", "--rate", "5000"),
			Figures: []Figure{p50(0.30), p99(1.2)},
		},
		{
			Name: "private over the connection, 1,000 clients, 10,000/s", Load: with("--mode", "private", "--via", "conn", "--conns", "1000", "--rate", "10000"),
			Figures: []Figure{p50(0.14), p99(0.5), cpu("CPU a message, outcome included", 0, 36).timesFloor(privateFloor)},
		},
		{
			Name: "private over the connection, 1,000 clients, 5,000/s", Load: with("--mode", "private", "--via", "conn", "--conns", "1000", "--rate", "5000"),
			Figures: []Figure{cpu("CPU a message, outcome included", 0, wantedBase).timesFloor(privateFloor)},
		},
		{
			Name:    "private over the connection, 1,000 clients, 5,000/s, want 1: received",
			Load:    with("--mode", "private", "--via", "conn", "--conns", "1000", "--rate", "5000", "--want", "1"),
			Figures: []Figure{cpu("CPU a message, outcome included", 0, wantedBase*1.15)},
		},
		{
			Name:    "private over the connection, 1,000 clients, 500/s, want 2: stored first",
			Load:    with("--mode", "private", "--via", "conn", "--conns", "1000", "--rate", "500", "--want", "2"),
			Figures: []Figure{outcome50(1)},
		},
		{
			Name: "10,000 logins, then idle for 10 s", Load: []string{"--mode", "idle", "--conns", fmt.Sprint(loginsMeasured), "--duration", "10s"},
			Figures: []Figure{logins(3), memory(1536)},
		},
	}
}

func cpu(name string, trial int, reach float64) Figure {
	return Figure{Name: name, Unit: "µs", Trial: trial, Reach: reach, Bound: AtMost, Number: func(t loadgen.Trial) float64 { return t.ServerCPUus }}
}

// timesFloor adds the promise that a figure makes beside the floor's.
func (f Figure) timesFloor(most float64) Figure {
	f.FloorTimes = most
	return f
}

func rate(name string, trial int, reach float64) Figure {
	return Figure{Name: name, Unit: "1/s", Trial: trial, Reach: reach, Bound: AtLeast, Number: func(t loadgen.Trial) float64 { return t.DeliveriesPerSecond }}
}

func p50(reach float64) Figure {
	return Figure{Name: "p50", Unit: "ms", Reach: reach, Bound: AtMost, Number: func(t loadgen.Trial) float64 { return t.Latency.P50 / 1000 }}
}

func outcome50(reach float64) Figure {
	return Figure{Name: "p50 of the outcome", Unit: "ms", Reach: reach, Bound: AtMost, Number: func(t loadgen.Trial) float64 { return t.Outcome.P50 / 1000 }}
}

func outcome99(reach float64) Figure {
	return Figure{Name: "p99 of the outcome", Unit: "ms", Reach: reach, Bound: AtMost, Number: func(t loadgen.Trial) float64 { return t.Outcome.P99 / 1000 }}
}

func loginCPU(reach float64) Figure {
	return Figure{Name: "CPU a login", Unit: "µs", Reach: reach, Bound: AtMost, Number: func(t loadgen.Trial) float64 { return t.LoginCPUus }}
}

func p99(reach float64) Figure {
	return Figure{Name: "p99", Unit: "ms", Reach: reach, Bound: AtMost, Number: func(t loadgen.Trial) float64 { return t.Latency.P99 / 1000 }}
}

func logins(reach float64) Figure {
	return Figure{Name: "time to log in", Unit: "s", Reach: reach, Bound: AtMost, Number: func(t loadgen.Trial) float64 { return t.LoginS }}
}

func memory(reach float64) Figure {
	return Figure{Name: "memory a connection", Unit: "bytes", Anywhere: true, Reach: reach, Bound: AtMost, Number: func(t loadgen.Trial) float64 { return t.IdleBytes }}
}
