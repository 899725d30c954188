package faults

import (
	"testing"
	"time"

	"cim/internal/ledger"
)

// normalMax is in which time all is as ever, once Redis is back.
const normalMax = 5 * time.Second

// TestRedisKilled kills a Redis with an append-only file under load, and starts
// it again.
func TestRedisKilled(t *testing.T) {
	share(t)
	s := startSystem(t, needs{durable: true})
	c := gather(s, usual())
	l := c.send()
	quiet := c.quiet(nil)

	fault := c.meter.begin("fault", c.now(), nil)
	if err := s.redis.Kill(); err != nil {
		t.Fatal(err)
	}
	pass(t, pick(10*time.Second, 2*time.Second))
	if err := s.redis.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	back := c.now()
	c.until(back, normalMax)
	after := c.meter.begin("after", c.now(), nil)
	pass(t, pick(20*time.Second, 3*time.Second))
	normal := time.Duration(max(0, l.lastFailed()-back))

	v := c.finish(l, c.mayComeTwice)
	c.report(v, "normal after", normal, c.meter.figures(quiet), c.meter.figures(fault), c.meter.figures(after))
	c.wantNone(v, ledger.Lost, ledger.Doubled, ledger.Misdelivered, ledger.Reordered, ledger.RefusedArrived)
	if most := patient(normalMax); normal > most {
		t.Errorf("calls failed until %v after Redis was back, want at most %v", normal, most)
	}
	if seen := c.counts(); seen.ended > 0 {
		t.Errorf("%d sessions ended", seen.ended)
	}
}
