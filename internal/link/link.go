// Package link is the stream between a route and a server: records in both
// directions, what waits sent together, nothing waited for.
//
// A Conn is one end. Send may be called by any goroutine, never blocks, and
// refuses what would pass the bound. Run is the end's reader: it calls the
// handler with each record that the other end sent, in order, until the link
// ends. Batches form by themselves: while Run handles one batch, the next one
// gathers.
package link

import (
	"context"
	"errors"
	"sync"

	"cim/proto"
)

var (
	// ErrFull refuses a record: as many bytes wait as may wait.
	ErrFull = errors.New("link: full, the other end is too slow")
	// ErrClosed is the end of a link: one of its ends was closed.
	ErrClosed = errors.New("link: closed")
)

// Handler is called with each record. The record and its bytes are valid until
// the handler returns. It must not block. An error ends the link.
type Handler func(r *proto.Record) error

// Conn is one end of a link.
type Conn struct {
	out *queue // what this end sends
	in  *queue // what the other end sent
}

// Pair returns the two ends of a link within one process: no socket and no
// copy between the sender's buffer and the reader's batch. waitingMax bounds
// the bytes that wait in each direction.
func Pair(waitingMax int) (a, b *Conn) {
	ab, ba := newQueue(waitingMax), newQueue(waitingMax)
	return &Conn{out: ab, in: ba}, &Conn{out: ba, in: ab}
}

// Send queues r for the other end. It returns ErrFull if r does not fit, and
// ErrClosed after the end.
func (c *Conn) Send(r *proto.Record) error { return c.out.put(r) }

// Waiting is how many bytes wait for the other end.
func (c *Conn) Waiting() int { return c.out.waiting() }

// Close ends the link for both ends. Records that the other end has not read
// yet it still reads.
func (c *Conn) Close() {
	c.out.close()
	c.in.close()
}

// Run calls handle with each record until the link ends, and then returns
// ErrClosed, the context's error or the handler's; the link is closed then.
// One goroutine runs it.
func (c *Conn) Run(ctx context.Context, handle Handler) error {
	stop := context.AfterFunc(ctx, c.Close)
	defer stop()
	defer c.Close()
	var batch []byte
	var r proto.Record // one for all: it escapes to the handler
	for {
		var ok bool
		if batch, ok = c.in.take(batch); !ok {
			if err := ctx.Err(); err != nil {
				return err
			}
			return ErrClosed
		}
		if err := each(batch, &r, handle); err != nil {
			return err
		}
	}
}

// each parses batch, which holds whole records, into r one by one.
func each(batch []byte, r *proto.Record, handle Handler) error {
	for len(batch) > 0 {
		n, err := proto.ParseRecord(batch, r)
		if err != nil {
			return err
		}
		if err := handle(r); err != nil {
			return err
		}
		batch = batch[n:]
	}
	return nil
}

// queue is the bytes of one direction. Senders fill one buffer while the
// reader works through the other.
type queue struct {
	waitingMax int

	mu      sync.Mutex
	some    sync.Cond // waiting is not empty, or closed
	pending []byte    // len <= waitingMax
	closed  bool
}

func newQueue(waitingMax int) *queue {
	q := &queue{waitingMax: waitingMax}
	q.some.L = &q.mu
	return q
}

func (q *queue) put(r *proto.Record) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	if len(q.pending)+proto.RecordSize(r) > q.waitingMax {
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
	if cap(spare) > keepMax {
		spare = nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
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

func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.pending)
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.some.Broadcast()
}
