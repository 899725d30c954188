package loadgen

import (
	"context"
	"errors"
	"sync"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// receiptsMax bounds the receipts of a worker that wait to be sent. A window never has as many: it
// is 1,024 messages at most, to 64 event loops. Past the bound the message is not followed.
const receiptsMax = 1 << 16

// receiptReporter sends a worker's receipts to the parent, as many at a time as wait. Event loops
// share it; its goroutine runs from the trial's start to its end.
type receiptReporter struct {
	trial int // of the worker's run, from 0

	clock *clock
	bell  chan struct{} // capacity 1: something waits
	stop  chan struct{}

	mu      sync.Mutex
	waiting []receipt
	credits *hdrhistogram.Histogram // from a message's last arrival to its credit
}

// partReceipts are receipts of one worker.
type partReceipts struct {
	Trial    int       `json:"trial"` // of the worker's run, from 0
	Receipts []receipt `json:"receipts"`
}

func newReceiptReporter(trial int, clock *clock) *receiptReporter {
	return &receiptReporter{
		trial: trial, clock: clock, credits: newHistogram(),
		bell: make(chan struct{}, 1), stop: make(chan struct{}),
	}
}

// add does not wait.
func (r *receiptReporter) add(one receipt) {
	r.mu.Lock()
	if len(r.waiting) < receiptsMax {
		r.waiting = append(r.waiting, one)
	}
	r.mu.Unlock()
	select {
	case r.bell <- struct{}{}:
	default:
	}
}

// run sends receipts until stop, and then those that are left.
func (r *receiptReporter) run(w *worker) error {
	for {
		select {
		case <-r.bell:
		case <-r.stop:
			return r.report(w)
		}
		if err := r.report(w); err != nil {
			return err
		}
	}
}

func (r *receiptReporter) report(w *worker) error {
	r.mu.Lock()
	waiting := r.waiting
	r.waiting = nil
	r.mu.Unlock()
	if len(waiting) == 0 {
		return nil
	}
	return w.send(workerMessage{Receipts: &partReceipts{Trial: r.trial, Receipts: waiting}})
}

// runShared runs a trial that shares its group messages with other workers: meanwhile its reporter
// runs, and credits arrive. The parent gets all of its receipts before any later message.
func (f *fleet) runShared(ctx context.Context, t *trial) (Trial, error) {
	w := f.cfg.worker
	w.sending.Store(t)
	reported := make(chan error, 1)
	go func() { reported <- t.reporter.run(w) }()
	r, err := f.run(ctx, t)
	w.sending.Store(nil)
	close(t.reporter.stop)
	return r, errors.Join(err, <-reported)
}

// credit says that all have a message of a window.
type credit struct {
	Slot     uint32 `json:"slot"`
	Sequence uint32 `json:"sequence"`
	Last     int64  `json:"last"` // arrival, in ns of the clock
}

// partCredits are credits of one trial.
type partCredits struct {
	Trial   int      `json:"trial"` // of the run, from 0
	Credits []credit `json:"credits"`
}

// credit passes credits to the senders of the running trial. Credits of an earlier trial are
// dropped: its senders have ended.
func (w *worker) credit(p partCredits) {
	t := w.sending.Load()
	if t == nil || t.reporter.trial != p.Trial {
		return
	}
	for _, c := range p.Credits {
		if c.Last >= t.start {
			t.reporter.noteCredit(c)
		}
		t.slots[c.Slot].reachedAll(c.Sequence)
	}
}

func (r *receiptReporter) noteCredit(c credit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	record(r.credits, r.clock.now()-c.Last)
}

// addTo adds how long the credits took.
func (r *receiptReporter) addTo(k *histograms) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k.credit.Merge(r.credits)
}
