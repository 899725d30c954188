package client

import (
	"slices"
	"sync"

	"cim/internal/received"
	"cim/proto"
)

const (
	// eventsMax bounds the messages and changes of state that wait for the
	// user's functions, beside those that these work on. Then the connection is
	// not read.
	eventsMax = 256
	// eventsDueMax is the bound while something is being sent. A function may wait for an outcome,
	// which arrives behind unread messages; it must not wait for itself.
	eventsDueMax = 4096
)

// item is a message, a change of state if state is not 0, or a gap if leftOut is
// not 0.
type item struct {
	message Message
	// marks are acknowledged once the message has been handled: its own, if it is counted, and
	// those of copies that arrived meanwhile. The inbox's mu guards them.
	marks []ackMark
	state State
	why   error
	// leftOut is how many group messages were left out.
	leftOut uint64
}

// orderKey names items that are handled in order, one at a time: the messages of one sender, or the
// changes of state and the gaps.
type orderKey struct {
	states bool
	sender proto.UserID
}

func (i *item) isMessage() bool { return i.state == 0 && i.leftOut == 0 }

func (i *item) orderKey() orderKey {
	if !i.isMessage() {
		return orderKey{states: true}
	}
	return orderKey{sender: i.message.Sender.ID}
}

// inbox holds the items that wait for the workers. The reader of the connection puts them in.
type inbox struct {
	// abandoned is closed when the workers take no more items.
	abandoned chan struct{}

	mu       sync.Mutex
	nonEmpty sync.Cond // there may be something to take, or closed has changed
	room     sync.Cond // there may be room for one more
	sendsDue int       // messages that are being sent
	waiting  []*item   // in the order of their arrival
	running  []*item   // that workers are at
	closed   bool      // nothing comes any more
	lost     int       // messages that were not taken

	arrivals received.Windows
	// What the server keeps, since it is not acknowledged.
	leaving bool          // counted texts that arrive are left to the server, waiting ones are handled
	refused bool          // the application has refused one: those that wait are left to it too
	counted int           // items with marks that wait or run, or are about to be acknowledged
	idle    chan struct{} // closed once counted is 0; nil: leave was not called
}

func newInbox() *inbox {
	b := &inbox{abandoned: make(chan struct{})}
	b.nonEmpty.L, b.room.L = &b.mu, &b.mu
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
	switch {
	case i.isCounted() && b.leavesCounted():
		return
	case b.isAbandoned():
		b.countLost(i)
		return
	case i.isCounted():
		b.counted++
	}
	b.waiting = append(b.waiting, i)
	b.nonEmpty.Signal()
}

func newItem(m Message, at ackMark) *item {
	i := &item{message: m}
	if at.isCounted() {
		i.marks = []ackMark{at}
	}
	return i
}

func (i *item) isCounted() bool { return len(i.marks) > 0 }

// leavesCounted reports whether counted texts that come are left to the server,
// which keeps them. The caller holds mu.
func (b *inbox) leavesCounted() bool { return b.leaving || b.refused || b.isAbandoned() }

// arrival is what becomes of a text that has come.
type arrival uint8

const (
	arrivalNew          arrival = iota // it is brought
	arrivalDuplicate                   // it has come before, and is done when the first copy is
	arrivalLeftToServer                // it is left to the server, which keeps it
)

// arrive decides what to do with m, whose mark is at.
func (b *inbox) arrive(m Message, at ackMark) arrival {
	what, first := b.classify(m, at)
	if what == arrivalDuplicate && first == nil {
		at.done()
	}
	return what
}

// classify is arrive, with the first copy if that has not been brought to its end:
// at is done with it then.
func (b *inbox) classify(m Message, at ackMark) (what arrival, first *item) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case at.isCounted() && b.leavesCounted():
		return arrivalLeftToServer, nil
	case m.ID == 0 || !b.arrivals.Again(m.Sender.ID, m.ID):
		return arrivalNew, nil
	}
	if first = b.unfinished(m); first != nil && at.isCounted() {
		if !first.isCounted() {
			b.counted++
		}
		first.marks = append(first.marks, at)
	}
	return arrivalDuplicate, first
}

// unfinished is the item of m that waits or runs; nil if there is none. The
// caller holds mu.
func (b *inbox) unfinished(m Message) *item {
	same := func(i *item) bool { return i.isMessage() && i.message.ID == m.ID && i.message.Sender.ID == m.Sender.ID }
	for _, items := range [][]*item{b.running, b.waiting} {
		if at := slices.IndexFunc(items, same); at >= 0 {
			return items[at]
		}
	}
	return nil
}

// bound is how many may wait now. The caller holds mu.
func (b *inbox) bound() int {
	if b.sendsDue > 0 {
		return eventsDueMax
	}
	return eventsMax
}

