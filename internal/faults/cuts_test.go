package faults

import (
	"fmt"
	"testing"
	"time"

	"cim/internal/ledger"
)

const (
	// leaseTime is how long a server keeps its sessions without a confirmation.
	leaseTime = 10 * time.Second
	// rightMax is in which time after a cut all is as ever.
	rightMax = leaseTime + 5*time.Second
	// cutFor is for how long a cut lasts: longer than a lease, and than
	// ZooKeeper keeps a session.
	cutFor = leaseTime + 5*time.Second
)

var (
	servers      = []string{"server-1", "server-2"}
	routes       = []string{"route-1", "route-2"}
	firstServer  = []string{"server-1"}
	firstRoute   = []string{"route-1"}
	redisOnly    = []string{"redis"}
	zooOnly      = []string{"zookeeper"}
	allButServer = []string{"redis", "zookeeper", "route-1", "route-2"}
)

// cuts are the cuts of a test run. The quick ones are those that a system meets
// most.
var cuts = []struct {
	name  string
	some  []string
	from  []string
	both  bool
	quick bool
}{
	{"server from all but its clients", firstServer, allButServer, true, false},
	{"server from ZooKeeper", firstServer, zooOnly, true, false},
	{"server from the routes", firstServer, routes, true, true},
	{"route from the servers", firstRoute, servers, true, false},
	{"route from one server", firstRoute, firstServer, true, false},
	{"route from Redis", firstRoute, redisOnly, true, false},
	{"route from ZooKeeper", firstRoute, zooOnly, true, false},
	{"server to the routes", firstServer, routes, false, false},
	{"routes to a server", routes, firstServer, false, false},
	{"route to Redis", firstRoute, redisOnly, false, false},
	{"Redis to a route", redisOnly, firstRoute, false, false},
	{"server to ZooKeeper", firstServer, zooOnly, false, false},
	{"ZooKeeper to a server", zooOnly, firstServer, false, false},
}

// TestCuts cuts parts of the system off from each other under load, in both
// directions and in one, for longer than a lease. After it all is right again
// in time.
func TestCuts(t *testing.T) {
	for _, one := range cuts {
		t.Run(one.name, func(t *testing.T) {
			if !one.quick {
				wholeOnly(t)
			}
			share(t)
			s := startSystem(t, needs{namespaces: true})
			c := gather(s, usual())
			s.cutUnderLoad(c, func() *separation {
				if one.both {
					return s.cutBoth(one.some, one.from)
				}
				return s.cutOne(one.some, one.from)
			})
		})
	}
}

// cutUnderLoad cuts, heals and waits until all is right again. Promised messages arrive, except
// group messages to users of a server that their route did not reach: a group message is a success
// if any server took it. A text that was stored by a route that reaches no server arrives when that
// route does, behind texts that another route has delivered meanwhile.
func (s *system) cutUnderLoad(c *crowd, cut func() *separation) {
	t := s.t
	t.Helper()
	behind := c.at(0)
	l := c.send()
	quiet := c.quiet(behind.not)

	fault := c.meter.begin("fault", c.now(), behind.not)
	began := c.now()
	apart := cut()
	pass(t, cutFor)
	apart.heal()
	healed := c.now()
	right, last := c.awaitRight(2 * patient(rightMax))
	ended := c.now()
	pass(t, pick(5*time.Second, time.Second))

	v := c.finish(l, func(f ledger.Fault) bool {
		return f.Kind == ledger.Lost && f.To == ledger.Everyone && f.Answered >= began && f.Due <= ended ||
			f.Kind == ledger.Reordered && f.Outcome == ledger.Stored && f.Answered >= began && f.Due <= ended ||
			c.mayComeTwice(f)
	})
	failed := max(0, time.Duration(l.lastFailed()-healed))
	c.report(v, "behind", len(behind), "right after", right, "last failure after", failed, c.meter.figures(quiet), c.meter.figures(fault))
	c.wantNone(v, ledger.Lost, ledger.Doubled, ledger.Misdelivered, ledger.Reordered, ledger.RefusedArrived)
	if most := patient(rightMax); right > most || failed > most {
		t.Errorf("right again %v after the cut (%v), calls failed until %v, want at most %v", right, last, failed, most)
	}
	if n := c.counts().lockedOut; n > 0 {
		t.Errorf("%d users locked out", n)
	}
}

// awaitRight waits until all is as it should be: every process linked and ready, every user
// connected, every route with the same list of online users. It returns how long that took, and
// what was wrong last.
func (c *crowd) awaitRight(most time.Duration) (took time.Duration, last error) {
	c.t.Helper()
	began := time.Now()
	within(most, func() bool {
		if err := c.wrong(); err != nil {
			last = err
			return false
		}
		return true
	})
	return time.Since(began), last
}

// wrong says what is not as it should be.
func (c *crowd) wrong() error {
	if missing := c.missing(); len(missing) > 0 {
		return fmt.Errorf("%d users are not in", len(missing))
	}
	if err := c.system.notLinked(); err != nil {
		return err
	}
	ghosts, hidden, err := c.ghosts()
	if err == nil && len(ghosts)+len(hidden) > 0 {
		err = fmt.Errorf("%d ghosts, %d not listed", len(ghosts), len(hidden))
	}
	return err
}
