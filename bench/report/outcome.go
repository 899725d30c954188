package report

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"cim/loadgen"
)

// Floor is the System of the bare sender and receiver that show the machine's
// limit.
const Floor = "floor"

// Outcome is what became of one scenario with one system. report.json is a list
// of them.
type Outcome struct {
	Name      string   `json:"name"`
	System    string   `json:"system,omitempty"`
	Guarantee string   `json:"guarantee,omitempty"` // what the system promises about a message
	Load      []string `json:"load"`
	Results   []Result `json:"figures"`
	// Report is the run's; of several runs the one whose first figure is in
	// the middle.
	Report loadgen.Report `json:"report"`
	// Runs are all runs in their order, if there were several.
	Runs []loadgen.Report `json:"runs,omitempty"`
	// Others are the reports of the load generators beside the one of Report.
	Others  []loadgen.Report `json:"others,omitempty"`
	Failure string           `json:"failure,omitempty"` // "": every delivery was right
}

// Bound says on which side of Reach a number must be.
type Bound string

// The bounds.
const (
	AtMost  Bound = "at most"
	AtLeast Bound = "at least"
)

// Result is a figure as it came out.
type Result struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Bound Bound   `json:"bound"`
	Reach float64 `json:"reach"` // 0: nothing is promised
	Got   float64 `json:"got"`   // of several runs the median
	Met   bool    `json:"met"`

	// Of several runs: each one's number, and the interval that holds the true
	// median with this Confidence. It is 0 if the runs were too few to tell.
	Samples    []float64 `json:"samples,omitempty"`
	Low        float64   `json:"low,omitempty"`
	High       float64   `json:"high,omitempty"`
	Confidence float64   `json:"confidence,omitempty"`
}

// Verdict is what the table says of a result: met, or by how much it missed.
func (r Result) Verdict() string {
	switch {
	case r.Reach == 0:
		return ""
	case r.Met:
		return "met"
	}
	off := 100 * (r.Got - r.Reach) / r.Reach
	if r.Bound == AtLeast {
		off = -off
	}
	return fmt.Sprintf("missed by %.0f %%", off)
}

// Reached reports whether got is on the right side.
func (r Result) Reached(got float64) bool {
	if r.Bound == AtLeast {
		return got >= r.Reach
	}
	return got <= r.Reach
}

// promise is what the result must reach.
func (r Result) promise() string {
	if r.Reach == 0 {
		return ""
	}
	return fmt.Sprintf("%s %s %s", r.Bound, Number(r.Reach), r.Unit)
}

// interval is where the median lies, "" if it was not repeated.
func (r Result) interval() string {
	if r.Confidence == 0 {
		return ""
	}
	return fmt.Sprintf("%s to %s", Number(r.Low), Number(r.High))
}

// Manifest is where and from what the figures came.
type Manifest struct {
	Commit    string            `json:"commit"` // "unknown" if the binary was built outside a checkout
	Modified  bool              `json:"modified"`
	Go        string            `json:"go"`
	Kernel    string            `json:"kernel"`
	CPU       string            `json:"cpu"`
	CPUs      int               `json:"cpus"`
	Memory    string            `json:"memory"`
	LoadBegan string            `json:"load_average_began"`
	LoadEnded string            `json:"load_average_ended"`
	Began     time.Time         `json:"began"`
	Ended     time.Time         `json:"ended"`
	Seed      uint64            `json:"seed"`
	Repeat    int               `json:"repeat,omitempty"`
	Turns     [][]int           `json:"turns,omitempty"`    // the scenarios of each, numbered from 1, in the order of their runs
	Profiled  bool              `json:"profiled,omitempty"` // the figures bear the cost of the profiles
	Stopped   string            `json:"stopped,omitempty"`  // why the run ended before all was measured
	Settings  map[string]string `json:"settings"`           // a scenario's name, and its load
	Systems   map[string]string `json:"systems,omitempty"`  // beside cim: name and settings
	Programs  map[string]string `json:"programs,omitempty"` // beside cim: name and version
	Modules   map[string]string `json:"modules"`
}

// busyMax is the load average, of each CPU, up to which a machine counts as
// idle before a run.
const busyMax = 0.3

// busy says that the machine had something else to do when the run began; "": it
// had not.
func (m Manifest) busy() string {
	first, _, _ := strings.Cut(m.LoadBegan, " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil || load <= busyMax*float64(m.CPUs) {
		return ""
	}
	return fmt.Sprintf("the machine was not idle before: load average %s on %d CPUs", first, m.CPUs)
}

// Run is one folder of results.
type Run struct {
	Label    string // tells it from the other runs of a page
	Manifest Manifest
	Outcomes []Outcome
}
