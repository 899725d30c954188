package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cim/bench/report"
)

const (
	// soakSamples is how many samples a soak takes at most, so that a chart of a
	// day has no more points than one of an hour.
	soakSamples = 1_000
	// soakEvery is the least time between two samples.
	soakEvery = time.Second
)

// SoakLeast is the shortest soak: a shorter one cannot distinguish a trend from the start.
const SoakLeast = 20 * time.Second

// soakScenario is one long load of both kinds: 1,000 clients, 2,000 messages a second, of which one
// in a hundred is a group message.
func soakScenario(d time.Duration) Scenario {
	return Scenario{
		Name: "soak of " + d.String() + ": 1,000 clients, 2,000 messages/s, 1 in 100 to all",
		Load: []string{
			"--mode", "mixed", "--mix", "group=1,private=99", "--via", "conn", "--conns", "1000", "--rate", "2000",
			"--warmup", "2s", "--duration", d.String(),
		},
		Figures: []Figure{cpu("CPU a delivery", 0, 0), p50(0), p99(0)},
	}
}

// sampler takes samples of the processes of a soak. It has one goroutine of its
// own, which ends with finish.
type sampler struct {
	cancel  context.CancelFunc
	done    chan struct{}
	samples []report.Sample // the goroutine's until done is closed
	err     error
}

// startSampler samples the processes of tested in even steps, until finish or
// the end of ctx. Without a soak it does nothing.
func startSampler(ctx context.Context, cfg Config, tested system) *sampler {
	ctx, cancel := context.WithCancel(ctx)
	s := &sampler{cancel: cancel, done: make(chan struct{})}
	if cfg.Soak == 0 {
		close(s.done)
		return s
	}
	go func() {
		defer close(s.done)
		s.err = s.run(ctx, max(soakEvery, cfg.Soak/soakSamples), tested.profiled())
	}()
	return s
}

// run samples every step. A process that does not answer ends it.
func (s *sampler) run(ctx context.Context, step time.Duration, processes []*process) error {
	began := time.Now()
	steps := time.NewTicker(step)
	defer steps.Stop()
	for {
		sample, err := sampleOfAll(ctx, processes)
		if ctx.Err() != nil {
			return nil // the load has ended meanwhile
		}
		if err != nil {
			return fmt.Errorf("bench: soak: %w", err)
		}
		sample.Second = time.Since(began).Seconds()
		s.samples = append(s.samples, sample)
		select {
		case <-steps.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// finish ends the sampling and returns the samples.
func (s *sampler) finish() ([]report.Sample, error) {
	s.cancel()
	<-s.done
	return s.samples, s.err
}

// sampleOfAll sums up what the processes say of themselves.
func sampleOfAll(ctx context.Context, processes []*process) (sum report.Sample, err error) {
	for _, p := range processes {
		text, err := p.admin(ctx, "/metrics")
		if err != nil {
			return sum, err
		}
		one, err := parseSample(text)
		if err != nil {
			return sum, fmt.Errorf("%s, process %d: %w", p.name, p.PID, err)
		}
		sum.RSS += one.RSS
		sum.Heap += one.Heap
		sum.Goroutines += one.Goroutines
		sum.Collections += one.Collections
		sum.PauseS += one.PauseS
	}
	return sum, nil
}

// parseSample reads a process' metrics. Each that is needed must be there.
func parseSample(text string) (report.Sample, error) {
	var s report.Sample
	wanted := map[string]*float64{
		"process_resident_memory_bytes": &s.RSS,
		"go_memstats_heap_inuse_bytes":  &s.Heap,
		"go_goroutines":                 &s.Goroutines,
		"go_gc_duration_seconds_count":  &s.Collections,
		"go_gc_duration_seconds_sum":    &s.PauseS,
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		at, is := wanted[name]
		if !is {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return s, fmt.Errorf("metric %s: %w", name, err)
		}
		*at = v
		delete(wanted, name)
	}
	var missing []error
	for name := range wanted {
		missing = append(missing, fmt.Errorf("no metric %s", name))
	}
	return s, errors.Join(missing...)
}
