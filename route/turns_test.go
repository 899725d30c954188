package route

import "testing"

// TestTurnsBound fills the private messages on their way, and one more.
func TestTurnsBound(t *testing.T) {
	var all turns
	var leave []func()
	for range turnsMax {
		_, end := all.take(pair{1, 2})
		leave = append(leave, end)
	}
	if _, end := all.take(pair{3, 4}); end != nil {
		t.Error("one more has a turn")
	}
	if all.newest(pair{1, 2}) == nil || all.newest(pair{3, 4}) != nil {
		t.Error("the wrong pair waits")
	}
	for _, end := range leave {
		end()
	}
	if all.all.Load() != 0 || len(all.last) != 0 || all.newest(pair{1, 2}) != nil {
		t.Errorf("%d turns are left, of %d pairs", all.all.Load(), len(all.last))
	}
}
