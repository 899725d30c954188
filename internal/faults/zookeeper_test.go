package faults

import (
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"cim/internal/ledger"
)

// registeredMax is in which time a server stands in ZooKeeper again, once that
// answers.
const registeredMax = 2 * time.Second

// TestZooKeeperKilled kills ZooKeeper under load, and starts it again.
func TestZooKeeperKilled(t *testing.T) {
	share(t)
	s := startSystem(t, needs{})
	c := gather(s, usual())
	l := c.send()
	quiet := c.quiet(nil)

	fault := c.meter.begin("fault", c.now(), nil)
	if err := s.zk.Kill(); err != nil {
		t.Fatal(err)
	}
	pass(t, pick(60*time.Second, 12*time.Second)) // longer than a lease
	if err := s.zk.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	registered := s.awaitRegistered(serverCount, s.zk.Addr)
	pass(t, pick(20*time.Second, 3*time.Second))

	v := c.finish(l, c.mayComeTwice)
	c.report(v, "registered after", registered, c.meter.figures(quiet), c.meter.figures(fault))
	c.wantUntouched(v, registered)
}

// TestZooKeeperExpired keeps a server from ZooKeeper until its session has expired, and no longer.
// It registers again, and no user notices.
func TestZooKeeperExpired(t *testing.T) {
	share(t)
	s := startSystem(t, needs{namespaces: true})
	c := gather(s, usual())
	l := c.send()
	quiet := c.quiet(nil)

	fault := c.meter.begin("fault", c.now(), nil)
	apart := s.cutBoth([]string{"server-1"}, []string{"zookeeper"})
	eventually(t, waitMax, "the node of server-1 vanishes", func() bool { return s.registered(s.zk.Addr) == serverCount-1 })
	apart.heal()
	registered := s.awaitRegistered(serverCount, s.zk.Addr)
	pass(t, pick(10*time.Second, 3*time.Second))

	v := c.finish(l, c.mayComeTwice)
	c.report(v, "registered after", registered, c.meter.figures(quiet), c.meter.figures(fault))
	c.wantUntouched(v, registered)
}

// wantUntouched demands that every call succeeded, every message arrived once,
// and no session ended.
func (c *crowd) wantUntouched(v *ledger.Verdict, registered time.Duration) {
	c.t.Helper()
	for k := range ledger.Kinds {
		c.wantNone(v, k)
	}
	if n := v.Outcome(ledger.Refused) + v.Outcome(ledger.Failed) + v.Outcome(ledger.Unknown); n > 0 && !c.busy() {
		c.t.Errorf("%d calls failed: %v", n, c.counts().codes)
	}
	if n := c.counts().ended; n > 0 {
		c.t.Errorf("%d sessions ended", n)
	}
	if most := patient(registeredMax); registered > most {
		c.t.Errorf("registered again after %v, want at most %v", registered, most)
	}
}

// awaitRegistered waits until so many servers stand in ZooKeeper, with living
// sessions, and returns how long that took.
func (s *system) awaitRegistered(want int, addr string) time.Duration {
	s.t.Helper()
	return eventually(s.t, waitMax, "the servers stand in ZooKeeper", func() bool { return s.registered(addr) == want })
}

// registered counts the nodes of servers that ZooKeeper has; -1: it does not
// answer. Its own connection is up once ZooKeeper serves sessions again.
func (s *system) registered(addr string) int {
	s.t.Helper()
	const connectMax = 5 * time.Second
	conn, events, err := zk.Connect([]string{addr}, connectMax, zk.WithLogInfo(false), zk.WithLogger(silence{}))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	timeout := time.NewTimer(connectMax)
	defer timeout.Stop()
	for {
		select {
		case e := <-events:
			if e.State != zk.StateHasSession {
				continue
			}
			children, _, err := conn.Children("/cim")
			if err != nil {
				return -1
			}
			return len(children)
		case <-timeout.C:
			return -1
		}
	}
}

// silence drops what the ZooKeeper library logs.
type silence struct{}

func (silence) Printf(string, ...any) {}
