package link

import (
	"sync"
	"sync/atomic"

	"cim/proto"
)

// queue is the bytes of one direction. Senders fill one buffer while the reader, or
// the writer to a socket, works through the other.
type queue struct {
	waitingMax int

	mu      sync.Mutex
	some    sync.Cond // waiting is not empty, or closed
	pending []byte    // len + writing <= waitingMax + ReservedRoom
	writing int       // bytes of the segment that the writer has not yet written to the socket; 0 in a Pair
	closed  bool

	// For a Pair whose reader uses RunDirect.
	direct   Handler      // nil: only the reader handles records
	handling bool         // a sender is in direct; then reading is 0
	record   proto.Record // the argument of direct in a sender; owned by the sender that set handling
	failed   error        // the error that direct returned to a sender: it ends the link

	taken   int64 // bytes of all segments so far
	reading int   // bytes of the segment that a Pair's reader works through

	// For observers without mu. Entered bytes are published with the first record
	// of a segment and when the buffer grows, so that a record costs nothing for it;
	// at least half of what has entered since is published. Left bytes are no
	// longer queued.
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
	return q.putLocked(r, room)
}

func (q *queue) putLocked(r *proto.Record, room int) error {
	if q.closed {
		return ErrClosed
	}
	if q.writing+len(q.pending)+proto.RecordSize(r) > q.waitingMax+room {
		return ErrFull
	}
	first, size := len(q.pending) == 0, cap(q.pending)
	if first && !q.handling { // else the sender that handles checks again
		q.some.Signal()
	}
	q.pending = proto.AppendRecord(q.pending, r)
	if first || cap(q.pending) != size {
		q.publish()
	}
	return nil
}

// publish publishes what is in the buffer. The caller holds mu.
func (q *queue) publish() {
	spare := 0
	if cap(q.pending) > keepMax {
		spare = cap(q.pending) - len(q.pending)
	}
	q.entered.Store(q.taken + int64(len(q.pending)))
	q.spare.Store(int64(spare))
}

// keepMax is the largest buffer that is kept for the next segment.
const keepMax = 256 << 10

// putDirect is put, or a direct call of the reader's handler.
func (q *queue) putDirect(r *proto.Record, room int) error {
	q.mu.Lock()
	if q.direct == nil || q.closed || q.handling || q.reading > 0 || len(q.pending) > 0 {
		defer q.mu.Unlock()
		return q.putLocked(r, room)
	}
	q.handling, q.record = true, *r
	q.mu.Unlock()
	q.endDirect(q.direct(&q.record))
	return nil
}

// endDirect ends a call of direct by a sender: the reader handles what has come
// meanwhile.
func (q *queue) endDirect(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.handling, q.record = false, proto.Record{}
	if err != nil {
		q.failed, q.closed = err, true
	}
	if q.closed || len(q.pending) > 0 {
		q.some.Signal()
	}
}

// setDirect lets senders call handle.
func (q *queue) setDirect(handle Handler) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.direct = handle
}

// failure is why the reader got no more.
func (q *queue) failure() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.failed != nil {
		return q.failed
	}
	return ErrClosed
}

// take waits for bytes and returns all of them; spare, the segment before, becomes
// the next buffer. It returns false at the end of the link.
func (q *queue) take(spare []byte) ([]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.reading > 0 {
		q.left.Store(q.taken)
		q.reading = 0
	}
	segment, some := q.takeLocked(spare)
	q.reading = len(segment)
	return segment, some
}

// takeToWrite is take for a writer, which calls wrote for the bytes that it has
// written.
func (q *queue) takeToWrite(spare []byte) ([]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	segment, some := q.takeLocked(spare)
	q.writing = len(segment)
	return segment, some
}

func (q *queue) takeLocked(spare []byte) ([]byte, bool) {
	if cap(spare) > keepMax {
		spare = nil
	}
	for q.handling || len(q.pending) == 0 && !q.closed {
		q.some.Wait()
	}
	if len(q.pending) == 0 {
		return nil, false
	}
	segment := q.pending
	q.pending = spare[:0]
	q.taken += int64(len(segment))
	q.publish()
	return segment, true
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
