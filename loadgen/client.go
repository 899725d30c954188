package loadgen

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"cim/proto"
)

var (
	errClosed     = errors.New("the connection is closed")
	errShortWrite = errors.New("the socket took only part of a frame, its buffer is full")
)

// client is one simulated user with its connection.
type client struct {
	// Fixed before the login.
	index   int // in its fleet
	route   int // in Config.Routes
	user    proto.User
	dialect proto.Dialect
	tail    string // what ends every delivery to this user, as deliveryTail says
	lane    *lane

	// loggedIn gets one value: nil at the first pong, or why there was none.
	loggedIn chan error

	// Owner: the lane, under its lock.
	partial   []byte   // the beginning of a frame, without its end
	next      []uint32 // of each slot that this client hears, from firstSlot on: the sequence due next
	firstSlot uint32
	ownSlot   *slot        // that this client sends for, or nil
	ended     bool         // the connection ended before the fleet's end
	reason    proto.Reason // of the CLOSE frame, if one came

	// Under mu. Nobody else writes to the socket, so a frame is written whole
	// or never again.
	mu   sync.Mutex
	fd   int
	open bool
}

// write sends one whole frame without waiting. Any goroutine may call it.
func (c *client) write(frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return errClosed
	}
	n, err := unix.Write(c.fd, frame)
	if err == nil && n == len(frame) {
		return nil
	}
	c.open = false
	if err == nil {
		err = errShortWrite
	}
	return fmt.Errorf("write to the server: %w", err)
}

// appendLogin appends the first frame of c's connection.
func (c *client) appendLogin(dst []byte, ticket proto.Ticket) []byte {
	if c.dialect == proto.DialectV1 {
		return proto.AppendV1Login(dst, c.user)
	}
	return proto.AppendLogin(dst, c.user, c.dialect, ticket)
}

// appendPing appends a heartbeat in c's dialect.
func (c *client) appendPing(dst []byte) []byte {
	if c.dialect == proto.DialectV1 {
		return proto.AppendV1Ping(dst, c.user.ID)
	}
	return append(dst, proto.Ping...)
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

// answerLogin tells the one who waits for the login; only the first word
// counts.
func (c *client) answerLogin(err error) {
	select {
	case c.loggedIn <- err:
	default:
	}
}

// deliveryTail is what AppendDelivery puts behind every body for receiver.
func deliveryTail(receiver proto.UserID) string {
	delivery := proto.AppendDelivery(nil, nil, receiver)
	frame, _, _ := proto.NextFrame(delivery, proto.FrameMax)
	return string(frame)
}
