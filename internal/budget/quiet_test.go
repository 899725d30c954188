package budget

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestQuiet: memory is given back after a busy process has been idle for a while,
// not before, and not again for the little that it does.
func TestQuiet(t *testing.T) {
	var q quiet
	now, total := time.Unix(1000, 0), uint64(0)
	for _, second := range []struct {
		name  string
		bytes uint64
		times int
		due   int // in how many of those seconds
	}{
		{"busy", 10 << 20, 10, 0},
		{"quiet, too short", quietBytes, 2, 0},
		{"busy again", quietBytes + 1, 1, 0},
		{"quiet", quietBytes, 2, 0},
		{"quiet for long enough", quietBytes, 1, 1},
		{"quiet on, too soon for the next", quietBytes, 59, 0},
		{"quiet on", quietBytes, 1, 1},
		{"idle", 1, 1000, 0},
	} {
		due := 0
		for range second.times {
			now, total = now.Add(time.Second), total+second.bytes
			if q.due(now, total) {
				due++
			}
		}
		if due != second.due {
			t.Errorf("%s: due %d times, want %d", second.name, due, second.due)
		}
	}
}

// TestBudgetGivesMemoryBack: a budget that limits the process gives memory back
// when the process is idle, by the clock and the runtime's numbers.
func TestBudgetGivesMemoryBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, given := New(1<<30, nil), 0
		b.LimitProcess()
		b.quiet.giveBack = func() { given++ }
		sink = make([]byte, spareBytes)
		sink = nil
		leave := b.Join(&shelf{})
		time.Sleep(quietTime + 3*time.Second)
		leave()
		if given != 1 {
			t.Errorf("memory was given back %d times, want once", given)
		}
	})
}

var sink []byte
