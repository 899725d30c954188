package server

import (
	"context"
	"time"

	"cim/proto"
)

const (
	// moveEvery is how often a group of sessions is asked to move.
	moveEvery = 100 * time.Millisecond
	// moveLeast is the pace: 500 sessions a second, unless the deadline demands
	// more. Each of them is a login at some route.
	moveLeast = 500 * int(moveEvery) / int(time.Second)
	// movedMax is how long the clients that were asked last may take to move.
	movedMax = 3 * time.Second
)

// Leave announces that the server goes down: it refuses grants and logins, and each
// route gets a RecordLeaving, also a route that links later. Existing sessions are
// served on.
func (s *Server) Leave() {
	s.leaving.Store(true)
	for _, l := range s.links.all() {
		l.sendLeaving()
	}
}

func (l *linkEnd) sendLeaving() { l.send(&proto.Record{Kind: proto.RecordLeaving}) }

// Move asks the clients of our dialect to log in elsewhere, then ends the sessions
// of old clients softly, at a pace that finishes a second before ctx's deadline at
// the latest. It returns when no session is left, when the clients that were asked
// have had time to move, or with ctx: Drain ends the rest. Call Leave first.
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

// mover asks all sessions of all loops to move, one loop after the other.
type mover struct {
	server *Server
	ticker *time.Ticker
	counts chan int // from the loop that was asked: how many sessions it has handled
	left   int      // sessions that are not handled yet, at most
	done   int      // sessions that are
	quota  int      // how many more may be handled before the next tick
}

// each sends kind to every loop until the loop has handled all its sessions, or ctx
// ends.
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

// ask sends kind to l for quota sessions, and reports whether l may have more.
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

// answer implements requester.
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

// moveQuota is how many of the remaining sessions to handle now, if all must be
// handled within until.
func moveQuota(left int, until time.Duration) int {
	ticks := max(1, int(until/moveEvery))
	return max(moveLeast, (left+ticks-1)/ticks)
}

// awaitMoved waits for sessions to end, for movedMax at most. Each loop has ticked
// since it was last asked.
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
