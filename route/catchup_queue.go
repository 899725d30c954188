package route

import (
	"context"
	"errors"
	"sync"
	"time"

	"cim/proto"
)

const (
	// catchupsMax bounds the catch-ups that run at once: each may wait for a
	// slow reader, and holds one page of the store.
	catchupsMax = 256
	// catchupsWaitingMax bounds the catch-ups that wait to run: more than a server's logins of one
	// second. A refused one starts with the server's next UP.
	catchupsWaitingMax = 16 << 10
	// catchupsIdleMax bounds the workers that stay when nothing waits: a new one
	// has to grow its stack first, which takes longer than an empty box.
	catchupsIdleMax = 64
)

var (
	errCatchupsFull = errors.New("too many catch-ups wait")
	errDraining     = errors.New("the route is going down")
)

// catchup is what makes one session get its stored messages.
type catchup struct {
	session
	// holdState has holds >= any count that was seen before it was asked for.
	holdState
	confirm bool           // its server says that it has started: mark the record
	held    bool           // the session is held, and holdState is its server's latest answer
	delay   time.Duration  // before stored texts are sent; see delayCatchup
	waiters []chan<- error // each of capacity 1; receives the result
}

// merge makes one catch-up of two for the same user: the newer session's.
func (c catchup) merge(other catchup) catchup {
	if other.generation > c.generation {
		c, other = other, c
	}
	if other.generation == c.generation {
		c.confirm = c.confirm || other.confirm
		c.held = c.held || other.held
		c.delay = min(c.delay, other.delay)
		c.holdState = c.holdState.merge(other.holdState)
	}
	c.waiters = append(c.waiters, other.waiters...)
	return c
}

// notify sends the result to the waiters. Only the first result counts.
func (c catchup) notify(err error) {
	for _, ended := range c.waiters {
		select {
		case ended <- err:
		default:
		}
	}
}

// catchupQueue runs catch-ups, one at a time per user. A request for a user whose catch-up runs
// starts another one afterwards, since the running one may have passed what the request is about.
type catchupQueue struct {
	ctx context.Context // cancels the running ones
	run func(ctx context.Context, c catchup) error

	mu       sync.Mutex
	users    map[proto.UserID]*catchup // waiting ones; nil: one runs and none waits
	queue    []proto.UserID            // users with a waiting and no running catch-up, oldest first
	workers  int                       // <= catchupsMax
	idle     int                       // workers that wait for work; <= catchupsRestingMax
	work     sync.Cond                 // signalled once for each worker that start takes from resting
	draining bool
	running  sync.WaitGroup // of the workers
}

func newCatchupQueue(ctx context.Context, run func(context.Context, catchup) error) *catchupQueue {
	q := &catchupQueue{ctx: ctx, run: run, users: map[proto.UserID]*catchup{}}
	q.work.L = &q.mu
	return q
}

// start queues c. It fails if a bound is reached or the route drains.
func (q *catchupQueue) start(c catchup) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.draining {
		return errDraining
	}
	waiting, found := q.users[c.user]
	switch {
	case waiting != nil:
		*waiting = waiting.merge(c)
		return nil
	case found:
		q.users[c.user] = &c
		return nil
	case len(q.queue) >= catchupsWaitingMax:
		return errCatchupsFull
	}
	q.users[c.user] = &c
	q.queue = append(q.queue, c.user)
	switch {
	case q.idle > 0:
		q.idle--
		q.work.Signal()
	case q.workers < catchupsMax:
		q.workers++
		q.running.Go(q.runWaiting)
	}
	return nil
}

// runWaiting is a worker: it runs waiting catch-ups, and idles when there are none unless enough
// others idle.
func (q *catchupQueue) runWaiting() {
	for {
		c, ok := q.next()
		if !ok {
			return
		}
		err := q.run(q.ctx, c)
		c.notify(err)
		q.finished(c.user)
	}
}

func (q *catchupQueue) next() (catchup, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.queue) == 0 {
		if q.draining || q.idle >= catchupsIdleMax {
			q.workers--
			return catchup{}, false
		}
		q.idle++ // start takes it off
		q.work.Wait()
	}
	user := q.queue[0]
	q.queue = q.queue[1:]
	c := *q.users[user]
	q.users[user] = nil
	return c, true
}

// finished queues the user again if another catch-up was requested meanwhile.
func (q *catchupQueue) finished(user proto.UserID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := q.users[user]
	switch {
	case waiting == nil:
		delete(q.users, user)
	case q.draining:
		q.dropWaiting(user, waiting)
	default:
		q.queue = append(q.queue, user)
	}
}

// dropWaiting drops a catch-up that waits. Its messages are still stored, and its
// session is held.
func (q *catchupQueue) dropWaiting(user proto.UserID, waiting *catchup) {
	for _, ended := range waiting.waiters {
		ended <- errDraining
	}
	delete(q.users, user)
}

// waiting is how many wait to run.
func (q *catchupQueue) waiting() int {
	_, waiting := q.count()
	return waiting
}

// count is how many run and how many wait to.
func (q *catchupQueue) count() (running, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.workers - q.idle, len(q.queue)
}

// drain refuses new catch-ups, drops the waiting ones, and waits for the running ones.
func (q *catchupQueue) drain() {
	q.mu.Lock()
	q.draining = true
	for _, user := range q.queue {
		q.dropWaiting(user, q.users[user])
	}
	q.queue = nil
	q.idle = 0
	q.work.Broadcast()
	q.mu.Unlock()
	q.running.Wait()
}
