package wheel

import (
	"testing"

	"pgregory.net/rapid"
)

// TestDueAtItsTick takes a timer to the tick before its time, and to its time, for
// delays below, at and beyond the span of the wheel.
func TestDueAtItsTick(t *testing.T) {
	for _, delay := range []Tick{1, 2, buckets - 1, buckets, buckets + 1, 3*buckets + 7} {
		w := New(100)
		w.Set(3, 100+delay)
		fired := Tick(0)
		for now := Tick(101); now <= 100+delay+buckets; now++ {
			w.Advance(now, func(item uint32) {
				if item != 3 || fired != 0 {
					t.Fatalf("delay %d: item %d due at %d, after %d", delay, item, now, fired)
				}
				fired = now
			})
		}
		if fired != 100+delay {
			t.Errorf("delay %d: due at %d, want %d", delay, fired, 100+delay)
		}
	}
}

// TestPastIsDueAtNextTick sets a time in the past.
func TestPastIsDueAtNextTick(t *testing.T) {
	w := New(100)
	w.Set(0, 40)
	fired := false
	w.Advance(101, func(uint32) { fired = true })
	if !fired {
		t.Error("a timer in the past was not due at the next tick")
	}
}

// TestJump moves over several turns at once; everything comes due, once.
func TestJump(t *testing.T) {
	w := New(0)
	const items = 3000
	for i := range uint32(items) {
		w.Set(i, Tick(i)+1)
	}
	seen := map[uint32]int{}
	w.Advance(10*buckets, func(item uint32) { seen[item]++ })
	for i := range uint32(items) {
		if seen[i] != 1 {
			t.Fatalf("item %d came due %d times, want 1", i, seen[i])
		}
	}
}

// TestSetWhileDue postpones every timer from within due, as a session with traffic
// does.
func TestSetWhileDue(t *testing.T) {
	w := New(0)
	for i := range uint32(10) {
		w.Set(i, 5)
	}
	calls := 0
	again := func(item uint32) {
		calls++
		w.Set(item, 5+buckets) // the same bucket
	}
	w.Advance(5, again)
	if calls != 10 {
		t.Fatalf("%d items due, want 10", calls)
	}
	w.Advance(5+buckets-1, again)
	if calls != 10 {
		t.Fatalf("%d items due before their time, want 10", calls)
	}
	w.Advance(5+buckets, again)
	if calls != 20 {
		t.Fatalf("%d items due, want 20", calls)
	}
}

// TestAgainstModel compares the wheel with a map of times.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, now := New(0), Tick(0)
		model := map[uint32]Tick{}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			item := rapid.Uint32Range(0, 8).Draw(t, "item")
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0, 1:
				at := now + Tick(rapid.IntRange(1, 2*buckets).Draw(t, "delay"))
				w.Set(item, at)
				model[item] = at
			case 2:
				w.Cancel(item)
				delete(model, item)
			case 3:
				now += Tick(rapid.IntRange(1, 3*buckets/2).Draw(t, "step"))
				w.Advance(now, func(item uint32) {
					if at, set := model[item]; !set || at > now {
						t.Fatalf("item %d due at %d, want %d (set: %v)", item, now, at, set)
					}
					delete(model, item)
				})
				for item, at := range model {
					if at <= now {
						t.Fatalf("item %d was due at %d, now is %d", item, at, now)
					}
				}
			}
		}
	})
}

// TestNoAllocation postpones timers and advances in a steady state.
func TestNoAllocation(t *testing.T) {
	w, now := New(0), Tick(0)
	for i := range uint32(1000) {
		w.Set(i, Tick(i%300)+1)
	}
	again := func(item uint32) { w.Set(item, now+300) }
	if n := testing.AllocsPerRun(1000, func() { now++; w.Advance(now, again) }); n != 0 {
		t.Errorf("a tick allocates %v times, want 0", n)
	}
}

func BenchmarkTick(b *testing.B) {
	w, now := New(0), Tick(0)
	for i := range uint32(100_000) {
		w.Set(i, Tick(i%300)+1)
	}
	again := func(item uint32) { w.Set(item, now+300) }
	for b.Loop() {
		now++
		w.Advance(now, again)
	}
}
