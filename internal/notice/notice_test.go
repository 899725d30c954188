package notice

import (
	"log/slog"
	"testing"
	"time"
)

// TestNotices: one line a second for each kind, with the number left out.
func TestNotices(t *testing.T) {
	n := New(slog.New(slog.DiscardHandler))
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		kind    string
		after   time.Duration
		due     bool
		leftOut int
	}{
		{"a", 0, true, 0},
		{"a", Pause - 1, false, 0},
		{"b", Pause - 1, true, 0},
		{"a", Pause, true, 1},
		{"a", 2 * Pause, true, 0},
	} {
		if leftOut, due := n.due(c.kind, now.Add(c.after)); due != c.due || leftOut != c.leftOut {
			t.Errorf("%s after %v: %v with %d left out", c.kind, c.after, due, leftOut)
		}
	}
}
