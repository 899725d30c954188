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
	// smallBytes of a request, and of an answer, do not count in the budget: each
	// connection may hold that much in its buffer.
	smallBytes = HeaderMax
	// BodiesBytesMax bounds the memory of all requests of one listener and their
	// answers, beyond smallBytes each.
	BodiesBytesMax = 64 << 20
)

// errNoMemory: the request is not read on.
var errNoMemory = errors.New("httpserve: the requests that are being read hold too much memory")

// memory is what the requests of a listener hold, and answers that their peers have
// not taken.
type memory struct {
	most   int64
	held   atomic.Int64   // <= most
	budget *budget.Budget // may be nil
	noted  atomic.Int64   // held when the budget's Grown was last called

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

// addHolder allows one to be ended for its memory, since it waits for its peer.
func (m *memory) addHolder(one *occupant) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.holders[one] = true
}

// removeHolder undoes enter. A second call does nothing.
func (m *memory) removeHolder(one *occupant) {
	if one.large.Load() == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.holders, one)
}

// reserve makes sure that the request and its answer may hold bytes in all. It
// counts received bytes and the buffers that fasthttp has made for them. If there
// is no room, slow requests are ended.
func (c *httpConn) reserve(bytes int) bool {
	more := int64(bytes-smallBytes) - c.reserved
	if more <= 0 {
		return true
	}
	if c.answers.wait() { // it may be ended for its memory, and owes no answer then
		if err := c.Conn.SetReadDeadline(time.Now().Add(SendTimeout)); err != nil {
			return true // the next read reports why
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
	c.conns.memory.addHolder(c.occupant)
	return true
}

// release frees what the request and its answer held. Only its own goroutine calls
// release and reserve.
func (c *httpConn) release() {
	if c.got = 0; c.reserved == 0 {
		return
	}
	c.conns.memory.removeHolder(c.occupant)
	c.conns.memory.give(c.reserved)
	c.reserved = 0
	c.large.Store(0)
}

// takeOwed returns the memory that the request, with a body of that size, holds
// until its answer is written; Later keeps it. Behind other owed answers all of it
// counts; if there is no room for that, those are written first.
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

// endLarge ends connections with slow requests that hold memory of the budget.
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

// evictFor ends a connection for its memory.
func (c *conns) evictFor(one *occupant) {
	one.evicted.Store(true)
	c.end(one.Conn)
	c.places.evicted(one.RemoteAddr())
}

// Held implements budget.Keeper: the memory of long requests, and of long answers
// that their peers have not taken. It takes no lock of a short request.
func (c *conns) Held() (sum, fresh, largest int64) {
	sum = c.memory.held.Load()
	c.memory.noted.Store(sum)
	for _, one := range c.memory.ofPeers() {
		largest = max(largest, one.large.Load())
	}
	return sum, 0, largest
}

// ofPeers are the connections that hold memory and wait for their peers.
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

// Shed implements budget.Keeper. It spares a complete request until its answer.
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
