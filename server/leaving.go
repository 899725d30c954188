package server

import (
	"context"
	"time"

	"cim/proto"
)

const (
	// moveEvery is how often some sessions are asked to move.
	moveEvery = 100 * time.Millisecond
	// moveLeast is the pace: 500 sessions a second, if the deadline does not
	// demand more. Each of them is a login at some route.
	moveLeast = 500 * int(moveEvery) / int(time.Second)
	// movedMax is how long clients that were asked last may take to move.
	movedMax = 3 * time.Second
)

// Leave says that the server goes down: it takes no more grants and logins, and
// each route is told, also one that links later. What is there is served on.
func (s *Server) Leave() {
	s.leaving.Store(true)
	for _, l := range s.links.all() {
		l.sendLeaving()
	}
}

func (l *linkEnd) sendLeaving() { l.send(&proto.Record{Kind: proto.RecordLeaving}) }

// Move asks the clients of ours to log in elsewhere, then ends the sessions of
// old clients softly, both at one pace that brings it to its end a second before
// ctx's deadline at the latest. It returns when nobody is left, when those that
// were asked have had the time to move, or with ctx: Drain ends who has not.
// Leave comes before it.
func (s *Server) Move(ctx context.Context) {
	m := mover{server: s, counts: make(chan int, 1), left: s.live()}
	m.ticker = time.NewTicker(moveEvery)
	defer m.ticker.Stop()
	m.each(ctx, letterMove)
	asked := m.done
	m.each(ctx, letterEndOld)
	s.log.Info("sessions have been asked to move, or ended", "asked", asked, "ended", m.done-asked, "late", ctx.Err() != nil)
	if asked > 0 {
		m.awaitMoved(ctx)
	}
}

// live is the number of sessions, as of the last tick.
func (s *Server) live() int { return int(s.sum(func(l *loop) int64 { return l.gauge.live.Load() })) }

// mover brings its word to all sessions of all loops, one loop after the other.
type mover struct {
	server *Server
	ticker *time.Ticker
	counts chan int // by the loop that was asked, how many it has done
	left   int      // sessions that were not dealt with, at most
	done   int      // sessions that were
	quota  int      // how many more may be before the next tick
}

// each has every loop do kind until it has done all, or ctx ends.
func (m *mover) each(ctx context.Context, kind letterKind) {
	for _, l := range m.server.loops {
		for more := true; more && ctx.Err() == nil; {
			if m.quota == 0 {
				m.nextTick(ctx)
			}
			more = m.ask(ctx, l, kind)
		}
	}
}

// ask has l do kind with as many sessions as may be, and reports whether there
// may be more.
func (m *mover) ask(ctx context.Context, l *loop, kind letterKind) (more bool) {
	if !l.mailbox.post(letter{kind: kind, requester: m, value: uint64(m.quota)}, nil) {
		m.quota = 0 // its mailbox is full: at the next tick
		return true
	}
	select {
	case n := <-m.counts:
		more = n == m.quota
		m.quota -= n
		m.done += n
		m.left = max(0, m.left-n)
		return more
	case <-ctx.Done():
		return false
	}
}

// answer implements asker.
func (m *mover) answer(_ uint64, _ proto.Verdict, value uint64) { m.counts <- int(value) }

func (m *mover) nextTick(ctx context.Context) {
	select {
	case <-m.ticker.C:
	case <-ctx.Done():
	}
	deadline, some := ctx.Deadline()
	if !some {
		m.quota = moveLeast
		return
	}
	m.quota = moveQuota(m.left, time.Until(deadline)-time.Second)
}

// moveQuota is how many of the sessions that are left are due now, with a time
// until all must have been dealt with.
func moveQuota(left int, until time.Duration) int {
	ticks := max(1, int(until/moveEvery))
	return max(moveLeast, (left+ticks-1)/ticks)
}

// awaitMoved waits for sessions to end, for movedMax at most. Each loop
// has ticked since the last was told.
func (m *mover) awaitMoved(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, movedMax)
	defer cancel()
	for range 2 {
		m.nextTick(ctx)
	}
	for m.server.live() > 0 && ctx.Err() == nil {
		m.nextTick(ctx)
	}
}
