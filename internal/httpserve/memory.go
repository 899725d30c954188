package httpserve

import (
	"cmp"
	"errors"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// smallBytes of a request are in no budget: each connection may hold as many,
	// its buffer and a small body.
	smallBytes = 2 * HeaderMax
	// BodiesBytesMax bounds what the requests of one listener hold in memory
	// together, beyond smallBytes each.
	BodiesBytesMax = 64 << 20
)

// errNoMemory is why a request is not read on.
var errNoMemory = errors.New("httpserve: the requests that are being read hold too much memory")

// memory is what the requests of a listener hold.
type memory struct {
	most int64
	held atomic.Int64 // <= most
}

// take reports whether there was room for n bytes.
func (m *memory) take(n int64) bool {
	if m.held.Add(n) > m.most {
		m.held.Add(-n)
		return false
	}
	return true
}

func (m *memory) give(n int64) { m.held.Add(-n) }

// reserve makes sure that the request may hold bytes in all. What it counts are
// the bytes that came and those that fasthttp has made room for. If there is
// no room, requests that take long to come in make way.
func (c *httpConn) reserve(bytes int) bool {
	more := int64(bytes-smallBytes) - c.reserved
	if more <= 0 {
		return true
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
	return true
}

// release gives back what the request held. Only its own goroutine calls it, and
// reserve.
func (c *httpConn) release() {
	c.conns.memory.give(c.reserved)
	c.reserved, c.got = 0, 0
	c.large.Store(0)
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
			c.evictReading(one)
		}
	}
}

// evictReading ends a connection whose request comes in. The caller holds the lock.
func (c *conns) evictReading(one *occupant) {
	one.evicted.Store(true)
	c.end(one.Conn)
	c.places.evicted(one.RemoteAddr())
}

// Held implements budget.Keeper: what requests hold that have not come in
// completely.
func (c *conns) Held() (sum, largest int64) {
	sum = c.memory.held.Load()
	if sum == 0 {
		return 0, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for one := range c.open {
		if one.phase == phaseReading && !one.evicted.Load() {
			largest = max(largest, one.large.Load())
		}
	}
	return sum, largest
}

// Shed implements budget.Keeper. A request that has come in is left alone.
func (c *conns) Shed(bytes, floor int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var coming []*occupant
	for one := range c.open {
		if one.phase == phaseReading && !one.evicted.Load() && one.large.Load() > 0 {
			coming = append(coming, one)
		}
	}
	slices.SortFunc(coming, func(a, b *occupant) int { return cmp.Compare(b.large.Load(), a.large.Load()) })
	for i, one := range coming {
		size := one.large.Load()
		if bytes <= 0 || i > 0 && size < floor {
			break
		}
		c.evictReading(one)
		bytes -= size
	}
	return true
}
