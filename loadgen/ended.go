package loadgen

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cim/proto"
)

// endedGrace lets the other connections that end for the same cause be
// counted with the first.
const endedGrace = 250 * time.Millisecond

// untilEnded returns a context that also ends shortly after the first connection ended, since
// measurements are useless from then on. done ends the watch.
func (f *fleet) untilEnded(parent context.Context) (ctx context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(parent)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-f.ended:
		case <-ctx.Done():
			return
		}
		// An error is the end of ctx, which has its own cause.
		if f.clock.wait(ctx, f.clock.now()+int64(endedGrace)) == nil {
			cancel(f.endedError())
		}
	})
	return ctx, func() { cancel(nil); watch.Wait() }
}

// endedError says how many connections have ended, and the first reason that
// the server gave.
func (f *fleet) endedError() error {
	count, reason := f.countEnded()
	err := fmt.Errorf("the server ended %d of %d connections", count, len(f.clients))
	if reason != proto.ReasonNone {
		err = fmt.Errorf("%w (%s)", err, reason)
	}
	if moved := f.countMoved(); moved > 0 {
		err = fmt.Errorf("%w; it drains, and had asked %d of them to log in elsewhere, which the load generator does not do", err, moved)
	}
	return err
}

// countMoved counts the clients that were asked to log in elsewhere.
func (f *fleet) countMoved() (count int) {
	f.lockLoops()
	defer f.unlockLoops()
	for _, c := range f.clients {
		if c.moved {
			count++
		}
	}
	return count
}

func (f *fleet) countEnded() (count int, first proto.Reason) {
	f.lockLoops()
	defer f.unlockLoops()
	for _, c := range f.clients {
		if !c.ended {
			continue
		}
		count++
		if first == proto.ReasonNone {
			first = c.reason
		}
	}
	return count, first
}
