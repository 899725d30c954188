package faults

import (
	"slices"
	"testing"
	"time"

	"cim/internal/ledger"
)

const (
	// takenMax is for how long a server that is killed may have had what it has
	// taken.
	takenMax = 200 * time.Millisecond
	// ghostsMax is the time within which no offline user is listed as online any more.
	ghostsMax = 10 * time.Second
	// returnMax is in which time the users of a dead server are back, but one in
	// a hundred.
	returnMax = 15 * time.Second
)

// TestServerKilled kills a server under load. Lost is only what its sessions
// had taken just before; its users come back in time.
func TestServerKilled(t *testing.T) {
	share(t)
	s := startSystem(t, needs{})
	c := gather(s, usual())
	victims := c.at(0)
	l := c.send()
	quiet := c.quiet(victims.not)

	killed := c.now()
	fault := c.meter.begin("fault", killed, victims.not)
	s.servers[0].kill()
	dead := c.now() // a busy machine takes its time between the two
	c.until(killed, ghostsMax)
	ghosts := c.wantNoGhosts()
	back := c.awaitBack(victims, killed, 2*patient(returnMax))
	pass(t, pick(10*time.Second, time.Second))

	v := c.finish(l, func(f ledger.Fault) bool {
		return f.Kind == ledger.Lost && f.Outcome == ledger.Delivered && victims[f.Receiver] &&
			f.Due <= dead && f.Answered >= killed-int64(patient(takenMax)) ||
			c.mayComeTwice(f)
	})
	c.report(v, "ghosts", ghosts, "victims", len(victims), "back", back, c.meter.figures(quiet), c.meter.figures(fault))
	for _, f := range v.ExcusedSome[ledger.Lost] {
		t.Log("taken by the dead server:", f)
	}
	c.wantNone(v, ledger.Lost, ledger.Doubled, ledger.Misdelivered, ledger.Reordered, ledger.RefusedArrived)
	if late := back.after(patient(returnMax)); late*100 > len(victims) {
		t.Errorf("%d of %d users are not back within %v: %v", late, len(victims), patient(returnMax), back)
	}
	if n := c.counts().lockedOut; n > 0 {
		t.Errorf("%d users locked out", n)
	}
}

// until waits until so long after a time of the run.
func (c *crowd) until(at int64, later time.Duration) {
	c.t.Helper()
	pass(c.t, max(0, time.Until(c.began.Add(time.Duration(at)+later))))
}

// wantNoGhosts checks that no offline user is listed as online.
func (c *crowd) wantNoGhosts() int {
	c.t.Helper()
	var ghosts []*member
	var err error
	within(pick(0, waitMax), func() bool {
		ghosts, _, err = c.ghosts()
		return err == nil && len(ghosts) == 0
	})
	if err != nil || len(ghosts) > 0 {
		c.t.Errorf("%d ghosts, %v", len(ghosts), err)
	}
	return len(ghosts)
}

// users are some of the crowd.
type users map[ledger.User]bool

func (u users) not(one ledger.User) bool { return !u[one] }

// at are the users of a server, by its index.
func (c *crowd) at(server int) users {
	c.t.Helper()
	found := users{}
	for number, at := range c.system.servedBy(c.ids()) {
		if at == server {
			found[ledger.User(number)] = true
		}
	}
	if len(found) == 0 {
		c.t.Fatalf("no user is at %s", c.system.servers[server].name)
	}
	return found
}

// quiet lets the load run for a while without a fault, so that what follows can
// be compared with it.
func (c *crowd) quiet(counts func(ledger.User) bool) *phase {
	c.t.Helper()
	pass(c.t, pick(5*time.Second, time.Second))
	quiet := c.meter.begin("quiet", c.now(), counts)
	before := c.cpu()
	pass(c.t, pick(20*time.Second, 3*time.Second))
	c.t.Log("quiet:", c.usage(before))
	return quiet
}

// returns are the times that users took to come back, in order.
type returns []time.Duration

func (r returns) after(most time.Duration) (late int) {
	for _, one := range r {
		if one > most {
			late++
		}
	}
	return late
}

func (r returns) String() string {
	if len(r) == 0 {
		return "nobody"
	}
	at := func(q int) time.Duration { return r[min(len(r)-1, len(r)*q/100)].Round(10 * time.Millisecond) }
	return "p50 " + at(50).String() + " p99 " + at(99).String() + " max " + r[len(r)-1].Round(10*time.Millisecond).String()
}

// awaitBack waits until all of some users have a newer session than the fault. A user that is not
// back by then counts as late.
func (c *crowd) awaitBack(some users, fault int64, most time.Duration) returns {
	c.t.Helper()
	began := c.began.Add(time.Duration(fault))
	look := func() (back returns, missing int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for number := range some {
			if m := c.members[number]; m.in && m.since.After(began) {
				back = append(back, m.since.Sub(began))
			} else {
				missing++
			}
		}
		return back, missing
	}
	within(time.Until(began.Add(most)), func() bool { _, missing := look(); return missing == 0 })
	back, missing := look()
	for range missing {
		back = append(back, most)
	}
	slices.Sort(back)
	return back
}
