package server

import (
	"cim/internal/budget"
	"cim/internal/link"
	"cim/server/shard"
)

// joinBudget adds the server's connections to the memory budget.
func (s *Server) joinBudget() {
	for _, l := range s.loops {
		s.unjoin = append(s.unjoin, s.budget.Join(l))
	}
	s.unjoin = append(s.unjoin, s.budget.Join(&s.holders))
}

func (s *Server) leaveBudget() {
	for _, leave := range s.unjoin {
		leave()
	}
}

// Held implements budget.Keeper.
func (l *loop) Held() (sum, fresh, largest int64) {
	return l.gauge.held.Load(), 0, l.gauge.largest.Load()
}

// Shed implements budget.Keeper.
func (l *loop) Shed(bytes, floor int64) bool {
	if l.shedding.Swap(true) {
		return false
	}
	return l.mailbox.post(letter{kind: letterShed, value: uint64(bytes), id: uint64(floor)}, nil)
}

// noteHeld is called at the end of each visit. If the sessions hold much more than
// the gauge shows, it informs the budget at once.
func (l *loop) noteHeld() {
	if int64(l.shard.Memory())-l.gauge.held.Load() >= l.server.budget.Step() {
		l.publishHeld()
		l.server.budget.Grown()
	}
}

// shedOwn keeps the memory of this loop's sessions within the budget. The budget
// sheds too, but until it does, a loop that gives a broadcast to many slow readers
// would hold far more.
func (l *loop) shedOwn() { l.shard.ShedTo(int(l.server.budget.Limit())) }

func (l *loop) shed(bytes, floor int) {
	l.shard.Shed(bytes, floor)
	l.hasShed = true
}

// publishHeld publishes the memory of the sessions. It looks for the largest
// session only when more than half of the budget is used; until then it publishes
// an upper bound.
func (l *loop) publishHeld() {
	held := l.shard.Memory()
	largest := min(held, shard.UnsentBytesMax)
	if b := l.server.budget; largest > 0 && b.Held() > b.Limit()/2 {
		largest = l.shard.Largest()
	}
	l.gauge.held.Store(int64(held))
	l.gauge.largest.Store(int64(largest))
	if l.hasShed {
		l.hasShed = false
		l.shedding.Store(false)
	}
}

var _ = []budget.Keeper{(*loop)(nil), (*link.Holders)(nil)}
