package loadgen

import (
	"context"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Second is one second of the measured time; the last may be shorter.
type Second struct {
	Second     int     `json:"s"`          // from 0
	Sent       int     `json:"sent"`       // messages
	Deliveries int     `json:"deliveries"` // that arrived
	Errors     int     `json:"errors"`     // refused and failed messages, and deliveries that are wrong
	P50        float64 `json:"p50_us"`     // latency of what arrived
	P99        float64 `json:"p99_us"`
	Max        float64 `json:"max_us"`
	ServerCPU  float64 `json:"server_cpu"`       // cores, of all processes under test
	OwnCPU     float64 `json:"own_cpu"`          // cores
	Logins     int     `json:"logins,omitempty"` // of mode churn
}

// Moment is one second of a trial, for the live view.
type Moment struct {
	Conns    int
	Load     string        // "window 16" or "5000 a second"
	Elapsed  time.Duration // of the measured time
	Duration time.Duration
	Second   Second
	// Stage is the name of a stage outside the measured time, such as "logging in", and how much of
	// it is done; Of is 0 if the total is unknown. Empty: Second was measured.
	Stage    string
	Done, Of int
	Warnings []string // what makes the figures doubtful so far
}

// reading is the counts of a trial at one time.
type reading struct {
	at                       int64
	sent, deliveries, errors int
	logins                   int // of mode churn
	latency                  *hdrhistogram.Histogram
	used                     usage
}

// read adds up what the event loops and the slots have so far.
func (f *fleet) read(t *trial) (reading, error) {
	used, err := usageOf(f.cfg.ServerPIDs)
	if err != nil {
		return reading{}, err
	}
	r := reading{at: f.clock.now(), latency: newHistogram(), used: used}
	f.lockLoops()
	for _, l := range f.loops {
		r.deliveries += l.tally.deliveries
		r.errors += l.tally.wrong()
		r.latency.Merge(l.tally.latency)
	}
	f.unlockLoops()
	for _, s := range t.slots {
		if !s.remote {
			r.sent += int(s.sent.Load())
		}
		r.errors += s.errors()
	}
	if f.cfg.Mode == Churn {
		r.logins = f.logins.count()
	}
	return r, nil
}

// since is the difference between before and r.
func (r reading) since(before reading, second int) Second {
	span := time.Duration(r.at - before.at).Seconds()
	used := r.used.since(before.used)
	latency := quantilesOf(difference(r.latency, before.latency))
	s := Second{
		Second: second, Sent: r.sent - before.sent, Deliveries: r.deliveries - before.deliveries, Errors: r.errors - before.errors, Logins: r.logins - before.logins,
		P50: latency.P50, P99: latency.P99, Max: latency.Max,
	}
	if span > 0 {
		s.ServerCPU, s.OwnCPU = used.ofServers().Seconds()/span, used.own.Seconds()/span
	}
	return s
}

// difference is what h counted that before had not.
func difference(h, before *hdrhistogram.Histogram) *hdrhistogram.Histogram {
	now, then := h.Export(), before.Export()
	for i := range now.Counts {
		now.Counts[i] -= then.Counts[i]
	}
	return hdrhistogram.Import(now)
}

// observe follows a trial through its measured time, second by second, and
// returns the CPU time used in it. The end of ctx ends it.
func (f *fleet) observe(ctx context.Context, t *trial) (usage, []Second, error) {
	warm := f.showStage("warming up", int(f.cfg.Warmup.Seconds()), f.secondsFrom(t.begin))
	err := f.clock.wait(ctx, t.start)
	warm()
	if err != nil {
		return usage{}, nil, err
	}
	first, err := f.read(t)
	if err != nil {
		return usage{}, nil, err
	}
	var series []Second
	last := first
	for {
		ends := min(t.start+int64(len(series)+1)*int64(time.Second), t.end)
		stopped := f.clock.wait(ctx, ends)
		now, err := f.read(t)
		if err != nil {
			return usage{}, series, err
		}
		second := now.since(last, len(series))
		if err := f.sendSecond(second, difference(now.latency, last.latency)); err != nil {
			return usage{}, series, err
		}
		strain := now.used.since(last.used).strain(time.Duration(now.at - last.at).Seconds())
		last, series = now, append(series, second)
		f.showSecond(t, second, strain)
		if stopped != nil || ends == t.end {
			return last.used.since(first.used), series, stopped
		}
	}
}

// sendSecond sends a second to a worker's parent.
func (f *fleet) sendSecond(s Second, latency *hdrhistogram.Histogram) error {
	if f.cfg.worker == nil {
		return nil
	}
	return f.cfg.worker.send(workerMessage{Second: &partSecond{Trial: f.trialNumber, Second: s, Histogram: encoded(latency)}})
}

// showStage shows a stage once a second until end is called; done returns how much of it is done.
func (f *fleet) showStage(stage string, of int, done func() int) (end func()) {
	if f.cfg.Watch == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	watch.Go(func() {
		every := time.NewTicker(time.Second)
		defer every.Stop()
		for begin := f.clock.now(); ; {
			select {
			case <-ctx.Done():
				return
			case <-every.C:
			}
			f.cfg.Watch(Moment{
				Conns: len(f.clients), Stage: stage, Done: min(done(), of), Of: of, Elapsed: time.Duration(f.clock.now() - begin),
			})
		}
	})
	return func() { cancel(); watch.Wait() }
}

// secondsFrom counts whole seconds.
func (f *fleet) secondsFrom(begin int64) func() int {
	return func() int { return int(max(0, f.clock.now()-begin) / int64(time.Second)) }
}

// showSecond passes a second to the live view.
func (f *fleet) showSecond(t *trial, s Second, strain strain) {
	if f.cfg.Watch == nil {
		return
	}
	f.cfg.Watch(Moment{
		Conns: len(f.clients), Load: t.load.String(),
		Elapsed: time.Duration(f.clock.now() - t.start), Duration: time.Duration(t.end - t.start),
		Second: s, Warnings: f.doubts(quantilesOf(t.latenesses()), Quantiles{}, strain),
	})
}
