package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"cim/proto"
)

// threadsBesideLoops are the Ps that a run needs besides one for each loop,
// which sits in the kernel and holds its P: the pacer's, and two for the rest.
const threadsBesideLoops = 3

// Run does what cfg says, a fleet after the other, and tells progress. An
// error is a run that could not be done; deliveries that went wrong are in the
// report, and Failed tells of them.
func Run(ctx context.Context, cfg Config, progress io.Writer) (Report, error) {
	if err := errors.Join(cfg.Check(), checkDescriptors(cfg)); err != nil {
		return Report{}, err
	}
	if least := cfg.Loops + threadsBesideLoops; runtime.GOMAXPROCS(0) < least {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(least))
	}
	r := newReport(cfg)
	for number, conns := range cfg.Conns {
		trials, err := runFleet(ctx, cfg, number, conns, progress)
		r.Trials = append(r.Trials, trials...)
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

func newReport(cfg Config) Report {
	dialect := "v2"
	if cfg.Dialect == proto.DialectCIM {
		dialect = "cim"
	}
	return Report{
		Mode: cfg.Mode, Via: cfg.Via, Dialect: dialect, TextBytes: cfg.TextBytes,
		HTTPConns: cfg.HTTPConns, Loops: cfg.Loops, Seed: cfg.Seed,
		WarmupS: cfg.Warmup.Seconds(), DurationS: cfg.Duration.Seconds(),
	}
}

// runFleet logs in conns clients and runs all their trials.
func runFleet(ctx context.Context, cfg Config, number, conns int, progress io.Writer) (trials []Trial, err error) {
	f, err := openFleet(ctx, cfg, number, conns, new(faults), progress)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	if cfg.Mode == Idle {
		t, err := f.idle(ctx)
		if err != nil {
			return nil, err
		}
		return []Trial{t}, nil
	}
	for i, window := range cfg.windows() {
		id := uint32(cfg.Seed)<<16 | uint32(number)<<8 | uint32(i+1)
		say(progress, "%d clients, window %d, rate %d: %s of warm-up, %s measured",
			conns, window, cfg.Rate, cfg.Warmup, cfg.Duration)
		t, err := f.run(ctx, f.newTrial(id, window))
		if err != nil {
			return trials, err
		}
		trials = append(trials, t)
	}
	return trials, nil
}

// idle measures what the server keeps in memory for each connection, once
// Duration has passed since the last login.
func (f *fleet) idle(ctx context.Context) (Trial, error) {
	if err := f.clock.wait(ctx, f.clock.now()+int64(f.cfg.Duration)); err != nil {
		return Trial{}, err
	}
	t := Trial{Conns: len(f.clients), LoginS: f.loginTime.Seconds()}
	if f.cfg.ServerPID != 0 {
		rss, err := residentBytes(f.cfg.ServerPID)
		if err != nil {
			return Trial{}, err
		}
		t.IdleBytes = float64(rss-f.rssBefore) / float64(len(f.clients))
	}
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

// run lets the slots of t send, measures, and waits for what is owed.
func (f *fleet) run(ctx context.Context, t *trial) (Trial, error) {
	f.install(t)
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
			cancel(err) // or the measurement would wait for the trial's end
		}
		sent <- err
	}()
	used, measureErr := f.measure(ctx, t)
	if err := errors.Join(<-sent, measureErr); err != nil {
		return Trial{}, fmt.Errorf("loadgen: %d clients: %w", len(f.clients), err)
	}
	lost, unanswered := f.drain(ctx, t)
	return f.result(t, used, lost, unanswered), nil
}

// measure is the CPU time used between the trial's start and end.
func (f *fleet) measure(ctx context.Context, t *trial) (usage, error) {
	if err := f.clock.wait(ctx, t.start); err != nil {
		return usage{}, err
	}
	before, err := usageOf(f.cfg.ServerPID)
	if err != nil {
		return usage{}, err
	}
	if err := f.clock.wait(ctx, t.end); err != nil {
		return usage{}, err
	}
	after, err := usageOf(f.cfg.ServerPID)
	return usage{server: after.server - before.server, own: after.own - before.own}, err
}

// drain waits until nothing is owed, for Drain at most, and returns what then
// is missing.
func (f *fleet) drain(ctx context.Context, t *trial) (lost, unanswered int) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Drain)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		lost, unanswered = f.owed(t)
		if lost == 0 && unanswered == 0 {
			return 0, 0
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return lost, unanswered
		}
	}
}

func (f *fleet) result(t *trial, used usage, lost, unanswered int) Trial {
	r := Trial{
		Conns: len(f.clients), Window: t.window, Rate: f.cfg.Rate, LoginS: f.loginTime.Seconds(),
		MeasuredS: time.Duration(t.end - t.start).Seconds(),
		Late:      quantilesOf(t.lateness), Unsent: t.unsent,
		Lost: lost, Unanswered: unanswered,
	}
	f.addTallies(&r)
	for _, s := range t.slots {
		s.addVerdicts(&r)
	}
	r.DeliveriesPerSecond = float64(r.Deliveries) / r.MeasuredS
	r.ServerCPUus = perDelivery(used.server, r.Deliveries)
	r.OwnCPUus = perDelivery(used.own, r.Deliveries)
	r.FaultCount, r.Faults = f.faults.take()
	return r
}

// addTallies sums what the lanes have seen.
func (f *fleet) addTallies(r *Trial) {
	f.lockLanes()
	defer f.unlockLanes()
	latency := newHistogram()
	for _, l := range f.lanes {
		r.Deliveries += l.tally.deliveries
		r.Received += l.tally.received
		r.Doubled += l.tally.doubled
		r.Reordered += l.tally.reordered
		r.Misdelivered += l.tally.misdelivered
		r.Offline += l.tally.offline
		latency.Merge(l.tally.latency)
	}
	r.Latency = quantilesOf(latency)
}

// perDelivery is in µs.
func perDelivery(used time.Duration, deliveries int) float64 {
	if deliveries == 0 {
		return 0
	}
	return float64(used.Nanoseconds()) / 1000 / float64(deliveries)
}
