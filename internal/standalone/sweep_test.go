package standalone

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cim/proto"
	"cim/store"
)

// TestSweeps: an expired message is removed from the durable file within
// sweepPause, even if its receiver never comes.
func TestSweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const receiver = 1
		stored, back := time.Now(), new(atomic.Bool)
		s := &System{config: freeConfig(t)}
		s.config.Store = store.Config{OfflineTTL: time.Hour, Now: func() time.Time {
			if back.Load() {
				return stored // expired texts that are still there are listed
			}
			return time.Now()
		}}
		if err := s.openStore(Deps{}); err != nil {
			t.Fatal(err)
		}
		if err := s.store.Append(t.Context(), receiver, proto.User{ID: 2, Name: "ann"}, 0, 0, []string{"text"}); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			wait  time.Duration
			texts int
		}{{time.Hour - time.Second, 1}, {sweepPause + time.Second, 0}} {
			time.Sleep(c.wait)
			synctest.Wait()
			back.Store(true)
			page, err := s.store.Page(t.Context(), receiver, 0)
			if err != nil || len(page) != c.texts {
				t.Errorf("after %v the file has %d texts (%v), want %d", time.Since(stored), len(page), err, c.texts)
			}
			back.Store(false)
		}
		s.unsweep()
		s.sweeping.Wait()
		if err := s.store.Close(); err != nil {
			t.Error(err)
		}
	})
}
