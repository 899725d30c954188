package faults

import (
	"testing"
	"time"

	"cim/internal/ledger"
)

// gapMax is the longest that a sender may be without a success when its route
// dies.
const gapMax = 3 * time.Second

// TestRouteKilled kills a route under load. Its clients go on at the other one.
func TestRouteKilled(t *testing.T) {
	share(t)
	s := startSystem(t, needs{})
	c := gather(s, usual())
	l := c.send()
	quiet := c.quiet(nil)

	l.watch()
	fault := c.meter.begin("fault", c.now(), nil)
	s.routes[1].kill()
	pass(t, pick(30*time.Second, 6*time.Second))
	gap := l.gap()
	s.routes[1].start()
	linked := s.awaitLinked(waitMax)
	pass(t, pick(10*time.Second, time.Second))

	v := c.finish(l, c.mayComeTwice)
	c.report(v, "gap", gap, "linked again", linked, c.meter.figures(quiet), c.meter.figures(fault))
	c.wantNone(v, ledger.Lost, ledger.Doubled, ledger.Misdelivered, ledger.Reordered, ledger.RefusedArrived)
	if gap > patient(gapMax) {
		t.Errorf("a sender was without a success for %v, want at most %v", gap, patient(gapMax))
	}
	if seen := c.counts(); seen.ended > 0 {
		t.Errorf("%d sessions ended", seen.ended)
	}
}
