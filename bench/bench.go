package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"cim/bench/report"
	"cim/loadgen"
)

// Config is what to run and where to write.
type Config struct {
	// Binary is the path of cim.
	Binary string
	// Out is the folder that gets the results and the logs of the servers. It
	// is made if it is not there.
	Out string
	// Cluster measures two servers and two routes with Redis and ZooKeeper,
	// all on this machine, instead of a standalone.
	Cluster bool
	// Peers measures other systems beside a standalone.
	Peers bool
	// Soak is how long one load is run while memory, goroutines, garbage
	// collections and latency are watched, in the place of all scenarios; 0:
	// the scenarios.
	Soak time.Duration
	// Scenarios run in order; scenarios with the same name change their order from turn to turn.
	// nil: the scenarios with the project's own promises.
	Scenarios []Scenario
	// Only leaves out the scenarios whose name lacks this text; "": none.
	Only string
	// Repeat is how often all of them are run, one after the other and then
	// again, so that what disturbs the machine for a while disturbs all. 0 is
	// once.
	Repeat int
	// Seed makes the names and the pairs of the simulated users, and the order of
	// scenarios of one name. 0 is 1.
	Seed uint64
	// Profile keeps CPU, heap, mutex and block profiles of each process of
	// ours. The figures then bear their cost.
	Profile bool
}

// system is the system under test, with fresh data. Its logs stay.
type system interface {
	target() []string     // flags with the addresses for loadgen
	pids() []int          // the processes whose CPU time and memory count
	profiled() []*process // those that have an admin listener
	stop() error          // ends all processes and removes the data
}

// kind is a system that can be started.
type kind struct {
	name      string
	guarantee string     // its guarantee for a message, in a few words
	loses     bool       // it promises no delivery: lost messages are reported, and do not fail the run
	settings  string     // of other systems, for the manifest
	packages  []string   // of Debian, that it needs
	commands  [][]string // that say the versions of its programs
	asks      []string   // flags of the load generator that ask for this guarantee
	start     func(ctx context.Context, binary, folder, prefix string) (system, error)
}

// promised is what cim guarantees, in either form.
const promised = "once and in order to who is online, stored for who is away"

var (
	standaloneKind = kind{name: "cim standalone", guarantee: promised, start: startStandalone}
	clusterKind    = kind{
		name: "cim cluster", guarantee: promised, start: startCluster,
		packages: []string{"redis-server", "zookeeper"},
		commands: [][]string{{"redis-server", "--version"}, {"java", "-version"}},
	}
)

// kindOf is what the scenario measures.
func (c Config) kindOf(s Scenario) kind {
	switch {
	case s.kind != nil:
		return *s.kind
	case c.Cluster:
		return clusterKind
	}
	return standaloneKind
}

// Outcome is what became of one scenario.
type Outcome = report.Outcome

// attempt is one run of a scenario.
type attempt struct {
	reports []loadgen.Report // one of each load generator; none if it could not be run
	results []Result
	soak    []report.Sample
	lost    error // deliveries that went wrong of a system that promises none
	err     error // what else went wrong, be it a delivery or the run
}

// Run runs all scenarios, writes a summary to out and the evidence to cfg.Out. It writes progress.
// An error is a scenario that could not run or had a wrong delivery; the other scenarios run and
// are reported all the same. Scenarios that were complete when ctx ended are reported too, marked
// as stopped.
func Run(ctx context.Context, cfg Config, out, progress io.Writer) error {
	cfg = cfg.completed()
	if len(cfg.Scenarios) == 0 {
		return fmt.Errorf("bench: no scenario has %q in its name: see results/README.md", cfg.Only)
	}
	if err := os.MkdirAll(cfg.Out, 0o755); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if err := os.RemoveAll(profilesIn(cfg.Out)); err != nil { // of an earlier run
		return fmt.Errorf("bench: %w", err)
	}
	m := newManifest(cfg)
	other := &otherWork{}
	attempts, stopped := runAll(ctx, cfg, other, progress)
	finish(&m, other)
	failures := []error{stopped}
	if stopped != nil {
		m.Stopped = context.Cause(ctx).Error()
	}
	run := report.Run{Label: label(cfg.Out), Manifest: m}
	for i, s := range cfg.Scenarios {
		if len(attempts[i]) == 0 {
			continue
		}
		o, err := outcomeOf(cfg.kindOf(s), s, attempts[i])
		run.Outcomes = append(run.Outcomes, o)
		failures = append(failures, err)
	}
	if len(run.Outcomes) == 0 { // an earlier run's results stay
		return errors.Join(failures...)
	}
	return errors.Join(errors.Join(failures...), writeRun(cfg.Out, out, run))
}

