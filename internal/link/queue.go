package link

import (
	"sync"
	"sync/atomic"

	"cim/proto"
)

// queue is the bytes of one direction. Senders fill one buffer while the
// reader, or the writer to a socket, works through the other.
type queue struct {
	waitingMax int

	mu      sync.Mutex
	some    sync.Cond // waiting is not empty, or closed
	pending []byte    // len + writing <= waitingMax + ReservedRoom
	writing int       // bytes of the batch that was taken and is not yet in the socket; 0 in a Pair
	closed  bool

	taken   int64 // bytes of all batches so far
	reading int   // bytes of the batch that a Pair's reader works through

	// For those who look from outside, without mu. Bytes that have entered are
	// shown with the first of a batch and when the buffer grows: a record costs
	// nothing for it, and what is shown is half of what has entered since at
	// least. Those that have left wait no more.
	entered, left atomic.Int64
	spare         atomic.Int64 // memory of the buffer beyond them, if it is a large one
}

func newQueue(waitingMax int) *queue {
	q := &queue{waitingMax: waitingMax}
	q.some.L = &q.mu
	return q
}

// put queues r if it fits with room bytes beyond waitingMax.
func (q *queue) put(r *proto.Record, room int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	if q.writing+len(q.pending)+proto.RecordSize(r) > q.waitingMax+room {
		return ErrFull
	}
	first, size := len(q.pending) == 0, cap(q.pending)
	if first {
		q.some.Signal()
	}
	q.pending = proto.AppendRecord(q.pending, r)
	if first || cap(q.pending) != size {
		q.show()
	}
	return nil
}

// show shows what waits in the buffer. The caller holds mu.
func (q *queue) show() {
	spare := 0
	if cap(q.pending) > keepMax {
		spare = cap(q.pending) - len(q.pending)
	}
	q.entered.Store(q.taken + int64(len(q.pending)))
	q.spare.Store(int64(spare))
}

// keepMax is the largest buffer that is kept for the next batch.
const keepMax = 256 << 10

// take waits for bytes and returns all of them; spare, the batch before,
// becomes the next buffer. It returns false at the end of the link.
func (q *queue) take(spare []byte) ([]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.reading > 0 {
		q.left.Store(q.taken)
	}
	batch, some := q.takeLocked(spare)
	q.reading = len(batch)
	return batch, some
}

// takeToWrite is take for a writer, which reports with wrote what of the batch
// waits no more.
func (q *queue) takeToWrite(spare []byte) ([]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch, some := q.takeLocked(spare)
	q.writing = len(batch)
	return batch, some
}

func (q *queue) takeLocked(spare []byte) ([]byte, bool) {
	if cap(spare) > keepMax {
		spare = nil
	}
	for len(q.pending) == 0 && !q.closed {
		q.some.Wait()
	}
	if len(q.pending) == 0 {
		return nil, false
	}
	batch := q.pending
	q.pending = spare[:0]
	q.taken += int64(len(batch))
	q.show()
	return batch, true
}

func (q *queue) wrote(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.writing -= n
	q.left.Store(q.left.Load() + int64(n))
}

func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.writing + len(q.pending)
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.some.Broadcast()
}
