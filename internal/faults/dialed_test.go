package faults

import (
	"testing"
	"time"

	"cim/internal/ledger"
)

// dialersCount is how many processes dial: one alone has not enough descriptors.
const dialersCount = 2

// TestDialed dials a server 25,000 times, whose limit of descriptors is 20,000. The surplus is
// closed; the other clients stay connected, and when some have left there is room again.
func TestDialed(t *testing.T) {
	share(t)
	limit, dialed := pick(20_000, 700), pick(25_000, 1000)
	s := startSystem(t, needs{limit: limit, serverArgs: []string{"--login", "open"}})
	size := usual()
	size.users, size.private = pick(200, 100), 100
	c := gather(s, size)
	l := c.send()
	quiet := c.quiet(nil)

	fault := c.meter.begin("fault", c.now(), nil)
	began := time.Now()
	var dialers []*dialer
	for i := range dialersCount {
		local := []string{"127.0.0.2", "127.0.0.3"}[i]
		dialers = append(dialers, newDialer(t, s.servers[0].CIM, local, dialed/dialersCount, 1_000_000*(i+1)))
	}
	var failed, closed int
	look := func() (done int) {
		failed, closed = 0, 0
		for _, d := range dialers {
			n, bad, gone := d.look()
			done, failed, closed = done+n, failed+bad, closed+gone
		}
		return done
	}
	eventually(t, time.Minute, "all are dialed", func() bool { return look() == dialed })
	took := time.Since(began)
	within(waitMax, func() bool { look(); return failed+closed >= dialed-limit })
	least := failed + closed
	pass(t, pick(20*time.Second, 6*time.Second)) // longer than a login may take
	look()
	surplus := s.servers[0].metric("cim_server_connections_surplus_total") + s.servers[0].metric("cim_server_connections_evicted_total")
	sessions := s.servers[0].metric("cim_server_sessions")
	for _, d := range dialers {
		d.leave()
	}
	pass(t, pick(5*time.Second, time.Second))

	v := c.finish(l, c.mayComeTwice)
	c.report(v, "dialed", dialed, "in", took, "failed", failed, "closed", closed, "first", least, "surplus", surplus, "sessions", sessions,
		c.meter.figures(quiet), c.meter.figures(fault))
	for k := range ledger.Kinds {
		c.wantNone(v, k)
	}
	if failed+closed < dialed-limit || float64(failed+closed) > surplus+float64(failed) {
		t.Errorf("of %d dials %d failed and %d were closed, surplus %v; the limit is %d", dialed, failed, closed, surplus, limit)
	}
	if seen := c.counts(); seen.ended > 0 {
		t.Errorf("%d sessions of others ended", seen.ended)
	}
}