// runAll runs all scenarios so often as asked, and watches in between what else
// the machine does. An error is the end of ctx.
func runAll(ctx context.Context, cfg Config, other *otherWork, progress io.Writer) ([][]attempt, error) {
	attempts := make([][]attempt, len(cfg.Scenarios))
	for turn := range cfg.Repeat {
		for _, i := range cfg.order(turn) {
			if _, err := fmt.Fprintf(progress, "bench: %s\n", cfg.step(i, turn)); err != nil {
				return attempts, fmt.Errorf("bench: progress: %w", err)
			}
			other.watch(ctx, quietWatch)
			a := runScenario(ctx, cfg, cfg.prefix(i, turn), cfg.Scenarios[i], progress)
			if ctx.Err() != nil {
				return attempts, errors.Join(context.Cause(ctx), a.err)
			}
			attempts[i] = append(attempts[i], a)
		}
	}
	return attempts, nil
}

func (c Config) completed() Config {
	if c.Scenarios == nil {
		c.Scenarios = c.scenarios()
	}
	c.Scenarios = slices.DeleteFunc(slices.Clone(c.Scenarios), func(s Scenario) bool { return !strings.Contains(s.Name, c.Only) })
	c.Repeat, c.Seed = max(1, c.Repeat), max(1, c.Seed)
	return c
}

func (c Config) scenarios() []Scenario {
	switch {
	case c.Soak > 0:
		return []Scenario{soakScenario(c.Soak)}
	case c.Peers:
		return Peers()
	}
	return withFloor(Figures(c.Cluster))
}

// step says which run of how many comes now. Scenarios of one name, with
// several systems, count as one.
func (c Config) step(scenario, turn int) string {
	at, names := 0, 0
	for i, s := range c.Scenarios {
		if i == 0 || s.Name != c.Scenarios[i-1].Name {
			names++
		}
		if i == scenario {
			at = names
		}
	}
	text := fmt.Sprintf("scenario %d of %d", at, names)
	if c.Repeat > 1 {
		text += fmt.Sprintf(", turn %d of %d", turn+1, c.Repeat)
	}
	s := c.Scenarios[scenario]
	return text + ": " + s.Name + ", " + c.kindOf(s).name
}

// prefix is the start of the names of a scenario's logs and profiles.
func (c Config) prefix(scenario, turn int) string {
	if c.Repeat > 1 {
		return fmt.Sprintf("%d-run-%d-", scenario+1, turn+1)
	}
	return fmt.Sprintf("%d-", scenario+1)
}

// runScenario always ends the processes that it started.
func runScenario(ctx context.Context, cfg Config, prefix string, s Scenario, progress io.Writer) (a attempt) {
	tested, err := cfg.kindOf(s).start(ctx, cfg.Binary, cfg.Out, prefix)
	if err != nil {
		return attempt{err: err}
	}
	defer func() { a.err = errors.Join(a.err, tested.stop()) }()
	profiles := startProfiles(ctx, cfg, tested)
	sampler := startSampler(ctx, cfg, tested)
	reports, driveErr := s.drive(ctx, cfg, tested, progress)
	samples, sampleErr := sampler.finish()
	if err := errors.Join(driveErr, sampleErr, profiles.finish()); err != nil {
		return attempt{err: err}
	}
	a.reports, a.soak = reports, samples
	var wrong error
	a.results, wrong, a.err = s.judge(reports)
	if cfg.kindOf(s).loses {
		a.lost = wrong
	} else {
		a.err = errors.Join(wrong, a.err)
	}
	return a
}
