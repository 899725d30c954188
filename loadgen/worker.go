package loadgen

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// A run may be split over worker processes, past the descriptors that one process may have. Each
// worker has its part of the clients and of the load, and the whole schedule. Parent and worker
// exchange lines of JSON over the worker's standard streams: the worker reports that it has come to
// a gate, and continues when all have, at the time that the parent names; in the end it sends its
// report.

// gate is a place of a run that all workers pass at the same time.
type gate string

const (
	gateLogin gate = "login" // before the clients log in
	gateCut   gate = "cut"   // before all of them are cut
	gateTrial gate = "trial" // before a trial starts
	gateSent  gate = "sent"  // after the sending, if workers share messages
	gateIdle  gate = "idle"  // before they leave, after Duration of silence
)

// workerMessage is what a worker says: one of these.
type workerMessage struct {
	Gate     gate          `json:"gate,omitempty"`
	Second   *partSecond   `json:"second,omitempty"`
	Report   *partReport   `json:"report,omitempty"`
	Receipts *partReceipts `json:"receipts,omitempty"`
	shared                 // with a Gate, of the first worker
}

// order is what the starter says: the gate opens, or it gives the first worker
// credits.
type order struct {
	At int64 `json:"at"` // ns of the kernel's monotonic clock
	shared
	Credits *partCredits `json:"credits,omitempty"` // no gate opens
}

// partSecond is a second of one worker, with its latencies.
type partSecond struct {
	Trial     int    `json:"trial"` // of the worker's run, from 0
	Second    Second `json:"second"`
	Histogram string `json:"histogram"`
}

// partReport is what one worker measured, and of each trial the histograms.
type partReport struct {
	Report Report              `json:"report"`
	Kept   []encodedHistograms `json:"kept"`
}

// messageMax bounds a line of either side: a report of an hour has a few hundred
// bytes for each second.
const messageMax = 64 << 20

// worker is a worker's end of its streams.
type worker struct {
	number, of int
	orders     chan order            // closed when the starter has gone
	sending    atomic.Pointer[trial] // the trial that gets credits; nil: none

	mu  sync.Mutex
	out *json.Encoder
}

// Work is Run for worker process number of of, counted from 0.
func Work(ctx context.Context, cfg Config, number, of int, in io.Reader, out io.Writer) error {
	w := &worker{number: number, of: of, orders: make(chan order), out: json.NewEncoder(out)}
	go w.listen(ctx, in) // ends with the starter, or with the process
	cfg = cfg.part(number, of)
	cfg.worker = w
	report, err := Run(ctx, cfg, io.Discard)
	if err != nil {
		return err
	}
	part := partReport{Report: report}
	for i := range report.Trials {
		part.Kept = append(part.Kept, report.Trials[i].kept.text())
	}
	return w.send(workerMessage{Report: &part})
}

func (w *worker) listen(ctx context.Context, in io.Reader) {
	defer close(w.orders)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, messageMax)
	for lines.Scan() {
		var o order
		if json.Unmarshal(lines.Bytes(), &o) != nil {
			return // the starter and we are of one binary: it has gone in the middle of a line
		}
		if o.Credits != nil {
			w.credit(*o.Credits)
			continue
		}
		select {
		case w.orders <- o:
		case <-ctx.Done():
			return
		}
	}
}

func (w *worker) send(said workerMessage) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.out.Encode(said); err != nil {
		return fmt.Errorf("loadgen: worker %d: %w", w.number, err)
	}
	return nil
}

// pass waits at a gate and returns the time at which it opens. A run of one
// process passes at once.
func (f *fleet) pass(ctx context.Context, g gate) (int64, error) {
	o, err := f.exchange(ctx, workerMessage{Gate: g})
	return o.At, err
}

// exchange is pass for a worker that sends more, and gets more.
func (f *fleet) exchange(ctx context.Context, said workerMessage) (order, error) {
	w := f.cfg.worker
	if w == nil {
		return order{At: f.clock.now()}, nil
	}
	if err := w.send(said); err != nil {
		return order{}, err
	}
	select {
	case o, open := <-w.orders:
		if !open {
			return order{}, fmt.Errorf("loadgen: worker %d: its starter has gone", w.number)
		}
		return o, f.clock.wait(ctx, o.At)
	case <-ctx.Done():
		return order{}, context.Cause(ctx)
	}
}

// shareOf is the part of n of one of several workers.
func shareOf(n, number, of int) int {
	part := n / of
	if number < n%of {
		part++
	}
	return part
}

// part is the config of one of several workers. What does not divide goes to the
// first ones.
func (c Config) part(number, of int) Config {
	share := func(all []int) (parts []int) {
		for _, n := range all {
			parts = append(parts, shareOf(n, number, of))
		}
		return parts
	}
	if c.quiet() {
		c.Windows = nil // they are not used
	}
	httpConns := c.HTTPConns
	c.HTTPConns = max(1, len(c.Routes), c.HTTPConns/of)
	if c.shares() && c.Mode == Group && number == 0 {
		c.HTTPConns = httpConns // of all the senders
	}
	c.Conns = share(c.Conns)
	if !c.shares() { // else all walk the whole schedule, and senders divides a window
		c.Rates, c.Windows = share(c.Rates), share(c.Windows)
	}
	if c.Ramp > 0 {
		c.Ramp = max(1, c.Ramp/of)
	}
	for _, window := range c.Windows {
		c.HTTPConns = max(c.HTTPConns, window) // one for each message
	}
	c.LoginsAtOnce = max(1, c.LoginsAtOnce/of)
	c.ServerPIDs, c.Procs, c.Spawn, c.Watch = nil, 1, nil, nil
	return c
}
