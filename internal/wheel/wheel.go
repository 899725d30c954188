// Package wheel is a hashed timing wheel (Varghese and Lauck, 1987, scheme 6) for
// one timer per item, driven by ticks.
//
// A Wheel has one owner. It reads no clock: Advance sets its time. Items are small
// numbers, like the slots of a session table; the wheel uses 16 bytes for each
// number up to the largest in use. A timer that is often postponed is not moved:
// its owner checks when it fires, and sets it again.
package wheel

// Tick is the wheel's unit of time. The caller of Advance decides its length.
type Tick uint32

// buckets is the span of the wheel in ticks, a power of two; a timer further away
// is visited once a turn until it is due.
const buckets = 1024

// dueList is the list of the items that are due now; it follows those of the
// buckets.
const dueList = buckets

// none ends a list, and is the bucket of an item without a timer.
const none = ^uint32(0)

// Wheel holds at most one timer for each item. The zero Wheel is not usable.
type Wheel struct {
	now   Tick
	heads [buckets + 1]uint32
	nodes []node
}

// node is one item's place in the list of its bucket.
type node struct {
	next, prev uint32
	bucket     uint32
	at         Tick
}

// New returns a wheel whose time is now.
func New(now Tick) *Wheel {
	w := &Wheel{now: now}
	for i := range w.heads {
		w.heads[i] = none
	}
	return w
}

// Set sets item's timer to the tick at, and replaces an earlier one. A time in the
// past is due at the next tick.
func (w *Wheel) Set(item uint32, at Tick) {
	for uint32(len(w.nodes)) <= item {
		w.nodes = append(w.nodes, node{bucket: none})
	}
	w.Cancel(item)
	if at <= w.now {
		at = w.now + 1
	}
	w.push(item, uint32(at)%buckets, at)
}

// push puts an item that is in no list at the head of one.
func (w *Wheel) push(item, bucket uint32, at Tick) {
	head := w.heads[bucket]
	w.nodes[item] = node{next: head, prev: none, bucket: bucket, at: at}
	if head != none {
		w.nodes[head].prev = item
	}
	w.heads[bucket] = item
}

// Cancel removes item's timer, if it is set.
func (w *Wheel) Cancel(item uint32) {
	if uint32(len(w.nodes)) <= item || w.nodes[item].bucket == none {
		return
	}
	n := &w.nodes[item]
	if n.prev == none {
		w.heads[n.bucket] = n.next
	} else {
		w.nodes[n.prev].next = n.next
	}
	if n.next != none {
		w.nodes[n.next].prev = n.prev
	}
	n.bucket = none
}

// Advance moves the time on to now, and calls due with each item whose timer has
// fired and is removed. due may set and cancel timers, also its own item's. A jump
// over many turns costs no more than one turn.
func (w *Wheel) Advance(now Tick, due func(item uint32)) {
	from := w.now + 1
	if now >= from && now-from >= buckets {
		from = now - buckets + 1
	}
	for t := from; t <= now; t++ {
		w.now = t
		w.expire(uint32(t)%buckets, now, due)
	}
}

// expire moves the due items to a list of their own before it calls due, so that it
// visits neither timers that due sets nor timers of a later turn twice.
func (w *Wheel) expire(bucket uint32, now Tick, due func(item uint32)) {
	for item := w.heads[bucket]; item != none; {
		n := w.nodes[item]
		if n.at <= now {
			w.Cancel(item)
			w.push(item, dueList, n.at)
		}
		item = n.next
	}
	for w.heads[dueList] != none {
		item := w.heads[dueList]
		w.Cancel(item)
		due(item)
	}
}
