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
	// catchupsWaitingMax bounds those that wait to run: more than a server's
	// logins of a second. One that is refused comes again with the server's
	// next word that its session is still held.
	catchupsWaitingMax = 16 << 10
	// catchupsRestingMax bounds the workers that stay when nothing waits: a new one
	// has to grow its stack first, which takes longer than an empty box.
	catchupsRestingMax = 64
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
	confirm bool           // its server says that it has begun: the record is to be marked
	held    bool           // the session is held, and holdState is what its server has said of it
	pause   time.Duration  // before the session is sent what is stored; see catchUpLater
	ended   []chan<- error // each of 1: told how it ended
}

// join makes one catch-up of two for the same user: the newer session's.
func (c catchup) join(other catchup) catchup {
	if other.generation > c.generation {
		c, other = other, c
	}
	if other.generation == c.generation {
		c.confirm = c.confirm || other.confirm
		c.held = c.held || other.held
		c.pause = min(c.pause, other.pause)
		c.holdState = c.holdState.join(other.holdState)
	}
	c.ended = append(c.ended, other.ended...)
	return c
}

// tell tells those who wait how it ended. What it tells first counts.
func (c catchup) tell(err error) {
	for _, ended := range c.ended {
		select {
		case ended <- err:
		default:
		}
	}
}

// catchups runs them, one at a time for each user. Asked for one that runs it
// runs it once more afterwards, as what it was asked for may have come too
// late for the one that runs.
type catchups struct {
	ctx context.Context // ends those that run
	run func(ctx context.Context, c catchup) error

	mu       sync.Mutex
	users    map[proto.UserID]*catchup // waiting ones; nil: one runs and none waits
	queue    []proto.UserID            // users whose catch-up waits and none runs, oldest first
	workers  int                       // <= catchupsMax
	resting  int                       // workers that wait for work; <= catchupsRestingMax
	work     sync.Cond                 // signalled once for each worker that start takes from resting
	draining bool
	ends     sync.WaitGroup // of the workers
}

func newCatchups(ctx context.Context, run func(context.Context, catchup) error) *catchups {
	q := &catchups{ctx: ctx, run: run, users: map[proto.UserID]*catchup{}}
	q.work.L = &q.mu
	return q
}

// start lets c run soon. Its error is a bound, or the drain.
func (q *catchups) start(c catchup) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.draining {
		return errDraining
	}
	waiting, known := q.users[c.user]
	switch {
	case waiting != nil:
		*waiting = waiting.join(c)
		return nil
	case known:
		q.users[c.user] = &c
		return nil
	case len(q.queue) >= catchupsWaitingMax:
		return errCatchupsFull
	}
	q.users[c.user] = &c
	q.queue = append(q.queue, c.user)
	switch {
	case q.resting > 0:
		q.resting--
		q.work.Signal()
	case q.workers < catchupsMax:
		q.workers++
		q.ends.Go(q.runWaiting)
	}
	return nil
}

// runWaiting is a worker: it runs what waits, and rests where nothing does, unless
// enough others rest.
func (q *catchups) runWaiting() {
	for {
		c, ok := q.next()
		if !ok {
			return
		}
		err := q.run(q.ctx, c)
		c.tell(err)
		q.finished(c.user)
	}
}

func (q *catchups) next() (catchup, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.queue) == 0 {
		if q.draining || q.resting >= catchupsRestingMax {
			q.workers--
			return catchup{}, false
		}
		q.resting++ // start takes it off
		q.work.Wait()
	}
	user := q.queue[0]
	q.queue = q.queue[1:]
	c := *q.users[user]
	q.users[user] = nil
	return c, true
}

// finished queues the user again if another catch-up was asked for meanwhile.
func (q *catchups) finished(user proto.UserID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := q.users[user]
	switch {
	case waiting == nil:
		delete(q.users, user)
	case q.draining:
		q.forget(user, waiting)
	default:
		q.queue = append(q.queue, user)
	}
}

// forget drops a catch-up that waits. Its messages are still stored, and its
// session is held.
func (q *catchups) forget(user proto.UserID, waiting *catchup) {
	for _, ended := range waiting.ended {
		ended <- errDraining
	}
	delete(q.users, user)
}

// waiting is how many wait to run.
func (q *catchups) waiting() int {
	_, waiting := q.count()
	return waiting
}

// count is how many run and how many wait to.
func (q *catchups) count() (running, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.workers - q.resting, len(q.queue)
}

// drain takes no more, forgets those that wait, and waits for those that run.
func (q *catchups) drain() {
	q.mu.Lock()
	q.draining = true
	for _, user := range q.queue {
		q.forget(user, q.users[user])
	}
	q.queue = nil
	q.resting = 0
	q.work.Broadcast()
	q.mu.Unlock()
	q.ends.Wait()
}