// addSends changes the number of messages that are being sent.
func (b *inbox) addSends(change int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sendsDue += change
	b.room.Broadcast() // during a move two connections are read
}

// take returns the first waiting item whose key is free. The caller calls finish afterwards. take
// returns nil at the end.
func (b *inbox) take() *item {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if at := slices.IndexFunc(b.waiting, b.isFree); at >= 0 {
			i := b.waiting[at]
			b.waiting = slices.Delete(b.waiting, at, at+1)
			b.running = append(b.running, i)
			b.room.Signal()
			return i
		}
		if b.closed && len(b.waiting) == 0 {
			return nil
		}
		b.nonEmpty.Wait()
	}
}

// isFree reports whether no running item has the key of i. The caller holds mu.
func (b *inbox) isFree(i *item) bool {
	return !slices.ContainsFunc(b.running, func(other *item) bool { return other.orderKey() == i.orderKey() })
}

// finish frees the key of i. If i was handled to its end, its marks are acknowledged.
func (b *inbox) finish(i *item, brought bool) {
	marks := b.release(i)
	if len(marks) == 0 {
		return
	}
	if brought {
		for _, m := range marks {
			m.done()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counted--
	b.settle()
}

// release frees the key of i, and returns the marks to acknowledge.
func (b *inbox) release(i *item) []ackMark {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := slices.Index(b.running, i)
	b.running = slices.Delete(b.running, at, at+1)
	if b.closed {
		b.nonEmpty.Broadcast() // all that wait may have come to their end
	} else {
		b.nonEmpty.Signal()
	}
	return i.marks
}

// leave makes the inbox leave counted texts to the server from now on. The channel is closed once
// all earlier ones have been handled and acknowledged, or are given up.
func (b *inbox) leave() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leaving = true
	if b.idle == nil {
		b.idle = make(chan struct{})
		b.settle()
	}
	return b.idle
}

// settle closes idle once nothing counted is left. The caller holds mu.
func (b *inbox) settle() {
	if b.counted > 0 || b.idle == nil {
		return
	}
	select {
	case <-b.idle:
	default:
		close(b.idle)
	}
}

// refuse leaves all counted texts to the server from now on.
func (b *inbox) refuse() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused = true
}

// isRefused reports whether i is left to the server.
func (b *inbox) isRefused(i *item) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refused && i.isCounted()
}

// close marks that no more items arrive.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.nonEmpty.Broadcast()
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
		b.countLost(i)
		if i.isCounted() {
			b.counted--
		}
	}
	b.waiting = nil
	b.settle()
	b.nonEmpty.Broadcast()
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

// countLost counts a message that is not taken, unless the server keeps it. The caller holds mu.
func (b *inbox) countLost(i *item) {
	if i.isMessage() && !i.isCounted() {
		b.lost++
	}
}

// losses is how many messages were not taken.
func (b *inbox) losses() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lost
}

// work passes items to the application's functions until the inbox ends. The last worker to end
// closes done.
func (c *Client) work() {
	for i := c.inbox.take(); i != nil; i = c.inbox.take() {
		c.inbox.finish(i, c.dispatch(i))
	}
	if c.workers.Add(-1) == 0 {
		close(c.done)
	}
}

// dispatch reports whether i has been brought to its end: so it need not come
// again.
func (c *Client) dispatch(i *item) bool {
	switch {
	case i.state != 0:
		if c.config.OnState != nil {
			c.config.OnState(i.state, i.why)
		}
	case i.leftOut != 0:
		if c.config.OnLeftOut != nil {
			c.config.OnLeftOut(i.leftOut)
		}
	case c.inbox.isRefused(i):
		return false
	case c.hasSeen(i.message):
		c.dropDuplicate(i.message)
	default:
		return c.dispatchMessage(i)
	}
	return true
}

// hasSeen asks the application, if it remembers texts.
func (c *Client) hasSeen(m Message) bool {
	return c.config.Seen != nil && m.ID != 0 && c.config.Seen(m.Sender.ID, m.ID)
}

func (c *Client) dispatchMessage(i *item) bool {
	switch {
	case c.config.OnMessage != nil:
		c.config.OnMessage(i.message)
	case c.config.Accept != nil:
		if !c.config.Accept(i.message) {
			c.inbox.refuse()
			return false
		}
	case c.config.Messages != nil:
		return c.pass(i)
	}
	return true
}

// pass waits until the user's channel takes a message.
func (c *Client) pass(i *item) bool {
	select {
	case c.config.Messages <- i.message:
		return true
	case <-c.inbox.abandoned:
		c.inbox.mu.Lock()
		defer c.inbox.mu.Unlock()
		c.inbox.countLost(i)
		return false
	}
}
