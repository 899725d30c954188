package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"time"
)

// threadsBesideLoops are the Ps that a run needs besides one for each loop,
// which sits in the kernel and holds its P: the pacer's, and two for the rest.
const threadsBesideLoops = 3

// Run does what cfg says, one fleet after the other, and writes progress. It returns an error if
// nothing was measured. A run that was stopped later, or whose deliveries went wrong, is in the
// report, and Failed reports it.
func Run(ctx context.Context, cfg Config, progress io.Writer) (Report, error) {
	err := cfg.Check()
	if err == nil {
		cfg.rssBefore, err = memoryOf(cfg.ServerPIDs)
	}
	if err != nil {
		return Report{}, err
	}
	if cfg.Procs > 1 {
		return runWorkers(ctx, cfg, progress)
	}
	if err := warn(cfg, progress); err != nil {
		return Report{}, err
	}
	if least := cfg.Loops + threadsBesideLoops; runtime.GOMAXPROCS(0) < least {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(least))
	}
	r := newReport(cfg)
	for number, conns := range cfg.Conns {
		trials, err := runFleet(ctx, cfg, number, conns, &r, progress)
		r.Trials = append(r.Trials, trials...)
		if err != nil && len(r.Trials) == 0 {
			return r, fmt.Errorf("loadgen: nothing was measured: %w", err)
		}
		if err != nil {
			r.Stopped = err.Error()
			break
		}
	}
	return r, nil
}

func newReport(cfg Config) Report {
	r := Report{
		Mode: cfg.Mode, Via: cfg.Via, Dialect: dialectName(cfg.dialect()), TextBytes: cfg.Size.Most, Size: cfg.Size.String(),
		HTTPConns: cfg.HTTPConns, Loops: cfg.Loops, Procs: cfg.Procs, Want: int(cfg.Want), Verified: cfg.Verify, Seed: cfg.Seed,
		Began: time.Now().Format(time.RFC3339), Commit: commit(), Ramp: cfg.Ramp, LoginsAtOnce: cfg.LoginsAtOnce,
		WarmupS: cfg.Warmup.Seconds(), DurationS: cfg.Duration.Seconds(),
	}
	if len(cfg.Rates) > 0 {
		r.Arrivals = cfg.Arrivals
	}
	if cfg.Mode == Mixed {
		r.Mix = cfg.Mix.String()
	}
	if len(cfg.Windows) > 0 {
		r.ThinkS = cfg.Think.Seconds()
	}
	return r
}

// commit is of this build, or unknown if it was made outside of version control.
func commit() string {
	revision, changed := "unknown", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				changed = " with changes"
			}
		}
	}
	return revision + changed
}

// runFleet logs in conns clients and runs all their trials.
func runFleet(ctx context.Context, cfg Config, number, conns int, r *Report, progress io.Writer) (trials []Trial, err error) {
	f, err := openFleet(ctx, cfg, cfg.fleetNumber(number), conns, new(faults), progress)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	r.System, r.Guarantee = f.traits.Name, f.traits.Guarantee
	ctx, done := f.untilEnded(ctx)
	defer done()
	f.trialsBefore = len(r.Trials)
	trials, err = f.trials(ctx, progress)
	if cfg.Verify && len(trials) > 0 {
		err = errors.Join(err, f.verifyOnline(ctx, &trials[len(trials)-1]))
	}
	return trials, err
}

// verifyOnline ends all connections and looks for ghosts.
func (f *fleet) verifyOnline(ctx context.Context, last *Trial) error {
	if err := f.disconnect(); err != nil {
		return err
	}
	n, some, err := f.countGhosts(ctx)
	last.Ghosts = n
	for _, name := range some {
		last.Examples = append(last.Examples, "ghost: "+name)
	}
	return err
}

// trials runs all trials of the fleet.
func (f *fleet) trials(ctx context.Context, progress io.Writer) (trials []Trial, err error) {
	switch f.cfg.Mode {
	case Idle:
		t, err := f.idle(ctx)
		if err != nil {
			return nil, err
		}
		return []Trial{t}, nil
	case Storm:
		return f.storm(ctx)
	}
	for i, l := range f.cfg.loads() {
		f.trialNumber = f.trialsBefore + i
		id := f.cfg.trialID(f.number, i+1)
		printProgress(progress, "%s", announce(f.cfg, len(f.clients), l))
		t, err := f.trial(ctx, id, l)
		if err != nil {
			return trials, err
		}
		if t.MeasuredS > 0 {
			trials = append(trials, t)
		}
		if ctx.Err() != nil {
			return trials, context.Cause(ctx)
		}
	}
	return trials, nil
}

