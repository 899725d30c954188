package route

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cim/proto"
	"cim/store"
)

// slowStore is a store whose Restore takes a while for each session, as one that
// has much to do, and fails at its deadline. It may fail otherwise, behind the
// first session, whose record it then has given back.
type slowStore struct {
	store.Store
	session time.Duration // that one session takes

	mu      sync.Mutex
	fails   map[int]bool // the calls that fail, counted from 0
	first   []proto.UserID
	running int
	most    int // that ran at once
}

func (s *slowStore) Restore(ctx context.Context, place store.Place, sessions []proto.Session) (store.Restored, error) {
	s.mu.Lock()
	fails := s.fails[len(s.first)]
	s.first = append(s.first, sessions[0].User)
	s.running++
	s.most = max(s.most, s.running)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.running--
		s.mu.Unlock()
	}()
	if fails {
		return store.Restored{Returned: sessions[:1]}, store.ErrAway
	}
	sleep(ctx, s.session*time.Duration(len(sessions)))
	if err := ctx.Err(); err != nil {
		return store.Restored{}, fmt.Errorf("%w: %w", store.ErrAway, err)
	}
	return s.Store.Restore(ctx, place, sessions)
}

// manySessions is as many sessions as a server sends at once.
func manySessions() []proto.Session {
	sessions := make([]proto.Session, proto.SessionsMax)
	for i := range sessions {
		sessions[i] = proto.Session{User: proto.UserID(1000 + i), Generation: proto.Generation(1000 + i)}
	}
	return sessions
}

// TestCheckGoesOn compares sessions with a store that needs 3 s for all of them,
// and that fails four times for some: those before are not compared again, and
// the pauses grow. What came back in front of an error is caught up.
func TestCheckGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T, r *Route, f *fakeServer, _ catchup) {
		slow := &slowStore{Store: r.store, session: 3 * time.Millisecond, fails: map[int]bool{2: true, 3: true, 4: true, 5: true}}
		r.store = slow
		began := time.Now()
		f.sendSessions(1, manySessions()...)
		for f.askedFor(proto.RecordChecked) == 0 && time.Since(began) < time.Minute {
			time.Sleep(10 * time.Millisecond)
		}
		took := time.Since(began)
		if n := f.askedFor(proto.RecordChecked); n != 1 {
			t.Errorf("%d checked after %v", n, took)
		}
		want := fmt.Sprint([]proto.UserID{1000, 1256, 1512, 1512, 1512, 1512, 1512, 1768})
		if got := fmt.Sprint(slow.first); got != want {
			t.Errorf("compared from %s, want from %s", got, want)
		}
		work := proto.SessionsMax * slow.session
		least := work + (checkPauseMin+2*checkPauseMin+2*checkPauseMax)/2 // with the jitter of half a pause
		if most := 3*least - 2*work + time.Second; took < least || took > most {
			t.Errorf("took %v, want %v to %v", took, least, most)
		}
		if n := r.counters.returned.Get(); n != proto.SessionsMax+4 { // the store in memory knows none of the sessions
			t.Errorf("%d records that came back were noted, want %d and 4 in front of an error", n, proto.SessionsMax)
		}
	})
}

// TestChecksAtOnce has ten links' sessions compared together: a store that is slow
// sees two of their calls at once.
func TestChecksAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, r *Route, _ *fakeServer, c catchup) {
		slow := &slowStore{Store: r.store, session: time.Millisecond}
		r.store = slow
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if left, err := r.checkNext(t.Context(), c.server, c.server.stream.Load(), manySessions()); err != nil || len(left) > 0 {
					t.Errorf("%d left: %v", len(left), err)
				}
			})
		}
		synctest.Wait()
		all.Wait()
		if slow.most != checksAtOnce {
			t.Errorf("%d calls at once, want %d", slow.most, checksAtOnce)
		}
		if r.counters.checksWaited.Get() == 0 {
			t.Error("no call is counted as one that waited")
		}
	})
}
