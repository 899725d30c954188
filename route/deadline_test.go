package route

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestDeadline: it ends at its time and not before, with and without a waiting goroutine, and by
// stop.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeadline(time.Second)
		if at, ok := d.Deadline(); !ok || time.Until(at) != time.Second || d.Value(0) != nil {
			t.Errorf("deadline %v, %v", at, ok)
		}
		time.Sleep(time.Second - 1)
		if d.Err() != nil {
			t.Errorf("a moment before: %v", d.Err())
		}
		began := time.Now()
		<-d.Done()
		if waited := time.Since(began); waited != 1 || !errors.Is(d.Err(), context.DeadlineExceeded) {
			t.Errorf("waited %v, %v", waited, d.Err())
		}
		d.stop()
		d.stop()
	})
}

// TestDeadlineStop: stop wakes goroutines that wait, and later ones do not wait.
func TestDeadlineStop(t *testing.T) {
	for _, waits := range []bool{true, false} {
		d := newDeadline(time.Hour)
		if waits {
			d.Done()
		}
		d.stop()
		<-d.Done()
		if !errors.Is(d.Err(), context.Canceled) {
			t.Errorf("waits=%v: %v", waits, d.Err())
		}
	}
}

// TestDeadlineWithin: it ends with its parent, whether or not a goroutine waits, and
// after that nothing of it is left.
func TestDeadlineWithin(t *testing.T) {
	for _, waits := range []bool{true, false} {
		parent, cancel := context.WithCancel(t.Context())
		d := newDeadlineWithin(parent, time.Hour)
		if waits {
			d.Done()
		}
		if d.Err() != nil {
			t.Errorf("waits=%v, before: %v", waits, d.Err())
		}
		cancel()
		<-d.Done()
		if !errors.Is(d.Err(), context.Canceled) {
			t.Errorf("waits=%v: %v", waits, d.Err())
		}
		d.stop()
	}
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(t.Context())
		defer cancel()
		d := newDeadlineWithin(parent, time.Second)
		<-d.Done()
		if !errors.Is(d.Err(), context.DeadlineExceeded) || parent.Err() != nil {
			t.Errorf("at its own end: %v, its parent %v", d.Err(), parent.Err())
		}
		d.stop()
	})
}

// TestDeadlineParent: a context made of it ends with it.
func TestDeadlineParent(t *testing.T) {
	d := newDeadline(time.Hour)
	child, cancel := context.WithCancel(d)
	defer cancel()
	d.stop()
	<-child.Done()
}
