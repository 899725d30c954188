// Package link is the stream between a route and a server: records in both
// directions, sent together if several wait, without waiting for more. Pair makes
// one within a process; Dial and Accept make one over TCP, whose ends prove to each
// other that they know one secret.
//
// A Conn is one end. Send may be called by any goroutine, never blocks, and refuses
// records beyond its bound. Run is the end's reader: it calls the handler with each
// record that the other end sent, in order, until the link ends. Segments form by
// themselves: while one is handled or written, the next one gathers. Within a
// process, SendDirect bypasses the reader if nothing is queued: the sender's
// goroutine calls the handler of an end that uses RunDirect.
package link

import (
	"context"
	"errors"

	"cim/proto"
)

var (
	// ErrFull refuses a record: the queue has reached its bound.
	ErrFull = errors.New("link: full, the other end is too slow")
	// ErrClosed is the end of a link: one of its ends was closed.
	ErrClosed = errors.New("link: closed")
)

// WaitingMaxDefault is for a link with the messages of a whole server: it holds a
// burst of 30,000 texts of 128 bytes. Above it private messages are refused as busy
// and group messages before any part is sent.
const WaitingMaxDefault = 8 << 20

// ReservedRoom is how many bytes may be queued beyond WaitingMax by SendReserved:
// the 128 KiB of broadcasts that a route reserves on each link before it sends any
// part of a group message, or one larger body, and the heads of all records that it
// has under way.
const ReservedRoom = 192 << 10

// Handler is called with each record. The record and its bytes are valid until the
// handler returns. It must not block. An error ends the link.
type Handler func(r *proto.Record) error

// Conn is one end of a link. Its owner runs it, or closes it.
type Conn struct {
	out *queue  // what this end sends
	in  *queue  // what the other end sent; nil over TCP
	tcp *socket // nil in a Pair
}

// Pair returns the two ends of a link within one process: no socket and no copy
// between the sender's buffer and the reader's segment. waitingMax bounds the queued
// bytes in each direction.
func Pair(waitingMax int) (a, b *Conn) {
	ab, ba := newQueue(waitingMax), newQueue(waitingMax)
	return &Conn{out: ab, in: ba}, &Conn{out: ba, in: ab}
}

// Send queues r for the other end. It returns ErrFull if more than WaitingMax bytes
// would be queued, and ErrClosed after the end.
func (c *Conn) Send(r *proto.Record) error { return c.out.put(r, 0) }

// SendReserved is Send for records whose room the caller has reserved in its own
// accounting: ReservedRoom more bytes may be queued. While the caller keeps all
// unanswered records of SendReserved within ReservedRoom, it never finds a link
// full, however many records of Send are queued.
func (c *Conn) SendReserved(r *proto.Record) error { return c.out.put(r, ReservedRoom) }

// Waiting is the number of queued bytes: over TCP, until the socket has taken them.
func (c *Conn) Waiting() int { return c.out.waiting() }

// SendDirect is Send for a caller that holds no lock. If both ends are in this
// process, the other end uses RunDirect, its queue is empty and its handler idle,
// the caller's goroutine calls the handler, so that no other goroutine must wake.
// The order is that of the calls of Send and SendDirect together.
func (c *Conn) SendDirect(r *proto.Record) error { return c.out.putDirect(r, 0) }

// SendReservedDirect combines SendReserved and SendDirect.
func (c *Conn) SendReservedDirect(r *proto.Record) error { return c.out.putDirect(r, ReservedRoom) }

// Close ends the link for both ends, and does not wait. The other end still reads
// what was sent before, and this end what the other had sent; over TCP for
// lingerMax, and this end only if it is running already.
func (c *Conn) Close() {
	if c.tcp != nil {
		c.tcp.close()
		return
	}
	c.out.close()
	c.in.close()
}

// CloseFor is Close; over TCP, Run returns why.
func (c *Conn) CloseFor(why error) {
	if c.tcp != nil {
		c.tcp.end(why)
		return
	}
	c.Close()
}

// Abort ends the link at once for the reason cause, which Run returns. Over TCP,
// data that the other end's kernel has not acknowledged never arrives.
func (c *Conn) Abort(cause error) {
	if c.tcp == nil {
		c.Close()
		return
	}
	c.tcp.abort(cause)
}

// InProcess reports whether both ends are in this process.
func (c *Conn) InProcess() bool { return c.tcp == nil }

// Run calls handle with each record until the link ends, and returns the reason:
// ErrClosed if an end was closed, the context's error, the handler's, or that of a
// failure; the link, and over TCP its socket, is closed then. One goroutine runs
// it, once.
func (c *Conn) Run(ctx context.Context, handle Handler) error { return c.run(ctx, handle, false) }

// RunDirect is Run for an end whose handler may also be called by the goroutines of
// SendDirect, one at a time. The handler must not wait for a lock of a sender.
func (c *Conn) RunDirect(ctx context.Context, handle Handler) error { return c.run(ctx, handle, true) }

func (c *Conn) run(ctx context.Context, handle Handler, direct bool) error {
	stop := context.AfterFunc(ctx, c.Close)
	defer stop()
	var err error
	if c.tcp != nil {
		err = c.tcp.run(handle)
	} else {
		err = c.runPair(handle, direct)
	}
	if errors.Is(err, ErrClosed) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (c *Conn) runPair(handle Handler, direct bool) error {
	defer c.Close()
	if direct {
		c.in.setDirect(handle)
	}
	var segment []byte
	var r proto.Record // one for all: it escapes to the handler
	for {
		var ok bool
		if segment, ok = c.in.take(segment); !ok {
			return c.in.failure()
		}
		if _, err := each(segment, &r, handle); err != nil {
			return err
		}
	}
}

// each parses the whole records of segment into r one by one, and returns how many
// bytes they took.
func each(segment []byte, r *proto.Record, handle Handler) (used int, err error) {
	for used < len(segment) {
		n, err := proto.ParseRecord(segment[used:], r)
		if err != nil || n == 0 {
			return used, err
		}
		if err := handle(r); err != nil {
			return used, err
		}
		used += n
	}
	return used, nil
}
