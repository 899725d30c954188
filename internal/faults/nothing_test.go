package faults

import (
	"testing"
	"time"

	"cim/internal/ledger"
)

// rssGrowthMax is by how much the memory of a process may grow in ten minutes
// of the same load, as a share of what it had after the first one. The garbage
// collector's own swing is within it.
const rssGrowthMax = 0.10

// TestNothing is the load without a fault, and the proof that the book is
// right: nothing is lost, doubled, misdelivered or reordered, and every call is
// answered.
func TestNothing(t *testing.T) {
	share(t)
	s := startSystem(t, needs{})
	c := gather(s, usual())
	l := c.send()
	before := c.cpu()
	pass(t, pick(time.Minute, 2*time.Second))
	quiet := c.meter.begin("quiet", c.now(), nil)
	began := s.rss()
	pass(t, pick(9*time.Minute, 4*time.Second))
	ended, used := s.rss(), c.usage(before)
	var ghosts, hidden []*member
	var err error
	within(pick(0, waitMax), func() bool {
		ghosts, hidden, err = c.ghosts()
		return err == nil && len(ghosts)+len(hidden) == 0
	})
	if err != nil || len(ghosts)+len(hidden) > 0 {
		t.Errorf("%d ghosts, %d hidden, %v", len(ghosts), len(hidden), err)
	}
	v := c.finish(l, pick(nil, c.mayComeTwice)) // other tests may keep the machine busy
	c.report(v, "ghosts", len(ghosts), "rss KiB", began, "then", ended, used, c.meter.figures(quiet))
	for k := range ledger.Kinds {
		c.wantNone(v, k)
	}
	if seen := c.counts(); seen.ended > 0 || seen.failed+len(seen.refused) > 0 && !c.busy() {
		t.Errorf("sessions or logins failed: %+v", seen)
	}
	for i, rss := range ended {
		if *whole && float64(rss) > float64(began[i])*(1+rssGrowthMax) {
			t.Errorf("%s grew from %d to %d KiB", s.processes()[i].name, began[i], rss)
		}
	}
	c.wantAllGone()
}

// rss is the resident memory of each process in KiB.
func (s *system) rss() []int {
	s.t.Helper()
	var sizes []int
	for _, p := range s.processes() {
		size, err := rssKiB(p.PID)
		if err != nil {
			s.t.Fatal(err)
		}
		sizes = append(sizes, size)
	}
	return sizes
}

// goneMax is the time within which users who said goodbye are offline on all routes.
const goneMax = 2*time.Second + listAge

// wantAllGone lets all users leave, and demands that no route lists them any
// more.
func (c *crowd) wantAllGone() {
	c.t.Helper()
	c.disperse()
	left := -1
	if !within(pick(goneMax, waitMax), func() bool {
		online, err := c.online()
		left = -1
		if err == nil {
			left = len(online[0]) + len(online[1])
		}
		return left == 0
	}) {
		c.t.Errorf("%d are listed as online (-1: not answered) after all have left", left)
	}
}