func announce(cfg Config, conns int, l load) string {
	return fmt.Sprintf("%d clients, %s: %s of warm-up, %s measured", conns, l, cfg.Warmup, cfg.Duration)
}

// fleetShift is where a trial's id has the fleet's number.
const fleetShift = 8

// seedBits are the bits of a trial's id that hold the seed.
const seedBits = 16

// trialID distinguishes this trial's texts from all others: by seed, fleet and trial.
func (c Config) trialID(fleet, trial int) uint32 {
	return uint32(c.Seed)<<seedBits | uint32(fleet)<<fleetShift | uint32(trial)
}

// fleetNumber distinguishes the fleets of all workers.
func (c Config) fleetNumber(number int) int {
	if c.worker == nil {
		return number
	}
	return number*c.worker.of + c.worker.number
}

// idle measures by how much the memory of the server has grown for each
// connection since before the run, so with the accounts of the users, once
// Duration has passed since the last login.
func (f *fleet) idle(ctx context.Context) (Trial, error) {
	held := f.showStage("holding connections", int(f.cfg.Duration.Seconds()), f.secondsFrom(f.clock.now()))
	err := f.clock.wait(ctx, f.clock.now()+int64(f.cfg.Duration))
	held()
	if err != nil {
		return Trial{}, err
	}
	if _, err := f.pass(ctx, gateIdle); err != nil {
		return Trial{}, err
	}
	t := Trial{Conns: len(f.clients), LoginS: f.loginTime.Seconds(), LoginRetries: int(f.retries.Load()), kept: newHistograms()}
	f.logins.addTo(&t)
	rss, err := memoryOf(f.cfg.ServerPIDs)
	if err != nil {
		return Trial{}, err
	}
	for i, pid := range f.cfg.ServerPIDs {
		p := Process{PID: pid, IdleBytes: float64(rss[i]-f.cfg.rssBefore[i]) / float64(len(f.clients))}
		t.Processes = append(t.Processes, p)
		t.IdleBytes += p.IdleBytes
	}
	t.Ended, _ = f.countEnded()
	t.FaultCount, t.Faults = f.faults.take()
	return t, nil
}

// wait returns at t, perhaps a millisecond late.
func (c *clock) wait(ctx context.Context, t int64) error {
	timer := c.timer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *fleet) trial(ctx context.Context, id uint32, l load) (Trial, error) {
	t := f.newTrial(id, l)
	f.install(t)
	at, err := f.pass(ctx, gateTrial)
	if err != nil {
		return Trial{}, err
	}
	f.schedule(t, at)
	switch {
	case f.cfg.Mode == Churn:
		return f.churn(ctx, t)
	case t.reporter != nil:
		return f.runShared(ctx, t)
	}
	return f.run(ctx, t)
}

// run makes the slots of t send, measures, and waits for owed deliveries. The end of ctx ends the
// measured time.
func (f *fleet) run(ctx context.Context, t *trial) (Trial, error) {
	used, series, err := f.load(ctx, t)
	if ctx.Err() != nil {
		f.cut(t)
	} else if err != nil {
		return Trial{}, fmt.Errorf("loadgen: %d clients: %w", len(f.clients), err)
	}
	if f.cfg.shares() {
		if err := f.learn(ctx, t); err != nil {
			return Trial{}, err
		}
	}
	owed := f.drain(ctx, t)
	if t.verify || len(f.remote) > 0 {
		f.countFailed(t)
	}
	r := f.result(t, used, owed)
	r.Series = series
	return r, nil
}

