package route

import (
	"context"
	"sync"
	"time"
)

// deadline is a context that ends at a time of its own. Its timer starts only
// when somebody waits on Done: a request whose store answers at once costs one
// allocation and no timer.
type deadline struct {
	at time.Time

	mu    sync.Mutex
	done  chan struct{} // nil until somebody waits
	timer *time.Timer   // closes done
	ended bool          // by stop
}

func newDeadline(after time.Duration) *deadline {
	return &deadline{at: time.Now().Add(after)}
}

// stop ends the context and its timer; whoever still waits on Done goes on.
func (d *deadline) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return
	}
	d.ended = true
	if d.timer != nil && d.timer.Stop() {
		close(d.done)
	}
}

// Deadline implements context.Context.
func (d *deadline) Deadline() (time.Time, bool) { return d.at, true }

// Done implements context.Context.
func (d *deadline) Done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done != nil {
		return d.done
	}
	d.done = make(chan struct{})
	if d.ended {
		close(d.done)
		return d.done
	}
	d.timer = time.AfterFunc(time.Until(d.at), func() { close(d.done) })
	return d.done
}

// Err implements context.Context.
func (d *deadline) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.ended:
		return context.Canceled
	case !time.Now().Before(d.at):
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements context.Context.
func (d *deadline) Value(any) any { return nil }
