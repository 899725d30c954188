// Package link is the stream between a route and a server: records in both
// directions, what waits sent together, nothing waited for. Pair makes one
// within a process; Dial and Accept make one over TCP, whose ends have proved
// to each other that they know one secret.
//
// A Conn is one end. Send may be called by any goroutine, never blocks, and
// refuses what would pass the bound. Run is the end's reader: it calls the
// handler with each record that the other end sent, in order, until the link
// ends. Batches form by themselves: while one is handled or written, the next
// one gathers. Within a process SendDirect spares the reader where nothing waits:
// the sender's goroutine calls the handler of an end that RunDirect runs.
package link

import (
	"context"
	"errors"

	"cim/proto"
)

var (
	// ErrFull refuses a record: as many bytes wait as may wait.
	ErrFull = errors.New("link: full, the other end is too slow")
	// ErrClosed is the end of a link: one of its ends was closed.
	ErrClosed = errors.New("link: closed")
)

// WaitingMaxDefault is for a link that carries the messages of a whole server:
// it holds a burst of 30,000 texts of 128 bytes. Past it private messages are
// refused as busy and group messages before any part is sent.
const WaitingMaxDefault = 8 << 20

// ReservedRoom is how many bytes may wait beyond WaitingMax for SendReserved:
// the 128 KiB of broadcasts that a route reserves on each link before it sends
// any part of a group message, or one larger body, and the heads of as many
// records as it has under way.
const ReservedRoom = 192 << 10

// Handler is called with each record. The record and its bytes are valid until
// the handler returns. It must not block. An error ends the link.
type Handler func(r *proto.Record) error

// Conn is one end of a link. Whoever has it runs it, or closes it.
type Conn struct {
	out *queue  // what this end sends
	in  *queue  // what the other end sent; nil over TCP
	tcp *socket // nil in a Pair
}

// Pair returns the two ends of a link within one process: no socket and no
// copy between the sender's buffer and the reader's batch. waitingMax bounds
// the bytes that wait in each direction.
func Pair(waitingMax int) (a, b *Conn) {
	ab, ba := newQueue(waitingMax), newQueue(waitingMax)
	return &Conn{out: ab, in: ba}, &Conn{out: ba, in: ab}
}

// Send queues r for the other end. It returns ErrFull if more than WaitingMax
// bytes would wait then, and ErrClosed after the end.
func (c *Conn) Send(r *proto.Record) error { return c.out.put(r, 0) }

// SendReserved is Send for records whose room the caller has reserved in its
// own books: ReservedRoom more bytes may wait. While those books keep all that
// is sent so, until the other end has answered it, within ReservedRoom, it
// never finds a link full, however many records of Send wait.
func (c *Conn) SendReserved(r *proto.Record) error { return c.out.put(r, ReservedRoom) }

// Waiting is how many bytes wait for the other end: over TCP, until the socket
// has taken them.
func (c *Conn) Waiting() int { return c.out.waiting() }

// SendDirect is Send for a caller that holds no lock. If both ends are in this
// process, the other end is run by RunDirect, nothing waits there and its handler
// rests, the caller's goroutine calls the handler: no other one has to wake. So
// order is that of the calls of Send and SendDirect together.
func (c *Conn) SendDirect(r *proto.Record) error { return c.out.putDirect(r, 0) }

// SendReservedDirect is SendReserved and SendDirect in one.
func (c *Conn) SendReservedDirect(r *proto.Record) error { return c.out.putDirect(r, ReservedRoom) }

// Close ends the link for both ends, and does not wait. What was sent before,
// the other end still reads, and this end what the other had sent; over TCP
// for lingerMax, and this end only if it is run already.
func (c *Conn) Close() {
	if c.tcp != nil {
		c.tcp.close()
		return
	}
	c.out.close()
	c.in.close()
}

// CloseFor is Close, and Run returns why over TCP.
func (c *Conn) CloseFor(why error) {
	if c.tcp != nil {
		c.tcp.end(why)
		return
	}
	c.Close()
}

// Abort ends the link at once for the reason cause, which Run returns. Over TCP
// what has not been acknowledged by the other end's kernel never arrives there.
func (c *Conn) Abort(cause error) {
	if c.tcp == nil {
		c.Close()
		return
	}
	c.tcp.abort(cause)
}

// InProcess reports whether both ends are in this process.
func (c *Conn) InProcess() bool { return c.tcp == nil }

// Run calls handle with each record until the link ends, and then returns why:
// ErrClosed if an end was closed, the context's error, the handler's, or what
// failed; the link is closed then, and over TCP its socket. One goroutine runs
// it, once.
func (c *Conn) Run(ctx context.Context, handle Handler) error { return c.run(ctx, handle, false) }

// RunDirect is Run of an end whose handler may be called by the goroutines of
// SendDirect too, one at a time. It must not wait for any of the senders' locks.
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
	var batch []byte
	var r proto.Record // one for all: it escapes to the handler
	for {
		var ok bool
		if batch, ok = c.in.take(batch); !ok {
			return c.in.failure()
		}
		if _, err := each(batch, &r, handle); err != nil {
			return err
		}
	}
}

// each parses the whole records of batch into r one by one, and returns how
// many bytes they were.
func each(batch []byte, r *proto.Record, handle Handler) (used int, err error) {
	for used < len(batch) {
		n, err := proto.ParseRecord(batch[used:], r)
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
