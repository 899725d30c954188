package report

import (
	"fmt"
	"time"

	"cim/loadgen"
)

// The systems that are none: Floor is the bare server that shows the machine's
// limit, BarePair the same with clients as bare.
const (
	Floor    = "floor"
	BarePair = "bare pair"
)

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
	// Soak is what the processes under test said of themselves over time, of a
	// soak only.
	Soak []Sample `json:"soak,omitempty"`
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
	Reach float64 `json:"reach"` // on a quiet reference machine; 0: nothing is promised
	Got   float64 `json:"got"`   // of several runs the median
	Met   bool    `json:"met"`   // whether Got is on the right side of Reach, on any machine
	// FloorTimes is how many times the floor's figure this one may be at most, on
	// any machine; 0: nothing is promised.
	FloorTimes float64 `json:"floor_times,omitempty"`
	// Anywhere says that Reach holds on a busy machine, too: it is a count or a
	// number of bytes.
	Anywhere bool `json:"anywhere,omitempty"`

	// Of several runs: each one's number, and the interval that holds the true median with this
	// Confidence. It is 0 if there were too few runs.
	Samples    []float64 `json:"samples,omitempty"`
	Low        float64   `json:"low,omitempty"`
	High       float64   `json:"high,omitempty"`
	Confidence float64   `json:"confidence,omitempty"`
}

// Reached reports whether got is on the right side.
func (r Result) Reached(got float64) bool {
	if r.Bound == AtLeast {
		return got >= r.Reach
	}
	return got <= r.Reach
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
	Commit    string `json:"commit"` // "unknown" if the binary was built outside a checkout
	Modified  bool   `json:"modified"`
	Go        string `json:"go"`
	Kernel    string `json:"kernel"`
	CPU       string `json:"cpu"`
	CPUs      int    `json:"cpus"`
	Cores     int    `json:"cores,omitempty"` // of the CPUs, those that a CPU quota or GOMAXPROCS leaves the run; 0: unknown
	Memory    string `json:"memory"`
	LoadBegan string `json:"load_average_began"`
	LoadEnded string `json:"load_average_ended"`
	// OtherCPU is the part of the machine's CPU time that was used while nothing
	// of the benchmark ran, the mean of OtherChecks looks between its scenarios.
	OtherCPU    float64           `json:"other_cpu"`
	OtherChecks int               `json:"other_checks,omitempty"` // 0: OtherCPU is unknown
	Began       time.Time         `json:"began"`
	Ended       time.Time         `json:"ended"`
	Seed        uint64            `json:"seed"`
	Repeat      int               `json:"repeat,omitempty"`
	Turns       [][]int           `json:"turns,omitempty"`    // the scenarios of each, numbered from 1, in the order of their runs
	Profiled    bool              `json:"profiled,omitempty"` // the figures bear the cost of the profiles
	Stopped     string            `json:"stopped,omitempty"`  // why the run ended before all was measured
	Settings    map[string]string `json:"settings"`           // a scenario's name, and its load
	Systems     map[string]string `json:"systems,omitempty"`  // beside cim: name and settings
	Programs    map[string]string `json:"programs,omitempty"` // beside cim: name and version
	Modules     map[string]string `json:"modules"`
}

// Run is one folder of results.
type Run struct {
	Label    string // distinguishes it from the other runs of a page
	Manifest Manifest
	Outcomes []Outcome
}
