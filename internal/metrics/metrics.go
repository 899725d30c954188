// Package metrics has the names and kinds of all metrics, so that a name exists
// once and a reader finds all of them in one place. It is the only door to the
// metrics library. Nothing here is global: the main of each process makes its Set.
package metrics

import (
	"io"

	"github.com/VictoriaMetrics/metrics"
)

// Set is the metrics of one process. A nil Set is never exported: its counters
// still count, and its gauges are not read.
type Set struct{ set *metrics.Set }

// Counter only grows.
type Counter = metrics.Counter

// NewSet returns an empty set.
func NewSet() *Set { return &Set{set: metrics.NewSet()} }

// Counter returns the counter of this name, which may carry labels as in
// `cim_closed_total{reason="slow"}`. The same name is the same counter.
func (s *Set) Counter(name string) *Counter {
	if s == nil {
		return new(Counter)
	}
	return s.set.GetOrCreateCounter(name)
}

// Gauge registers a gauge whose value is read at each scrape, by any goroutine.
func (s *Set) Gauge(name string, read func() float64) {
	if s != nil {
		s.set.GetOrCreateGauge(name, read)
	}
}

// Write writes the set and the process's own metrics in Prometheus text.
func (s *Set) Write(w io.Writer) {
	if s != nil {
		s.set.WritePrometheus(w)
	}
	metrics.WriteProcessMetrics(w)
}
