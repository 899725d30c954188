package server

import (
	"sync"
	"sync/atomic"

	"cim/proto"
)

// pair is a sender and a receiver; receiver 0 is all users.
type pair struct{ sender, receiver proto.UserID }

// pairs counts, for each pair, the messages that are with a route, and the messages
// that cross to another loop: they wait in the mailbox of the receiver's loop.
type pairs struct {
	total    atomic.Int64 // with routes, over all pairs, so that the usual check takes no lock
	crossers atomic.Int64 // crossing, over all pairs; likewise

	mu       sync.Mutex
	counts   map[pair]int
	crossing map[pair]crossing
}

// crossing is the messages of a pair that wait in a mailbox: all in the same one,
// so that they stay in order.
type crossing struct {
	loop  uint16
	count int
}

// withRoute reports whether a message from sender to receiver, or a group message
// of sender, is with a route.
func (p *pairs) withRoute(sender, receiver proto.UserID) bool {
	if p.total.Load() == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[pair{sender, receiver}] > 0 || p.counts[pair{sender, 0}] > 0
}

func (p *pairs) add(which pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counts == nil {
		p.counts = make(map[pair]int)
	}
	p.counts[which]++
	p.total.Add(1)
}

func (p *pairs) remove(which pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counts[which]--; p.counts[which] == 0 {
		delete(p.counts, which)
	}
	p.total.Add(-1)
}

// cross notes that a message of the pair crosses to the loop to, and returns the
// loop that it must go to: if earlier messages of the pair are still crossing, that
// is their loop.
func (p *pairs) cross(which pair, to uint16) uint16 {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, some := p.crossing[which]
	if some {
		to = before.loop
	}
	p.enter(which, crossing{to, before.count + 1})
	return to
}

// follow is cross if an earlier message of the pair is still crossing; otherwise it
// reports false.
func (p *pairs) follow(which pair) (to uint16, some bool) {
	if p.crossers.Load() == 0 {
		return 0, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before, some := p.crossing[which]
	if some {
		p.enter(which, crossing{before.loop, before.count + 1})
	}
	return before.loop, some
}

// enter sets the crossing messages of which. The caller holds mu.
func (p *pairs) enter(which pair, now crossing) {
	if p.crossing == nil {
		p.crossing = make(map[pair]crossing)
	}
	p.crossing[which] = now
	p.crossers.Add(1)
}

// crossed notes that a message of the pair has left the mailbox.
func (p *pairs) crossed(which pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, some := p.crossing[which]
	if !some {
		panic("server: a SEND that was not counted has crossed")
	}
	if now.count--; now.count == 0 {
		delete(p.crossing, which)
	} else {
		p.crossing[which] = now
	}
	p.crossers.Add(-1)
}