// load sends and measures at once, and returns when both have ended.
func (f *fleet) load(ctx context.Context, t *trial) (usage, []Second, error) {
	send := f.keepRate
	if t.window > 0 {
		send = f.keepOutstanding
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sent := make(chan error, 1)
	go func() {
		err := send(ctx, t)
		if err != nil {
			cancel(err) // or observe would wait for the trial's end
		}
		sent <- err
	}()
	used, series, err := f.observe(ctx, t)
	return used, series, errors.Join(<-sent, err)
}

// drainEnded bounds the wait for owed deliveries once the system under test has started to end
// connections.
const drainEnded = time.Second

// patience bounds the wait for owed deliveries.
func (f *fleet) patience(ctx context.Context) time.Duration {
	if n, _ := f.countEnded(); n > 0 && ctx.Err() != nil {
		return min(f.cfg.Drain, drainEnded)
	}
	return f.cfg.Drain
}

// drain waits until nothing is owed, for Drain at most, and returns what is missing then. It does
// not wait for deliveries to a connection that has ended.
func (f *fleet) drain(ctx context.Context, t *trial) (d debts) {
	defer f.showStage("waiting for what is on its way", 0, func() int { return 0 })()
	f.until(ctx, owedEvery, func() bool {
		d = f.owed(t)
		return d.lost == 0 && d.unanswered == 0
	})
	return d
}

// owedEvery is the pause between two looks at owed deliveries.
const owedEvery = 10 * time.Millisecond

// until calls done again and again, for Drain at most. After the end of ctx it stops early only if
// the system under test has ended connections: messages on their way when a user stops a run are
// not lost.
func (f *fleet) until(ctx context.Context, every time.Duration, done func() bool) {
	enough := time.NewTimer(f.cfg.Drain)
	defer enough.Stop()
	again := time.NewTicker(every)
	defer again.Stop()
	stopped := ctx.Done()
	for {
		if done() {
			return
		}
		select {
		case <-again.C:
		case <-stopped:
			enough.Reset(f.patience(ctx))
			stopped = nil
		case <-enough.C:
			return
		}
	}
}

func (f *fleet) result(t *trial, used usage, d debts) Trial {
	r := Trial{
		Conns: len(f.clients), Window: t.window, Rate: t.rate, LoginS: f.loginTime.Seconds(),
		LoginRetries: int(f.retries.Load()),
		MeasuredS:    max(0, time.Duration(t.end-t.start)).Seconds(),
		Unsent:       t.unsent,
		Lost:         d.lost, Undelivered: d.undelivered, Unanswered: d.unanswered,
	}
	r.Partial = r.MeasuredS < f.cfg.Duration.Seconds()
	r.Ended, _ = f.countEnded()
	r.Moved = f.countMoved()
	r.kept = newHistograms()
	r.kept.late.Merge(t.latenesses())
	t.addOutcomes(r.kept)
	f.addTallies(&r, d.examples)
	t.addSkew(&r)
	r.kept.fill(&r)
	f.logins.addTo(&r)
	for _, s := range t.slots {
		s.addOutcomes(&r)
	}
	if r.MeasuredS > 0 {
		r.DeliveriesPerSecond = float64(r.Deliveries) / r.MeasuredS
	}
	r.Processes = make([]Process, len(used.servers))
	for i, cpu := range used.servers {
		p := Process{PID: f.cfg.ServerPIDs[i], CPUus: perDelivery(cpu, r.Deliveries)}
		r.Processes[i] = p
		r.ServerCPUus += p.CPUus
	}
	r.OwnCPUus = perDelivery(used.own, r.Deliveries)
	if r.MeasuredS > 0 {
		r.Warnings = append(r.Warnings, f.doubts(r.Late, r.Latency, used.strain(r.MeasuredS))...)
	}
	r.refusals()
	r.FaultCount, r.Faults = f.faults.take()
	return r
}

// addTallies sums what the event loops have seen.
func (f *fleet) addTallies(r *Trial, some examples) {
	f.lockLoops()
	defer f.unlockLoops()
	for _, l := range f.loops {
		r.Deliveries += l.tally.deliveries
		r.Received += l.tally.received
		r.Doubled += l.tally.doubled
		r.Duplicates += l.tally.duplicates
		r.Reordered += l.tally.reordered
		r.Misdelivered += l.tally.misdelivered
		r.WrongSender += l.tally.wrongSender
		r.Corrupt += l.tally.corrupt
		r.FailedDelivered += l.tally.failedDelivered
		some.merge(&l.tally.examples)
		r.Offline += l.tally.offline
		r.Foreign += l.tally.foreign
		r.kept.latency.Merge(l.tally.latency)
		r.kept.service.Merge(l.tally.service)
	}
	if r.Window > 0 {
		r.kept.service.Merge(r.kept.latency) // each left when it was due
	}
	r.Examples = some.all()
}

// perDelivery is in µs. A login may stand for a delivery.
func perDelivery(used time.Duration, deliveries int) float64 {
	if deliveries == 0 {
		return 0
	}
	return float64(used.Nanoseconds()) / 1000 / float64(deliveries)
}
