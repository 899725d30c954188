// Package admission assigns the places of one listener.
//
// A Table knows the listener's connections: the address of each, whether it is in
// use (a session, a request in progress, an authenticated link) or evictable
// (unauthenticated, or idle), and since when. While there are free places every
// connection is admitted. When there are none, a new connection takes the place of
// a victim:
//
//   - if unproved and idle connections of an address hold more than its share,
//     the longest evictable one of the address that has most of them;
//   - otherwise the longest evictable one of all.
//
// A connection in use is never a victim. If all are in use, the new connection is
// refused. The share applies only when no place is free, and never to connections
// in use, loopback or trusted proxies (Policy).
//
// A Table is a plain value: it has no lock, clock, goroutine or socket. Its owner
// guards it, and closes the victims. All calls are O(1), except for O(log n) in the
// number of addresses that hold more than their share.
//
// How a listener uses it, under its lock:
//
//	place, victim, result := table.Enter(addr, conn) // after accept
//	if victim != nil { victim.Conn.Close() }         // its own end calls Leave
//	...
//	if !table.Use(place) { return }                  // evicted meanwhile: do not begin
//	table.Idle(place)                                // the request is answered
//	...
//	table.Leave(place)                               // the connection has closed
package admission

import (
	"container/heap"
	"net/netip"
)

// Limits are the bounds of a Table.
type Limits struct {
	// Max is the number of places, at least 1.
	Max int
	// ClosingMax bounds the evicted connections that are not closed yet, at least
	// 1. So the owner holds at most Max + ClosingMax sockets, though closing takes
	// time. While that many are closing, new connections to a full Table are
	// refused.
	ClosingMax int
	// Policy divides the places of a full Table.
	Policy Policy
	// Shrinks: the owner sometimes has fewer places than Max, and calls Evict then.
	// With it Evict is O(1), and each call that changes the number of an address'
	// evictable connections is O(log n) in all addresses.
	Shrinks bool
}

// Result is the result of Enter.
type Result uint8

// The results.
const (
	Admitted    Result = iota
	Full               // refused: all connections are in use
	Closing            // refused: too many evicted connections are not closed yet
	ResultCount        // the number of results
)

// String names the result as metrics and logs do.
func (r Result) String() string {
	return [ResultCount]string{"admitted", "full", "closing"}[r]
}

// state of a place.
type state uint8

const (
	evictable state = iota // unproved or idle
	inUse
	closing // evicted, and has not left
	left
)

// Place is the place of one connection. Only its Table changes it.
type Place[C any] struct {
	// Conn is the argument of Enter.
	Conn C

	state state
	from  *address[C] // nil: exempt from the share
	queue *queue[C]   // while it is evictable, else nil
}

// queue is the position of an evictable connection. A connection in use, as a
// session is for days, has none.
type queue[C any] struct {
	oldest links[C] // in the Table's list
	own    links[C] // in the address' list
}

// sparesMax bounds the queues that a Table keeps for reuse, since connections
// become evictable and busy with each request.
const sparesMax = 64

// Table is the places of one listener. Make one with New.
type Table[C any] struct {
	limits Limits
	share  int // of one address, in connections
	ranked int // addresses with more evictable connections are in greedy: share, or 0 if Shrinks

	places    int // evictable or in use; <= limits.Max
	closing   int // <= limits.ClosingMax
	evictable list[C]
	addresses map[netip.Addr]*address[C] // addresses with connections in the Table, except exempt ones
	greedy    greedy[C]                  // the addresses above ranked
	spares    []*queue[C]                // <= sparesMax
}

// address is a source of connections.
type address[C any] struct {
	addr      netip.Addr
	conns     int     // that have not left
	evictable list[C] // of them
	rank      int     // in the heap; notGreedy: not there
}

// New returns an empty Table.
func New[C any](limits Limits) *Table[C] {
	t := &Table[C]{
		limits: limits, share: limits.Policy.ShareOf(limits.Max),
		evictable: list[C]{of: func(p *Place[C]) *links[C] { return &p.queue.oldest }},
		addresses: map[netip.Addr]*address[C]{},
	}
	if !limits.Shrinks {
		t.ranked = t.share
	}
	return t
}

// Enter gives a new connection from addr its place; the connection may be evicted
// until Use. If another connection is evicted for it, Enter returns that as victim,
// and the caller closes it: its place belongs to the new connection already, but it
// counts as closing until its own Leave. place is nil unless the result is
// Admitted.
func (t *Table[C]) Enter(addr netip.Addr, conn C) (place, victim *Place[C], result Result) {
	if t.places >= t.limits.Max {
		if victim, result = t.evict(); result != Admitted {
			return nil, nil, result
		}
	}
	place = &Place[C]{Conn: conn, state: evictable, from: t.arrive(addr)}
	t.places++
	t.list(place)
	return place, victim, Admitted
}

