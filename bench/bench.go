package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"cim/loadgen"
)

// Config is what to run and where to write.
type Config struct {
	// Binary is the path of cim.
	Binary string
	// Out is the folder that gets report.txt, report.json, manifest.json and
	// the logs of the servers. It is made if it is not there.
	Out string
	// Scenarios are run in their order. nil stands for Figures().
	Scenarios []Scenario
}

// Outcome is what became of one scenario.
type Outcome struct {
	Name    string         `json:"name"`
	Load    []string       `json:"load"`
	Results []Result       `json:"figures"`
	Report  loadgen.Report `json:"report"`
	Failure string         `json:"failure,omitempty"` // "": every delivery was right
}

// Run runs all scenarios, writes a table to out and the evidence to cfg.Out. It
// tells progress what it does. An error is a scenario that could not be run or
// had a delivery that went wrong; the others are run and reported all the same.
func Run(ctx context.Context, cfg Config, out, progress io.Writer) error {
	if cfg.Scenarios == nil {
		cfg.Scenarios = Figures()
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
	log := filepath.Join(cfg.Out, fmt.Sprintf("standalone-%d.log", number+1))
	server, err := startStandalone(ctx, cfg.Binary, log)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	if o.Report, err = drive(ctx, cfg.Binary, server, s.Load, progress); err != nil {
		return o, err
	}
	failures := []error{o.Report.Failed()}
	for _, f := range s.Figures {
		r, err := f.result(o.Report)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		o.Results = append(o.Results, r)
	}
	return o, errors.Join(failures...)
}
