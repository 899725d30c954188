package main

import (
	"log/slog"
	"runtime/debug"
	"testing"

	"cim/internal/budget"
	"cim/internal/metrics"
)

// still holds nothing.
type still struct{}

func (still) Held() (sum, fresh, largest int64) { return 0, 0, 0 }
func (still) Shed(bytes, floor int64) bool      { return true }

// TestMemoryLimit: the memory limit of the process follows its budget, unless the
// user has set one.
func TestMemoryLimit(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	for value, follows := range map[string]bool{"": true, "off": false, "1GiB": false} {
		t.Setenv("GOMEMLIMIT", value)
		leave := newBudget(64<<20, slog.New(slog.DiscardHandler), metrics.NewSet()).Join(still{})
		if now := debug.SetMemoryLimit(-1); (now != before) != follows || follows && now < 64<<20+budget.ProcessBase {
			t.Errorf("GOMEMLIMIT=%q: the limit is %d, was %d", value, now, before)
		}
		leave()
		if now := debug.SetMemoryLimit(-1); now != before {
			t.Errorf("GOMEMLIMIT=%q: the limit is %d at the end, want %d", value, now, before)
		}
	}
}
