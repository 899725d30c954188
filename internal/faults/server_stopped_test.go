package faults

import (
	"context"
	"syscall"
	"testing"
	"time"

	"cim/internal/ledger"
)

const (
	stoppedFor = 30 * time.Second
	// moveMax is in which time a client of ours has left a server that hangs: a
	// third of the heartbeat until it pings, 5 s without a pong, and the pause
	// before it logs in again, with some room.
	moveMax = 25 * time.Second
	// hangMax is the allowed difference of the others' 99th percentile from quiet times, where
	// those are too short to compare.
	hangMax = 5 * time.Millisecond
	// twinCount is how many users read two connections.
	twinCount = 20
)

// TestServerStopped stops a server for 30 s, as a machine does that is suspended. Its users move or
// their sessions end, and no user receives on two sessions; the other users do not notice.
func TestServerStopped(t *testing.T) {
	share(t)
	s := startSystem(t, needs{})
	c := gather(s, usual())
	var twins []*twin
	for i := range twinCount {
		twins = append(twins, newTwin(c, i))
	}
	behind := c.at(0)
	oursBehind := users{}
	for number := range behind {
		if c.members[number].ours {
			oursBehind[number] = true
		}
	}
	l := c.send()
	staring, stop := context.WithCancel(t.Context())
	defer stop()
	promised := stare(staring, t, twins)
	quiet := c.quiet(behind.not)

	fault := c.meter.begin("fault", c.now(), behind.not)
	began := c.now()
	s.servers[0].signal(syscall.SIGSTOP)
	moved := c.awaitBack(oursBehind, began, moveMax)
	for i, w := range twins {
		if err := w.logIn(i + 1); err != nil {
			t.Errorf("twin %d: %v", i, err)
		}
	}
	c.until(began, stoppedFor)
	s.servers[0].signal(syscall.SIGCONT)
	back := c.awaitBack(behind, began, stoppedFor+2*patient(returnMax))
	returned := c.inSince(behind)
	s.awaitLinked(waitMax)
	pass(t, pick(10*time.Second, 2*time.Second))
	stop()

	// The server ends its sessions when it continues. Each client counts as logged in
	// until it reads that, and has no session until it is back.
	v := c.finish(l, func(f ledger.Fault) bool {
		return f.Kind == ledger.Lost && f.To == ledger.Everyone && behind[f.Receiver] && f.Answered >= began && f.Due <= returned[f.Receiver] ||
			c.mayComeTwice(f)
	})
	quietAnswer, quietArrival := c.meter.p99(quiet)
	answer, arrival := c.meter.p99(fault)
	c.report(v, "behind", len(behind), "ours moved", moved, "all back", back, c.meter.figures(quiet), c.meter.figures(fault))
	c.wantNone(v, ledger.Lost, ledger.Doubled, ledger.Misdelivered, ledger.Reordered, ledger.RefusedArrived)
	if *whole && (answer > 2*quietAnswer+hangMax || arrival > 2*quietArrival+hangMax) {
		t.Errorf("others' p99 %v answer, %v arrival; quiet %v, %v", answer, arrival, quietAnswer, quietArrival)
	}
	if late := moved.after(moveMax - time.Millisecond); late > 0 {
		t.Errorf("%d of %d clients of ours have not moved within %v", late, len(oursBehind), moveMax)
	}
	if n := c.counts().lockedOut; n > 0 {
		t.Errorf("%d users locked out", n)
	}
	c.wantOneSession(twins, <-promised)
}

// wantOneSession demands that no twin has received over an old session, and
// that each has what it was promised.
func (c *crowd) wantOneSession(twins []*twin, promised map[*twin][]string) {
	c.t.Helper()
	for i, w := range twins {
		if !within(settleMax, w.oldEnded) {
			c.t.Errorf("an old session of twin %d still stands", i)
		}
		w.mu.Lock()
		if w.stale > 0 {
			c.t.Errorf("twin %d received %d texts over an old session", i, w.stale)
		}
		var lost []string
		for _, text := range promised[w] {
			if w.texts[text] == 0 {
				lost = append(lost, text)
			}
		}
		if len(lost) > 0 {
			c.t.Errorf("twin %d has not got %d of %d texts: %s to %s", i, len(lost), len(promised[w]), lost[0], lost[len(lost)-1])
		}
		w.mu.Unlock()
	}
}
