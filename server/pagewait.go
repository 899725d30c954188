package server

import (
	"time"

	"cim/server/shard"
)

// pageWait tracks pages of sessions that cannot acknowledge. Each page is answered
// when the peer's kernel has it; nothing signals that, so the loop polls. A tick is
// too long for a catch-up with many short pages, so it polls every millisecond
// while pages are completed, and then less and less often. The event loop owns it.
type pageWait struct {
	refs  map[shard.Ref]struct{} // a session has one page at most; catch-ups are few
	last  time.Duration          // last poll
	delay time.Duration          // until the next poll
	timer *time.Timer            // wakes the loop; nil: not needed yet
}

// Bounds of the time between two polls.
const (
	pageLookMin = time.Millisecond
	pageLookMax = 16 * time.Millisecond // above it, the tick is as good
)

func (l *loop) awaitPage(ref shard.Ref) {
	l.pages.refs[ref] = struct{}{}
	l.pages.delay = pageLookMin
}

func (l *loop) pageAnswered(ref shard.Ref) {
	delete(l.pages.refs, ref)
	l.pages.delay = pageLookMin
}

// pollPages reports to the shard what the peers of these sessions have
// acknowledged, and schedules the next poll if pages are left.
func (l *loop) pollPages() {
	p := &l.pages
	if len(p.refs) == 0 {
		return
	}
	if now := l.server.clock(); now-p.last >= p.delay || now < p.last {
		p.last, p.delay = now, min(2*p.delay, pageLookMax)
		for ref := range p.refs {
			if c := l.connOf(ref); c != nil {
				l.shard.SetUnackedOpen(ref.Slot, c.unacknowledged())
			} else {
				delete(p.refs, ref)
			}
		}
	}
	if p.timer == nil {
		p.timer = time.AfterFunc(p.delay, l.mailbox.wake)
	} else {
		p.timer.Reset(p.delay)
	}
}
