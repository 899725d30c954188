package server

import (
	"errors"

	"cim/internal/budget"
	"cim/server/shard"
)

// errMemory is why a link ends that holds most of what all connections may hold
// in memory.
var errMemory = errors.New("server: memory: of all connections this link holds the most that its peer has not read")

// joinBudget has what the server's connections hold count.
func (s *Server) joinBudget() {
	for _, l := range s.loops {
		s.unjoin = append(s.unjoin, s.budget.Join(l))
	}
	s.unjoin = append(s.unjoin, s.budget.Join(&s.links))
}

func (s *Server) leaveBudget() {
	for _, leave := range s.unjoin {
		leave()
	}
}

// Held implements budget.Keeper.
func (l *loop) Held() (sum, largest int64) { return l.gauge.held.Load(), l.gauge.largest.Load() }

// Shed implements budget.Keeper.
func (l *loop) Shed(bytes, floor int64) bool {
	if l.shedding.Swap(true) {
		return false
	}
	return l.mailbox.post(letter{kind: letterShed, value: uint64(bytes), id: uint64(floor)}, nil)
}

func (l *loop) shed(bytes, floor int) {
	l.shard.Shed(bytes, floor)
	l.hasShed = true
}

// publishHeld shows what the sessions hold. Which one holds most is looked for
// only when the budget is nearly used up; until then it is not more than all.
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

// heldBy is what a link holds; 0 once it has been shed, or if it is within the
// process, where the route's end counts.
func (l *linkEnd) heldBy() int64 {
	if l.from == "" || l.shed.Load() {
		return 0
	}
	return int64(l.conn.Waiting())
}

// Held implements budget.Keeper.
func (l *links) Held() (sum, largest int64) {
	for _, end := range l.all() {
		held := end.heldBy()
		sum, largest = sum+held, max(largest, held)
	}
	return sum, largest
}

// Shed implements budget.Keeper. It ends one link, since routes are few, and
// what waits on a link is all that it will tell.
func (l *links) Shed(int64, int64) bool {
	var worst *linkEnd
	for _, end := range l.all() {
		if worst == nil || end.heldBy() > worst.heldBy() {
			worst = end
		}
	}
	if worst == nil || worst.heldBy() == 0 {
		return false
	}
	worst.shed.Store(true)
	worst.server.metrics.linksShed.Inc()
	worst.conn.CloseFor(errMemory)
	return true
}

var _ = []budget.Keeper{(*loop)(nil), (*links)(nil)}
