package route

import (
	"context"
	"sync"
	"time"
)

// deadline is a context with a deadline. Its timer starts with the first call of Done: a request
// whose store answers at once costs one allocation and no timer.
type deadline struct {
	at     time.Time
	parent context.Context // it ends with that at the latest; nil: none

	mu         sync.Mutex
	done       chan struct{} // nil until a goroutine waits
	closed     bool          // done is
	timer      *time.Timer   // closes done
	stopParent func() bool   // stops waiting for the end of parent
	stopped    bool          // by stop
}

func newDeadline(after time.Duration) *deadline {
	return &deadline{at: time.Now().Add(after)}
}

// newDeadlineWithin is newDeadline that ends with parent at the latest. Values of
// parent are not looked up.
func newDeadlineWithin(parent context.Context, after time.Duration) *deadline {
	d := newDeadline(after)
	d.parent = parent
	if at, has := parent.Deadline(); has && at.Before(d.at) {
		d.at = at
	}
	return d
}

// stop ends the context and its timer. It wakes goroutines that wait on Done.
func (d *deadline) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return
	}
	d.stopped = true
	if d.done == nil {
		return
	}
	d.timer.Stop()
	if d.stopParent != nil {
		d.stopParent()
	}
	d.close()
}

// close is called with mu held.
func (d *deadline) close() {
	if !d.closed {
		d.closed = true
		close(d.done)
	}
}

// expire is called at the deadline, or at the parent's end.
func (d *deadline) expire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.close()
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
	if d.stopped {
		d.close()
		return d.done
	}
	d.timer = time.AfterFunc(time.Until(d.at), d.expire)
	if d.parent != nil {
		d.stopParent = context.AfterFunc(d.parent, d.expire)
	}
	return d.done
}

// Err implements context.Context.
func (d *deadline) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.stopped:
		return context.Canceled
	case d.parent != nil && d.parent.Err() != nil:
		return d.parent.Err()
	case !time.Now().Before(d.at):
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements context.Context.
func (d *deadline) Value(any) any { return nil }
