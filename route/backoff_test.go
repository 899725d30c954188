package route

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestBackoffs: a message that waits in vain starts a backoff, a cursor that moves ends it, and
// none starts while the cursor moves.
func TestBackoffs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const user = 7
		r := newBackoffs()
		want := func(when string, lasts bool) {
			t.Helper()
			if r.active(user) != lasts {
				t.Errorf("%s: a rest lasts: %v, want %v", when, !lasts, lasts)
			}
		}
		r.start(user)
		want("a message has waited in vain", true)
		r.noteCursor(user, 5)
		r.noteCursor(user, 5)
		want("the cursor stands", true)
		r.noteCursor(user, 6)
		want("the cursor has moved", false)
		for cursor := uint64(7); cursor < 20; cursor++ {
			r.start(user)
			want("the cursor moves", false)
			time.Sleep(stalledAfter - time.Millisecond)
			r.noteCursor(user, cursor)
		}
		time.Sleep(stalledAfter + 1)
		r.start(user)
		want("the cursor stands again", true)
		time.Sleep(backoffMin)
		want("it is over", false)
		r.start(user)
		time.Sleep(2*backoffMin - 1)
		want("the next one is twice as long", true)
	})
}
