package link

import (
	"sync"

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
	if len(q.pending) == 0 {
		q.some.Signal()
	}
	q.pending = proto.AppendRecord(q.pending, r)
	return nil
}

// keepMax is the largest buffer that is kept for the next batch.
const keepMax = 256 << 10

// take waits for bytes and returns all of them; spare, the batch before,
// becomes the next buffer. It returns false at the end of the link.
func (q *queue) take(spare []byte) ([]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.takeLocked(spare)
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
	return batch, true
}

func (q *queue) wrote(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.writing -= n
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
