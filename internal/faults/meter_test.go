package faults

import (
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"cim/internal/ledger"
)

// latencyMax is the longest latency that is recorded as such, in microseconds.
const latencyMax = 120_000_000

// meter measures phases of a run: each message counts in the phase that it was
// due in, whenever it arrives.
type meter struct {
	mu     sync.Mutex
	phases []*phase
}

// phase is a part of a run, from its begin to that of the next one.
type phase struct {
	name     string
	from     int64                   // time of the run
	counts   func(ledger.User) bool  // the users between which private messages count; nil: all
	answers  *hdrhistogram.Histogram // due to answer, microseconds
	arrivals *hdrhistogram.Histogram // due to arrival, of what was not stored
}

func newMeter() *meter {
	m := &meter{}
	m.begin("start", 0, nil)
	return m
}

// begin starts a phase.
func (m *meter) begin(name string, at int64, counts func(ledger.User) bool) *phase {
	p := &phase{
		name: name, from: at, counts: counts,
		answers: hdrhistogram.New(1, latencyMax, 3), arrivals: hdrhistogram.New(1, latencyMax, 3),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.phases = append(m.phases, p)
	return p
}

// of is the phase that due is in.
func (m *meter) of(due int64) *phase {
	for i := len(m.phases) - 1; i > 0; i-- {
		if m.phases[i].from <= due {
			return m.phases[i]
		}
	}
	return m.phases[0]
}

func (m *meter) delivered(from, to ledger.User, due, now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.of(due); p.between(from, to) {
		record(p.arrivals, now-due)
	}
}

func (m *meter) answered(from, to ledger.User, due, now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.of(due); p.between(from, to) {
		record(p.answers, now-due)
	}
}

func (p *phase) between(from, to ledger.User) bool {
	return p.counts == nil || p.counts(from) && p.counts(to)
}

func record(h *hdrhistogram.Histogram, ns int64) {
	// What is out of range is an error of RecordValue's; it is clamped here.
	_ = h.RecordValue(min(max(ns/1000, 1), latencyMax))
}

// p99 are the phase's 99th percentiles.
func (m *meter) p99(p *phase) (answer, arrival time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := func(h *hdrhistogram.Histogram) time.Duration {
		return time.Duration(h.ValueAtQuantile(99)) * time.Microsecond
	}
	return at(p.answers), at(p.arrivals)
}

// figures are the phase's, for the line that a test prints.
func (m *meter) figures(p *phase) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	quantile := func(h *hdrhistogram.Histogram, q float64) string {
		return fmt.Sprintf("%.1f", float64(h.ValueAtQuantile(q))/1000)
	}
	text := fmt.Sprintf("%s n %d:", p.name, p.answers.TotalCount())
	for _, one := range []struct {
		name string
		h    *hdrhistogram.Histogram
	}{{"answer", p.answers}, {"arrival", p.arrivals}} {
		text += fmt.Sprintf(" %s p50 %s p99 %s max %.1f ms", one.name, quantile(one.h, 50), quantile(one.h, 99), float64(one.h.Max())/1000)
	}
	return text
}
