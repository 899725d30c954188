package route

import (
	"sync/atomic"
	"time"

	"cim/proto"
)

const (
	// lazyAfter is when a session that came by a route of the original is sent
	// what is stored: its client asks that route itself, 5 s after its start, and
	// both at once would bring each text twice. What is left then comes from
	// here.
	lazyAfter = 10 * time.Second
	// lazyMax bounds those that wait for it. One more gets what is left with the
	// next message that is stored for it, or by a fetch.
	lazyMax = 64 << 10
)

// lazies are the catch-ups that wait for clients to ask elsewhere.
type lazies struct {
	waiting atomic.Int64 // <= lazyMax
}

// catchUpLazily lets live messages through to a session that came by a route of
// the original, and looks for stored ones later. It reports false if some have
// been stored since that nobody else brings.
func (r *Route) catchUpLazily(c catchup) (done bool, err error) {
	if r.missed.has(c.user, lastRecord{c.server.member.Epoch, c.generation}) {
		return false, nil
	}
	ask := c.record(proto.RecordResume)
	ask.Value = c.holds
	answer := c.server.ask(&ask)
	if answer.err == nil && (answer.verdict == proto.VerdictBehind || answer.verdict == proto.VerdictReturning) {
		return false, nil
	}
	if err := c.server.failure("resume", answer); err != nil {
		return false, err
	}
	r.later(catchup{session: c.session})
	return true, nil
}

// later starts c when its client had the time to ask elsewhere.
func (r *Route) later(c catchup) {
	if r.lazies.waiting.Add(1) > lazyMax {
		r.lazies.waiting.Add(-1)
		r.counters.refused.inc("lazy catchup")
		return
	}
	time.AfterFunc(lazyAfter, func() {
		r.lazies.waiting.Add(-1)
		r.startCatchup(c)
	})
}
