package loadgen

import (
	"context"
	"sync"
	"time"
)

// keepOutstanding runs a closed loop: each slot has one message outstanding,
// and sends the next when the last was received by all. It returns at the
// trial's end.
func (f *fleet) keepOutstanding(ctx context.Context, t *trial) error {
	var slots []*slot
	var routes []int
	for _, s := range t.slots {
		if !s.remote {
			slots, routes = append(slots, s), append(routes, s.sender.route)
		}
	}
	ways, done, err := f.ways(routes)
	if err != nil {
		return err
	}
	defer done()
	var all sync.WaitGroup
	for i, s := range slots {
		all.Go(func() { f.keepOne(ctx, t, s, ways[i]) })
	}
	all.Wait()
	return context.Cause(ctx)
}

// ways makes ways of the configured kind, one to each of routes; done ends
// them.
func (f *fleet) ways(routes []int) (ways []way, done func(), err error) {
	ways = make([]way, len(routes))
	if f.cfg.Via == ViaConn {
		for i := range ways {
			ways[i] = &connWay{patience: f.cfg.Drain, answered: f.traits.Outcomes, faults: f.faults}
		}
		return ways, func() {}, nil
	}
	urls := make([]string, len(routes))
	for i, route := range routes {
		urls[i] = f.cfg.Routes[route]
	}
	callers, err := newCallers(urls, f.cfg.Token, f.cfg.Drain)
	if err != nil {
		return nil, nil, err
	}
	for i, c := range callers {
		ways[i] = &httpWay{caller: c, system: f.system.(HTTPSystem), faults: f.faults}
	}
	return ways, func() { closeCallers(callers) }, nil
}

// keepOne ends early if the outcome of a message is unknown, since its next message could be out of
// order.
func (f *fleet) keepOne(ctx context.Context, t *trial, s *slot, w way) {
	for ctx.Err() == nil && f.clock.now() < t.end {
		if s.receiver == nil && f.cfg.shares() && s.sent.Load() == f.cfg.sentMax(t.load) {
			f.faults.add("slot %d: %d messages are as many as worker processes can share: give a shorter --duration", s.index, s.sent.Load())
			return
		}
		s.forgetReceived()
		now := f.clock.now()
		became := s.sendNext(ctx, w, t, now, now)
		t.answered(became, now, f.clock.now())
		switch became {
		case Unknown:
			return
		case Refused:
			continue
		}
		if !s.awaitReceived(ctx, f.cfg.Drain) {
			f.faults.add("slot %d: message %d was not received by all within %s",
				s.index, s.sent.Load()-1, f.cfg.Drain)
			return
		}
		if f.cfg.Think > 0 && f.clock.wait(ctx, f.clock.now()+int64(f.cfg.Think)) != nil {
			return // the run's own error says so
		}
	}
}

func (s *slot) forgetReceived() {
	select {
	case <-s.received:
	default:
	}
}

func (s *slot) awaitReceived(ctx context.Context, patience time.Duration) bool {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-s.received:
		return true
	case <-timeout.C:
		return false
	case <-ctx.Done():
		return true // the run's own error says so
	}
}
