package budget

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

// TestGrown: a keeper that calls Grown is checked at once.
func TestGrown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(1000, nil)
		a := &shelf{holds: []int64{800}}
		defer b.Join(a)()
		synctest.Wait()
		began := time.Now()
		a.holds = append(a.holds, 900)
		b.Grown()
		b.Grown() // never blocks
		synctest.Wait()
		if len(a.holds) != 1 || time.Since(began) != 0 {
			t.Errorf("left after %v: %v, want one at once", time.Since(began), a.holds)
		}
	})
	if got := New(6400, nil).Step(); got != 100 {
		t.Errorf("a step of %d, want 100", got)
	}
}

// TestProcessLimit: the limit is the budget, the base, and twice the live memory
// besides what connections hold. It applies while there are keepers.
func TestProcessLimit(t *testing.T) {
	before := debug.SetMemoryLimit(math.MaxInt64)
	defer debug.SetMemoryLimit(before)
	b := New(64<<20, nil)
	b.LimitProcess()
	leave := b.Join(&shelf{})
	ballast := make([]byte, 48<<20)
	least := int64(64<<20 + ProcessBase + 2*len(ballast))
	now := func() int64 { return debug.SetMemoryLimit(-1) }
	for deadline := time.Now().Add(30 * time.Second); now() < least; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the limit is %d with %d live, want at least %d", now(), len(ballast), least)
		}
		runtime.GC()
	}
	if most := least + least/4; now() > most {
		t.Errorf("the limit is %d with %d live, want at most %d", now(), len(ballast), most)
	}
	runtime.KeepAlive(ballast)
	leave()
	if now() != math.MaxInt64 {
		t.Errorf("the limit is %d without keepers, want the one before", now())
	}
}

// TestProcessLimitOfHeld: memory of connections is part of the budget, and does not
// raise the limit, even if they have just freed it.
func TestProcessLimitOfHeld(t *testing.T) {
	p := &processLimit{budget: 100 << 20}
	base := p.limit(0, 0)
	for _, c := range []struct{ live, held, more int64 }{
		{10 << 20, 0, 20 << 20}, {90 << 20, 80 << 20, 20 << 20}, {10 << 20, 80 << 20, 0},
	} {
		if got := p.limit(c.live, c.held) - base; got != c.more {
			t.Errorf("%d live, %d held: %d above the base, want %d", c.live, c.held, got, c.more)
		}
	}
	before := debug.SetMemoryLimit(math.MaxInt64)
	defer debug.SetMemoryLimit(before)
	b := New(100<<20, nil)
	b.LimitProcess()
	b.process.begin(100 << 20)
	defer b.process.end()
	runtime.GC()
	b.process.follow(80 << 20)
	start := b.process.now
	ballast := make([]byte, 80<<20) // held by connections
	runtime.GC()
	b.process.follow(0) // just given back
	if b.process.now > start+start/changeShare {
		t.Errorf("the limit rose from %d to %d by what connections held", start, b.process.now)
	}
	runtime.KeepAlive(ballast)
}
