package loadgen

import (
	"errors"
	"fmt"
	"sync"

	"cim/proto"
)

var (
	errClosed     = errors.New("the connection is closed")
	errShortWrite = errors.New("the socket took only part of a frame, its buffer is full")
)

// noSlot is no slot's number.
const noSlot = 1<<32 - 1

// client is one simulated user with its connection.
type client struct {
	// Fixed before the login.
	index int        // in its fleet
	route int        // in Config.Routes
	user  proto.User // without an id in systems other than ours
	loop  *eventLoop

	// loggedIn gets one value: nil once the session is ready, or why there was none.
	loggedIn chan error
	// gone gets one value when a connection that was cut has ended.
	gone chan struct{}

	// Owned by the event loop, under its lock.
	next        []uint32     // of each group slot: the sequence due next
	privateSlot uint32       // the private slot that this client receives, or noSlot
	privateNext uint32       // its sequence due next
	copies      *copies      // of what came of that slot; nil: of no interest
	ownSlot     *slot        // that this client sends for, or nil
	leaving     bool         // it was cut on purpose
	ended       bool         // the connection ended before the fleet's end
	moved       bool         // it was asked to log in elsewhere, by a MOVE frame
	reason      proto.Reason // of the CLOSE frame, if one came

	// Under mu. There is no other writer, so a frame is written whole or not at all.
	mu      sync.Mutex
	fd      int
	open    bool
	session Session // set at a login, before the connection exists
}

// write sends whole items without waiting. Any goroutine may call it.
func (c *client) write(frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return errClosed
	}
	n, err := writeSocket(c.fd, frame)
	if err == nil && n == len(frame) {
		return nil
	}
	c.open = false
	if err == nil {
		err = errShortWrite
	}
	return fmt.Errorf("write to the server: %w", err)
}

// ping writes a heartbeat, if c is connected.
func (c *client) ping() error {
	c.mu.Lock()
	open, session := c.open, c.session
	c.mu.Unlock()
	if !open {
		return errClosed
	}
	return c.write(session.AppendPing(nil))
}

// begin prepares c for a login.
func (c *client) begin(session Session) {
	select {
	case <-c.loggedIn:
	default:
	}
	c.loop.mu.Lock()
	c.leaving, c.moved, c.reason = false, false, proto.ReasonNone
	c.loop.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = session
}

func (c *client) opened(fd int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fd, c.open = fd, true
}

func (c *client) closed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = false
}

// endLogin passes the result to the goroutine that waits for the login; only the first one counts.
func (c *client) endLogin(err error) {
	select {
	case c.loggedIn <- err:
	default:
	}
}
