package faults

import (
	"testing"
	"time"

	"cim/internal/ledger"
)

// exitMax is in which time a process ends after SIGTERM.
const exitMax = 30 * time.Second

// TestRollingRestart drains and restarts every process in turn, under load.
func TestRollingRestart(t *testing.T) {
	share(t)
	s := startSystem(t, needs{})
	c := gather(s, usual())
	l := c.send()
	quiet := c.quiet(nil)

	fault := c.meter.begin("fault", c.now(), nil)
	l.watch()
	var slowest, longest time.Duration
	for range pick(3, 1) {
		for _, p := range pick(s.processes(), []*process{s.servers[0], s.routes[0]}) {
			took := p.drain()
			slowest = max(slowest, took)
			if took > exitMax {
				t.Errorf("%s took %v to end, want at most %v", p.name, took, exitMax)
			}
			p.start()
			s.awaitLinked(waitMax)
			longest = max(longest, c.awaitAll(2*patient(returnMax)))
		}
	}
	gap := l.gap()

	v := c.finish(l, func(f ledger.Fault) bool {
		return c.inMove(f) || c.atEnd(f) || !*whole && c.mayComeTwice(f) // other tests may keep the machine busy
	})
	c.report(v, "slowest drain", slowest, "users in after", longest, "gap", gap, c.meter.figures(quiet), c.meter.figures(fault))
	c.wantNone(v, ledger.Lost, ledger.Doubled, ledger.Misdelivered, ledger.Reordered, ledger.RefusedArrived)
	if n := c.counts().lockedOut; n > 0 {
		t.Errorf("%d users locked out", n)
	}
}
