package server

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func newStallDetector(before func(time.Duration)) *stallDetector {
	return &stallDetector{pauseMin: pauseMin, beforePause: before}
}

// TestStallDetector goes up to the greatest age that is no pause, one past it, and
// on.
func TestStallDetector(t *testing.T) {
	var seen []time.Duration
	p := newStallDetector(func(now time.Duration) { seen = append(seen, now) })
	for _, step := range []struct {
		at     time.Duration
		beat   bool
		pauses uint64
		stood  time.Duration
	}{
		{pauseMin, false, 0, 0},
		{pauseMin, true, 0, 0},
		{2 * pauseMin, false, 0, 0},
		{2*pauseMin + 1, false, 1, pauseMin + 1},
		{2*pauseMin + 1, false, 1, 0},
		{2*pauseMin + 2, true, 1, 0},
		{4 * pauseMin, true, 2, 2*pauseMin - 2},
		{5 * pauseMin, false, 2, 0},
	} {
		look := p.check
		if step.beat {
			look = p.renew
		}
		if n, d := look(step.at); n != step.pauses || d != step.stood {
			t.Errorf("at %v: %d pauses, stood %v, want %d, %v", step.at, n, d, step.pauses, step.stood)
		}
	}
	if len(seen) != 2 || seen[0] != 2*pauseMin+1 || seen[1] != 4*pauseMin {
		t.Errorf("before was called at %v", seen)
	}
}

// TestStallDetectorEarly: a check that has read the time before the stamp was
// renewed changes nothing.
func TestStallDetectorEarly(t *testing.T) {
	p := newStallDetector(func(time.Duration) { t.Error("a pause") })
	p.renew(pauseMin)
	p.renew(pauseMin / 2)
	if n, d := p.check(2 * pauseMin); n != 0 || d != 0 {
		t.Errorf("%d pauses, stood %v", n, d)
	}
}

// TestStallDetectorOnce: many goroutines find one pause at once. All of them see
// the new count, one of them counts it, and beforePause has been called.
func TestStallDetectorOnce(t *testing.T) {
	for range 100 {
		var before, first atomic.Int64
		p := newStallDetector(func(time.Duration) { before.Add(1) })
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				look := p.check
				if i%4 == 0 {
					look = p.renew
				}
				n, stood := look(time.Hour)
				if n != 1 || before.Load() != 1 {
					t.Errorf("goes on with %d pauses, before was called %d times", n, before.Load())
				}
				if stood > 0 {
					first.Add(1)
				}
			})
		}
		if all.Wait(); first.Load() != 1 {
			t.Errorf("%d are the first", first.Load())
		}
	}
}

// TestStallDetectorSecond: a goroutine that finds the pause counted already counts
// nothing.
func TestStallDetectorSecond(t *testing.T) {
	before := 0
	p := newStallDetector(func(time.Duration) { before++ })
	if first, second := p.recordPause(time.Hour), p.recordPause(time.Hour+pauseMin); first != time.Hour || second != 0 || before != 1 {
		t.Errorf("stood %v, then %v; before was called %d times", first, second, before)
	}
}

// TestStallCheckAllocates: a check costs no allocation on the path of a message.
func TestStallCheckAllocates(t *testing.T) {
	p := newStallDetector(func(time.Duration) {})
	if n := testing.AllocsPerRun(100, func() { p.check(1) }); n != 0 {
		t.Errorf("look allocates %v times", n)
	}
}

// BenchmarkStallCheck is what each visit of a loop and each record of a link pays.
func BenchmarkStallCheck(b *testing.B) {
	p := newStallDetector(func(time.Duration) {})
	started := time.Now()
	b.Run("alone", func(b *testing.B) {
		for b.Loop() {
			p.check(1)
		}
	})
	b.Run("with the clock", func(b *testing.B) {
		for b.Loop() {
			now := time.Since(started)
			p.stamp.Store(int64(now))
			p.check(now)
		}
	})
}

// TestLease goes to the end of its term and one past it, is confirmed again, and is
// found lost by its own confirmation.
func TestLease(t *testing.T) {
	const term = 10 * time.Second
	l := &lease{term: term}
	if l.check(term) || l.lost.Load() {
		t.Error("lost at the end of its term")
	}
	if !l.check(term+1) || l.check(term+2) || !l.lost.Load() || l.losses.Load() != 1 {
		t.Errorf("behind its term: lost %t, %d times", l.lost.Load(), l.losses.Load())
	}
	if lost, regained := l.confirm(2 * term); lost || !regained || l.lost.Load() {
		t.Errorf("confirmed again: %t, %t", lost, regained)
	}
	if lost, regained := l.confirm(3 * term); lost || regained {
		t.Errorf("confirmed in time: %t, %t", lost, regained)
	}
	if lost, regained := l.confirm(5 * term); !lost || !regained || l.losses.Load() != 2 {
		t.Errorf("confirmed too late: %t, %t, %d losses", lost, regained, l.losses.Load())
	}
	l.confirm(5*term - 1)
	if age := l.age(6 * term); age != term {
		t.Errorf("an earlier time has set it back: age %v", age)
	}
	if none := (&lease{}); none.check(time.Hour) {
		t.Error("no lease is lost")
	}
}
