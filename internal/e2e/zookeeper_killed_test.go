package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// TestZooKeeperKilled kills ZooKeeper and starts it again when all sessions with
// it have expired: meanwhile users chat and log in, at both servers, and
// afterwards too. No client's session ends. Then the end of a server is noticed as
// ever.
func TestZooKeeperKilled(t *testing.T) {
	t.Parallel()
	if !clustered {
		return
	}
	const (
		away  = 10 * time.Second // five session time-outs
		after = 5 * time.Second  // longer than members may be missing unnoticed
	)
	sys, c := startCluster(t, components{ownZK: true, settings: []string{"--server-choice", "round-robin"}})
	by := c.settle(sys, 2)
	there := append(by[0], by[1]...)
	var lines []*line
	for i, route := range sys.routes {
		for _, to := range []*user{by[0][0].user, by[1][0].user, nil} {
			from := sys.ours(fmt.Sprint("sender", i, len(lines)))
			from.at = route
			lines = append(lines, newLine(from, to, nil))
		}
	}
	lines[1].via, lines[5].via = lines[1].from.logIn(), lines[5].from.logIn()
	visitor := sys.ours("visitor")
	var logins int
	sys.during(lines, func() {
		if err := c.zk.Kill(); err != nil {
			t.Fatal(err)
		}
		logins += c.visit(visitor, away)
		if err := c.zk.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		logins += c.visit(visitor, after)
		logins += c.visit(visitor, time.Second) // the list is the new one
	})
	t.Logf("%d logins", logins)
	for _, l := range lines {
		receivers := there
		if l.to != nil {
			receivers = []*session{sessionOf(there, l.to)}
		}
		l.wantWhole(receivers...)
	}
	for _, p := range sys.processes {
		c.awaitLinked(sys, p)
	}
	c.loseServer(sys, by[0]) // and is heeded as ever
}

// visit logs a user in and out for some time. Each route must send it to both
// servers.
func (c *cluster) visit(u *user, lasts time.Duration) (logins int) {
	t := u.system.t
	t.Helper()
	at := map[string]int{}
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for began := time.Now(); time.Since(began) < lasts; <-pause.C {
		u.at = u.system.routes[logins%clusterRoutes]
		s, err := u.enter()
		if err == nil {
			at[u.at+" to "+s.conn.RemoteAddr().String()]++
			err = errors.Join(s.ping(), s.leave())
		}
		if err != nil {
			t.Fatalf("login %d: %v", logins, err)
		}
		u.ticket = ""
		logins++
	}
	if len(at) != clusterRoutes*clusterServers {
		t.Errorf("logins %v, want each route to use each server", at)
	}
	return logins
}
