package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"cim/loadgen"
)

// Config is what to run and where to write.
type Config struct {
	// Binary is the path of cim.
	Binary string
	// Out is the folder that gets report.txt, report.json, manifest.json and
	// the logs of the servers. It is made if it is not there.
	Out string
	// Cluster measures two servers and two routes with Redis and ZooKeeper,
	// all on this machine, instead of a standalone.
	Cluster bool
	// Scenarios are run in their order. nil stands for what the project
	// promises of the system.
	Scenarios []Scenario
}

// system is what is under test, with fresh data. Its logs stay.
type system interface {
	routes() []string // their URLs
	pids() []int      // the processes whose CPU time and memory count
	stop() error      // ends all processes and removes the data
}

// start starts the system for one scenario.
func (c Config) start(ctx context.Context, prefix string) (system, error) {
	if c.Cluster {
		return startCluster(ctx, c.Binary, c.Out, prefix)
	}
	return startStandalone(ctx, c.Binary, c.Out, prefix)
}

// Outcome is what became of one scenario.
type Outcome struct {
	Name    string         `json:"name"`
	Load    []string       `json:"load"`
	Results []Result       `json:"figures"`
	Report  loadgen.Report `json:"report"`
	// Others are the reports of the load generators beside the first.
	Others  []loadgen.Report `json:"others,omitempty"`
	Failure string           `json:"failure,omitempty"` // "": every delivery was right
}

// Run runs all scenarios, writes a table to out and the evidence to cfg.Out. It
// tells progress what it does. An error is a scenario that could not be run or
// had a delivery that went wrong; the others are run and reported all the same.
func Run(ctx context.Context, cfg Config, out, progress io.Writer) error {
	if cfg.Scenarios == nil {
		cfg.Scenarios = Figures(cfg.Cluster)
	}
	if err := os.MkdirAll(cfg.Out, 0o755); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	m := newManifest(cfg)
	var outcomes []Outcome
	var failures []error
	for i, s := range cfg.Scenarios {
		outcome, err := runScenario(ctx, cfg, i, s, progress)
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		if err != nil {
			outcome.Failure = err.Error()
			failures = append(failures, fmt.Errorf("%s: %w", s.Name, err))
		}
		outcomes = append(outcomes, outcome)
	}
	m.finish()
	return errors.Join(errors.Join(failures...), writeAll(cfg.Out, out, m, outcomes))
}

// runScenario always ends the processes that it started.
func runScenario(ctx context.Context, cfg Config, number int, s Scenario, progress io.Writer) (o Outcome, err error) {
	o = Outcome{Name: s.Name, Load: s.Load}
	if _, err := fmt.Fprintf(progress, "bench: %s\n", s.Name); err != nil {
		return o, fmt.Errorf("bench: progress: %w", err)
	}
	tested, err := cfg.start(ctx, fmt.Sprintf("%d-", number+1))
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, tested.stop()) }()
	reports, err := s.drive(ctx, cfg.Binary, tested, progress)
	if err != nil {
		return o, err
	}
	o.Report, o.Others = reports[0], reports[1:]
	o.Results, err = s.judge(reports)
	return o, err
}
