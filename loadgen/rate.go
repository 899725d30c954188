package loadgen

import (
	"context"
	"sync"
)

// keepRate runs an open loop. It returns when all messages have left and those
// by HTTP are answered.
func (f *fleet) keepRate(ctx context.Context, t *trial) error {
	if len(t.slots) == len(f.remote) {
		return nil // another process sends it all
	}
	if f.cfg.Via == ViaConn {
		return f.rateByConn(ctx, t)
	}
	return f.rateByHTTP(ctx, t)
}

// rateByConn lets the pacer itself write each message: nothing else lies between
// the due time and the system call.
func (f *fleet) rateByConn(ctx context.Context, t *trial) error {
	var frame []byte
	giveUp := f.giveUp(t)
	next := t.turns(f.cfg)
	return f.pace(ctx, t, func(i int, due int64) {
		k := next(i)
		if k == remoteSender {
			return
		}
		s := t.slots[k]
		now := f.clock.now()
		if now > giveUp {
			t.leave()
			return
		}
		t.late(due, now)
		sequence := s.begin(t, due, now)
		frame = s.sender.session.AppendSend(frame[:0], Message{uint64(sequence) + 1, s.to(), s.buf})
		s.await(sequence, due)
		err := s.sender.write(frame)
		if err != nil {
			s.settle(sequence)
			s.file(sequence, Unknown)
			f.faults.addWrite(s, err)
		} else if !f.traits.Outcomes {
			s.file(sequence, Delivered)
		}
	})
}

// remoteSender is the slot of a message that another process sends.
const remoteSender = -1

// turns returns which slot sends message i, or remoteSender. In mode Mixed the shares are drawn by
// the seed; within them processes take turns and then slots.
func (t *trial) turns(cfg Config) func(i int) int {
	if cfg.Mode != Mixed {
		return func(i int) int { return i % len(t.slots) }
	}
	groups, privates := 0, 0
	return func(i int) int {
		if cfg.Mix.isGroup(cfg.Seed, i) {
			if t.turn > 0 {
				return remoteSender
			}
			groups++
			return groups % t.groupSlots
		}
		privates++
		if privates%t.of != t.turn {
			return remoteSender
		}
		return t.groupSlots + privates/t.of%(len(t.slots)-t.groupSlots)
	}
}

// queueMax bounds the messages that are due and wait for one HTTP connection.
// Past it they count as unsent.
const queueMax = 1 << 14

// job is one message that is due.
type job struct {
	slot *slot
	due  int64
}

// rateByHTTP gives each connection its own slots, so that a sender's messages
// wait for each other's answers, which keeps them in order.
func (f *fleet) rateByHTTP(ctx context.Context, t *trial) error {
	routes, workerOf := f.share(t.slots)
	workers := len(routes)
	ways, done, err := f.ways(routes)
	if err != nil {
		return err
	}
	defer done()
	queues := make([]chan job, workers)
	var all sync.WaitGroup
	for i := range queues {
		queues[i] = make(chan job, queueMax)
		all.Go(func() { f.work(ctx, t, queues[i], ways[i]) })
	}
	next := t.turns(f.cfg)
	err = f.pace(ctx, t, func(i int, due int64) {
		if k := next(i); k != remoteSender {
			t.enqueue(queues[workerOf[k]], job{t.slots[k], due})
		}
	})
	for _, queue := range queues {
		close(queue)
	}
	all.Wait()
	return err
}

// share spreads the slots over HTTP connections: routes says where each of
// those goes, workerOf which one is each slot's. It goes to its sender's route.
func (f *fleet) share(slots []*slot) (routes, workerOf []int) {
	n := len(f.cfg.Routes)
	routes = make([]int, max(n, min(f.cfg.HTTPConns, len(slots))))
	for i := range routes {
		routes[i] = i % n
	}
	workerOf = make([]int, len(slots))
	next := make([]int, n) // of each route, the connection that is due
	for i := range next {
		next[i] = i
	}
	for k, s := range slots {
		if s.remote {
			continue
		}
		route := s.sender.route
		workerOf[k] = next[route]
		if next[route] += n; next[route] >= len(routes) {
			next[route] = route
		}
	}
	return routes, workerOf
}

func (t *trial) enqueue(queue chan<- job, j job) {
	select {
	case queue <- j:
	default:
		t.leave()
	}
}

// leave counts a message as unsent.
func (t *trial) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unsent++
}

// giveUp is the time at which the trial has been over for Drain: messages still waiting count as
// unsent.
func (f *fleet) giveUp(t *trial) int64 { return t.end + int64(f.cfg.Drain) }

// work sends until its queue is closed and empty.
func (f *fleet) work(ctx context.Context, t *trial, queue <-chan job, w way) {
	giveUp := f.giveUp(t)
	for j := range queue {
		if ctx.Err() != nil {
			continue // the run's own error says so
		}
		now := f.clock.now()
		if now > giveUp {
			t.leave()
			continue
		}
		t.late(j.due, now)
		became := j.slot.sendNext(ctx, w, t, j.due, now)
		t.answered(became, j.due, f.clock.now())
	}
}
