package client

import (
	"slices"
	"sync"

	"cim/proto"
)

const (
	// eventsMax bounds the messages and changes of state that wait for the
	// user's functions, beside those that these work on. Then the connection is
	// not read.
	eventsMax = 256
	// eventsDueMax is the bound while something is being sent: a function that
	// waits for an outcome, which comes behind what is not read, must not wait
	// for itself.
	eventsDueMax = 4096
)

// item is a message, or a change of state if state is not 0.
type item struct {
	message Message
	state   State
	why     error
}

// lane is what happens in order, never two at once: the messages of one sender,
// or the changes of state.
type lane struct {
	states bool
	sender proto.UserID
}

func (i *item) lane() lane {
	if i.state != 0 {
		return lane{states: true}
	}
	return lane{sender: i.message.Sender.ID}
}

// inbox is what waits for the workers. Whoever reads the connection puts in.
type inbox struct {
	// abandoned is closed when nobody takes any more.
	abandoned chan struct{}

	mu      sync.Mutex
	some    sync.Cond // there may be something to take, or closed has changed
	room    sync.Cond // there may be room for one more
	due     int       // messages that are being sent
	waiting []*item   // in the order of their arrival
	busy    []lane    // that workers are at
	closed  bool      // nothing comes any more
	lost    int       // that nobody took
}

func newInbox() *inbox {
	b := &inbox{abandoned: make(chan struct{})}
	b.some.L, b.room.L = &b.mu, &b.mu
	return b
}

// put waits while as many wait as may, until there is room or the inbox is
// abandoned.
func (b *inbox) put(i *item) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.waiting) >= b.bound() && !b.isAbandoned() {
		b.room.Wait()
	}
	if b.isAbandoned() {
		b.lose(i)
		return
	}
	b.waiting = append(b.waiting, i)
	b.some.Signal()
}

// bound is how many may wait now. The caller holds mu.
func (b *inbox) bound() int {
	if b.due > 0 {
		return eventsDueMax
	}
	return eventsMax
}

// sending tells that one more message is being sent, or with -1 one less.
func (b *inbox) sending(change int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.due += change
	b.room.Broadcast() // during a move two connections are read
}

// take returns the first that waits whose lane is free. Behind it finish is
// called. It returns nil at the end.
func (b *inbox) take() *item {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		at := slices.IndexFunc(b.waiting, func(i *item) bool { return !slices.Contains(b.busy, i.lane()) })
		if at >= 0 {
			i := b.waiting[at]
			b.waiting = slices.Delete(b.waiting, at, at+1)
			b.busy = append(b.busy, i.lane())
			b.room.Signal()
			return i
		}
		if b.closed && len(b.waiting) == 0 {
			return nil
		}
		b.some.Wait()
	}
}

// finish frees the lane of what was taken.
func (b *inbox) finish(i *item) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := slices.Index(b.busy, i.lane())
	b.busy = slices.Delete(b.busy, at, at+1)
	if b.closed {
		b.some.Broadcast() // all that wait may have come to their end
		return
	}
	b.some.Signal()
}

// close tells that nothing comes any more.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.some.Broadcast()
}

// abandon throws away what waits, and what comes from now on.
func (b *inbox) abandon() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isAbandoned() {
		return
	}
	close(b.abandoned)
	for _, i := range b.waiting {
		b.lose(i)
	}
	b.waiting = nil
	b.some.Broadcast()
	b.room.Broadcast()
}

func (b *inbox) isAbandoned() bool {
	select {
	case <-b.abandoned:
		return true
	default:
		return false
	}
}

// lose counts a message that nobody takes. The caller holds mu.
func (b *inbox) lose(i *item) {
	if i.state == 0 {
		b.lost++
	}
}

// losses is how many messages nobody took.
func (b *inbox) losses() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lost
}

// work brings what arrives to the user's functions until there is nothing more.
// The last worker to end closes done.
func (c *Client) work() {
	for i := c.inbox.take(); i != nil; i = c.inbox.take() {
		c.bring(i)
		c.inbox.finish(i)
	}
	if c.workers.Add(-1) == 0 {
		close(c.done)
	}
}

func (c *Client) bring(i *item) {
	switch {
	case i.state != 0:
		if c.config.OnState != nil {
			c.config.OnState(i.state, i.why)
		}
	case c.config.OnMessage != nil:
		c.config.OnMessage(i.message)
	case c.config.Messages != nil:
		c.pass(i)
	}
}

// pass waits until the user's channel takes a message.
func (c *Client) pass(i *item) {
	select {
	case c.config.Messages <- i.message:
	case <-c.inbox.abandoned:
		c.inbox.mu.Lock()
		defer c.inbox.mu.Unlock()
		c.inbox.lose(i)
	}
}
