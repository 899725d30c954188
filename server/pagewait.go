package server

import (
	"time"

	"cim/server/shard"
)

// pageWait is the pages of sessions that cannot acknowledge: each is answered once
// the peer's kernel has it, and nothing tells when. A tick is too long where a
// catch-up has many short pages, so the loop looks each millisecond for as long as
// pages come to their end, and then ever less often. The event loop's.
type pageWait struct {
	refs  map[shard.Ref]struct{} // a session has one page at most; catch-ups are few
	last  time.Duration          // when it last looked
	delay time.Duration          // until it looks again
	timer *time.Timer            // wakes the loop; nil: it was never needed
}

// Bounds of the time between two looks.
const (
	pageLookMin = time.Millisecond
	pageLookMax = 16 * time.Millisecond // then the tick is as good
)

func (l *loop) awaitPage(ref shard.Ref) {
	l.pages.refs[ref] = struct{}{}
	l.pages.delay = pageLookMin
}

func (l *loop) pageAnswered(ref shard.Ref) {
	delete(l.pages.refs, ref)
	l.pages.delay = pageLookMin
}

// pollPages lets the shard know what the peers of such sessions have, and has
// itself called again in a moment if that is not all.
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
