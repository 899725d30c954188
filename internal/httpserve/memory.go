package httpserve

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cim/internal/budget"
)

const (
	// smallBytes of a request, and of an answer, are in no budget: each connection
	// may hold as many, in its buffer.
	smallBytes = HeaderMax
	// BodiesBytesMax bounds what the requests of one listener and their answers
	// hold in memory together, beyond smallBytes each.
	BodiesBytesMax = 64 << 20
)

// errNoMemory is why a request is not read on.
var errNoMemory = errors.New("httpserve: the requests that are being read hold too much memory")

// memory is what the requests of a listener hold, and answers that their peers have
// not taken.
type memory struct {
	most   int64
	held   atomic.Int64   // <= most
	budget *budget.Budget // may be nil
	noted  atomic.Int64   // of held, when the budget was last told that it has grown

	mu      sync.Mutex // taken for long requests and answers only
	holders map[*occupant]bool
}

// take reports whether there was room for n bytes.
func (m *memory) take(n int64) bool {
	held := m.held.Add(n)
	if held > m.most {
		m.held.Add(-n)
		return false
	}
	if m.budget == nil {
		return true
	}
	if noted := m.noted.Load(); held-noted >= m.budget.Step() && m.noted.CompareAndSwap(noted, held) {
		m.budget.Grown()
	}
	return true
}

func (m *memory) give(n int64) { m.held.Add(-n) }

// enter lets one be ended for what it holds, since its peer is what it waits for.
func (m *memory) enter(one *occupant) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.holders[one] = true
}

// leave is enter's end. A second call changes nothing.
func (m *memory) leave(one *occupant) {
	if one.large.Load() == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.holders, one)
}

// reserve makes sure that the request and its answer may hold bytes in all. What
// it counts are the bytes that came and those that fasthttp has made room for. If
// there is no room, requests that take long to come in make way.
func (c *httpConn) reserve(bytes int) bool {
	more := int64(bytes-smallBytes) - c.reserved
	if more <= 0 {
		return true
	}
	if c.answers.wait() { // it may be ended for what it holds, and owes nothing then
		if err := c.Conn.SetReadDeadline(time.Now().Add(SendTimeout)); err != nil {
			return true // the next read says why
		}
	}
	if !c.conns.memory.take(more) {
		c.conns.endLarge(time.Now())
		if !c.conns.memory.take(more) {
			c.refused.Store(true)
			return false
		}
	}
	c.reserved += more
	c.large.Store(c.reserved)
	c.conns.memory.enter(c.occupant)
	return true
}

// release gives back what the request and its answer held. Only its own goroutine
// calls it, and reserve.
func (c *httpConn) release() {
	if c.got = 0; c.reserved == 0 {
		return
	}
	c.conns.memory.leave(c.occupant)
	c.conns.memory.give(c.reserved)
	c.reserved = 0
	c.large.Store(0)
}

// takeOwed returns what the request, of which the body has so many bytes, holds of
// the memory until its answer is written; Later keeps it. Behind others that are owed
// all of it counts; if there is no room for that, they are written first.
func (c *httpConn) takeOwed(body int) int64 {
	held := c.reserved
	c.reserved = 0
	c.large.Store(0)
	if more := int64(owedBytes + min(body, smallBytes)); c.answers.owes() {
		if c.conns.memory.take(more) {
			return held + more
		}
		c.answers.wait()
	}
	return held
}

// endLarge ends the connections whose requests hold memory of the budget and take
// long to come in.
func (c *conns) endLarge(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.relieved) < slowLook {
		return
	}
	c.relieved = now
	for one := range c.open {
		if one.large.Load() > 0 && one.phase == phaseReading && now.Sub(one.since) >= slowAfter {
			c.evictFor(one)
		}
	}
}

// evictFor ends a connection for the memory that it holds.
func (c *conns) evictFor(one *occupant) {
	one.evicted.Store(true)
	c.end(one.Conn)
	c.places.evicted(one.RemoteAddr())
}

// Held implements budget.Keeper: what long requests hold, and long answers that
// their peers have not taken. It takes no lock of a short request.
func (c *conns) Held() (sum, fresh, largest int64) {
	sum = c.memory.held.Load()
	c.memory.noted.Store(sum)
	for _, one := range c.memory.ofPeers() {
		largest = max(largest, one.large.Load())
	}
	return sum, 0, largest
}

// ofPeers are those that hold memory and wait for their peers.
func (m *memory) ofPeers() []*occupant {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*occupant, 0, len(m.holders))
	for one := range m.holders {
		if !one.evicted.Load() {
			all = append(all, one)
		}
	}
	return all
}

// Shed implements budget.Keeper. A request that has come in is left alone until it
// has its answer.
func (c *conns) Shed(bytes, floor int64) bool {
	type holder struct {
		*occupant
		size int64 // it changes meanwhile
	}
	var all []holder
	for _, one := range c.memory.ofPeers() {
		all = append(all, holder{one, one.large.Load()})
	}
	slices.SortFunc(all, func(a, b holder) int { return cmp.Compare(b.size, a.size) })
	for i, h := range all {
		if bytes <= 0 || i > 0 && h.size < floor {
			break
		}
		c.evictFor(h.occupant)
		bytes -= h.size
	}
	return true
}
