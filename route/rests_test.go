package route

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestRests: a message that waits in vain begins a rest, a cursor that moves ends it,
// and none begins while the cursor moves.
func TestRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const user = 7
		r := newRests()
		want := func(when string, lasts bool) {
			t.Helper()
			if r.lasts(user) != lasts {
				t.Errorf("%s: a rest lasts: %v, want %v", when, !lasts, lasts)
			}
		}
		r.begin(user)
		want("a message has waited in vain", true)
		r.seen(user, 5)
		r.seen(user, 5)
		want("the cursor stands", true)
		r.seen(user, 6)
		want("the cursor has moved", false)
		for cursor := uint64(7); cursor < 20; cursor++ {
			r.begin(user)
			want("the cursor moves", false)
			time.Sleep(standsAfter - time.Millisecond)
			r.seen(user, cursor)
		}
		time.Sleep(standsAfter + 1)
		r.begin(user)
		want("the cursor stands again", true)
		time.Sleep(restMin)
		want("it is over", false)
		r.begin(user)
		time.Sleep(2*restMin - 1)
		want("the next one is twice as long", true)
	})
}
