package route

import (
	"sync"
	"sync/atomic"

	"cim/proto"
)

// userQueues work through what a link's reader, which must not block, hands
// over: the items of one user one after the other, in order, those of different
// users side by side. What does not fit is refused at once.
type userQueues[T any] struct {
	handle  func(T)
	queues  [sendWorkers]chan sized[T]
	bytes   atomic.Int64 // of all items that wait or are worked on
	max     int64        // of bytes
	workers sync.WaitGroup

	mu     sync.RWMutex
	closed bool
}

type sized[T any] struct {
	item T
	size int64
}

// newUserQueues starts the workers. Each has a queue of items entries; all items together have at
// most bytesMax bytes.
func newUserQueues[T any](items int, bytesMax int64, do func(T)) *userQueues[T] {
	q := &userQueues[T]{handle: do, max: bytesMax}
	for i := range q.queues {
		queue := make(chan sized[T], items)
		q.queues[i] = queue
		q.workers.Go(func() { q.work(queue) })
	}
	return q
}

// add queues an item of user with size bytes. It returns false if there is no room or the drain has
// started. It never blocks.
func (q *userQueues[T]) add(user proto.UserID, item T, size int) bool {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if q.closed {
		return false
	}
	if q.bytes.Add(int64(size)) > q.max {
		q.bytes.Add(-int64(size))
		return false
	}
	select {
	case q.queues[queueOf(user)] <- sized[T]{item, int64(size)}:
		return true
	default:
		q.bytes.Add(-int64(size))
		return false
	}
}

// idle reports whether no item that has bytes waits or is worked on.
func (q *userQueues[T]) idle() bool { return q.bytes.Load() == 0 }

func (q *userQueues[T]) work(queue <-chan sized[T]) {
	for next := range queue {
		q.handle(next.item)
		q.bytes.Add(-next.size)
	}
}

// drain takes nothing more and works through what waits.
func (q *userQueues[T]) drain() {
	q.mu.Lock()
	q.closed = true
	for _, queue := range q.queues {
		close(queue)
	}
	q.mu.Unlock()
	q.workers.Wait()
}