// Use marks the connection as in use: it is not evicted until Idle. It returns
// false if the connection has been evicted or has left: the caller must not begin
// its work.
func (t *Table[C]) Use(p *Place[C]) bool {
	if p.state == evictable {
		t.unlist(p)
		p.state = inUse
	}
	return p.state == inUse
}

// Idle marks a connection in use as evictable from now on. For any other connection
// it does nothing.
func (t *Table[C]) Idle(p *Place[C]) {
	if p.state == inUse {
		p.state = evictable
		t.list(p)
	}
}

// Leave frees the place of a closed connection, evicted or not. A second call does
// nothing.
func (t *Table[C]) Leave(p *Place[C]) {
	switch p.state {
	case evictable:
		t.unlist(p)
		t.places--
	case inUse:
		t.places--
	case closing:
		t.closing--
	case left:
		return
	}
	p.state = left
	t.depart(p)
}

// Evict frees the place of the connection that would be evicted if there were that
// many places in all, and returns it as having left; nil: all are in use. If places
// is less than Limits.Max, Limits.Shrinks must be set.
func (t *Table[C]) Evict(places int) *Place[C] {
	if t.evictable.len == 0 {
		return nil
	}
	victim := t.victim(t.limits.Policy.ShareOf(places))
	t.Leave(victim)
	return victim
}

// Oldest is the connection that has been evictable for the longest time; nil: all
// are in use.
func (t *Table[C]) Oldest() *Place[C] { return t.evictable.first }

// Held is the number of evictable connections of addr's address; 0 if the share
// does not apply to it.
func (t *Table[C]) Held(addr netip.Addr) int {
	if a := t.addresses[Source(addr)]; a != nil {
		return a.evictable.len
	}
	return 0
}

// Len is the number of connections that have a place, without victims.
func (t *Table[C]) Len() int { return t.places }

// Evictable is how many of them are unproved or idle.
func (t *Table[C]) Evictable() int { return t.evictable.len }

// Closing is the number of evicted connections that have not left.
func (t *Table[C]) Closing() int { return t.closing }

// evict evicts the victim.
func (t *Table[C]) evict() (*Place[C], Result) {
	switch {
	case t.evictable.len == 0:
		return nil, Full
	case t.closing >= t.limits.ClosingMax:
		return nil, Closing
	}
	victim := t.victim(t.share)
	t.unlist(victim)
	victim.state = closing
	t.places--
	t.closing++
	return victim, Admitted
}

// victim is the connection to evict, if there is an evictable one, given the share
// of an address.
func (t *Table[C]) victim(share int) *Place[C] {
	if len(t.greedy) > 0 && t.greedy[0].evictable.len > share {
		return t.greedy[0].evictable.first
	}
	return t.evictable.first
}

// arrive counts a connection from addr; nil if the share does not apply to it.
func (t *Table[C]) arrive(addr netip.Addr) *address[C] {
	if t.limits.Policy.Exempt(addr) {
		return nil
	}
	addr = Source(addr)
	a := t.addresses[addr]
	if a == nil {
		a = &address[C]{addr: addr, rank: notGreedy, evictable: list[C]{of: func(p *Place[C]) *links[C] { return &p.queue.own }}}
		t.addresses[addr] = a
	}
	a.conns++
	return a
}

func (t *Table[C]) depart(p *Place[C]) {
	if p.from == nil {
		return
	}
	if p.from.conns--; p.from.conns == 0 {
		delete(t.addresses, p.from.addr)
	}
}

// list makes p the youngest evictable connection.
func (t *Table[C]) list(p *Place[C]) {
	if last := len(t.spares) - 1; last >= 0 {
		p.queue, t.spares = t.spares[last], t.spares[:last]
	} else {
		p.queue = new(queue[C])
	}
	t.evictable.push(p)
	if p.from != nil {
		p.from.evictable.push(p)
		t.rankAgain(p.from)
	}
}

func (t *Table[C]) unlist(p *Place[C]) {
	t.evictable.remove(p)
	if p.from != nil {
		p.from.evictable.remove(p)
		t.rankAgain(p.from)
	}
	if len(t.spares) < sparesMax {
		t.spares = append(t.spares, p.queue) // removed from both lists, it points nowhere
	}
	p.queue = nil
}

// rankAgain updates the position of an address among the greedy ones after its
// count has changed.
func (t *Table[C]) rankAgain(a *address[C]) {
	above := a.evictable.len > t.ranked
	switch {
	case above && a.rank == notGreedy:
		heap.Push(&t.greedy, a)
	case above:
		heap.Fix(&t.greedy, a.rank)
	case a.rank != notGreedy:
		heap.Remove(&t.greedy, a.rank)
	}
}
