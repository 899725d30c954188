package loadgen

import (
	"errors"
	"fmt"
	"io"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Report is what a run of Config measured: one Trial for each number of
// connections and window.
type Report struct {
	Mode      Mode    `json:"mode"`
	Via       Via     `json:"via"`
	Dialect   string  `json:"dialect"`
	TextBytes int     `json:"text_bytes"`
	HTTPConns int     `json:"http_conns"`
	Loops     int     `json:"loops"`
	Seed      uint64  `json:"seed"`
	WarmupS   float64 `json:"warmup_s"`
	DurationS float64 `json:"duration_s"`
	Trials    []Trial `json:"trials"`
}

// Trial is one measured run. Counts are of the whole trial, its warm-up
// included, unless the name says otherwise.
type Trial struct {
	Conns  int     `json:"conns"`
	Window int     `json:"window,omitempty"` // 0: open loop
	Rate   int     `json:"rate,omitempty"`   // messages a second; 0: closed loop
	LoginS float64 `json:"login_s"`          // of the whole fleet

	MeasuredS           float64 `json:"measured_s"`
	Deliveries          int     `json:"deliveries"` // that arrived within the measured time
	DeliveriesPerSecond float64 `json:"deliveries_per_s"`
	ServerCPUus         float64 `json:"server_cpu_us"` // a delivery; 0 without a pid
	OwnCPUus            float64 `json:"own_cpu_us"`    // a delivery
	// Latency is from the due time to the arrival, of messages due within the
	// measured time. Late is how late the sends left.
	Latency Quantiles `json:"latency"`
	Late    Quantiles `json:"late"`

	Delivered int `json:"delivered"` // messages answered so
	Stored    int `json:"stored"`
	Refused   int `json:"refused"` // for load; not an error, and not owed
	Received  int `json:"received"`
	Offline   int `json:"offline"` // of Received, how many came as OFFLINE

	Lost         int      `json:"lost"`
	Doubled      int      `json:"doubled"`
	Reordered    int      `json:"reordered"`
	Misdelivered int      `json:"misdelivered"`
	Unknown      int      `json:"unknown"`    // messages answered by an error or by silence
	Unanswered   int      `json:"unanswered"` // SENDs without an outcome
	Unsent       int      `json:"unsent"`     // messages whose queue was full
	FaultCount   int      `json:"fault_count"`
	Faults       []string `json:"faults,omitempty"` // the first of them

	// Mode Idle only: the server's memory for each connection, in bytes.
	IdleBytes float64 `json:"idle_bytes,omitempty"`
}

// Quantiles of a histogram, in µs.
type Quantiles struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_us"`
	P90   float64 `json:"p90_us"`
	P99   float64 `json:"p99_us"`
	P999  float64 `json:"p999_us"`
	Max   float64 `json:"max_us"`
}

func quantilesOf(h *hdrhistogram.Histogram) Quantiles {
	us := func(ns int64) float64 { return float64(ns) / 1000 }
	return Quantiles{
		Count: h.TotalCount(),
		P50:   us(h.ValueAtQuantile(50)), P90: us(h.ValueAtQuantile(90)),
		P99: us(h.ValueAtQuantile(99)), P999: us(h.ValueAtQuantile(99.9)),
		Max: us(h.Max()),
	}
}

// Failed reports everything that must not happen and did, or nil.
func (r Report) Failed() error {
	var failures []error
	for _, t := range r.Trials {
		failures = append(failures, t.Failed())
	}
	return errors.Join(failures...)
}

// Failed reports what must not happen in a trial and did, or nil.
func (t Trial) Failed() error {
	bad := t.Lost + t.Doubled + t.Reordered + t.Misdelivered + t.Unknown + t.Unanswered + t.Unsent + t.FaultCount
	switch {
	case bad > 0:
		return fmt.Errorf("loadgen: %s: lost %d, doubled %d, reordered %d, misdelivered %d, unknown %d, unanswered %d, unsent %d, faults %d %q",
			t.name(), t.Lost, t.Doubled, t.Reordered, t.Misdelivered, t.Unknown, t.Unanswered, t.Unsent, t.FaultCount, t.Faults)
	case !t.idle() && t.Deliveries == 0:
		return fmt.Errorf("loadgen: %s: nothing was delivered within the measured time", t.name())
	}
	return nil
}

func (t Trial) idle() bool { return t.Rate == 0 && t.Window == 0 }

func (t Trial) name() string {
	switch {
	case t.idle():
		return fmt.Sprintf("%d connections, idle", t.Conns)
	case t.Window > 0:
		return fmt.Sprintf("%d connections, window %d", t.Conns, t.Window)
	}
	return fmt.Sprintf("%d connections, %d/s", t.Conns, t.Rate)
}

// Print writes r as a table for people.
func (r Report) Print(w io.Writer) error {
	p := printer{w: w}
	p.line("mode %s via %s, dialect %s, texts of %d bytes, warm-up %g s, measured %g s",
		r.Mode, r.Via, r.Dialect, r.TextBytes, r.WarmupS, r.DurationS)
	p.line("%8s %7s %8s %12s %8s %8s %9s %9s %9s %9s %9s %8s", "conns", "window", "rate", "deliveries/s",
		"server", "own", "p50", "p90", "p99", "p99.9", "max", "logins")
	p.line("%8s %7s %8s %12s %8s %8s %9s %9s %9s %9s %9s %8s", "", "", "1/s", "", "µs", "µs", "µs", "µs", "µs", "µs", "µs", "s")
	for _, t := range r.Trials {
		p.line("%8d %7d %8d %12.0f %8.2f %8.2f %9.0f %9.0f %9.0f %9.0f %9.0f %8.2f", t.Conns, t.Window, t.Rate,
			t.DeliveriesPerSecond, t.ServerCPUus, t.OwnCPUus, t.Latency.P50, t.Latency.P90, t.Latency.P99,
			t.Latency.P999, t.Latency.Max, t.LoginS)
		p.line("%8s delivered %d, stored %d, refused %d; lost %d, doubled %d, reordered %d, misdelivered %d", "",
			t.Delivered, t.Stored, t.Refused, t.Lost, t.Doubled, t.Reordered, t.Misdelivered)
		if t.IdleBytes != 0 {
			p.line("%8s idle: %.0f bytes of the server's memory a connection", "", t.IdleBytes)
		}
	}
	return p.err
}

// printer writes lines until the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}
